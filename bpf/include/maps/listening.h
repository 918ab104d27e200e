/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_LISTENING_H
#define WEFT_MAPS_LISTENING_H

#include "base.h"

/* How many sockets listen on a port of a namespace. Writer: track of workloads, sweep.
 * Reader: agent. Removed with the last listener; full: the port is not discovered. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_LISTENING_MAX);
	__type(key, struct weft_listening_key);
	__type(value, __u32);
} weft_listening SEC(".maps");

static __always_inline void listening_add(const struct weft_listening_key *key)
{
	__u32 one = 1, *listeners;

	if (!bpf_map_update_elem(&weft_listening, key, &one, BPF_NOEXIST))
		return;
	listeners = bpf_map_lookup_elem(&weft_listening, key);
	if (listeners)
		__sync_fetch_and_add(listeners, 1);
}

#endif
