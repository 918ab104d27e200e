/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which worker serves a connection, and how many each serves. */
#ifndef WEFT_MAPS_CAPTURE_H
#define WEFT_MAPS_CAPTURE_H

#include "base.h"

/* The worker chosen for a SYN, kept until establishment: with SYN cookies the ACK is looked up
 * again and must find the same listener. Writer: lookup; removed by track of the agent.
 * Reader: lookup, guard. LRU, because a SYN need not become a connection. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEFT_CHOICES_MAX);
	__type(key, struct weft_tuple);
	__type(value, __u32);
} weft_choices SEC(".maps");

/* Live connections per worker. Writer: track of the agent. Reader: lookup, agent. One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_workers);
} weft_workers SEC(".maps");

/* Worker, class and workload of a listener, cloned into its children. Writer: agent (listeners),
 * track of the agent (`counted`). Reader: track of the agent. Lives and dies with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct weft_listener);
} weft_listener SEC(".maps");

#endif
