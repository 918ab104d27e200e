// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_BPF_MAP_H_
#define WEFT_BPF_MAP_H_

#include <node_api.h>

#include <string>
#include <string_view>

#include "env_state.h"
#include "status.h"
#include "unique_fd.h"

namespace weft {

// { name, fd, id, type, keySize, valueSize, maxEntries, flags }: the environment owns the
// descriptor until `closeOwned`. `name`: the kernel's own, of at most 15 bytes, when empty.
Status DescribeMap(EnvState* state, UniqueFd fd, std::string_view name, napi_value* out);

// { name, fd, id, type, verifiedInstructions, attachType }, owned likewise.
Status DescribeProgram(EnvState* state, UniqueFd fd, std::string_view name, int attach_type,
                       napi_value* out);

// Opens what is pinned at `path` and must be of `kind`: "bpf-map", "bpf-prog" or "bpf-link". The
// kernel answers questions about one kind with another's numbers, hence the check.
Status OpenPinned(const std::string& path, const char* kind, UniqueFd* out);

}  // namespace weft

#endif  // WEFT_BPF_MAP_H_
