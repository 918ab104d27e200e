// SPDX-License-Identifier: Apache-2.0
// A TCP connection being made: waits on the caller's loop for the handshake, a timeout or a
// cancellation, whichever comes first.
#ifndef WEFT_NET_CONNECT_WAIT_H_
#define WEFT_NET_CONNECT_WAIT_H_

#include <uv.h>

#include <string>

#include "env_state.h"
#include "js/callback.h"
#include "status.h"

namespace weft {

class ConnectWait : public LoopResource {
 public:
  // `target` is for messages.
  ConnectWait(EnvState* state, std::string target, uint32_t timeout_ms, Settler done);

  // From the helper thread's result: settles at once unless the handshake is still under way.
  void Begin(UniqueFd fd, bool connected, const Status& status);
  // ECANCELED; before Begin it is remembered.
  void Cancel();

 protected:
  void OnShutdown() override;

 private:
  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnTimeout(uv_timer_t* timer);
  void Wait();
  // Settles the promise and ends this object. Needs a scope.
  void Settle(const Status& status);
  void SettleFromLoop(const Status& status);

  std::string target_;
  uint64_t deadline_ms_;
  uv_poll_t poll_;
  uv_timer_t timer_;
  bool waiting_ = false;
  bool canceled_ = false;
  UniqueFd fd_;
  Settler done_;
};

}  // namespace weft

#endif  // WEFT_NET_CONNECT_WAIT_H_
