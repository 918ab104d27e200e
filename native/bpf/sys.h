// SPDX-License-Identifier: Apache-2.0
// bpf(2) calls whose result is a positive errno or 0, and what each file of this folder exports.
#ifndef WEFT_BPF_SYS_H_
#define WEFT_BPF_SYS_H_

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <node_api.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weft {

// What the kernel answers where an operation does not exist for a type; not in errno.h.
constexpr int kNotSupported = 524;  // ENOTSUPP

namespace sys {

inline int MapLookup(int fd, const void* key, void* value, uint64_t flags) {
  return -bpf_map_lookup_elem_flags(fd, key, value, flags);
}
inline int MapUpdate(int fd, const void* key, const void* value, uint64_t flags) {
  return -bpf_map_update_elem(fd, key, value, flags);
}
inline int MapDelete(int fd, const void* key) { return -bpf_map_delete_elem(fd, key); }
inline int MapNextKey(int fd, const void* key, void* next) {
  return -bpf_map_get_next_key(fd, key, next);
}

// For commands that this libbpf does not wrap. Returns a descriptor or -errno.
inline int Bpf(int command, const bpf_attr& attr) {
  long result = syscall(__NR_bpf, command, &attr, sizeof(attr));
  return result < 0 ? -errno : static_cast<int>(result);
}

}  // namespace sys

void RegisterBtf(napi_env env, napi_value exports);
void RegisterIter(napi_env env, napi_value exports);
void RegisterLink(napi_env env, napi_value exports);
void RegisterMap(napi_env env, napi_value exports);
void RegisterMapBatch(napi_env env, napi_value exports);
void RegisterMapCreate(napi_env env, napi_value exports);
void RegisterObject(napi_env env, napi_value exports);
void RegisterProgram(napi_env env, napi_value exports);
void RegisterRing(napi_env env, napi_value exports);

}  // namespace weft

#endif  // WEFT_BPF_SYS_H_
