// SPDX-License-Identifier: Apache-2.0
// Running an iterator program to its end. An iterator over sockets sees the namespace of the
// thread that creates it, hence the helper thread.
#include <string>

#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"
#include "net/namespace_thread.h"

namespace weft {
namespace {

constexpr size_t kChunk = 64 * 1024;

class IterTask : public Task {
 public:
  explicit IterTask(UniqueFd link) : link_(std::move(link)) {}

  Status Run() override {
    UniqueFd iter(bpf_iter_create(link_.get()));
    if (!iter.valid()) return Status::Errno("bpf(BPF_ITER_CREATE)");
    for (;;) {
      const size_t before = written_.size();
      written_.resize(before + kChunk);
      ssize_t length = read(iter.get(), written_.data() + before, kChunk);
      written_.resize(before + (length > 0 ? length : 0));
      if (length == 0) return Status::Ok();
      if (length < 0 && errno != EAGAIN && errno != EINTR) return Status::Errno("read iterator");
    }
  }

 protected:
  napi_value Value(EnvState* state) override { return FromString(state->env(), written_); }

 private:
  UniqueFd link_;
  std::string written_;
};

// (linkFd, namespaceFd?, done(Buffer)). EBADF, EINVAL (no iterator), EPERM.
napi_value ReadIter(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd link = UniqueFd::Duplicate(args.Int(0));
  if (!link.valid()) return Throw(env, Status::Errno("bpf(BPF_ITER_CREATE)"));
  auto task = std::make_unique<IterTask>(std::move(link));
  return EnvState::Get(env)->thread()->Submit(std::move(task), args.FdOr(1, -1), args[2]);
}

}  // namespace

void RegisterIter(napi_env env, napi_value exports) { Export(env, exports, "readIter", ReadIter); }

}  // namespace weft
