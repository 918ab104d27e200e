// SPDX-License-Identifier: Apache-2.0
// What is set on an opened BPF object before it is loaded.
#ifndef WEFT_BPF_OBJECT_OPTIONS_H_
#define WEFT_BPF_OBJECT_OPTIONS_H_

#include <bpf/libbpf.h>

#include <string>
#include <utility>
#include <vector>

#include "js/convert.h"
#include "status.h"

namespace weft {

template <typename Value>
using Named = std::vector<std::pair<std::string, Value>>;

struct ObjectOptions {
  Named<Bytes> constants;           // `const volatile` symbols
  Named<std::string> pins;          // map -> path
  Named<uint32_t> reuse;            // map -> fd
  Named<uint32_t> max_entries;      // map -> number
  bool all_programs = true;
  std::vector<std::string> programs;
};

// ENOENT names what the object does not have; EINVAL what does not fit.
Status ApplyObjectOptions(bpf_object* object, const ObjectOptions& options);

}  // namespace weft

#endif  // WEFT_BPF_OBJECT_OPTIONS_H_
