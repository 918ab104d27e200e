// SPDX-License-Identifier: Apache-2.0
// A listening TCP socket in a namespace.
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "js/convert.h"
#include "js/error.h"
#include "net/address.h"
#include "net/namespace_thread.h"
#include "net/net.h"
#include "net/sockopt.h"

namespace weft {
namespace {

struct ListenPlan {
  Endpoint local;
  int backlog = 0;
  bool reuse_address = false;
  bool v6_only = false;
  SocketOptions options;
};

class ListenTask : public Task {
 public:
  explicit ListenTask(const ListenPlan& plan) : plan_(plan) {}

  Status Run() override {
    const int family = plan_.local.family();
    UniqueFd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd.valid()) return Status::Errno("socket");
    Status applied = ApplyOptions(fd.get(), family, plan_.options);
    if (!applied.ok()) return applied;
    if (family == AF_INET6 && !SetInt(fd.get(), SOL_IPV6, IPV6_V6ONLY, plan_.v6_only)) {
      return Status::Errno("setsockopt IPV6_V6ONLY");
    }
    if (plan_.reuse_address && !SetInt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1)) {
      return Status::Errno("setsockopt SO_REUSEADDR");
    }
    // Accepted sockets inherit it, which saves a system call on each.
    if (!SetInt(fd.get(), SOL_TCP, TCP_NODELAY, 1)) return Status::Errno("setsockopt TCP_NODELAY");
    sockaddr_storage address;
    socklen_t length = plan_.local.To(family, &address);
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
      return Status::Errno("bind", plan_.local.Text());
    }
    if (listen(fd.get(), plan_.backlog) != 0) return Status::Errno("listen", plan_.local.Text());
    if (!LocalEndpoint(fd.get(), &bound_)) return Status::Errno("getsockname");
    fd_ = std::move(fd);
    return Status::Ok();
  }

 protected:
  napi_value Value(EnvState* state) override {
    int fd = state->Own(std::move(fd_));
    return FromConnected(state->env(), fd, bound_);
  }

 private:
  ListenPlan plan_;
  UniqueFd fd_;
  Endpoint bound_;
};

// (ip, port, backlog, transparent, freebind, mark, reuseAddress, v6Only, namespaceFd?,
// done({ fd, address, port })); the descriptor is the addon's until `takeFd`.
// EADDRINUSE, EADDRNOTAVAIL, EACCES (port below ip_unprivileged_port_start), EPERM, EMFILE.
napi_value Listen(napi_env env, napi_callback_info info) {
  Args args(env, info);
  ListenPlan plan;
  plan.local = Endpoint::From(args.Data(0), args.Uint(1));
  plan.backlog = args.Int(2);
  plan.options = {args.Bool(3), args.Bool(4), args.Uint(5)};
  plan.reuse_address = args.Bool(6);
  plan.v6_only = args.Bool(7);
  auto task = std::make_unique<ListenTask>(plan);
  return EnvState::Get(env)->thread()->Submit(std::move(task), args.FdOr(8, -1), args[9]);
}

}  // namespace

void RegisterListen(napi_env env, napi_value exports) { Export(env, exports, "listen", Listen); }

}  // namespace weft
