// SPDX-License-Identifier: Apache-2.0
// A JavaScript function called from the event loop, with microtasks run after it.
#ifndef WEFT_JS_CALLBACK_H_
#define WEFT_JS_CALLBACK_H_

#include <node_api.h>

#include <initializer_list>

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
