// SPDX-License-Identifier: Apache-2.0
// One message of a Unix socket with the descriptors it carries (SCM_RIGHTS).
#ifndef WEFT_NET_UNIX_MESSAGE_H_
#define WEFT_NET_UNIX_MESSAGE_H_

#include <sys/un.h>

#include <cstdint>
#include <string>
#include <vector>

#include "unique_fd.h"

namespace weft {

// The kernel's SCM_MAX_FD: more in one message is EINVAL.
constexpr size_t kFdsMax = 253;

struct UnixMessage {
  std::string bytes;
  std::vector<UniqueFd> fds;
};

// 0, or errno: EAGAIN, EPIPE, ECONNRESET, EMSGSIZE. On success `sent` is how many bytes left; the
// descriptors go with the first of them.
int SendUnix(int socket, const UnixMessage& message, size_t from, size_t* sent);

// 0, or errno: EAGAIN, ECONNRESET. EMSGSIZE: the message or its descriptors were cut off, and
// what did arrive of them is closed. No bytes and no descriptors is the end.
int ReceiveUnix(int socket, UnixMessage* out);

// ENAMETOOLONG, or 0.
int UnixAddress(const std::string& path, sockaddr_un* out);

}  // namespace weft

#endif  // WEFT_NET_UNIX_MESSAGE_H_
