/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What is known of sockets of workloads, and which tuples the kernel vouches for. */
#ifndef WEFT_MAPS_SOCKETS_H
#define WEFT_MAPS_SOCKETS_H

#include "base.h"

/* Writer: connect, track, sweep. Reader: track, guard, sweep. Lives and dies with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weft_sock);
} weft_socks SEC(".maps");

/* Writer: track of the client, before its SYN; removed by track of the server when established, or
 * of the client when it closes. Reader: lookup, guard. A plain hash: with LRU a pod could evict
 * what vouches for others. Full: the connection is not made. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_ATTEST_MAX);
	__type(key, struct weft_tuple);
	__type(value, struct weft_attest);
} weft_attest SEC(".maps");

#endif
