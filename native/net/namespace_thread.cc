// SPDX-License-Identifier: Apache-2.0
// Queueing, setns there and back, delivery to the loop.
#include "net/namespace_thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "js/callback.h"
#include "js/convert.h"
#include "js/error.h"

namespace weft {

void Task::Finish(EnvState* state, const Status& status) {
  if (status.ok()) {
    done_.Resolve(Value(state));
  } else {
    done_.Reject(status);
  }
}

NamespaceThread::NamespaceThread(EnvState* state) : LoopResource(state, Kind::kThread) {
  uv_async_init(state->loop(), &async_, OnDone);
  async_.data = static_cast<LoopResource*>(this);
  uv_unref(reinterpret_cast<uv_handle_t*>(&async_));
}

NamespaceThread* NamespaceThread::Start(EnvState* state) {
  auto* self = state->Make<NamespaceThread>();
  self->own_ = UniqueFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  // Signals belong to Node's threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  self->thread_ = std::thread([self] { self->Main(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(self->thread_.native_handle(), "weft-netns");
  return self;
}

NamespaceThread::~NamespaceThread() = default;

napi_value NamespaceThread::Submit(std::unique_ptr<Task> task, int namespace_fd,
                                   napi_value done) {
  napi_env env = state()->env();
  if (namespace_fd >= 0) {
    // A duplicate, because JavaScript may close its own before the task has run.
    task->namespace_ = UniqueFd::Duplicate(namespace_fd);
    struct stat info;
    if (!task->namespace_.valid() || fstat(task->namespace_.get(), &info) != 0) {
      return Throw(env, Status::Errno("open namespace"));
    }
    task->inode_ = info.st_ino;
  }
  task->done_ = Settler(env, done);
  if (pending_++ == 0) uv_ref(reinterpret_cast<uv_handle_t*>(&async_));
  bool first;
  {
    std::lock_guard lock(mutex_);
    first = queue_.empty();
    queue_.push_back(std::move(task));
  }
  if (first) wake_.notify_one();
  return Undefined(env);
}

void NamespaceThread::Main() {
  for (;;) {
    Batch batch;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (stop_) return;
      batch.swap(queue_);
    }
    std::stable_sort(batch.begin(), batch.end(),
                     [](const auto& a, const auto& b) { return a->inode_ < b->inode_; });
    for (size_t from = 0; from < batch.size();) {
      size_t end = from + 1;
      while (end < batch.size() && batch[end]->inode_ == batch[from]->inode_) end++;
      RunGroup(batch, from, end);
      from = end;
    }
  }
}

void NamespaceThread::RunGroup(Batch& batch, size_t from, size_t end) {
  const bool away = batch[from]->inode_ != 0;
  Status entered = Status::Ok();
  if (stranded_ != 0) {
    entered = Status::Failed(stranded_, "setns back to the own namespace");
  } else if (away && setns(batch[from]->namespace_.get(), CLONE_NEWNET) != 0) {
    entered = Status::Errno("setns");
  }
  for (size_t at = from; at < end; at++) {
    batch[at]->status_ = entered.ok() ? batch[at]->Run() : entered;
  }
  // Working on in a foreign namespace would be worse than not working: everything fails from now.
  if (away && entered.ok() && setns(own_.get(), CLONE_NEWNET) != 0) stranded_ = errno;
  std::lock_guard lock(mutex_);
  std::move(batch.begin() + from, batch.begin() + end, std::back_inserter(done_));
  uv_async_send(&async_);
}

void NamespaceThread::OnDone(uv_async_t* handle) {
  static_cast<NamespaceThread*>(static_cast<LoopResource*>(handle->data))->Deliver();
}

void NamespaceThread::Deliver() {
  Batch batch;
  {
    std::lock_guard lock(mutex_);
    batch.swap(done_);
  }
  if (batch.empty()) return;
  pending_ -= batch.size();
  if (pending_ == 0) uv_unref(reinterpret_cast<uv_handle_t*>(&async_));
  CallbackScope scope(state()->env(), "weft.netns");
  for (auto& task : batch) {
    HandleScope handles(state()->env());
    Task* raw = task.get();
    // Tasks that go on (connect) take over what they need; the rest ends here.
    raw->Finish(state(), raw->status_);
  }
}

void NamespaceThread::OnShutdown() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  queue_.clear();
  done_.clear();
  CloseHandle(reinterpret_cast<uv_handle_t*>(&async_));
}

}  // namespace weft
