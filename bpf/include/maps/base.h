/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Maps and helpers of every program. */
#ifndef WEFT_MAPS_BASE_H
#define WEFT_MAPS_BASE_H

#include "../kernel.h"
#include "../abi.h"

/* Writer: agent. Reader: all programs. One entry; never evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_config);
} weft_config SEC(".maps");

/* Writer: all programs. Reader: agent (sums the CPUs). WEFT_COUNTERS entries; never evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} weft_counters SEC(".maps");

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&weft_counters, &counter);

	if (value)
		*value += 1;
}

static __always_inline struct weft_config *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&weft_config, &zero);
}

#endif
