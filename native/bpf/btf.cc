// SPDX-License-Identifier: Apache-2.0
// Struct layouts from an object's BTF.
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include <memory>
#include <string>

#include "bpf/libbpf_log.h"
#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"
#include "unique_fd.h"

namespace weft {
namespace {

struct BtfFree {
  void operator()(btf* types) const { btf__free(types); }
};

// libbpf reads ELF from a path only: the bytes get one of their own.
Status WriteMemfd(Bytes bytes, UniqueFd* out) {
  UniqueFd fd(memfd_create("weft-object", MFD_CLOEXEC));
  if (!fd.valid()) return Status::Errno("memfd_create");
  for (size_t at = 0; at < bytes.size();) {
    ssize_t written = write(fd.get(), bytes.data() + at, bytes.size() - at);
    if (written < 0) return Status::Errno("write memfd");
    at += static_cast<size_t>(written);
  }
  *out = std::move(fd);
  return Status::Ok();
}

napi_value Members(napi_env env, const btf* types, const btf_type* type) {
  napi_value list = MakeArray(env);
  const btf_member* members = btf_members(type);
  for (int at = 0; at < btf_vlen(type); at++) {
    napi_value member = MakeObject(env);
    int64_t size = btf__resolve_size(types, members[at].type);
    Set(env, member, "name", FromText(env, btf__name_by_offset(types, members[at].name_off)));
    Set(env, member, "offset", FromInt(env, btf_member_bit_offset(type, at) / 8));
    Set(env, member, "size", FromInt(env, size < 0 ? 0 : size));
    Append(env, list, at, member);
  }
  return list;
}

// (bytes, name) -> { name, size, members } or undefined. EINVAL when the bytes are no ELF object,
// ENODATA when it has no BTF.
napi_value StructLayout(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string name = args.Text(1);
  UniqueFd file;
  Status status = WriteMemfd(args.Data(0), &file);
  if (!status.ok()) return Throw(env, status);
  LibbpfLog log;
  std::string path = "/proc/self/fd/" + std::to_string(file.get());
  std::unique_ptr<btf, BtfFree> types(btf__parse_elf(path.c_str(), nullptr));
  if (!types) {
    int err = errno >= 4000 ? EINVAL : errno;
    return Throw(env, Status::Failed(err, "read BTF of object", log.text()));
  }
  int id = btf__find_by_name_kind(types.get(), name.c_str(), BTF_KIND_STRUCT);
  if (id < 0) return Undefined(env);
  const btf_type* type = btf__type_by_id(types.get(), id);
  napi_value result = MakeObject(env);
  Set(env, result, "name", FromText(env, name));
  Set(env, result, "size", FromInt(env, type->size));
  Set(env, result, "members", Members(env, types.get(), type));
  return result;
}

// -> possible CPUs, which is how many values an entry of a per-CPU map has.
napi_value PossibleCpus(napi_env env, napi_callback_info) {
  int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) return Throw(env, Status::Failed(-cpus, "read possible CPUs"));
  return FromInt(env, cpus);
}

}  // namespace

void RegisterBtf(napi_env env, napi_value exports) {
  Export(env, exports, "structLayout", StructLayout);
  Export(env, exports, "possibleCpus", PossibleCpus);
}

}  // namespace weft
