// SPDX-License-Identifier: Apache-2.0
// Ending TCP connections of a namespace by inet_diag: list, choose, SOCK_DESTROY.
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "js/convert.h"
#include "js/error.h"
#include "net/address.h"
#include "net/namespace_thread.h"
#include "net/net.h"

#ifndef SOCK_DESTROY
#define SOCK_DESTROY 21
#endif

namespace weft {
namespace {

// Connections, not listeners, and nothing that has only its 2 MSL to wait.
constexpr uint32_t kStates = (1u << TCP_ESTABLISHED) | (1u << TCP_SYN_SENT) |
                             (1u << TCP_SYN_RECV) | (1u << TCP_FIN_WAIT1) |
                             (1u << TCP_FIN_WAIT2) | (1u << TCP_CLOSE_WAIT) |
                             (1u << TCP_LAST_ACK) | (1u << TCP_CLOSING);

struct Side {
  bool any_ip = true;
  Endpoint at;  // port 0: any

  bool Matches(const Endpoint& other) const {
    if (!any_ip && std::memcmp(at.ip, other.ip, sizeof(at.ip)) != 0) return false;
    return at.port == 0 || at.port == other.port;
  }
};

struct Message {
  nlmsghdr header;
  inet_diag_req_v2 request;
};

struct Found {
  uint8_t family;
  inet_diag_sockid id;
};

Endpoint ToEndpoint(int family, const __be32* ip, __be16 port) {
  Endpoint endpoint;
  if (family == AF_INET) {
    endpoint.ip[10] = endpoint.ip[11] = 0xff;
    std::memcpy(endpoint.ip + 12, ip, 4);
  } else {
    std::memcpy(endpoint.ip, ip, 16);
  }
  endpoint.port = ntohs(port);
  return endpoint;
}

class DestroyTask : public Task {
 public:
  // `family` 4 or 6; 0: both. No cookies: any.
  DestroyTask(uint32_t family, const Side& source, const Side& destination,
              std::vector<uint64_t> cookies)
      : family_(family),
        source_(source),
        destination_(destination),
        cookies_(std::move(cookies)) {
    std::sort(cookies_.begin(), cookies_.end());
  }

  Status Run() override {
    netlink_ = UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    if (!netlink_.valid()) return Status::Errno("socket NETLINK_SOCK_DIAG");
    // IPv4 connections of dual-stack sockets are listed with IPv6.
    Status status = family_ == 6 ? Status::Ok() : List(AF_INET);
    if (status.ok()) status = List(AF_INET6);
    for (size_t at = 0; at < found_.size() && status.ok(); at++) status = Destroy(found_[at]);
    netlink_.reset();
    return status;
  }

 protected:
  napi_value Value(EnvState* state) override { return FromInt(state->env(), destroyed_); }

 private:
  Status Send(Message* message) {
    message->header.nlmsg_len = sizeof(*message);
    message->request.sdiag_protocol = IPPROTO_TCP;
    sockaddr_nl kernel = {};
    kernel.nl_family = AF_NETLINK;
    ssize_t sent = sendto(netlink_.get(), message, sizeof(*message), 0,
                          reinterpret_cast<sockaddr*>(&kernel), sizeof(kernel));
    return sent < 0 ? Status::Errno("send NETLINK_SOCK_DIAG") : Status::Ok();
  }

  Status List(int family) {
    Message message = {};
    message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.request.sdiag_family = static_cast<uint8_t>(family);
    message.request.idiag_states = kStates;
    message.request.id.idiag_sport = htons(source_.at.port);
    message.request.id.idiag_dport = htons(destination_.at.port);
    Status status = Send(&message);
    if (!status.ok()) return status;
    std::optional<int> end;
    while (!end) {
      status = Receive(&end);
      if (!status.ok()) return status;
    }
    return *end == 0 ? Status::Ok() : Status::Failed(*end, "inet_diag dump");
  }

  // One datagram; `end` gets the errno of a final message.
  Status Receive(std::optional<int>* end) {
    alignas(nlmsghdr) char buffer[32768];
    ssize_t length = recv(netlink_.get(), buffer, sizeof(buffer), 0);
    if (length < 0) return Status::Errno("receive NETLINK_SOCK_DIAG");
    auto left = static_cast<uint32_t>(length);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) {
        *end = 0;
      } else if (header->nlmsg_type == NLMSG_ERROR) {
        *end = -static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
      } else if (header->nlmsg_type == SOCK_DIAG_BY_FAMILY) {
        Choose(*static_cast<inet_diag_msg*>(NLMSG_DATA(header)));
      }
    }
    return Status::Ok();
  }

  void Choose(const inet_diag_msg& message) {
    const int family = message.idiag_family;
    Endpoint source = ToEndpoint(family, message.id.idiag_src, message.id.idiag_sport);
    Endpoint destination = ToEndpoint(family, message.id.idiag_dst, message.id.idiag_dport);
    if (family_ != 0 && source.is_v4() != (family_ == 4)) return;
    if (!source_.Matches(source) || !destination_.Matches(destination)) return;
    if (!cookies_.empty() &&
        !std::binary_search(cookies_.begin(), cookies_.end(), CookieOf(message.id))) {
      return;
    }
    found_.push_back({message.idiag_family, message.id});
  }

  static uint64_t CookieOf(const inet_diag_sockid& id) {
    return static_cast<uint64_t>(id.idiag_cookie[1]) << 32 | id.idiag_cookie[0];
  }

  // The cookie goes with the request: a socket that took the tuple since is left alone.
  Status Destroy(const Found& found) {
    Message message = {};
    message.header.nlmsg_type = SOCK_DESTROY;
    message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    message.request.sdiag_family = found.family;
    message.request.idiag_states = kStates;
    message.request.id = found.id;
    Status status = Send(&message);
    if (!status.ok()) return status;
    std::optional<int> end;
    while (status.ok() && !end) status = Receive(&end);
    if (!status.ok()) return status;
    // ENOENT: it ended by itself meanwhile.
    if (*end != 0 && *end != ENOENT) return Status::Failed(*end, "SOCK_DESTROY");
    destroyed_ += *end == 0;
    return Status::Ok();
  }

  uint32_t family_;
  Side source_;
  Side destination_;
  std::vector<uint64_t> cookies_;
  UniqueFd netlink_;
  std::vector<Found> found_;
  uint32_t destroyed_ = 0;
};

Side ReadSide(const Args& args, size_t at) {
  Side side;
  side.any_ip = !args.Present(at);
  if (!side.any_ip) side.at = Endpoint::From(args.Data(at), 0);
  side.at.port = static_cast<uint16_t>(args.Uint(at + 1));
  return side;
}

std::vector<uint64_t> ReadCookies(const Args& args, size_t at) {
  if (!args.Present(at)) return {};
  const Bytes packed = args.Data(at);
  std::vector<uint64_t> cookies(packed.size() / sizeof(uint64_t));
  std::memcpy(cookies.data(), packed.data(), cookies.size() * sizeof(uint64_t));
  return cookies;
}

// (family 4, 6 or 0, sourceIp?, sourcePort, destinationIp?, destinationPort, cookies?, namespaceFd?,
// done(how many)). Cookies are packed, of 8 bytes each.
// Kernel 4.9 with CONFIG_INET_DIAG_DESTROY, else EOPNOTSUPP; EPERM without CAP_NET_ADMIN;
// ENOENT where tcp_diag cannot be loaded.
napi_value DestroySockets(napi_env env, napi_callback_info info) {
  Args args(env, info);
  auto task = std::make_unique<DestroyTask>(args.Uint(0), ReadSide(args, 1), ReadSide(args, 3),
                                            ReadCookies(args, 5));
  return EnvState::Get(env)->thread()->Submit(std::move(task), args.FdOr(6, -1), args[7]);
}

}  // namespace

void RegisterDiag(napi_env env, napi_value exports) {
  Export(env, exports, "destroySockets", DestroySockets);
}

}  // namespace weft
