// SPDX-License-Identifier: Apache-2.0
#include "net/connect_wait.h"

#include <sys/socket.h>

#include "js/callback.h"
#include "net/address.h"

namespace weft {

ConnectWait::ConnectWait(EnvState* state, std::string target, uint32_t timeout_ms, Settler done)
    : LoopResource(state, Kind::kConnect),
      target_(std::move(target)),
      deadline_ms_(uv_hrtime() / 1000000 + timeout_ms),
      done_(std::move(done)) {}

void ConnectWait::Begin(UniqueFd fd, bool connected, const Status& status) {
  fd_ = std::move(fd);
  if (canceled_) return Settle(Status::Failed(ECANCELED, "connect " + target_));
  if (!status.ok() || connected) return Settle(status);
  Wait();
}

void ConnectWait::Cancel() {
  canceled_ = true;
  if (waiting_) SettleFromLoop(Status::Failed(ECANCELED, "connect " + target_));
}

void ConnectWait::Wait() {
  int err = uv_poll_init(state()->loop(), &poll_, fd_.get());
  if (err != 0) return Settle(Status::Failed(-err, "connect " + target_));
  uv_timer_init(state()->loop(), &timer_);
  waiting_ = true;
  poll_.data = timer_.data = static_cast<LoopResource*>(this);
  uint64_t now_ms = uv_hrtime() / 1000000;
  // The loop's own clock may lag behind by the length of this turn.
  uv_update_time(state()->loop());
  uv_timer_start(&timer_, OnTimeout, deadline_ms_ > now_ms ? deadline_ms_ - now_ms : 0, 0);
  uv_poll_start(&poll_, UV_WRITABLE, OnPoll);
}

void ConnectWait::OnPoll(uv_poll_t* poll, int status, int) {
  auto* self = static_cast<ConnectWait*>(static_cast<LoopResource*>(poll->data));
  int err = 0;
  socklen_t length = sizeof(err);
  // libuv tells of every error as EBADF; the socket knows which one it was.
  if (getsockopt(self->fd_.get(), SOL_SOCKET, SO_ERROR, &err, &length) != 0) err = errno;
  if (err == 0 && status < 0) err = -status;
  self->SettleFromLoop(err == 0 ? Status::Ok() : Status::Failed(err, "connect " + self->target_));
}

void ConnectWait::OnTimeout(uv_timer_t* timer) {
  auto* self = static_cast<ConnectWait*>(static_cast<LoopResource*>(timer->data));
  self->SettleFromLoop(Status::Failed(ETIMEDOUT, "connect " + self->target_));
}

void ConnectWait::SettleFromLoop(const Status& status) {
  CallbackScope scope(state()->env(), "weft.connect");
  Settle(status);
}

void ConnectWait::Settle(const Status& result) {
  Status status = result;
  Endpoint local;
  // Before the descriptor changes hands: the loop must have let go of it.
  if (waiting_) {
    uv_poll_stop(&poll_);
    uv_timer_stop(&timer_);
  }
  if (status.ok() && !LocalEndpoint(fd_.get(), &local)) status = Status::Errno("getsockname");
  if (status.ok()) {
    napi_value value = FromConnected(state()->env(), fd_.get(), local);
    state()->Lend(std::move(fd_));
    done_.Resolve(value);
  } else {
    done_.Reject(status);
  }
  Shutdown();
}

void ConnectWait::OnShutdown() {
  if (waiting_) {
    CloseHandle(reinterpret_cast<uv_handle_t*>(&poll_));
    CloseHandle(reinterpret_cast<uv_handle_t*>(&timer_));
  }
  waiting_ = false;
  fd_.reset();
}

}  // namespace weft
