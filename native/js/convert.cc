// SPDX-License-Identifier: Apache-2.0
// The only place that reads and makes JavaScript values.
#include "js/convert.h"

#include <cstdio>
#include <cstdlib>

namespace weft {
namespace {

// Whether this thread is being terminated, noticed while reading an argument.
thread_local bool thread_ends = false;

void Require(napi_status status, const char* what) {
  if (status == napi_ok) return;
  // A thread may be terminated at any instruction, also after it has called us. Node then refuses
  // to read lists, which may run JavaScript; that is no mistake of ours.
  if (status == napi_pending_exception || status == napi_cannot_run_js) thread_ends = true;
  if (thread_ends) return;
  std::fprintf(stderr, "weft addon: argument is not %s (status %d)\n", what, status);
  std::abort();
}

std::string ReadText(napi_env env, napi_value value) {
  size_t length = 0;
  Require(napi_get_value_string_utf8(env, value, nullptr, 0, &length), "a string");
  std::string text(length, '\0');
  Require(napi_get_value_string_utf8(env, value, text.data(), length + 1, &length), "a string");
  return text;
}

Bytes ReadBytes(napi_env env, napi_value value) {
  void* data = nullptr;
  size_t length = 0;
  Require(napi_get_buffer_info(env, value, &data, &length), "bytes");
  return Bytes(static_cast<const uint8_t*>(data), length);
}

uint32_t LengthOf(napi_env env, napi_value array) {
  uint32_t length = 0;
  Require(napi_get_array_length(env, array, &length), "an array");
  return length;
}

napi_value At(napi_env env, napi_value array, uint32_t at) {
  napi_value value = nullptr;
  Require(napi_get_element(env, array, at, &value), "an element");
  return value;
}

template <typename Read>
auto ReadPairs(napi_env env, napi_value array, Read read) {
  std::vector<std::pair<std::string, decltype(read(array))>> pairs;
  for (uint32_t at = 0, end = LengthOf(env, array); at < end; at++) {
    napi_value pair = At(env, array, at);
    pairs.emplace_back(ReadText(env, At(env, pair, 0)), read(At(env, pair, 1)));
  }
  return pairs;
}

}  // namespace

Args::Args(napi_env env, napi_callback_info info) : env_(env) {
  size_t count = kMax;
  Require(napi_get_cb_info(env, info, &count, values_, nullptr, nullptr), "readable");
}

bool Args::Whole() const { return !thread_ends; }

bool Args::Present(size_t at) const {
  napi_valuetype type = napi_undefined;
  Require(napi_typeof(env_, values_[at], &type), "readable");
  return type != napi_undefined;
}

int32_t Args::Int(size_t at) const {
  int32_t value = 0;
  Require(napi_get_value_int32(env_, values_[at], &value), "a number");
  return value;
}

uint32_t Args::Uint(size_t at) const {
  uint32_t value = 0;
  Require(napi_get_value_uint32(env_, values_[at], &value), "a number");
  return value;
}

bool Args::Bool(size_t at) const {
  bool value = false;
  Require(napi_get_value_bool(env_, values_[at], &value), "a boolean");
  return value;
}

std::string Args::Text(size_t at) const { return ReadText(env_, values_[at]); }

Bytes Args::Data(size_t at) const { return ReadBytes(env_, values_[at]); }

std::vector<std::string> Args::TextList(size_t at) const {
  std::vector<std::string> list;
  for (uint32_t i = 0, end = LengthOf(env_, values_[at]); i < end; i++) {
    list.push_back(ReadText(env_, At(env_, values_[at], i)));
  }
  return list;
}

std::vector<int> Args::IntList(size_t at) const {
  std::vector<int> list;
  for (uint32_t i = 0, end = LengthOf(env_, values_[at]); i < end; i++) {
    int32_t value = 0;
    Require(napi_get_value_int32(env_, At(env_, values_[at], i), &value), "a number");
    list.push_back(value);
  }
  return list;
}

std::vector<std::pair<std::string, std::string>> Args::TextPairs(size_t at) const {
  return ReadPairs(env_, values_[at], [this](napi_value value) { return ReadText(env_, value); });
}

std::vector<std::pair<std::string, uint32_t>> Args::UintPairs(size_t at) const {
  return ReadPairs(env_, values_[at], [this](napi_value value) {
    uint32_t number = 0;
    Require(napi_get_value_uint32(env_, value, &number), "a number");
    return number;
  });
}

std::vector<std::pair<std::string, Bytes>> Args::DataPairs(size_t at) const {
  return ReadPairs(env_, values_[at], [this](napi_value value) { return ReadBytes(env_, value); });
}

napi_value Undefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

napi_value FromBool(napi_env env, bool boolean) {
  napi_value value = nullptr;
  napi_get_boolean(env, boolean, &value);
  return value;
}

napi_value FromInt(napi_env env, int64_t number) {
  napi_value value = nullptr;
  napi_create_int64(env, number, &value);
  return value;
}

napi_value FromUint64(napi_env env, uint64_t number) {
  napi_value value = nullptr;
  napi_create_bigint_uint64(env, number, &value);
  return value;
}

napi_value FromText(napi_env env, std::string_view text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

napi_value FromBytes(napi_env env, Bytes bytes) {
  napi_value value = nullptr;
  napi_create_buffer_copy(env, bytes.size(), bytes.data(), nullptr, &value);
  return value;
}

napi_value FromString(napi_env env, const std::string& bytes) {
  return FromBytes(env, Bytes(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

napi_value MakeArray(napi_env env) {
  napi_value value = nullptr;
  napi_create_array(env, &value);
  return value;
}

void Append(napi_env env, napi_value array, uint32_t at, napi_value value) {
  napi_set_element(env, array, at, value);
}

napi_value MakeObject(napi_env env) {
  napi_value value = nullptr;
  napi_create_object(env, &value);
  return value;
}

void Set(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

void Export(napi_env env, napi_value exports, const char* name, NativeFunction function) {
  napi_value value = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  napi_set_named_property(env, exports, name, value);
}

}  // namespace weft
