// SPDX-License-Identifier: Apache-2.0
// A descriptor with one owner; the only place where descriptors are closed.
#ifndef WEFT_UNIQUE_FD_H_
#define WEFT_UNIQUE_FD_H_

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace weft {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  // Keeps errno: callers report the failure that made them give the descriptor up.
  void reset(int fd = -1) {
    if (fd_ >= 0) {
      int saved = errno;
      ::close(fd_);
      errno = saved;
    }
    fd_ = fd;
  }

  // Close-on-exec duplicate; invalid, with errno set, when that fails.
  static UniqueFd Duplicate(int fd) { return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

 private:
  int fd_ = -1;
};

}  // namespace weft

#endif  // WEFT_UNIQUE_FD_H_
