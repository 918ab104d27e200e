// SPDX-License-Identifier: Apache-2.0
// Attaching programs as links: cgroup, network namespace, TCX device, iterator.
#include "bpf/map.h"
#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"
#include "net/namespace_thread.h"

namespace weft {
namespace {

// Newer than the headers of Debian 12.
constexpr int kTcxIngress = 46;
constexpr int kTcxEgress = 47;

// The head that every kind of bpf_link_info shares, and the first field of each kind's own part.
struct LinkHead {
  uint32_t type;
  uint32_t id;
  uint32_t program_id;
  uint32_t pad;
  uint64_t target;
  uint8_t rest[256];
};

// (programFd, cgroupPath, attachType) -> fd. Kernel 5.7. ENOENT, EBADF (no cgroup v2 directory),
// EINVAL (attach type of another program type), EPERM.
napi_value AttachCgroup(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string path = args.Text(1);
  UniqueFd cgroup(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup.valid()) return Throw(env, Status::Errno("open", path));
  auto type = static_cast<bpf_attach_type>(args.Int(2));
  UniqueFd link(bpf_link_create(args.Int(0), cgroup.get(), type, nullptr));
  if (!link.valid()) return Throw(env, Status::Errno("bpf(BPF_LINK_CREATE) cgroup", path));
  return FromInt(env, EnvState::Get(env)->Own(std::move(link)));
}

// (programFd, namespaceFd) -> fd. sk_lookup, kernel 5.9. EINVAL (no namespace, or another program
// type), E2BIG (64 programs), EPERM.
napi_value AttachNetns(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd link(bpf_link_create(args.Int(0), args.Int(1), BPF_SK_LOOKUP, nullptr));
  if (!link.valid()) return Throw(env, Status::Errno("bpf(BPF_LINK_CREATE) netns"));
  return FromInt(env, EnvState::Get(env)->Own(std::move(link)));
}

// (programFd) -> fd. Iterators, kernel 5.8. EINVAL.
napi_value AttachIter(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd link(bpf_link_create(args.Int(0), 0, BPF_TRACE_ITER, nullptr));
  if (!link.valid()) return Throw(env, Status::Errno("bpf(BPF_LINK_CREATE) iter"));
  return FromInt(env, EnvState::Get(env)->Own(std::move(link)));
}

class TcxTask : public Task {
 public:
  TcxTask(UniqueFd program, bool egress, uint32_t ifindex)
      : program_(std::move(program)), egress_(egress), ifindex_(ifindex) {}

  Status Run() override {
    bpf_attr attr;
    std::memset(&attr, 0, sizeof(attr));
    attr.link_create.prog_fd = program_.get();
    attr.link_create.target_ifindex = ifindex_;
    attr.link_create.attach_type =
        static_cast<bpf_attach_type>(egress_ ? kTcxEgress : kTcxIngress);
    int fd = sys::Bpf(BPF_LINK_CREATE, attr);
    if (fd < 0) {
      return Status::Failed(-fd, "bpf(BPF_LINK_CREATE) tcx ifindex " + std::to_string(ifindex_));
    }
    link_ = UniqueFd(fd);
    return Status::Ok();
  }

 protected:
  napi_value Value(EnvState* state) override {
    return FromInt(state->env(), state->Own(std::move(link_)));
  }

 private:
  UniqueFd program_;
  bool egress_;
  uint32_t ifindex_;
  UniqueFd link_;
};

// (programFd, egress, ifindex, namespaceFd?, done(fd)). Kernel 6.6, EINVAL before; ENODEV,
// EEXIST (the program is attached there already), EPERM.
napi_value AttachTcx(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd program = UniqueFd::Duplicate(args.Int(0));
  if (!program.valid()) return Throw(env, Status::Errno("bpf(BPF_LINK_CREATE) tcx"));
  auto task = std::make_unique<TcxTask>(std::move(program), args.Bool(1), args.Uint(2));
  return EnvState::Get(env)->thread()->Submit(std::move(task), args.FdOr(3, -1), args[4]);
}

// (path) -> fd. ENOENT, EPERM, EINVAL when something else is pinned there.
napi_value OpenPinnedLink(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd fd;
  Status status = OpenPinned(args.Text(0), "bpf-link", &fd);
  if (!status.ok()) return Throw(env, status);
  return FromInt(env, EnvState::Get(env)->Own(std::move(fd)));
}

// (fd) -> { type, id, programId, target }. EBADF, EINVAL when it is no link.
napi_value LinkInfo(napi_env env, napi_callback_info info) {
  Args args(env, info);
  LinkHead head = {};
  uint32_t length = sizeof(head);
  int err = -bpf_obj_get_info_by_fd(args.Int(0), &head, &length);
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_OBJ_GET_INFO_BY_FD) link"));
  napi_value result = MakeObject(env);
  Set(env, result, "type", FromInt(env, head.type));
  Set(env, result, "id", FromInt(env, head.id));
  Set(env, result, "programId", FromInt(env, head.program_id));
  Set(env, result, "target", FromUint64(env, head.target));
  return result;
}

// (fd, programFd). EINVAL (program of another type), ENOLINK (its target is gone).
napi_value LinkUpdate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int err = -bpf_link_update(args.Int(0), args.Int(1), nullptr);
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_LINK_UPDATE)"));
  return Undefined(env);
}

// (fd). Kernel 5.9. EOPNOTSUPP for iterators.
napi_value LinkDetach(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int err = -bpf_link_detach(args.Int(0));
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_LINK_DETACH)"));
  return Undefined(env);
}

}  // namespace

void RegisterLink(napi_env env, napi_value exports) {
  Export(env, exports, "attachCgroup", AttachCgroup);
  Export(env, exports, "attachNetns", AttachNetns);
  Export(env, exports, "attachIter", AttachIter);
  Export(env, exports, "attachTcx", AttachTcx);
  Export(env, exports, "openPinnedLink", OpenPinnedLink);
  Export(env, exports, "linkInfo", LinkInfo);
  Export(env, exports, "linkUpdate", LinkUpdate);
  Export(env, exports, "linkDetach", LinkDetach);
}

}  // namespace weft
