/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_KILL_H
#define WEFT_MAPS_KILL_H

#include "../abi.h"
#include "../kernel.h"

/* Sockets to end, by cookie, and the reason for their records. Writer: agent, emptied after each
 * sweep. Readers: end, and sweep where the kernel cannot end them itself. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEFT_KILL_MAX);
	__type(key, __u64);
	__type(value, __u32);
} weft_kill SEC(".maps");

#endif
