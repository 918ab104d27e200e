/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_LISTENERS_H
#define WEFT_MAPS_LISTENERS_H

#include "base.h"

/* TCP listeners and the UDP sockets of DNS. Writer: agent. Reader: lookup, connect. The kernel
 * removes a socket when its last descriptor closes, so presence is liveness. Each family of a pod
 * has sockets of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, WEFT_LISTENERS_MAX);
	__type(key, struct weft_listener_key);
	__type(value, __u64);
} weft_listeners SEC(".maps");

#endif
