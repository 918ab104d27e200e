// SPDX-License-Identifier: Apache-2.0
// Listening on and connecting to Unix sockets (SOCK_SEQPACKET or SOCK_STREAM).
#include <sys/socket.h>
#include <uv.h>

#include "js/convert.h"
#include "js/error.h"
#include "net/net.h"
#include "net/unix_channel.h"

namespace weft {
namespace {

constexpr int kBacklog = 64;
// How long the listener rests when there are no descriptors for its connections.
constexpr uint64_t kRestMs = 100;

Status MakeSocket(const std::string& path, bool stream, UniqueFd* fd, sockaddr_un* address) {
  int err = UnixAddress(path, address);
  if (err != 0) return Status::Failed(err, "unix socket " + path);
  const int type = stream ? SOCK_STREAM : SOCK_SEQPACKET;
  *fd = UniqueFd(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return fd->valid() ? Status::Ok() : Status::Errno("socket AF_UNIX");
}

napi_value FromChannel(napi_env env, const UnixChannel& channel) {
  napi_value object = MakeObject(env);
  Set(env, object, "id", FromInt(env, channel.id()));
  Set(env, object, "fd", FromInt(env, channel.fd()));
  return object;
}

class UnixListener : public LoopResource {
 public:
  UnixListener(EnvState* state, UniqueFd socket, bool stream, napi_value on_connection)
      : LoopResource(state, Kind::kUnixListener),
        socket_(std::move(socket)),
        stream_(stream),
        on_connection_(state->env(), on_connection, "weft.unix") {}

  int Start() {
    int err = uv_poll_init(state()->loop(), &poll_, socket_.get());
    if (err != 0) return -err;
    uv_timer_init(state()->loop(), &rest_);
    open_ = true;
    poll_.data = rest_.data = static_cast<LoopResource*>(this);
    return -uv_poll_start(&poll_, UV_READABLE, OnReadable);
  }

 protected:
  void OnShutdown() override {
    if (open_) CloseHandle(reinterpret_cast<uv_handle_t*>(&poll_));
    if (open_) CloseHandle(reinterpret_cast<uv_handle_t*>(&rest_));
    socket_.reset();
  }

 private:
  static void OnReadable(uv_poll_t* poll, int, int) {
    static_cast<UnixListener*>(static_cast<LoopResource*>(poll->data))->AcceptAll();
  }

  static void OnRested(uv_timer_t* timer) {
    auto* self = static_cast<UnixListener*>(static_cast<LoopResource*>(timer->data));
    uv_poll_start(&self->poll_, UV_READABLE, OnReadable);
  }

  void AcceptAll() {
    for (int at = 0; at < kBacklog && !shut(); at++) {
      UniqueFd fd(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
          uv_poll_stop(&poll_);
          uv_timer_start(&rest_, OnRested, kRestMs, 0);
        }
        return;
      }
      UnixChannel* channel = UnixChannel::Open(state(), std::move(fd), stream_);
      if (channel == nullptr) continue;
      HandleScope scope(state()->env());
      on_connection_.Call({FromChannel(state()->env(), *channel)});
    }
  }

  UniqueFd socket_;
  bool stream_;
  bool open_ = false;
  uv_poll_t poll_;
  uv_timer_t rest_;
  JsCallback on_connection_;
};

// (path, stream, onConnection({ id, fd })) -> id. EADDRINUSE (the path exists), ENOENT (no
// directory), EACCES, ENAMETOOLONG.
napi_value UnixListen(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string path = args.Text(0);
  UniqueFd fd;
  sockaddr_un address;
  Status status = MakeSocket(path, args.Bool(1), &fd, &address);
  if (!status.ok()) return Throw(env, status);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return Throw(env, Status::Errno("bind", path));
  }
  if (listen(fd.get(), kBacklog) != 0) return Throw(env, Status::Errno("listen", path));
  auto* listener = EnvState::Get(env)->Make<UnixListener>(std::move(fd), args.Bool(1), args[2]);
  uint32_t id = listener->id();
  int err = listener->Start();
  if (err != 0) {
    listener->Shutdown();
    return Throw(env, Status::Failed(err, "listen " + path));
  }
  return FromInt(env, id);
}

// (id). The path stays.
napi_value UnixListenClose(napi_env env, napi_callback_info info) {
  Args args(env, info);
  LoopResource* found = EnvState::Get(env)->Find(args.Uint(0), LoopResource::Kind::kUnixListener);
  if (found != nullptr) found->Shutdown();
  return Undefined(env);
}

// (path, stream) -> { id, fd }. Unix sockets connect at once or fail: ENOENT, ECONNREFUSED (no
// one listens), EAGAIN (backlog full), EACCES, EPROTOTYPE (of the other type), ENAMETOOLONG.
napi_value UnixConnect(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string path = args.Text(0);
  UniqueFd fd;
  sockaddr_un address;
  Status status = MakeSocket(path, args.Bool(1), &fd, &address);
  if (!status.ok()) return Throw(env, status);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return Throw(env, Status::Errno("connect", path));
  }
  UnixChannel* channel = UnixChannel::Open(EnvState::Get(env), std::move(fd), args.Bool(1));
  if (channel == nullptr) return Throw(env, Status::Errno("connect", path));
  return FromChannel(env, *channel);
}

}  // namespace

void RegisterUnixListen(napi_env env, napi_value exports) {
  Export(env, exports, "unixListen", UnixListen);
  Export(env, exports, "unixListenClose", UnixListenClose);
  Export(env, exports, "unixConnect", UnixConnect);
}

}  // namespace weft
