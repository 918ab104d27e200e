// SPDX-License-Identifier: Apache-2.0
// A JavaScript function called from the event loop, with microtasks run after it.
#ifndef WEFT_JS_CALLBACK_H_
#define WEFT_JS_CALLBACK_H_

#include <node_api.h>

#include <initializer_list>

#include "status.h"

namespace weft {

class JsCallback {
 public:
  JsCallback(napi_env env, napi_value function, const char* name);
  JsCallback(const JsCallback&) = delete;
  JsCallback& operator=(const JsCallback&) = delete;
  ~JsCallback();

  // Needs an open HandleScope. An exception thrown by the function becomes `uncaughtException`.
  void Call(std::initializer_list<napi_value> arguments);

 private:
  napi_env env_;
  napi_ref function_ = nullptr;
  napi_async_context context_ = nullptr;
};

// The function that settles a promise of JavaScript: (undefined, value) or (error). Unlike a
// napi_deferred it can be let go when the environment ends before there is an answer.
class Settler {
 public:
  Settler() = default;
  Settler(napi_env env, napi_value function);
  Settler(Settler&& other) noexcept;
  Settler& operator=(Settler&& other) noexcept;
  Settler(const Settler&) = delete;
  Settler& operator=(const Settler&) = delete;
  ~Settler();

  // Need an open CallbackScope or a call from JavaScript under way. Only the first counts.
  void Resolve(napi_value value);
  void Reject(const Status& status);

 private:
  void Call(napi_value error, napi_value value);

  napi_env env_ = nullptr;
  napi_ref function_ = nullptr;
};

class HandleScope {
 public:
  explicit HandleScope(napi_env env) : env_(env) { napi_open_handle_scope(env, &scope_); }
  HandleScope(const HandleScope&) = delete;
  HandleScope& operator=(const HandleScope&) = delete;
  ~HandleScope() { napi_close_handle_scope(env_, scope_); }

 private:
  napi_env env_;
  napi_handle_scope scope_ = nullptr;
};

// Settling promises inside one of these runs their reactions when it closes.
class CallbackScope {
 public:
  explicit CallbackScope(napi_env env, const char* name);
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;
  ~CallbackScope();

 private:
  napi_env env_;
  HandleScope handles_;
  napi_async_context context_ = nullptr;
  napi_callback_scope scope_ = nullptr;
};

}  // namespace weft

#endif  // WEFT_JS_CALLBACK_H_
