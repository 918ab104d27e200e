// SPDX-License-Identifier: Apache-2.0
// The helper thread of an environment: the only one that ever changes its network namespace.
// Tasks that arrive in one turn are handled in one wake-up, grouped by namespace; the thread is
// back in its own namespace after every group.
#ifndef WEFT_NET_NAMESPACE_THREAD_H_
#define WEFT_NET_NAMESPACE_THREAD_H_

#include <sys/types.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "env_state.h"
#include "js/callback.h"
#include "status.h"
#include "unique_fd.h"

namespace weft {

// One operation and the promise it settles. Descriptors it still holds are closed with it.
class Task {
 public:
  virtual ~Task() = default;
  // On the helper thread, inside the namespace.
  virtual Status Run() = 0;
  // On the loop, after Run. The default settles the promise.
  virtual void Finish(EnvState* state, const Status& status);

 protected:
  // The promise's value; only after success.
  virtual napi_value Value(EnvState* state) = 0;

 private:
  friend class NamespaceThread;
  Settler done_;
  UniqueFd namespace_;
  ino_t inode_ = 0;  // 0: the thread's own namespace
  Status status_;
};

class NamespaceThread : public LoopResource {
 public:
  explicit NamespaceThread(EnvState* state);
  static NamespaceThread* Start(EnvState* state);
  ~NamespaceThread() override;

  // Calls `done` later. Throws EBADF, and returns nullptr, when `namespace_fd` is not open. -1: own
  // namespace.
  napi_value Submit(std::unique_ptr<Task> task, int namespace_fd, napi_value done);

 protected:
  void OnShutdown() override;

 private:
  using Batch = std::vector<std::unique_ptr<Task>>;

  static void OnDone(uv_async_t* handle);
  void Deliver();
  void Main();
  void RunGroup(Batch& batch, size_t from, size_t end);

  uv_async_t async_;
  UniqueFd own_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;   // under mutex_
  Batch queue_;         // under mutex_
  Batch done_;          // under mutex_
  size_t pending_ = 0;  // loop only
  int stranded_ = 0;    // helper only: errno that kept it from returning home
};

}  // namespace weft

#endif  // WEFT_NET_NAMESPACE_THREAD_H_
