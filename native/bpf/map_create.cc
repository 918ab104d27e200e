// SPDX-License-Identifier: Apache-2.0
// Making maps, with the inner template of maps of maps and the BTF that socket storage demands.
#include <bpf/btf.h>

#include <memory>

#include "bpf/map.h"
#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"

namespace weft {
namespace {

struct Shape {
  uint32_t type;
  uint32_t key_size;
  uint32_t value_size;
  uint32_t max_entries;
  uint32_t flags;
};

struct BtfFree {
  void operator()(btf* types) const { btf__free(types); }
};
using BtfPtr = std::unique_ptr<btf, BtfFree>;

// BTF of an int key and `value_size` opaque bytes, as the kernel wants it for BPF_MAP_TYPE_SK_STORAGE.
Status StorageTypes(uint32_t value_size, BtfPtr* types, int* key, int* value) {
  types->reset(btf__new_empty());
  if (!*types) return Status::Errno("btf__new_empty");
  btf* all = types->get();
  *key = btf__add_int(all, "int", 4, BTF_INT_SIGNED);
  int byte = btf__add_int(all, "unsigned char", 1, 0);
  *value = btf__add_array(all, *key, byte, value_size);
  if (*key < 0 || byte < 0 || *value < 0) return Status::Errno("btf__add_array");
  int err = -btf__load_into_kernel(all);
  return err == 0 ? Status::Ok() : Status::Failed(err, "bpf(BPF_BTF_LOAD)");
}

Status Create(const Shape& shape, const std::string& name, int inner_fd, UniqueFd* out) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = shape.flags);
  BtfPtr types;
  if (inner_fd >= 0) options.inner_map_fd = static_cast<uint32_t>(inner_fd);
  if (shape.type == BPF_MAP_TYPE_SK_STORAGE && shape.value_size > 0) {
    int key = 0, value = 0;
    Status made = StorageTypes(shape.value_size, &types, &key, &value);
    if (!made.ok()) return made;
    options.btf_fd = btf__fd(types.get());
    options.btf_key_type_id = key;
    options.btf_value_type_id = value;
  }
  *out = UniqueFd(bpf_map_create(static_cast<bpf_map_type>(shape.type), name.c_str(),
                                 shape.key_size, shape.value_size, shape.max_entries, &options));
  if (!out->valid()) return Status::Errno("bpf(BPF_MAP_CREATE)", name);
  return Status::Ok();
}

Shape ReadShape(const Args& args, size_t at) {
  return {args.Uint(at), args.Uint(at + 1), args.Uint(at + 2), args.Uint(at + 3),
          args.Uint(at + 4)};
}

// (name, type, keySize, valueSize, maxEntries, flags, the same five of the inner map?).
// EINVAL (sizes or flags the type does not take), E2BIG, ENOMEM, EPERM.
napi_value CreateMap(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd inner;
  Status status;
  if (args.Present(6)) {
    status = Create(ReadShape(args, 6), "weft_inner", -1, &inner);
    if (!status.ok()) return Throw(env, status);
  }
  std::string name = args.Text(0);
  UniqueFd fd;
  status = Create(ReadShape(args, 1), name, inner.get(), &fd);
  if (!status.ok()) return Throw(env, status);
  napi_value map = nullptr;
  status = DescribeMap(EnvState::Get(env), std::move(fd), name, &map);
  return status.ok() ? map : Throw(env, status);
}

}  // namespace

void RegisterMapCreate(napi_env env, napi_value exports) {
  Export(env, exports, "createMap", CreateMap);
}

}  // namespace weft
