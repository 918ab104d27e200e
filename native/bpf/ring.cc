// SPDX-License-Identifier: Apache-2.0
// Records of a ring buffer, handed to JavaScript on the caller's loop in batches.
#include <bpf/libbpf.h>
#include <uv.h>

#include "bpf/libbpf_log.h"
#include "bpf/sys.h"
#include "env_state.h"
#include "js/callback.h"
#include "js/convert.h"
#include "js/error.h"

namespace weft {
namespace {

// Records handed over in one turn of the loop, so that a flood cannot hold it.
constexpr uint32_t kRecordsMax = 1024;

class Ring : public LoopResource {
 public:
  Ring(EnvState* state, UniqueFd map, const Args& args)
      : LoopResource(state, Kind::kRing),
        map_(std::move(map)),
        on_batch_(args.env(), args[1], "weft.ring") {}
  ~Ring() override { ring_buffer__free(ring_); }

  int Start() {
    LibbpfLog log;
    ring_ = ring_buffer__new(map_.get(), OnRecord, this, nullptr);
    if (ring_ == nullptr) return errno;
    int err = uv_poll_init(state()->loop(), &poll_, ring_buffer__epoll_fd(ring_));
    if (err != 0) return -err;
    open_ = true;
    poll_.data = static_cast<LoopResource*>(this);
    return -uv_poll_start(&poll_, UV_READABLE, OnReadable);
  }

 protected:
  void OnShutdown() override {
    if (open_) CloseHandle(reinterpret_cast<uv_handle_t*>(&poll_));
  }

 private:
  static void OnReadable(uv_poll_t* poll, int, int) {
    static_cast<Ring*>(static_cast<LoopResource*>(poll->data))->Consume();
  }

  static int OnRecord(void* data, void* bytes, size_t size) {
    auto* self = static_cast<Ring*>(data);
    napi_env env = self->state()->env();
    Bytes record(static_cast<const uint8_t*>(bytes), size);
    Append(env, self->batch_, self->count_++, FromBytes(env, record));
    // A negative answer stops the consumer after this record; the rest wakes the next turn.
    return self->count_ >= kRecordsMax ? -EAGAIN : 0;
  }

  void Consume() {
    HandleScope scope(state()->env());
    batch_ = MakeArray(state()->env());
    count_ = 0;
    if (batch_ == nullptr) return;
    ring_buffer__consume(ring_);
    if (count_ > 0) on_batch_.Call({batch_});
  }

  UniqueFd map_;
  JsCallback on_batch_;
  ring_buffer* ring_ = nullptr;
  uv_poll_t poll_;
  bool open_ = false;
  napi_value batch_ = nullptr;  // inside Consume only
  uint32_t count_ = 0;
};

// (mapFd, onBatch(records)) -> id. Kernel 5.8. EINVAL (no ring buffer), EBADF, ENOMEM.
napi_value RingStart(napi_env env, napi_callback_info info) {
  Args args(env, info);
  UniqueFd map = UniqueFd::Duplicate(args.Int(0));
  if (!map.valid()) return Throw(env, Status::Errno("read ring"));
  auto* ring = EnvState::Get(env)->Make<Ring>(std::move(map), args);
  uint32_t id = ring->id();
  int err = ring->Start();
  if (err != 0) {
    ring->Shutdown();
    return Throw(env, Status::Failed(err, "read ring"));
  }
  return FromInt(env, id);
}

napi_value RingStop(napi_env env, napi_callback_info info) {
  Args args(env, info);
  LoopResource* ring = EnvState::Get(env)->Find(args.Uint(0), LoopResource::Kind::kRing);
  if (ring != nullptr) ring->Shutdown();
  return Undefined(env);
}

}  // namespace

void RegisterRing(napi_env env, napi_value exports) {
  Export(env, exports, "ringStart", RingStart);
  Export(env, exports, "ringStop", RingStop);
}

}  // namespace weft
