// SPDX-License-Identifier: Apache-2.0
// What libbpf says while this thread loads something, the verifier's log included.
#ifndef WEFT_BPF_LIBBPF_LOG_H_
#define WEFT_BPF_LIBBPF_LOG_H_

#include <string>

namespace weft {

// Collects libbpf's warnings on this thread while it lives. Nothing is ever printed.
class LibbpfLog {
 public:
  LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  LibbpfLog& operator=(const LibbpfLog&) = delete;
  ~LibbpfLog();

  const std::string& text() const { return text_; }
  // The program whose load failed; empty when it was something else.
  std::string FailedProgram() const;

  // Once in the process.
  static void Install();

 private:
  std::string text_;
};

}  // namespace weft

#endif  // WEFT_BPF_LIBBPF_LOG_H_
