// SPDX-License-Identifier: Apache-2.0
#include "bpf/libbpf_log.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <mutex>

namespace weft {
namespace {

// libbpf has one print function in the process; each thread has its own listener.
thread_local std::string* sink = nullptr;

int Print(libbpf_print_level level, const char* format, va_list arguments) {
  if (sink == nullptr || level > LIBBPF_WARN) return 0;
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length <= 0) return 0;
  size_t before = sink->size();
  sink->resize(before + length + 1);
  vsnprintf(sink->data() + before, length + 1, format, arguments);
  sink->pop_back();  // the terminating zero
  return length;
}

}  // namespace

LibbpfLog::LibbpfLog() { sink = &text_; }

LibbpfLog::~LibbpfLog() { sink = nullptr; }

std::string LibbpfLog::FailedProgram() const {
  size_t end = text_.find("': BPF program load failed");
  if (end == std::string::npos) return {};
  size_t quote = text_.rfind('\'', end - 1);
  return quote == std::string::npos ? std::string() : text_.substr(quote + 1, end - quote - 1);
}

void LibbpfLog::Install() {
  static std::once_flag once;
  std::call_once(once, [] { libbpf_set_print(Print); });
}

}  // namespace weft
