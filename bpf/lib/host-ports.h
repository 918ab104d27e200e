/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which ports of the node the listening sockets of its workloads serve. */
#ifndef WEFT_HOST_PORTS_H
#define WEFT_HOST_PORTS_H

#include "../include/maps/sockets.h"
#include "ports.h"
#include "sock.h"

/* What a listener's record says in `destination`: under which keys it is counted. */
#define LISTENS_AT_ADDRESS 1
#define LISTENS_AT_EVERY_V4 2

static __always_inline bool is_dual(struct sock *sk, const struct weft_ip *ip)
{
	return ip_is_zero(ip) &&
	       BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only) == 0;
}

static __always_inline __u32 claim(const struct weft_port_key *key, __u32 workload, __u32 bit)
{
	__u32 problem = port_add(key, workload);

	if (!problem)
		return bit;
	count(problem);
	return 0;
}

/* `record` is the listener's own; the caller holds its lock. */
static __always_inline void listener_claim(struct sock *sk, struct weft_sock *record,
					   __u32 workload)
{
	struct weft_tuple tuple = {};
	struct weft_port_key key = {};
	__u32 claimed;

	sock_tuple(sk, &tuple);
	key.ip = tuple.source;
	key.port = bpf_ntohs(tuple.source_port);
	claimed = claim(&key, workload, LISTENS_AT_ADDRESS);
	if (is_dual(sk, &tuple.source)) {
		key.ip = ip_of_v4(0);
		claimed |= claim(&key, workload, LISTENS_AT_EVERY_V4);
	}
	record->kind = WEFT_SOCK_LISTENS;
	record->source = workload;
	record->destination = claimed;
	record->ip = tuple.source;
	record->port = tuple.source_port;
}

static __always_inline void listener_release(struct weft_sock *record)
{
	struct weft_port_key key = { .ip = record->ip, .port = bpf_ntohs(record->port) };

	if (record->destination & LISTENS_AT_ADDRESS)
		port_remove(&key, record->source);
	key.ip = ip_of_v4(0);
	if (record->destination & LISTENS_AT_EVERY_V4)
		port_remove(&key, record->source);
	record->kind = 0;
}

#endif
