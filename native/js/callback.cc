// SPDX-License-Identifier: Apache-2.0
// Calls from the event loop into JavaScript.
#include "js/callback.h"

#include <utility>

#include "js/convert.h"
#include "js/error.h"

namespace weft {

JsCallback::JsCallback(napi_env env, napi_value function, const char* name) : env_(env) {
  napi_create_reference(env, function, 1, &function_);
  napi_async_init(env, nullptr, FromText(env, name), &context_);
}

JsCallback::~JsCallback() {
  if (function_ != nullptr) napi_delete_reference(env_, function_);
  if (context_ != nullptr) napi_async_destroy(env_, context_);
}

void JsCallback::Call(std::initializer_list<napi_value> arguments) {
  napi_value function = nullptr;
  napi_value receiver = nullptr;
  napi_get_reference_value(env_, function_, &function);
  napi_get_global(env_, &receiver);
  if (function == nullptr || receiver == nullptr) return;
  napi_status status = napi_make_callback(env_, context_, receiver, function, arguments.size(),
                                          arguments.begin(), nullptr);
  if (status != napi_pending_exception) return;
  napi_value error = nullptr;
  if (napi_get_and_clear_last_exception(env_, &error) == napi_ok && error != nullptr) {
    napi_fatal_exception(env_, error);
  }
}

Settler::Settler(napi_env env, napi_value function) : env_(env) {
  napi_create_reference(env, function, 1, &function_);
}

Settler::Settler(Settler&& other) noexcept
    : env_(other.env_), function_(std::exchange(other.function_, nullptr)) {}

Settler& Settler::operator=(Settler&& other) noexcept {
  std::swap(env_, other.env_);
  std::swap(function_, other.function_);
  return *this;
}

Settler::~Settler() {
  if (function_ != nullptr) napi_delete_reference(env_, function_);
}

void Settler::Resolve(napi_value value) { Call(Undefined(env_), value); }

void Settler::Reject(const Status& status) { Call(MakeError(env_, status), Undefined(env_)); }

void Settler::Call(napi_value error, napi_value value) {
  napi_value function = nullptr;
  napi_value receiver = Undefined(env_);
  if (function_ == nullptr) return;
  napi_get_reference_value(env_, function_, &function);
  napi_delete_reference(env_, function_);
  function_ = nullptr;
  // Without these the environment is ending and no one waits for the answer.
  if (function == nullptr || error == nullptr || value == nullptr) return;
  napi_value arguments[] = {error, value};
  napi_call_function(env_, receiver, function, 2, arguments, nullptr);
}

CallbackScope::CallbackScope(napi_env env, const char* name) : env_(env), handles_(env) {
  napi_async_init(env, nullptr, FromText(env, name), &context_);
  napi_value resource = MakeObject(env);
  if (context_ == nullptr || resource == nullptr) return;
  napi_open_callback_scope(env, resource, context_, &scope_);
}

CallbackScope::~CallbackScope() {
  if (scope_ != nullptr) napi_close_callback_scope(env_, scope_);
  if (context_ != nullptr) napi_async_destroy(env_, context_);
}

}  // namespace weft
