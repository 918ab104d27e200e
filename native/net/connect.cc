// SPDX-License-Identifier: Apache-2.0
// Starting a TCP connection in a namespace: socket, options, bind and a non-blocking connect on
// the helper thread; connect_wait.cc does the waiting.
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <optional>

#include "js/convert.h"
#include "js/error.h"
#include "net/address.h"
#include "net/connect_wait.h"
#include "net/namespace_thread.h"
#include "net/net.h"
#include "net/sockopt.h"

namespace weft {
namespace {

// Explicit source ports tried before the range counts as exhausted.
constexpr uint32_t kPortTriesMax = 256;

struct ConnectPlan {
  Endpoint target;
  std::optional<Endpoint> source;
  uint32_t port_first = 0;  // 0: no range
  uint32_t port_last = 0;
  int keep_idle_s = 0;  // 0: no keep-alive
  int keep_interval_s = 0;
  int keep_probes = 0;
  SocketOptions options;
};

uint32_t RandomBelow(uint32_t bound) {
  uint32_t value = 0;
  // 4 bytes come at once or, before the pool is ready at boot, not: then the first port is tried.
  if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value)) return 0;
  return value % bound;
}

class ConnectTask : public Task {
 public:
  ConnectTask(const ConnectPlan& plan, uint32_t wait_id) : plan_(plan), wait_id_(wait_id) {}

  Status Run() override {
    if (plan_.port_first == 0 || !plan_.source || plan_.source->port != 0) return Attempt(0);
    const uint32_t size = plan_.port_last - plan_.port_first + 1;
    const uint32_t tries = size < kPortTriesMax ? size : kPortTriesMax;
    const uint32_t start = RandomBelow(size);
    Status status;
    for (uint32_t at = 0; at < tries; at++) {
      status = Attempt(static_cast<uint16_t>(plan_.port_first + (start + at) % size));
      // The port is taken: wholly (bind) or towards this target (connect).
      if (status.err != EADDRINUSE && !(bound_ && status.err == EADDRNOTAVAIL)) return status;
    }
    return status;
  }

  void Finish(EnvState* state, const Status& status) override {
    auto* wait = static_cast<ConnectWait*>(state->Find(wait_id_, LoopResource::Kind::kConnect));
    if (wait != nullptr) wait->Begin(std::move(fd_), connected_, status);
  }

 protected:
  napi_value Value(EnvState* state) override { return Undefined(state->env()); }

 private:
  // `port` 0: the source's own, or the kernel's choice.
  Status Attempt(uint16_t port) {
    bound_ = false;
    const int family = plan_.target.family();
    UniqueFd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd.valid()) return Status::Errno("socket");
    Status prepared = Prepare(fd.get(), family);
    if (!prepared.ok()) return prepared;
    if (plan_.source) {
      Status bound = Bind(fd.get(), family, port);
      if (!bound.ok()) return bound;
      bound_ = true;
    }
    return Start(std::move(fd), family);
  }

  Status Prepare(int fd, int family) {
    Status applied = ApplyOptions(fd, family, plan_.options);
    if (!applied.ok()) return applied;
    if (!SetInt(fd, SOL_TCP, TCP_NODELAY, 1)) return Status::Errno("setsockopt TCP_NODELAY");
    if (plan_.keep_idle_s > 0 &&
        !(SetInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
          SetInt(fd, SOL_TCP, TCP_KEEPIDLE, plan_.keep_idle_s) &&
          SetInt(fd, SOL_TCP, TCP_KEEPINTVL, plan_.keep_interval_s) &&
          SetInt(fd, SOL_TCP, TCP_KEEPCNT, plan_.keep_probes))) {
      return Status::Errno("setsockopt keep-alive");
    }
    return Status::Ok();
  }

  Status Bind(int fd, int family, uint16_t port) {
    Endpoint source = *plan_.source;
    if (port != 0) source.port = port;
    // An explicit port may serve several targets at once; with none, the kernel chooses one at
    // connect that is free towards the target, not one that is free altogether.
    const bool set = source.port != 0 ? SetInt(fd, SOL_SOCKET, SO_REUSEADDR, 1)
                                      : SetInt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (!set) return Status::Errno("setsockopt source port");
    sockaddr_storage address;
    socklen_t length = source.To(family, &address);
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
      return Status::Errno("bind", source.Text());
    }
    return Status::Ok();
  }

  Status Start(UniqueFd fd, int family) {
    sockaddr_storage address;
    socklen_t length = plan_.target.To(family, &address);
    connected_ = connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) == 0;
    if (!connected_) {
      if (errno != EINPROGRESS) return Status::Errno("connect", plan_.target.Text());
      // On the same machine the handshake is usually over by now: no need to wait on the loop.
      pollfd ready = {fd.get(), POLLOUT, 0};
      if (poll(&ready, 1, 0) == 1) {
        int err = 0;
        socklen_t size = sizeof(err);
        getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &err, &size);
        if (err != 0) return Status::Failed(err, "connect " + plan_.target.Text());
        connected_ = true;
      }
    }
    fd_ = std::move(fd);
    return Status::Ok();
  }

  ConnectPlan plan_;
  uint32_t wait_id_;
  UniqueFd fd_;
  bool connected_ = false;
  bool bound_ = false;
};

// (ip, port, sourceIp?, sourcePort, portFirst, portLast, transparent, freebind, mark, keepIdleS,
// keepIntervalS, keepProbes, timeoutMs, namespaceFd?, done({ fd, address, port })) -> id.
// ECONNREFUSED, ETIMEDOUT, ECONNRESET, EHOSTUNREACH, ENETUNREACH, EADDRINUSE, EADDRNOTAVAIL,
// EAFNOSUPPORT, EPERM (also from a BPF program), EMFILE; ECANCELED after `connectCancel`.
napi_value Connect(napi_env env, napi_callback_info info) {
  Args args(env, info);
  ConnectPlan plan;
  plan.target = Endpoint::From(args.Data(0), args.Uint(1));
  if (args.Present(2)) plan.source = Endpoint::From(args.Data(2), args.Uint(3));
  plan.port_first = args.Uint(4);
  plan.port_last = args.Uint(5);
  plan.options = {args.Bool(6), args.Bool(7), args.Uint(8)};
  plan.keep_idle_s = args.Int(9);
  plan.keep_interval_s = args.Int(10);
  plan.keep_probes = args.Int(11);
  EnvState* state = EnvState::Get(env);
  auto* wait =
      state->Make<ConnectWait>(plan.target.Text(), args.Uint(12), Settler(env, args[14]));
  auto task = std::make_unique<ConnectTask>(plan, wait->id());
  const uint32_t id = wait->id();
  // The task itself settles nothing: the wait does.
  if (state->thread()->Submit(std::move(task), args.FdOr(13, -1), args[14]) != nullptr) {
    return FromInt(env, id);
  }
  wait->Shutdown();
  return nullptr;
}

// (id). Nothing happens when it is settled already.
napi_value ConnectCancel(napi_env env, napi_callback_info info) {
  Args args(env, info);
  LoopResource* found = EnvState::Get(env)->Find(args.Uint(0), LoopResource::Kind::kConnect);
  if (found != nullptr) static_cast<ConnectWait*>(found)->Cancel();
  return Undefined(env);
}

}  // namespace

void RegisterConnect(napi_env env, napi_value exports) {
  Export(env, exports, "connect", Connect);
  Export(env, exports, "connectCancel", ConnectCancel);
}

}  // namespace weft
