// SPDX-License-Identifier: Apache-2.0
// What the addon holds for one environment (the main thread or a worker): open uv handles, the
// helper thread, descriptors that JavaScript has not taken over. All of it ends with the
// environment, also when a worker is terminated in the middle of something.
#ifndef WEFT_ENV_STATE_H_
#define WEFT_ENV_STATE_H_

#include <node_api.h>
#include <uv.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "unique_fd.h"

namespace weft {

class EnvState;
class NamespaceThread;

// Something with uv handles on the environment's loop, made by EnvState::Make and owned by it until
// the last handle is closed after Shutdown.
class LoopResource {
 public:
  enum class Kind { kAcceptor, kRing, kConnect, kUnixListener, kUnixChannel, kThread };

  LoopResource(EnvState* state, Kind kind);
  LoopResource(const LoopResource&) = delete;
  LoopResource& operator=(const LoopResource&) = delete;
  virtual ~LoopResource() = default;

  // Stops and closes everything; safe to call twice. No JavaScript runs after it. Without open
  // handles the object is gone when this returns.
  void Shutdown();
  uint32_t id() const { return id_; }
  Kind kind() const { return kind_; }
  bool shut() const { return shut_; }
  EnvState* state() const { return state_; }

 protected:
  // Calls CloseHandle on every initialised handle.
  virtual void OnShutdown() = 0;
  void CloseHandle(uv_handle_t* handle);

 private:
  static void OnClosed(uv_handle_t* handle);

  EnvState* state_;
  Kind kind_;
  uint32_t id_ = 0;
  friend class EnvState;
  int closing_ = 0;
  bool shut_ = false;
};

class EnvState {
 public:
  explicit EnvState(napi_env env);
  ~EnvState();
  static EnvState* Get(napi_env env);
  // Sets the instance data and the cleanup hook.
  static void Install(napi_env env);

  napi_env env() const { return env_; }
  uv_loop_t* loop() const { return loop_; }
  bool ending() const { return ending_; }

  // Keeps the descriptor until JavaScript closes it or the environment ends.
  int Own(UniqueFd fd);
  // JavaScript has taken it over.
  void Disown(int fd);
  // EBADF when it is not owned.
  int CloseOwned(int fd);

  // A connection that JavaScript owns from here on. Should the environment end before it was made
  // a net.Socket (whose descriptor libuv closes), it is closed then.
  void Lend(UniqueFd socket);

  NamespaceThread* thread();

  template <typename Resource, typename... Parts>
  Resource* Make(Parts&&... parts) {
    auto made = std::make_unique<Resource>(this, std::forward<Parts>(parts)...);
    Resource* resource = made.get();
    resource->id_ = ++last_id_;
    resources_.emplace(resource->id_, std::move(made));
    return resource;
  }
  // Deletes it.
  void Forget(LoopResource* resource);
  // nullptr when gone or of another kind.
  LoopResource* Find(uint32_t id, LoopResource::Kind kind) const;

 private:
  static void OnCleanup(napi_async_cleanup_hook_handle handle, void* data);
  void FinishIfEmpty();
  void CloseLent();

  napi_env env_;
  uv_loop_t* loop_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool ending_ = false;
  uint32_t last_id_ = 0;
  NamespaceThread* thread_ = nullptr;
  std::unordered_map<uint32_t, std::unique_ptr<LoopResource>> resources_;
  std::unordered_map<int, UniqueFd> owned_;
  // Descriptor -> SO_COOKIE. A number that is used again replaces what it stood for.
  std::unordered_map<int, uint64_t> lent_;
};

}  // namespace weft

#endif  // WEFT_ENV_STATE_H_
