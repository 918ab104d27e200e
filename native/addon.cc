// SPDX-License-Identifier: Apache-2.0
// The addon's entrance: once for the main thread and once for every worker that loads it.
#include <node_api.h>

#include "bpf/libbpf_log.h"
#include "bpf/sys.h"
#include "env_state.h"
#include "net/net.h"

NAPI_MODULE_INIT() {
  weft::LibbpfLog::Install();
  weft::EnvState::Install(env);
  weft::RegisterBtf(env, exports);
  weft::RegisterIter(env, exports);
  weft::RegisterLink(env, exports);
  weft::RegisterMap(env, exports);
  weft::RegisterMapBatch(env, exports);
  weft::RegisterMapCreate(env, exports);
  weft::RegisterObject(env, exports);
  weft::RegisterProgram(env, exports);
  weft::RegisterRing(env, exports);
  weft::RegisterAccept(env, exports);
  weft::RegisterBindUdp(env, exports);
  weft::RegisterConnect(env, exports);
  weft::RegisterDiag(env, exports);
  weft::RegisterListen(env, exports);
  weft::RegisterNamespace(env, exports);
  weft::RegisterSockopt(env, exports);
  weft::RegisterUnixChannel(env, exports);
  weft::RegisterUnixListen(env, exports);
  return exports;
}
