// SPDX-License-Identifier: Apache-2.0
#include "net/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace weft {
namespace {

constexpr uint8_t kV4Prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

Endpoint Endpoint::From(Bytes ip, uint32_t port) {
  Endpoint endpoint;
  std::copy_n(ip.begin(), std::min(ip.size(), sizeof(endpoint.ip)), endpoint.ip);
  endpoint.port = static_cast<uint16_t>(port);
  return endpoint;
}

Endpoint Endpoint::From(const sockaddr_storage& address) {
  Endpoint endpoint;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    std::memcpy(endpoint.ip, kV4Prefix, sizeof(kV4Prefix));
    std::memcpy(endpoint.ip + 12, &v4.sin_addr, 4);
    endpoint.port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(endpoint.ip, &v6.sin6_addr, 16);
    endpoint.port = ntohs(v6.sin6_port);
  }
  return endpoint;
}

bool Endpoint::is_v4() const { return std::memcmp(ip, kV4Prefix, sizeof(kV4Prefix)) == 0; }

socklen_t Endpoint::To(int family, sockaddr_storage* out) const {
  std::memset(out, 0, sizeof(*out));
  if (family == AF_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(out);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    std::memcpy(&v4->sin_addr, ip + 12, 4);
    return sizeof(*v4);
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(out);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  std::memcpy(&v6->sin6_addr, ip, 16);
  return sizeof(*v6);
}

std::string Endpoint::TextIp() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (is_v4()) {
    inet_ntop(AF_INET, ip + 12, text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, ip, text, sizeof(text));
  }
  return text;
}

std::string Endpoint::Text() const {
  std::string host = TextIp();
  if (!is_v4()) host = "[" + host + "]";
  return host + ":" + std::to_string(port);
}

bool LocalEndpoint(int fd, Endpoint* out) {
  sockaddr_storage address;
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  *out = Endpoint::From(address);
  return true;
}

napi_value FromConnected(napi_env env, int fd, const Endpoint& local) {
  napi_value object = MakeObject(env);
  if (object == nullptr) return nullptr;
  Set(env, object, "fd", FromInt(env, fd));
  Set(env, object, "address", FromText(env, local.TextIp()));
  Set(env, object, "port", FromInt(env, local.port));
  return object;
}

}  // namespace weft
