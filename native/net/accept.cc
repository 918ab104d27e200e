// SPDX-License-Identifier: Apache-2.0
// Accepting connections on the caller's loop, a batch for each call into JavaScript.
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <uv.h>

#include <cstring>

#include "bpf/sys.h"
#include "env_state.h"
#include "js/callback.h"
#include "js/convert.h"
#include "js/error.h"
#include "net/address.h"
#include "net/net.h"
#include "net/sockopt.h"

namespace weft {
namespace {

// The shared buffer: records, each followed by the storage's value. src/kernel/native/accept.ts
// reads this layout.
struct Record {
  int32_t fd;
  uint16_t remote_port;
  uint16_t local_port;
  uint8_t remote_ip[16];
  uint8_t local_ip[16];
  uint32_t has_storage;
};
static_assert(sizeof(Record) == 44);

// How long a listener rests when there are no descriptors or memory for its connections.
constexpr uint64_t kRestMs = 100;

bool IsExhaustion(int err) {
  return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

// The connection went away or was refused by a filter; the listener is well.
bool IsTransient(int err) {
  return err == ECONNABORTED || err == EINTR || err == EPROTO || err == EPERM ||
         err == ENETDOWN || err == EHOSTDOWN || err == EHOSTUNREACH || err == ENETUNREACH ||
         err == ENOPROTOOPT || err == ENONET || err == EOPNOTSUPP;
}

struct AcceptPlan {
  UniqueFd listener;
  UniqueFd storage;
  uint32_t value_size = 0;
  uint32_t batch_max = 0;
};

class Acceptor : public LoopResource {
 public:
  Acceptor(EnvState* state, AcceptPlan plan, const Args& args)
      : LoopResource(state, Kind::kAcceptor),
        plan_(std::move(plan)),
        stride_((sizeof(Record) + plan_.value_size + 3) & ~size_t{3}),
        buffer_(const_cast<uint8_t*>(args.Data(4).data())),
        on_batch_(args.env(), args[5], "weft.accept"),
        on_error_(args.env(), args[6], "weft.accept") {
    napi_create_reference(args.env(), args[4], 1, &buffer_ref_);
  }
  ~Acceptor() override { napi_delete_reference(state()->env(), buffer_ref_); }

  int Start() {
    int err = uv_poll_init(state()->loop(), &poll_, plan_.listener.get());
    if (err != 0) return -err;
    uv_timer_init(state()->loop(), &rest_);
    poll_.data = rest_.data = static_cast<LoopResource*>(this);
    open_ = true;
    Resume();
    return 0;
  }

  void Pause() {
    paused_ = true;
    uv_poll_stop(&poll_);
  }

  void Resume() {
    paused_ = false;
    if (!resting_) uv_poll_start(&poll_, UV_READABLE, OnReadable);
  }

 protected:
  void OnShutdown() override {
    stopped_ = true;
    if (!open_) return;
    CloseHandle(reinterpret_cast<uv_handle_t*>(&poll_));
    CloseHandle(reinterpret_cast<uv_handle_t*>(&rest_));
    // The loop has let go of it. Whoever closes the listener next really closes it.
    plan_.listener.reset();
    plan_.storage.reset();
  }

 private:
  static Acceptor* From(void* data) {
    return static_cast<Acceptor*>(static_cast<LoopResource*>(data));
  }

  static void OnReadable(uv_poll_t* poll, int status, int) {
    From(poll->data)->AcceptBatch(status < 0 ? -status : 0);
  }

  static void OnRested(uv_timer_t* timer) {
    Acceptor* self = From(timer->data);
    self->resting_ = false;
    if (!self->paused_) self->Resume();
  }

  void AcceptBatch(int err) {
    uint32_t count = 0;
    while (err == 0 && count < plan_.batch_max) {
      if (AcceptOne(count)) {
        count++;
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        break;
      } else if (!IsTransient(errno)) {
        err = errno;
      }
    }
    if (count > 0) {
      exhausted_ = false;
      HandOver(count);
    }
    if (err != 0 && !stopped_) Trouble(err);
  }

  bool AcceptOne(uint32_t at) {
    sockaddr_storage remote;
    socklen_t length = sizeof(remote);
    UniqueFd fd(accept4(plan_.listener.get(), reinterpret_cast<sockaddr*>(&remote), &length,
                        SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) return false;
    Endpoint local;
    if (!LocalEndpoint(fd.get(), &local)) return false;
    Endpoint peer = Endpoint::From(remote);
    Record record = {fd.get(), peer.port, local.port, {}, {}, 0};
    std::memcpy(record.remote_ip, peer.ip, 16);
    std::memcpy(record.local_ip, local.ip, 16);
    uint8_t* out = buffer_ + at * stride_;
    if (plan_.storage.valid()) {
      int key = fd.get();
      int err = sys::MapLookup(plan_.storage.get(), &key, out + sizeof(Record), 0);
      record.has_storage = err == 0;
    }
    std::memcpy(out, &record, sizeof(record));
    state()->Lend(std::move(fd));
    return true;
  }

  void HandOver(uint32_t count) {
    HandleScope scope(state()->env());
    on_batch_.Call({FromInt(state()->env(), count)});
  }

  // Exhaustion is told once and waited out; anything else is the end of the listener.
  void Trouble(int err) {
    uv_poll_stop(&poll_);
    const bool told = exhausted_;
    if (IsExhaustion(err)) {
      exhausted_ = true;
      resting_ = true;
      uv_timer_start(&rest_, OnRested, kRestMs, 0);
      if (told) return;
    }
    HandleScope scope(state()->env());
    napi_value error = MakeError(state()->env(), Status::Failed(err, "accept"));
    if (error != nullptr) on_error_.Call({error});
  }

  AcceptPlan plan_;
  size_t stride_;
  uint8_t* buffer_;
  napi_ref buffer_ref_ = nullptr;
  JsCallback on_batch_;
  JsCallback on_error_;
  uv_poll_t poll_;
  uv_timer_t rest_;
  bool open_ = false;
  bool paused_ = false;
  bool resting_ = false;
  bool exhausted_ = false;
  bool stopped_ = false;
};

// (listenerFd, batchMax, storageFd?, storageValueSize, buffer, onBatch(count), onError) -> id.
// The listener is duplicated. EBADF, EMFILE; ENOTSOCK; EINVAL for what is not listening comes
// through onError.
napi_value Accept(napi_env env, napi_callback_info info) {
  Args args(env, info);
  AcceptPlan plan;
  plan.listener = UniqueFd::Duplicate(args.Int(0));
  if (!plan.listener.valid()) return Throw(env, Status::Errno("accept"));
  plan.batch_max = args.Uint(1);
  plan.value_size = args.Uint(3);
  if (args.Present(2)) {
    plan.storage = UniqueFd::Duplicate(args.Int(2));
    if (!plan.storage.valid()) return Throw(env, Status::Errno("accept: storage map"));
  }
  // Children inherit it. Also proves that this is a TCP socket.
  if (!SetInt(plan.listener.get(), SOL_TCP, TCP_NODELAY, 1)) {
    return Throw(env, Status::Errno("accept: setsockopt TCP_NODELAY"));
  }
  auto* acceptor = EnvState::Get(env)->Make<Acceptor>(std::move(plan), args);
  uint32_t id = acceptor->id();
  int err = acceptor->Start();
  if (err != 0) {
    acceptor->Shutdown();
    return Throw(env, Status::Failed(err, "accept: uv_poll"));
  }
  return FromInt(env, id);
}

Acceptor* FindAcceptor(const Args& args) {
  return static_cast<Acceptor*>(
      EnvState::Get(args.env())->Find(args.Uint(0), LoopResource::Kind::kAcceptor));
}

napi_value AcceptPause(napi_env env, napi_callback_info info) {
  Args args(env, info);
  if (Acceptor* acceptor = FindAcceptor(args)) acceptor->Pause();
  return Undefined(env);
}

napi_value AcceptResume(napi_env env, napi_callback_info info) {
  Args args(env, info);
  if (Acceptor* acceptor = FindAcceptor(args)) acceptor->Resume();
  return Undefined(env);
}

napi_value AcceptStop(napi_env env, napi_callback_info info) {
  Args args(env, info);
  if (Acceptor* acceptor = FindAcceptor(args)) acceptor->Shutdown();
  return Undefined(env);
}

}  // namespace

void RegisterAccept(napi_env env, napi_value exports) {
  Export(env, exports, "accept", Accept);
  Export(env, exports, "acceptPause", AcceptPause);
  Export(env, exports, "acceptResume", AcceptResume);
  Export(env, exports, "acceptStop", AcceptStop);
}

}  // namespace weft
