// SPDX-License-Identifier: Apache-2.0
#include "net/unix_message.h"

#include <sys/socket.h>

#include <cstring>

namespace weft {
namespace {

// More than a SOCK_SEQPACKET message can be by default (net.core.wmem_max, 208 KiB).
constexpr size_t kMessageMax = 256 * 1024;

struct Control {
  alignas(cmsghdr) char space[CMSG_SPACE(kFdsMax * sizeof(int))];
};

void TakeFds(msghdr* header, UnixMessage* out) {
  for (cmsghdr* part = CMSG_FIRSTHDR(header); part != nullptr; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t at = 0; at < count; at++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + at * sizeof(int), sizeof(int));
      out->fds.emplace_back(fd);
    }
  }
}

}  // namespace

int SendUnix(int socket, const UnixMessage& message, size_t from, size_t* sent) {
  Control control;
  iovec data = {const_cast<char*>(message.bytes.data()) + from, message.bytes.size() - from};
  msghdr header = {};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (from == 0 && !message.fds.empty()) {
    header.msg_control = control.space;
    header.msg_controllen = CMSG_SPACE(message.fds.size() * sizeof(int));
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(message.fds.size() * sizeof(int));
    for (size_t at = 0; at < message.fds.size(); at++) {
      int fd = message.fds[at].get();
      std::memcpy(CMSG_DATA(part) + at * sizeof(int), &fd, sizeof(int));
    }
  }
  ssize_t length = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (length < 0) return errno;
  *sent = static_cast<size_t>(length);
  return 0;
}

int ReceiveUnix(int socket, UnixMessage* out) {
  thread_local std::string buffer(kMessageMax, '\0');
  Control control;
  iovec data = {buffer.data(), buffer.size()};
  msghdr header = {};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control.space;
  header.msg_controllen = sizeof(control.space);
  ssize_t length = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (length < 0) return errno;
  TakeFds(&header, out);
  // MSG_CTRUNC also when this process had no descriptors left for what was sent.
  if ((header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0) {
    out->fds.clear();
    return EMSGSIZE;
  }
  out->bytes.assign(buffer.data(), static_cast<size_t>(length));
  return 0;
}

int UnixAddress(const std::string& path, sockaddr_un* out) {
  *out = {};
  out->sun_family = AF_UNIX;
  if (path.size() >= sizeof(out->sun_path)) return ENAMETOOLONG;
  std::memcpy(out->sun_path, path.data(), path.size());
  return 0;
}

}  // namespace weft
