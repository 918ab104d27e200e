// SPDX-License-Identifier: Apache-2.0
// JavaScript values to C++ and back. Arguments were checked by src/kernel; a wrong one here is a
// broken invariant and ends the process with its position.
#ifndef WEFT_JS_CONVERT_H_
#define WEFT_JS_CONVERT_H_

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

using Bytes = std::span<const uint8_t>;

class Args {
 public:
  Args(napi_env env, napi_callback_info info);

  napi_env env() const { return env_; }
  napi_value operator[](size_t at) const { return values_[at]; }
  // False once this thread is being terminated: what was read from lists since then is not what
  // the caller gave, and nobody awaits the result.
  bool Whole() const;
  // False for undefined.
  bool Present(size_t at) const;
  int32_t Int(size_t at) const;
  uint32_t Uint(size_t at) const;
  // Descriptors may be absent: -1.
  int FdOr(size_t at, int fallback) const { return Present(at) ? Int(at) : fallback; }
  bool Bool(size_t at) const;
  std::string Text(size_t at) const;
  // Points into the JavaScript buffer: valid until the call returns.
  Bytes Data(size_t at) const;
  std::vector<std::string> TextList(size_t at) const;
  std::vector<int> IntList(size_t at) const;
  // Arrays of [name, value] pairs.
  std::vector<std::pair<std::string, std::string>> TextPairs(size_t at) const;
  std::vector<std::pair<std::string, uint32_t>> UintPairs(size_t at) const;
  std::vector<std::pair<std::string, Bytes>> DataPairs(size_t at) const;

 private:
  static constexpr size_t kMax = 16;
  napi_env env_;
  napi_value values_[kMax];
};

// Makers return nullptr only while the environment is being torn down.
napi_value Undefined(napi_env env);
napi_value FromBool(napi_env env, bool value);
napi_value FromInt(napi_env env, int64_t value);
napi_value FromUint64(napi_env env, uint64_t value);  // BigInt
napi_value FromText(napi_env env, std::string_view value);
napi_value FromBytes(napi_env env, Bytes value);  // a copying Buffer
napi_value FromString(napi_env env, const std::string& bytes);  // bytes as a Buffer

napi_value MakeArray(napi_env env);
void Append(napi_env env, napi_value array, uint32_t at, napi_value value);
napi_value MakeObject(napi_env env);
void Set(napi_env env, napi_value object, const char* name, napi_value value);

using NativeFunction = napi_value (*)(napi_env, napi_callback_info);
void Export(napi_env env, napi_value exports, const char* name, NativeFunction function);

}  // namespace weft

#endif  // WEFT_JS_CONVERT_H_
