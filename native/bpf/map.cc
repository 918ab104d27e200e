// SPDX-License-Identifier: Apache-2.0
// Opening maps and working on single entries.
#include "bpf/map.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"

namespace weft {
namespace {

// Values up to this size are read on the stack; then a miss allocates nothing.
constexpr size_t kStackValue = 2048;

// (fd, key, valueBytes) -> Buffer or undefined. EBADF, EINVAL, EPERM; ENOTSUPP for write-only types.
napi_value MapLookup(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const size_t size = args.Uint(2);
  std::array<uint8_t, kStackValue> small;
  std::vector<uint8_t> large(size > kStackValue ? size : 0);
  uint8_t* value = size > kStackValue ? large.data() : small.data();
  int err = sys::MapLookup(args.Int(0), args.Data(1).data(), value, 0);
  if (err == ENOENT) return Undefined(env);
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_MAP_LOOKUP_ELEM)"));
  return FromBytes(env, Bytes(value, size));
}

// (fd, key, value, flags). E2BIG full, EEXIST, ENOENT, EINVAL, EBADF.
napi_value MapUpdate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int err = sys::MapUpdate(args.Int(0), args.Data(1).data(), args.Data(2).data(), args.Uint(3));
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_MAP_UPDATE_ELEM)"));
  return Undefined(env);
}

// (fd, key) -> whether it was there. EINVAL (arrays), EBADF.
napi_value MapDelete(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int err = sys::MapDelete(args.Int(0), args.Data(1).data());
  if (err == ENOENT) return FromBool(env, false);
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_MAP_DELETE_ELEM)"));
  return FromBool(env, true);
}

napi_value Describe(napi_env env, UniqueFd fd) {
  napi_value map = nullptr;
  Status status = DescribeMap(EnvState::Get(env), std::move(fd), {}, &map);
  return status.ok() ? map : Throw(env, status);
}

// (path). ENOENT, EPERM, EINVAL when something else is pinned there.
napi_value OpenPinnedMap(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd fd;
  Status status = OpenPinned(args.Text(0), "bpf-map", &fd);
  if (!status.ok()) return Throw(env, status);
  return Describe(env, std::move(fd));
}

// (id). ENOENT when no such map exists any more.
napi_value OpenMapById(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd fd(bpf_map_get_fd_by_id(args.Uint(0)));
  if (!fd.valid()) {
    return Throw(env, Status::Errno("bpf(BPF_MAP_GET_FD_BY_ID)", std::to_string(args.Uint(0))));
  }
  return Describe(env, std::move(fd));
}

// (fd, path) for maps, programs and links. EEXIST, EPERM (no bpffs), ENOENT (no directory).
napi_value Pin(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string path = args.Text(1);
  int err = -bpf_obj_pin(args.Int(0), path.c_str());
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_OBJ_PIN) " + path));
  return Undefined(env);
}

}  // namespace

Status OpenPinned(const std::string& path, const char* kind, UniqueFd* out) {
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) return Status::Errno("bpf(BPF_OBJ_GET)", path);
  char name[64] = "";
  std::string self = "/proc/self/fd/" + std::to_string(fd.get());
  if (readlink(self.c_str(), name, sizeof(name) - 1) < 0) return Status::Errno("readlink", self);
  // A link is called bpf_link or bpf-link, after the way it was opened.
  std::replace(std::begin(name), std::end(name), '_', '-');
  if (std::string_view(name) != std::string("anon-inode:") + kind) {
    return Status::Failed(EINVAL, "bpf(BPF_OBJ_GET) " + path);
  }
  *out = std::move(fd);
  return Status::Ok();
}

Status DescribeMap(EnvState* state, UniqueFd fd, std::string_view name, napi_value* out) {
  bpf_map_info info = {};
  uint32_t length = sizeof(info);
  int err = -bpf_obj_get_info_by_fd(fd.get(), &info, &length);
  if (err != 0) return Status::Failed(err, "bpf(BPF_OBJ_GET_INFO_BY_FD) map");
  napi_env env = state->env();
  napi_value object = MakeObject(env);
  Set(env, object, "name", FromText(env, name.empty() ? std::string_view(info.name) : name));
  Set(env, object, "id", FromInt(env, info.id));
  Set(env, object, "type", FromInt(env, info.type));
  Set(env, object, "keySize", FromInt(env, info.key_size));
  Set(env, object, "valueSize", FromInt(env, info.value_size));
  Set(env, object, "maxEntries", FromInt(env, info.max_entries));
  Set(env, object, "flags", FromInt(env, info.map_flags));
  Set(env, object, "fd", FromInt(env, state->Own(std::move(fd))));
  *out = object;
  return Status::Ok();
}

void RegisterMap(napi_env env, napi_value exports) {
  Export(env, exports, "mapLookup", MapLookup);
  Export(env, exports, "mapUpdate", MapUpdate);
  Export(env, exports, "mapDelete", MapDelete);
  Export(env, exports, "openPinnedMap", OpenPinnedMap);
  Export(env, exports, "openMapById", OpenMapById);
  Export(env, exports, "pin", Pin);
}

}  // namespace weft
