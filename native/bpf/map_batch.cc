// SPDX-License-Identifier: Apache-2.0
// Many entries in one call: the kernel's batch operations, and single steps where a type or an
// older kernel has none.
#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

#include "bpf/sys.h"
#include "js/convert.h"
#include "js/error.h"

namespace weft {
namespace {

// Entries asked for at once; a hash bucket that holds more makes the kernel ask for more room.
constexpr uint32_t kBatch = 256;

bool HasNoBatch(int err) {
  return err == kNotSupported || err == ENOTSUP || err == EINVAL || err == ENOSYS;
}

struct Listing {
  size_t key_size = 0;
  size_t value_size = 0;
  std::vector<uint8_t> keys;
  std::vector<uint8_t> values;
  uint32_t count = 0;
};

// Whole buckets at a time, so no key comes twice.
int ListByBatch(int fd, Listing* out) {
  std::vector<uint8_t> cursor(std::max<size_t>(out->key_size, 8));
  std::vector<uint8_t> next(cursor.size());
  bool started = false;
  for (uint32_t room = kBatch;;) {
    out->keys.resize((out->count + room) * out->key_size);
    out->values.resize((out->count + room) * out->value_size);
    uint32_t count = room;
    int err = -bpf_map_lookup_batch(fd, started ? cursor.data() : nullptr, next.data(),
                                    out->keys.data() + out->count * out->key_size,
                                    out->values.data() + out->count * out->value_size, &count,
                                    nullptr);
    if (err == ENOSPC) {
      room *= 2;
      continue;
    }
    if (err != 0 && err != ENOENT) return err;
    out->count += count;
    if (err == ENOENT) break;
    cursor.swap(next);
    started = true;
  }
  out->keys.resize(out->count * out->key_size);
  out->values.resize(out->count * out->value_size);
  return 0;
}

// Key by key. When the key it stands on is deleted the kernel begins again: keys seen are skipped.
int ListByStep(int fd, bool with_values, Listing* out) {
  std::unordered_set<std::string> seen;
  std::string key(out->key_size, '\0'), next(out->key_size, '\0');
  std::vector<uint8_t> value(out->value_size);
  bool started = false;
  for (;;) {
    int err = sys::MapNextKey(fd, started ? key.data() : nullptr, next.data());
    if (err == ENOENT) return 0;
    if (err != 0) return err;
    key.swap(next);
    started = true;
    if (!seen.insert(key).second) continue;
    if (with_values) {
      err = sys::MapLookup(fd, key.data(), value.data(), 0);
      if (err == ENOENT) continue;
      if (err != 0) return err;
      out->values.insert(out->values.end(), value.begin(), value.end());
    }
    out->keys.insert(out->keys.end(), key.begin(), key.end());
    out->count++;
  }
}

// (fd, keySize, valueBytes, withValues) -> { keys, values, count }, packed. EBADF; ENOTSUPP for
// types that cannot be listed (socket storage, ring buffers).
napi_value MapList(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const int fd = args.Int(0);
  const bool with_values = args.Bool(3);
  Listing listing{args.Uint(1), args.Uint(2), {}, {}, 0};
  int err = ListByBatch(fd, &listing);
  if (HasNoBatch(err)) {
    listing = Listing{args.Uint(1), args.Uint(2), {}, {}, 0};
    err = ListByStep(fd, with_values, &listing);
  }
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_MAP_GET_NEXT_KEY)"));
  napi_value result = MakeObject(env);
  Set(env, result, "keys", FromBytes(env, listing.keys));
  Set(env, result, "values", FromBytes(env, listing.values));
  Set(env, result, "count", FromInt(env, listing.count));
  return result;
}

// (fd, keys, values, count, keySize, valueBytes). As mapUpdate; entries before the failing one
// stay written.
napi_value MapUpdateBatch(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const int fd = args.Int(0);
  Bytes keys = args.Data(1), values = args.Data(2);
  const uint32_t total = args.Uint(3);
  const size_t key_size = args.Uint(4), value_size = args.Uint(5);
  uint32_t count = total;
  int err = total == 0 ? 0 : -bpf_map_update_batch(fd, keys.data(), values.data(), &count, nullptr);
  if (HasNoBatch(err)) {
    err = 0;
    for (uint32_t at = 0; at < total && err == 0; at++) {
      err = sys::MapUpdate(fd, keys.data() + at * key_size, values.data() + at * value_size, 0);
    }
  }
  if (err != 0) return Throw(env, Status::Failed(err, "bpf(BPF_MAP_UPDATE_BATCH)"));
  return Undefined(env);
}

// (fd, keys, count, keySize) -> how many were there.
napi_value MapDeleteBatch(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const int fd = args.Int(0);
  Bytes keys = args.Data(1);
  const uint32_t total = args.Uint(2);
  const size_t key_size = args.Uint(3);
  uint32_t deleted = 0;
  bool single = false;
  for (uint32_t at = 0; at < total;) {
    uint32_t count = single ? 1 : total - at;
    int err = single ? sys::MapDelete(fd, keys.data() + at * key_size)
                     : -bpf_map_delete_batch(fd, keys.data() + at * key_size, &count, nullptr);
    if (!single && HasNoBatch(err)) {
      single = true;
      continue;
    }
    if (err != 0 && err != ENOENT) {
      return Throw(env, Status::Failed(err, "bpf(BPF_MAP_DELETE_BATCH)"));
    }
    // A batch stops at the first absent key, having deleted `count`.
    if (err == ENOENT && single) count = 0;
    deleted += count;
    at += err == ENOENT ? count + 1 : count;
  }
  return FromInt(env, deleted);
}

}  // namespace

void RegisterMapBatch(napi_env env, napi_value exports) {
  Export(env, exports, "mapList", MapList);
  Export(env, exports, "mapUpdateBatch", MapUpdateBatch);
  Export(env, exports, "mapDeleteBatch", MapDeleteBatch);
}

}  // namespace weft
