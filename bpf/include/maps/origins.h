/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_ORIGINS_H
#define WEFT_MAPS_ORIGINS_H

#include "base.h"

/* Original destinations between a captured connect() and its accept. Writer: track of workloads,
 * before the SYN; removed by track of the agent when established, and by the client's close.
 * Reader: lookup of the node. LRU: if an entry is evicted its connection is refused, never misdirected. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEFT_ORIGINS_MAX);
	__type(key, struct weft_origin_key);
	__type(value, struct weft_origin);
} weft_origins SEC(".maps");

#endif
