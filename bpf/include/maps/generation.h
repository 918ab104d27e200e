/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_GENERATION_H
#define WEFT_MAPS_GENERATION_H

#include "base.h"

struct weft_rules {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_RULES_TEMPLATE);
	__uint(key_size, sizeof(struct weft_rule_key));
	__uint(value_size, sizeof(struct weft_rule));
};

/* The generation in force: services, backends and verdicts in ONE inner map, so that a hook, which
 * reads this slot once, cannot mix two generations, however many swaps happen meanwhile; its
 * pointer stays valid until the hook ends (the kernel frees inner maps after a grace period, and
 * the swapping system call itself waits for running programs). Writer: agent. Reader: connect.
 * An empty slot means "agent". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct weft_rules);
} weft_generation SEC(".maps");

#endif
