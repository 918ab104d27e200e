// SPDX-License-Identifier: Apache-2.0
#include "net/unix_channel.h"

#include <sys/socket.h>

#include "js/convert.h"
#include "js/error.h"
#include "net/net.h"

namespace weft {
namespace {

// Messages read in one turn of the loop.
constexpr int kMessagesMax = 64;

UnixChannel* FindChannel(const Args& args) {
  return static_cast<UnixChannel*>(
      EnvState::Get(args.env())->Find(args.Uint(0), LoopResource::Kind::kUnixChannel));
}

// (id, onMessage).
napi_value UnixRead(napi_env env, napi_callback_info info) {
  Args args(env, info);
  if (UnixChannel* channel = FindChannel(args)) channel->Read(args[1]);
  return Undefined(env);
}

// (id, bytes, fds, done). EPIPE (the other side is gone), ECONNRESET, EMSGSIZE, EBADF (a
// descriptor in `fds`, or a closed channel), EINVAL (too many descriptors), ECANCELED (closed
// before it left). The descriptors stay the caller's.
napi_value UnixSend(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UnixChannel* channel = FindChannel(args);
  if (channel == nullptr) return Throw(env, Status::Failed(EBADF, "sendmsg"));
  UnixMessage message;
  Bytes bytes = args.Data(1);
  message.bytes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<int> fds = args.IntList(2);
  if (!args.Whole()) return nullptr;
  if (fds.size() > kFdsMax) return Throw(env, Status::Failed(EINVAL, "sendmsg SCM_RIGHTS"));
  for (int fd : fds) {
    // Duplicates, because the caller may close its own while the message waits.
    message.fds.push_back(UniqueFd::Duplicate(fd));
    if (!message.fds.back().valid()) return Throw(env, Status::Errno("sendmsg SCM_RIGHTS"));
  }
  channel->Send(std::move(message), Settler(env, args[3]));
  return Undefined(env);
}

// (id).
napi_value UnixClose(napi_env env, napi_callback_info info) {
  Args args(env, info);
  if (UnixChannel* channel = FindChannel(args)) channel->Shutdown();
  return Undefined(env);
}

}  // namespace

UnixChannel::UnixChannel(EnvState* state, UniqueFd socket, bool stream)
    : LoopResource(state, Kind::kUnixChannel), socket_(std::move(socket)), stream_(stream) {}

UnixChannel::~UnixChannel() = default;

UnixChannel* UnixChannel::Open(EnvState* state, UniqueFd socket, bool stream) {
  auto* self = state->Make<UnixChannel>(std::move(socket), stream);
  int err = uv_poll_init(state->loop(), &self->poll_, self->fd());
  if (err != 0) {
    state->Forget(self);
    errno = -err;
    return nullptr;
  }
  self->poll_.data = static_cast<LoopResource*>(self);
  return self;
}

void UnixChannel::Read(napi_value on_message) {
  on_message_ = std::make_unique<JsCallback>(state()->env(), on_message, "weft.unix");
  reading_ = true;
  Watch();
}

void UnixChannel::Send(UnixMessage message, Settler done) {
  queue_.push_back({std::move(message), 0, std::move(done)});
  if (queue_.size() == 1) Flush();
  Watch();
}

void UnixChannel::Watch() {
  if (shut()) return;
  int events = (reading_ ? UV_READABLE : 0) | (queue_.empty() ? 0 : UV_WRITABLE);
  if (events == 0) {
    uv_poll_stop(&poll_);
  } else {
    uv_poll_start(&poll_, events, OnPoll);
  }
}

void UnixChannel::OnPoll(uv_poll_t* poll, int status, int events) {
  auto* self = static_cast<UnixChannel*>(static_cast<LoopResource*>(poll->data));
  // An error of the poll shows itself at the next read or write.
  if (status < 0) events = UV_READABLE | UV_WRITABLE;
  if ((events & UV_WRITABLE) != 0 && !self->queue_.empty()) {
    CallbackScope scope(self->state()->env(), "weft.unix");
    self->Flush();
  }
  if ((events & UV_READABLE) != 0 && self->reading_ && !self->shut()) self->Receive();
  self->Watch();
}

void UnixChannel::Receive() {
  for (int at = 0; at < kMessagesMax && reading_ && !shut(); at++) {
    UnixMessage message;
    int err = ReceiveUnix(fd(), &message);
    if (err == EAGAIN || err == EINTR) return;
    if (err != 0) {
      reading_ = false;
      HandleScope scope(state()->env());
      napi_value error = MakeError(state()->env(), Status::Failed(err, "recvmsg"));
      if (error != nullptr) on_message_->Call({error});
      return;
    }
    if (message.bytes.empty() && message.fds.empty()) reading_ = false;
    Deliver(std::move(message));
  }
}

void UnixChannel::Deliver(UnixMessage message) {
  napi_env env = state()->env();
  HandleScope scope(env);
  napi_value bytes = FromString(env, message.bytes);
  napi_value fds = MakeArray(env);
  if (bytes == nullptr || fds == nullptr) return;
  uint32_t at = 0;
  for (UniqueFd& fd : message.fds) {
    Append(env, fds, at++, FromInt(env, state()->Own(std::move(fd))));
  }
  on_message_->Call({bytes, fds});
}

void UnixChannel::Flush() {
  while (!queue_.empty()) {
    Outgoing& first = queue_.front();
    size_t sent = 0;
    int err = SendUnix(fd(), first.message, first.sent, &sent);
    if (err == EAGAIN || err == ENOBUFS) return;
    if (err == EINTR) continue;
    first.sent += sent;
    if (err == 0 && stream_ && first.sent < first.message.bytes.size()) continue;
    Outgoing last = std::move(first);
    queue_.pop_front();
    Settle(std::move(last), err);
  }
}

void UnixChannel::Settle(Outgoing outgoing, int err) {
  if (err == 0) {
    outgoing.done.Resolve(Undefined(state()->env()));
  } else {
    outgoing.done.Reject(Status::Failed(err, "sendmsg"));
  }
}

void UnixChannel::FailAll(int err) {
  if (queue_.empty()) return;
  HandleScope scope(state()->env());
  while (!queue_.empty()) {
    Outgoing first = std::move(queue_.front());
    queue_.pop_front();
    Settle(std::move(first), err);
  }
}

void UnixChannel::OnShutdown() {
  if (!state()->ending()) FailAll(ECANCELED);
  queue_.clear();
  CloseHandle(reinterpret_cast<uv_handle_t*>(&poll_));
  socket_.reset();
}

void RegisterUnixChannel(napi_env env, napi_value exports) {
  Export(env, exports, "unixRead", UnixRead);
  Export(env, exports, "unixSend", UnixSend);
  Export(env, exports, "unixClose", UnixClose);
}

}  // namespace weft
