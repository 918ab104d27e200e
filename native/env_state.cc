// SPDX-License-Identifier: Apache-2.0
// Life and end of an environment.
#include "env_state.h"

#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "net/namespace_thread.h"

namespace weft {
namespace {

// SO_COOKIE, never reused before reboot; 0 when `fd` is no socket.
uint64_t SocketCookie(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

}  // namespace

LoopResource::LoopResource(EnvState* state, Kind kind) : state_(state), kind_(kind) {}

void LoopResource::Shutdown() {
  if (shut_) return;
  shut_ = true;
  closing_++;  // held while handles are being counted
  OnShutdown();
  if (--closing_ == 0) state_->Forget(this);
}

void LoopResource::CloseHandle(uv_handle_t* handle) {
  closing_++;
  handle->data = this;
  uv_close(handle, OnClosed);
}

void LoopResource::OnClosed(uv_handle_t* handle) {
  auto* self = static_cast<LoopResource*>(handle->data);
  if (--self->closing_ == 0) self->state_->Forget(self);
}

EnvState::EnvState(napi_env env) : env_(env) { napi_get_uv_event_loop(env, &loop_); }

EnvState::~EnvState() = default;

void EnvState::Install(napi_env env) {
  auto state = std::make_unique<EnvState>(env);
  napi_add_async_cleanup_hook(env, OnCleanup, state.get(), &state->hook_);
  auto finalize = [](napi_env, void* data, void*) {
    std::unique_ptr<EnvState>(static_cast<EnvState*>(data));
  };
  napi_set_instance_data(env, state.release(), finalize, nullptr);
}

EnvState* EnvState::Get(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<EnvState*>(data);
}

int EnvState::Own(UniqueFd fd) {
  int number = fd.get();
  owned_.insert_or_assign(number, std::move(fd));
  return number;
}

void EnvState::Disown(int fd) {
  auto found = owned_.find(fd);
  if (found == owned_.end()) return;
  found->second.release();
  owned_.erase(found);
}

int EnvState::CloseOwned(int fd) { return owned_.erase(fd) == 1 ? 0 : EBADF; }

void EnvState::Lend(UniqueFd socket) {
  uint64_t cookie = SocketCookie(socket.get());
  lent_.insert_or_assign(socket.release(), cookie);
}

// Runs after Node has closed the sockets it knows of, so a number that still stands for the same
// socket was left behind by JavaScript that was stopped in between.
void EnvState::CloseLent() {
  for (auto [number, cookie] : lent_) {
    if (cookie != 0 && SocketCookie(number) == cookie) UniqueFd(number).reset();
  }
  lent_.clear();
}

NamespaceThread* EnvState::thread() {
  if (thread_ == nullptr) thread_ = NamespaceThread::Start(this);
  return thread_;
}

void EnvState::Forget(LoopResource* resource) {
  resources_.erase(resource->id());
  if (ending_) FinishIfEmpty();
}

LoopResource* EnvState::Find(uint32_t id, LoopResource::Kind kind) const {
  auto found = resources_.find(id);
  if (found == resources_.end() || found->second->kind() != kind) return nullptr;
  if (found->second->shut()) return nullptr;
  return found->second.get();
}

void EnvState::OnCleanup(napi_async_cleanup_hook_handle, void* data) {
  auto* state = static_cast<EnvState*>(data);
  std::vector<LoopResource*> all;
  for (auto& [id, resource] : state->resources_) all.push_back(resource.get());
  // A resource that has no handle deletes itself at once, hence the hold on `ending_`.
  for (LoopResource* resource : all) resource->Shutdown();
  state->ending_ = true;
  state->FinishIfEmpty();
}

void EnvState::FinishIfEmpty() {
  if (!resources_.empty() || hook_ == nullptr) return;
  owned_.clear();
  CloseLent();
  napi_async_cleanup_hook_handle hook = hook_;
  hook_ = nullptr;
  napi_remove_async_cleanup_hook(hook);
}

}  // namespace weft
