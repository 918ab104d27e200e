// SPDX-License-Identifier: Apache-2.0
#include "net/sockopt.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "env_state.h"
#include "js/convert.h"
#include "js/error.h"
#include "net/address.h"
#include "net/net.h"
#include "unique_fd.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

namespace weft {
namespace {

constexpr int kOriginalDst = 80;  // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST

bool ReadOriginal(int fd, int level, Endpoint* out) {
  sockaddr_storage address = {};
  socklen_t length = level == SOL_IP ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  if (getsockopt(fd, level, kOriginalDst, &address, &length) != 0) return false;
  *out = Endpoint::From(address);
  return true;
}

// SO_ORIGINAL_DST. undefined for ENOENT (nothing known of this connection), ENOPROTOOPT and
// EOPNOTSUPP (no one answers the option). EBADF, ENOTSOCK, ENOTCONN are thrown.
napi_value OriginalDestination(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd = args.Int(0);
  int domain = 0;
  socklen_t length = sizeof(domain);
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) {
    return Throw(env, Status::Errno("getsockopt SO_ORIGINAL_DST"));
  }
  Endpoint original;
  // A v4-mapped connection has its answer at the IPv4 level.
  if (domain == AF_INET6 && ReadOriginal(fd, SOL_IPV6, &original)) {
    return FromConnected(env, fd, original);
  }
  if (ReadOriginal(fd, SOL_IP, &original)) return FromConnected(env, fd, original);
  if (errno == ENOENT || errno == ENOPROTOOPT || errno == EOPNOTSUPP || errno == EINVAL) {
    return Undefined(env);
  }
  return Throw(env, Status::Errno("getsockopt SO_ORIGINAL_DST"));
}

// SO_NETNS_COOKIE, kernel 5.14. EBADF, ENOTSOCK, ENOPROTOOPT.
napi_value SocketNetnsCookie(napi_env env, napi_callback_info info) {
  Args args(env, info);
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  if (getsockopt(args.Int(0), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) {
    return Throw(env, Status::Errno("getsockopt SO_NETNS_COOKIE"));
  }
  return FromUint64(env, cookie);
}

napi_value SetLinger(napi_env env, napi_callback_info info, linger value) {
  Args args(env, info);
  if (setsockopt(args.Int(0), SOL_SOCKET, SO_LINGER, &value, sizeof(value)) != 0) {
    return Throw(env, Status::Errno("setsockopt SO_LINGER"));
  }
  return Undefined(env);
}

// SO_LINGER 0: close sends RST. Accepted sockets inherit it from their listener. EBADF, ENOTSOCK.
napi_value SetLingerZero(napi_env env, napi_callback_info info) {
  return SetLinger(env, info, {1, 0});
}

// Close sends FIN again. EBADF, ENOTSOCK.
napi_value ClearLingerZero(napi_env env, napi_callback_info info) {
  return SetLinger(env, info, {0, 0});
}

// F_DUPFD_CLOEXEC. EBADF, EMFILE.
napi_value DuplicateFd(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd copy = UniqueFd::Duplicate(args.Int(0));
  if (!copy.valid()) return Throw(env, Status::Errno("dup"));
  return FromInt(env, copy.release());
}

// A descriptor the caller owns. EBADF.
napi_value CloseFd(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd = args.Int(0);
  if (fcntl(fd, F_GETFD) < 0) return Throw(env, Status::Errno("close"));
  UniqueFd closes(fd);
  return Undefined(env);
}

// A descriptor the addon keeps for the caller (maps, programs, links, namespaces). EBADF.
napi_value CloseOwned(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int err = EnvState::Get(env)->CloseOwned(args.Int(0));
  if (err != 0) return Throw(env, Status::Failed(err, "close"));
  return Undefined(env);
}

// The caller now owns a socket that was handed to it.
napi_value TakeFd(napi_env env, napi_callback_info info) {
  Args args(env, info);
  EnvState::Get(env)->Disown(args.Int(0));
  return Undefined(env);
}

}  // namespace

bool SetInt(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

Status ApplyOptions(int fd, int family, const SocketOptions& options) {
  const bool v6 = family == AF_INET6;
  if (options.transparent) {
    if (!SetInt(fd, SOL_IP, IP_TRANSPARENT, 1)) return Status::Errno("setsockopt IP_TRANSPARENT");
    if (v6 && !SetInt(fd, SOL_IPV6, IPV6_TRANSPARENT, 1)) {
      return Status::Errno("setsockopt IPV6_TRANSPARENT");
    }
  }
  if (options.freebind) {
    if (!SetInt(fd, SOL_IP, IP_FREEBIND, 1)) return Status::Errno("setsockopt IP_FREEBIND");
    if (v6 && !SetInt(fd, SOL_IPV6, IPV6_FREEBIND, 1)) {
      return Status::Errno("setsockopt IPV6_FREEBIND");
    }
  }
  if (options.mark != 0 && !SetInt(fd, SOL_SOCKET, SO_MARK, static_cast<int>(options.mark))) {
    return Status::Errno("setsockopt SO_MARK");
  }
  return Status::Ok();
}

void RegisterSockopt(napi_env env, napi_value exports) {
  Export(env, exports, "originalDestination", OriginalDestination);
  Export(env, exports, "socketNetnsCookie", SocketNetnsCookie);
  Export(env, exports, "setLingerZero", SetLingerZero);
  Export(env, exports, "clearLingerZero", ClearLingerZero);
  Export(env, exports, "duplicate", DuplicateFd);
  Export(env, exports, "closeFd", CloseFd);
  Export(env, exports, "closeOwned", CloseOwned);
  Export(env, exports, "takeFd", TakeFd);
}

}  // namespace weft
