// SPDX-License-Identifier: Apache-2.0
// Loading an ELF object: libbpf opens, relocates and loads it; what remains are descriptors.
#include <bpf/libbpf.h>

#include <memory>
#include <vector>

#include "bpf/libbpf_log.h"
#include "bpf/map.h"
#include "bpf/object_options.h"
#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"

namespace weft {
namespace {

struct ObjectClose {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPtr = std::unique_ptr<bpf_object, ObjectClose>;

Status Open(Bytes bytes, const std::string& name, ObjectPtr* out) {
  LibbpfLog log;
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name.c_str());
  out->reset(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
  if (*out) return Status::Ok();
  int err = errno;
  // libbpf has error codes of its own (4000 and up) for bytes that are no object.
  return Status::Failed(err >= 4000 ? EINVAL : err, "open object " + name, log.text());
}

Status Load(bpf_object* object, const std::string& name) {
  LibbpfLog log;
  int err = -bpf_object__load(object);
  if (err == 0) return Status::Ok();
  if (err >= 4000) err = EINVAL;
  std::string program = log.FailedProgram();
  std::string op = program.empty() ? "load object " + name : "bpf(BPF_PROG_LOAD) " + program;
  return Status::Failed(err, op, log.text());
}

Status DescribeMaps(EnvState* state, bpf_object* object, napi_value list) {
  uint32_t at = 0;
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__is_internal(map)) continue;
    UniqueFd fd = UniqueFd::Duplicate(bpf_map__fd(map));
    if (!fd.valid()) return Status::Errno("dup map", bpf_map__name(map));
    napi_value value = nullptr;
    Status status = DescribeMap(state, std::move(fd), bpf_map__name(map), &value);
    if (!status.ok()) return status;
    Append(state->env(), list, at++, value);
  }
  return Status::Ok();
}

Status DescribePrograms(EnvState* state, bpf_object* object, napi_value list) {
  uint32_t at = 0;
  bpf_program* program;
  bpf_object__for_each_program(program, object) {
    if (!bpf_program__autoload(program)) continue;
    UniqueFd fd = UniqueFd::Duplicate(bpf_program__fd(program));
    if (!fd.valid()) return Status::Errno("dup program", bpf_program__name(program));
    napi_value value = nullptr;
    Status status = DescribeProgram(state, std::move(fd), bpf_program__name(program),
                                    bpf_program__expected_attach_type(program), &value);
    if (!status.ok()) return status;
    Append(state->env(), list, at++, value);
  }
  return Status::Ok();
}

// (bytes, name, constants, pins, reuse, maxEntries, programs?) -> { maps, programs }.
// EINVAL (no object, constant of another size, pinned map of another shape), ENOENT (no such
// symbol, map or program), EACCES and EINVAL from the verifier, E2BIG (too complex), EPERM.
napi_value LoadObject(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string name = args.Text(1);
  ObjectOptions options;
  options.constants = args.DataPairs(2);
  options.pins = args.TextPairs(3);
  options.reuse = args.UintPairs(4);
  options.max_entries = args.UintPairs(5);
  options.all_programs = !args.Present(6);
  if (!options.all_programs) options.programs = args.TextList(6);
  if (!args.Whole()) return nullptr;

  ObjectPtr object;
  Status status = Open(args.Data(0), name, &object);
  if (status.ok()) status = ApplyObjectOptions(object.get(), options);
  if (status.ok()) status = Load(object.get(), name);
  if (!status.ok()) return Throw(env, status);

  EnvState* state = EnvState::Get(env);
  napi_value maps = MakeArray(env);
  napi_value programs = MakeArray(env);
  status = DescribeMaps(state, object.get(), maps);
  if (status.ok()) status = DescribePrograms(state, object.get(), programs);
  if (!status.ok()) return Throw(env, status);
  napi_value result = MakeObject(env);
  Set(env, result, "maps", maps);
  Set(env, result, "programs", programs);
  return result;
}

}  // namespace

void RegisterObject(napi_env env, napi_value exports) {
  Export(env, exports, "loadObject", LoadObject);
}

}  // namespace weft
