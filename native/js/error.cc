// SPDX-License-Identifier: Apache-2.0
// The only place that throws.
#include "js/error.h"

#include "js/convert.h"

namespace weft {

napi_value MakeError(napi_env env, const Status& status) {
  napi_value error = nullptr;
  if (napi_create_error(env, nullptr, FromText(env, status.op), &error) != napi_ok) return nullptr;
  Set(env, error, "errno", FromInt(env, status.err));
  Set(env, error, "operation", FromText(env, status.op));
  if (!status.log.empty()) Set(env, error, "log", FromText(env, status.log));
  return error;
}

napi_value Throw(napi_env env, const Status& status) {
  napi_value error = MakeError(env, status);
  if (error != nullptr) napi_throw(env, error);
  return nullptr;
}

}  // namespace weft
