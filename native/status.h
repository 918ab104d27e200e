// SPDX-License-Identifier: Apache-2.0
// How a kernel operation ended: errno and what was attempted; for BPF also the verifier's log.
#ifndef WEFT_STATUS_H_
#define WEFT_STATUS_H_

#include <cerrno>
#include <string>
#include <utility>

namespace weft {

struct [[nodiscard]] Status {
  int err = 0;  // positive errno; 0 is success
  std::string op;
  std::string log;

  bool ok() const { return err == 0; }

  static Status Ok() { return {}; }
  static Status Failed(int err, std::string op, std::string log = {}) {
    return Status{err, std::move(op), std::move(log)};
  }
  // Takes errno, so it must directly follow the failed call.
  static Status Errno(const char* op) { return Status{errno, op, {}}; }
  static Status Errno(const char* op, const std::string& object) {
    int err = errno;
    return Status{err, std::string(op) + " " + object, {}};
  }
};

}  // namespace weft

#endif  // WEFT_STATUS_H_
