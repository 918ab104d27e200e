// SPDX-License-Identifier: Apache-2.0
// IP endpoints: the 16 bytes JavaScript uses (IPv4 v4-mapped) to and from socket addresses.
#ifndef WEFT_NET_ADDRESS_H_
#define WEFT_NET_ADDRESS_H_

#include <netinet/in.h>
#include <node_api.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "js/convert.h"

namespace weft {

struct Endpoint {
  uint8_t ip[16] = {};
  uint16_t port = 0;  // host order

  static Endpoint From(Bytes ip, uint32_t port);
  static Endpoint From(const sockaddr_storage& address);
  bool is_v4() const;
  int family() const { return is_v4() ? AF_INET : AF_INET6; }
  // Fills `out` for a socket of `family` and returns its length.
  socklen_t To(int family, sockaddr_storage* out) const;
  std::string Text() const;  // 10.0.0.1:80, [fd00::1]:80
  std::string TextIp() const;
};

// The local address of a socket; false with errno set on failure.
bool LocalEndpoint(int fd, Endpoint* out);

// { fd, address, port }
napi_value FromConnected(napi_env env, int fd, const Endpoint& local);

}  // namespace weft

#endif  // WEFT_NET_ADDRESS_H_
