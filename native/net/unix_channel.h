// SPDX-License-Identifier: Apache-2.0
// A connected Unix socket on the environment's loop.
#ifndef WEFT_NET_UNIX_CHANNEL_H_
#define WEFT_NET_UNIX_CHANNEL_H_

#include <uv.h>

#include <deque>
#include <memory>

#include "env_state.h"
#include "js/callback.h"
#include "net/unix_message.h"

namespace weft {

class UnixChannel : public LoopResource {
 public:
  UnixChannel(EnvState* state, UniqueFd socket, bool stream);
  // Registers the socket with the loop; nullptr, with errno set, when that fails.
  static UnixChannel* Open(EnvState* state, UniqueFd socket, bool stream);
  ~UnixChannel() override;

  int fd() const { return socket_.get(); }
  // Begins to read: (bytes, fds[]) per message, or (error); no bytes and no fds is the end.
  void Read(napi_value on_message);
  // Settles when the message has left whole.
  void Send(UnixMessage message, Settler done);

 protected:
  void OnShutdown() override;

 private:
  struct Outgoing {
    UnixMessage message;
    size_t sent = 0;
    Settler done;
  };

  static void OnPoll(uv_poll_t* poll, int status, int events);
  void Watch();
  void Receive();
  void Deliver(UnixMessage message);
  // Sends what fits; settles what is done.
  void Flush();
  void Settle(Outgoing outgoing, int err);
  void FailAll(int err);

  UniqueFd socket_;
  bool stream_;
  bool reading_ = false;
  uv_poll_t poll_;
  std::deque<Outgoing> queue_;
  std::unique_ptr<JsCallback> on_message_;
};

}  // namespace weft

#endif  // WEFT_NET_UNIX_CHANNEL_H_
