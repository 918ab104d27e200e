/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which workload serves a port of the node. */
#ifndef WEFT_PORTS_H
#define WEFT_PORTS_H

#include "../include/maps/hosts.h"
#include "address.h"

/* The owner of an entry whose last listener is closing: nobody may join it any more. */
#define PORT_ENDS (~0U)
#define PORT_TRIES 16

static __always_inline __u32 port_entry(const struct weft_port_key *key)
{
	struct weft_port *found = bpf_map_lookup_elem(&weft_host_ports, key);

	if (!found || found->workload == PORT_ENDS)
		return 0;
	return found->workload;
}

static __always_inline struct weft_ip every_address(const struct weft_ip *like)
{
	struct weft_ip every = { .words = { 0, 0, ip_is_v4(like) ? V4_MAPPED : 0, 0 } };

	return every;
}

/* Who listens at the address, else at every address, else has the port by configuration; 0: no
 * workload. `port` in host order. */
static __always_inline __u32 port_owner(const struct weft_ip *ip, __u16 port)
{
	struct weft_port_key key = { .ip = *ip, .port = port };
	__u32 owner = port_entry(&key);

	if (owner)
		return owner;
	key.ip = every_address(ip);
	owner = port_entry(&key);
	if (owner)
		return owner;
	key.configured = 1;
	return port_entry(&key);
}

/* Owner and listeners change together. */
static __always_inline bool port_swap(struct weft_port *entry, struct weft_port before,
				      struct weft_port after)
{
	__u64 old = before.workload | ((__u64)before.listeners << 32);
	__u64 new = after.workload | ((__u64)after.listeners << 32);

	return __sync_val_compare_and_swap((__u64 *)entry, old, new) == old;
}

/* One more listener of `workload`. Returns 0, or the counter of what stands against it: the port is
 * another's, or there is no room. */
static __always_inline __u32 port_add(const struct weft_port_key *key, __u32 workload)
{
	struct weft_port one = { .workload = workload, .listeners = 1 };
	struct weft_port_key configured = {
		.ip = every_address(&key->ip), .port = key->port, .configured = 1,
	};
	__u32 owner = port_entry(&configured);
	int tries;

	if (owner && owner != workload)
		return WEFT_COUNT_PORTS_TAKEN;
	for (tries = 0; tries < PORT_TRIES; tries++) {
		struct weft_port *entry, before, after;

		if (!bpf_map_update_elem(&weft_host_ports, key, &one, BPF_NOEXIST))
			return 0;
		entry = bpf_map_lookup_elem(&weft_host_ports, key);
		if (!entry)
			continue;
		before.workload = entry->workload;
		before.listeners = entry->listeners;
		/* Whoever closes the last listener removes the entry in a moment. */
		if (before.workload == PORT_ENDS)
			continue;
		if (before.workload != workload)
			return WEFT_COUNT_PORTS_TAKEN;
		after.workload = workload;
		after.listeners = before.listeners + 1;
		if (port_swap(entry, before, after))
			return 0;
	}
	return WEFT_COUNT_PORTS_FULL;
}

/* One listener less. */
static __always_inline void port_remove(const struct weft_port_key *key, __u32 workload)
{
	struct weft_port *entry = bpf_map_lookup_elem(&weft_host_ports, key);
	int tries;

	for (tries = 0; entry && tries < PORT_TRIES; tries++) {
		struct weft_port before, after;

		before.workload = entry->workload;
		before.listeners = entry->listeners;
		if (before.workload != workload)
			return;
		after.workload = before.listeners > 1 ? workload : PORT_ENDS;
		after.listeners = before.listeners > 1 ? before.listeners - 1 : 0;
		if (!port_swap(entry, before, after))
			continue;
		if (after.workload == PORT_ENDS)
			bpf_map_delete_elem(&weft_host_ports, key);
		return;
	}
}

#endif
