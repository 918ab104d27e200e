// SPDX-License-Identifier: Apache-2.0
// A bound UDP socket in a namespace.
#include <sys/socket.h>

#include "js/convert.h"
#include "js/error.h"
#include "net/address.h"
#include "net/namespace_thread.h"
#include "net/net.h"
#include "net/sockopt.h"

namespace weft {
namespace {

class BindUdpTask : public Task {
 public:
  BindUdpTask(const Endpoint& local, const SocketOptions& options, bool v6_only)
      : local_(local), options_(options), v6_only_(v6_only) {}

  Status Run() override {
    const int family = local_.family();
    UniqueFd fd(socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
    if (!fd.valid()) return Status::Errno("socket");
    Status applied = ApplyOptions(fd.get(), family, options_);
    if (!applied.ok()) return applied;
    if (family == AF_INET6 && !SetInt(fd.get(), SOL_IPV6, IPV6_V6ONLY, v6_only_)) {
      return Status::Errno("setsockopt IPV6_V6ONLY");
    }
    sockaddr_storage address;
    socklen_t length = local_.To(family, &address);
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
      return Status::Errno("bind", local_.Text());
    }
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
  Endpoint local_;
  SocketOptions options_;
  bool v6_only_;
  UniqueFd fd_;
  Endpoint bound_;
};

// (ip, port, freebind, v6Only, namespaceFd?, done({ fd, address, port })); the descriptor is the
// addon's until `takeFd`. EADDRINUSE, EADDRNOTAVAIL, EACCES (port below
// ip_unprivileged_port_start), EMFILE.
napi_value BindUdp(napi_env env, napi_callback_info info) {
  Args args(env, info);
  SocketOptions options;
  options.freebind = args.Bool(2);
  auto task = std::make_unique<BindUdpTask>(Endpoint::From(args.Data(0), args.Uint(1)), options,
                                            args.Bool(3));
  return EnvState::Get(env)->thread()->Submit(std::move(task), args.FdOr(4, -1), args[5]);
}

}  // namespace

void RegisterBindUdp(napi_env env, napi_value exports) {
  Export(env, exports, "bindUdp", BindUdp);
}

}  // namespace weft
