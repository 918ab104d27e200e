// SPDX-License-Identifier: Apache-2.0
// Opening a network namespace and looking or writing inside one. setns needs CAP_SYS_ADMIN (EPERM).
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "js/convert.h"
#include "js/error.h"
#include "net/namespace_thread.h"
#include "net/net.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace weft {
namespace {

class CookieTask : public Task {
 public:
  CookieTask(UniqueFd fd, uint64_t inode) : fd_(std::move(fd)), inode_(inode) {}

  Status Run() override {
    UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return Status::Errno("socket");
    socklen_t length = sizeof(cookie_);
    if (getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie_, &length) != 0) {
      return Status::Errno("getsockopt SO_NETNS_COOKIE");
    }
    return Status::Ok();
  }

 protected:
  napi_value Value(EnvState* state) override {
    napi_env env = state->env();
    napi_value object = MakeObject(env);
    if (object == nullptr) return nullptr;
    Set(env, object, "cookie", FromUint64(env, cookie_));
    Set(env, object, "inode", FromInt(env, static_cast<int64_t>(inode_)));
    Set(env, object, "fd", FromInt(env, state->Own(std::move(fd_))));
    return object;
  }

 private:
  UniqueFd fd_;
  uint64_t inode_;
  uint64_t cookie_ = 0;
};

// (path, done({ fd, cookie, inode })). ENOENT, EACCES; EINVAL when it is no network namespace; EPERM.
napi_value OpenNamespace(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string path = args.Text(0);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Throw(env, Status::Errno("open", path));
  struct stat about;
  if (fstat(fd.get(), &about) != 0) return Throw(env, Status::Errno("fstat", path));
  int number = fd.get();
  auto task = std::make_unique<CookieTask>(std::move(fd), about.st_ino);
  return EnvState::Get(env)->thread()->Submit(std::move(task), number, args[1]);
}

class DeviceIndexTask : public Task {
 public:
  explicit DeviceIndexTask(std::string name) : name_(std::move(name)) {}

  Status Run() override {
    index_ = if_nametoindex(name_.c_str());
    if (index_ == 0 && errno != ENODEV) return Status::Errno("if_nametoindex", name_);
    return Status::Ok();
  }

 protected:
  napi_value Value(EnvState* state) override {
    return index_ == 0 ? Undefined(state->env()) : FromInt(state->env(), index_);
  }

 private:
  std::string name_;
  unsigned index_ = 0;
};

// (name, namespaceFd?, done(index or undefined)).
napi_value DeviceIndex(napi_env env, napi_callback_info info) {
  Args args(env, info);
  auto task = std::make_unique<DeviceIndexTask>(args.Text(0));
  return EnvState::Get(env)->thread()->Submit(std::move(task), args.FdOr(1, -1), args[2]);
}

class WriteFileTask : public Task {
 public:
  WriteFileTask(std::string path, std::string text)
      : path_(std::move(path)), text_(std::move(text)) {}

  Status Run() override {
    UniqueFd file(open(path_.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file.valid()) return Status::Errno("open", path_);
    ssize_t written = write(file.get(), text_.data(), text_.size());
    if (written < 0) return Status::Errno("write", path_);
    // Files below /proc/sys take a value in one write or not at all.
    if (static_cast<size_t>(written) != text_.size()) return Status::Failed(EIO, "write " + path_);
    return Status::Ok();
  }

 protected:
  napi_value Value(EnvState* state) override { return Undefined(state->env()); }

 private:
  std::string path_;
  std::string text_;
};

// (namespaceFd, path, text, done). /proc/sys/net shows the namespace of the thread that opens it.
napi_value WriteFileIn(napi_env env, napi_callback_info info) {
  Args args(env, info);
  auto task = std::make_unique<WriteFileTask>(args.Text(1), args.Text(2));
  return EnvState::Get(env)->thread()->Submit(std::move(task), args.Int(0), args[3]);
}

}  // namespace

void RegisterNamespace(napi_env env, napi_value exports) {
  Export(env, exports, "openNamespace", OpenNamespace);
  Export(env, exports, "deviceIndex", DeviceIndex);
  Export(env, exports, "writeFileIn", WriteFileIn);
}

}  // namespace weft
