// SPDX-License-Identifier: Apache-2.0
// Loaded programs: what the kernel says of them, test runs.
#include <algorithm>
#include <vector>

#include "bpf/map.h"
#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"

namespace weft {
namespace {

// A program may lengthen its packet by this much in a test run.
constexpr size_t kHeadroom = 512;

// (path). ENOENT, EPERM, EINVAL when something else is pinned there.
napi_value OpenPinnedProgram(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd fd;
  Status status = OpenPinned(args.Text(0), "bpf-prog", &fd);
  if (!status.ok()) return Throw(env, status);
  napi_value program = nullptr;
  status = DescribeProgram(EnvState::Get(env), std::move(fd), {}, -1, &program);
  return status.ok() ? program : Throw(env, status);
}

// (fd, data?, context?, repeat) -> { returnValue, dataOut, contextOut, durationNs }.
// ENOTSUPP for types without test runs (connect, sockops), EINVAL, ENOSPC.
napi_value ProgramTestRun(napi_env env, napi_callback_info info) {
  Args args(env, info);
  LIBBPF_OPTS(bpf_test_run_opts, options, .repeat = args.Int(3));
  std::vector<uint8_t> data_out, context_out;
  if (args.Present(1)) {
    Bytes data = args.Data(1);
    data_out.resize(data.size() + kHeadroom);
    options.data_in = data.data();
    options.data_size_in = data.size();
    options.data_out = data_out.data();
    options.data_size_out = data_out.size();
  }
  if (args.Present(2)) {
    Bytes context = args.Data(2);
    context_out.resize(context.size());
    options.ctx_in = context.data();
    options.ctx_size_in = context.size();
    options.ctx_out = context_out.data();
    options.ctx_size_out = context_out.size();
  }
  int err = -bpf_prog_test_run_opts(args.Int(0), &options);
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_PROG_TEST_RUN)"));
  data_out.resize(std::min<size_t>(data_out.size(), options.data_size_out));
  context_out.resize(std::min<size_t>(context_out.size(), options.ctx_size_out));
  napi_value result = MakeObject(env);
  Set(env, result, "returnValue", FromInt(env, options.retval));
  Set(env, result, "dataOut", FromBytes(env, data_out));
  Set(env, result, "contextOut", FromBytes(env, context_out));
  Set(env, result, "durationNs", FromInt(env, options.duration));
  return result;
}

}  // namespace

Status DescribeProgram(EnvState* state, UniqueFd fd, std::string_view name, int attach_type,
                       napi_value* out) {
  bpf_prog_info info = {};
  uint32_t length = sizeof(info);
  int err = -bpf_obj_get_info_by_fd(fd.get(), &info, &length);
  if (err != 0) return Status::Failed(err, "bpf(BPF_OBJ_GET_INFO_BY_FD) program");
  napi_env env = state->env();
  napi_value object = MakeObject(env);
  Set(env, object, "name", FromText(env, name.empty() ? std::string_view(info.name) : name));
  Set(env, object, "id", FromInt(env, info.id));
  Set(env, object, "type", FromInt(env, info.type));
  Set(env, object, "verifiedInstructions", FromInt(env, info.verified_insns));
  Set(env, object, "attachType", FromInt(env, attach_type));
  Set(env, object, "fd", FromInt(env, state->Own(std::move(fd))));
  *out = object;
  return Status::Ok();
}

void RegisterProgram(napi_env env, napi_value exports) {
  Export(env, exports, "openPinnedProgram", OpenPinnedProgram);
  Export(env, exports, "programTestRun", ProgramTestRun);
}

}  // namespace weft
