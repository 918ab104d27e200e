// SPDX-License-Identifier: Apache-2.0
// Failures on their way to JavaScript.
#ifndef WEFT_JS_ERROR_H_
#define WEFT_JS_ERROR_H_

#include <node_api.h>

#include "status.h"

namespace weft {

// An Error with `errno`, `operation` and `log`; src/kernel makes a KernelError of it.
napi_value MakeError(napi_env env, const Status& status);

// Throws and returns nullptr, to be returned by the exported function.
napi_value Throw(napi_env env, const Status& status);

}  // namespace weft

#endif  // WEFT_JS_ERROR_H_
