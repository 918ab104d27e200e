// SPDX-License-Identifier: Apache-2.0
// Options that listening and connecting sockets share, and reading what the kernel knows of one.
#ifndef WEFT_NET_SOCKOPT_H_
#define WEFT_NET_SOCKOPT_H_

#include <node_api.h>

#include <cstdint>

#include "status.h"

namespace weft {

struct SocketOptions {
  bool transparent = false;  // IP_TRANSPARENT: CAP_NET_ADMIN, else EPERM
  bool freebind = false;
  uint32_t mark = 0;  // SO_MARK: CAP_NET_ADMIN or, since 5.17, CAP_NET_RAW
};

Status ApplyOptions(int fd, int family, const SocketOptions& options);

bool SetInt(int fd, int level, int name, int value);

}  // namespace weft

#endif  // WEFT_NET_SOCKOPT_H_
