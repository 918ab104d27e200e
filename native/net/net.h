// SPDX-License-Identifier: Apache-2.0
// What each file of this folder adds to the addon's exports.
#ifndef WEFT_NET_NET_H_
#define WEFT_NET_NET_H_

#include <node_api.h>

namespace weft {

void RegisterAccept(napi_env env, napi_value exports);
void RegisterBindUdp(napi_env env, napi_value exports);
void RegisterConnect(napi_env env, napi_value exports);
void RegisterDiag(napi_env env, napi_value exports);
void RegisterListen(napi_env env, napi_value exports);
void RegisterNamespace(napi_env env, napi_value exports);
void RegisterSockopt(napi_env env, napi_value exports);
void RegisterUnixChannel(napi_env env, napi_value exports);
void RegisterUnixListen(napi_env env, napi_value exports);

}  // namespace weft

#endif  // WEFT_NET_NET_H_
