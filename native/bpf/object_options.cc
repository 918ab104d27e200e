// SPDX-License-Identifier: Apache-2.0
#include "bpf/object_options.h"

#include <bpf/btf.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "bpf/sys.h"

namespace weft {
namespace {

// The read-only data section (BTF DATASEC) that holds `symbol`, and where in it.
struct Place {
  std::string section;
  uint32_t offset = 0;
  uint32_t size = 0;
};

bool FindConstant(const btf* types, const std::string& symbol, Place* out) {
  for (uint32_t id = 1; id < btf__type_cnt(types); id++) {
    const btf_type* section = btf__type_by_id(types, id);
    if (!btf_is_datasec(section)) continue;
    std::string_view name = btf__name_by_offset(types, section->name_off);
    if (!name.starts_with(".rodata")) continue;
    const btf_var_secinfo* at = btf_var_secinfos(section);
    for (int i = 0; i < btf_vlen(section); i++, at++) {
      const btf_type* variable = btf__type_by_id(types, at->type);
      if (symbol != btf__name_by_offset(types, variable->name_off)) continue;
      *out = {std::string(name), at->offset, at->size};
      return true;
    }
  }
  return false;
}

// The internal map of a data section is named after the object: `weft_con.rodata`.
bpf_map* FindSectionMap(bpf_object* object, const std::string& section) {
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__is_internal(map) && std::string_view(bpf_map__name(map)).ends_with(section)) {
      return map;
    }
  }
  return nullptr;
}

Status SetConstant(bpf_object* object, const std::string& symbol, Bytes value) {
  const btf* types = bpf_object__btf(object);
  Place place;
  if (types == nullptr || !FindConstant(types, symbol, &place)) {
    return Status::Failed(ENOENT, "set constant " + symbol);
  }
  bpf_map* map = FindSectionMap(object, place.section);
  size_t size = 0;
  // Const in some releases of libbpf; the memory is meant to be written before loading.
  const void* initial = map == nullptr ? nullptr : bpf_map__initial_value(map, &size);
  void* data = const_cast<void*>(initial);
  if (data == nullptr) return Status::Failed(ENOENT, "set constant " + symbol);
  if (value.size() != place.size || place.offset + place.size > size) {
    return Status::Failed(EINVAL, "set constant " + symbol + " of " +
                                      std::to_string(place.size) + " bytes to " +
                                      std::to_string(value.size()));
  }
  std::memcpy(static_cast<uint8_t*>(data) + place.offset, value.data(), value.size());
  return Status::Ok();
}

bpf_map* FindMap(bpf_object* object, const std::string& name) {
  bpf_map* map = bpf_object__find_map_by_name(object, name.c_str());
  return map != nullptr && bpf_map__is_internal(map) ? nullptr : map;
}

// libbpf would take any map; the programs would then fail in the verifier or, worse, not.
Status Reuse(bpf_map* map, const std::string& name, int fd) {
  bpf_map_info info = {};
  uint32_t length = sizeof(info);
  int err = -bpf_obj_get_info_by_fd(fd, &info, &length);
  if (err != 0) return Status::Failed(err, "reuse map " + name);
  if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
      info.value_size != bpf_map__value_size(map)) {
    return Status::Failed(EINVAL, "reuse map " + name + ": type or sizes differ");
  }
  err = -bpf_map__reuse_fd(map, fd);
  return err == 0 ? Status::Ok() : Status::Failed(err, "reuse map " + name);
}

Status ConfigureMaps(bpf_object* object, const ObjectOptions& options) {
  for (const auto& [name, entries] : options.max_entries) {
    bpf_map* map = FindMap(object, name);
    if (map == nullptr) return Status::Failed(ENOENT, "set max entries of map " + name);
    int err = -bpf_map__set_max_entries(map, entries);
    if (err != 0) return Status::Failed(err, "set max entries of map " + name);
  }
  for (const auto& [name, path] : options.pins) {
    bpf_map* map = FindMap(object, name);
    if (map == nullptr) return Status::Failed(ENOENT, "pin map " + name);
    int err = -bpf_map__set_pin_path(map, path.c_str());
    if (err != 0) return Status::Failed(err, "pin map " + name);
  }
  for (const auto& [name, fd] : options.reuse) {
    bpf_map* map = FindMap(object, name);
    if (map == nullptr) return Status::Failed(ENOENT, "reuse map " + name);
    Status status = Reuse(map, name, static_cast<int>(fd));
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

}  // namespace

Status ApplyObjectOptions(bpf_object* object, const ObjectOptions& options) {
  for (const auto& [symbol, value] : options.constants) {
    Status status = SetConstant(object, symbol, value);
    if (!status.ok()) return status;
  }
  Status status = ConfigureMaps(object, options);
  if (!status.ok() || options.all_programs) return status;
  for (const std::string& name : options.programs) {
    if (bpf_object__find_program_by_name(object, name.c_str()) == nullptr) {
      return Status::Failed(ENOENT, "load program " + name);
    }
  }
  bpf_program* program;
  bpf_object__for_each_program(program, object) {
    const auto& wanted = options.programs;
    bool load = std::find(wanted.begin(), wanted.end(), bpf_program__name(program)) != wanted.end();
    bpf_program__set_autoload(program, load);
  }
  return Status::Ok();
}

}  // namespace weft
