/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Vouches for connections before their SYN, and takes it back. */
#ifndef WEFT_VOUCH_H
#define WEFT_VOUCH_H

#include "../include/maps/hosts.h"
#include "../include/maps/pods.h"
#include "../include/maps/sockets.h"
#include "host.h"
#include "ports.h"
#include "sockops.h"

static __always_inline void watch_states(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline bool attest(struct bpf_sock_ops *ctx, const struct weft_attest *statement)
{
	struct weft_tuple tuple = {};

	tuple_of_client(ctx, &tuple);
	if (!bpf_map_update_elem(&weft_attest, &tuple, statement, BPF_ANY))
		return true;
	count(WEFT_COUNT_ATTEST_FAILED);
	return false;
}

static __always_inline bool is_on_node(struct bpf_sock_ops *ctx)
{
	struct weft_config *settings = config();

	return settings && bpf_get_netns_cookie(ctx) == settings->node_netns;
}

/* A program may bind to any address, but is vouched for under its own only: under another's,
 * whoever has that one could connect in its stead. */
static __always_inline bool has_own_address(struct bpf_sock_ops *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct weft_pod *pod = bpf_map_lookup_elem(&weft_pods, &netns);
	struct weft_tuple tuple = {};

	tuple_of_client(ctx, &tuple);
	return pod && (ip_equal(&tuple.source, &pod->ip4) || ip_equal(&tuple.source, &pod->ip6));
}

/* Asked again, because the destination may have been withdrawn since the connect() was decided.
 * Here the socket is among those a sweep sees, so none slips between the two. */
static __always_inline bool reaches_enrolled(struct bpf_sock_ops *ctx, __u32 workload)
{
	struct weft_tuple tuple = {};

	tuple_of_client(ctx, &tuple);
	return is_enrolled_at(workload, &tuple.destination);
}

/* Only the entry of this very socket: its tuple may already be another's. */
static __always_inline void withdraw_attest(struct bpf_sock_ops *ctx)
{
	struct weft_attest *found;
	struct weft_tuple tuple = {};

	tuple_of_client(ctx, &tuple);
	found = bpf_map_lookup_elem(&weft_attest, &tuple);
	if (found && found->cookie == bpf_get_socket_cookie(ctx))
		bpf_map_delete_elem(&weft_attest, &tuple);
}

/* A workload of the node calls a port of its own, which nobody has taken over meanwhile. */
static __always_inline bool reaches_own_port(struct bpf_sock_ops *ctx, __u32 workload)
{
	struct weft_tuple tuple = {};

	tuple_of_client(ctx, &tuple);
	return is_on_node(ctx) &&
	       port_owner(&tuple.destination, bpf_ntohs(tuple.destination_port)) == workload;
}

/* A pod, or a port of the node that a workload serves. */
static __always_inline bool is_probed(const struct weft_tuple *tuple)
{
	if (bpf_map_lookup_elem(&weft_addresses, &tuple->destination))
		return true;
	if (!ip_is_loopback(&tuple->destination) && !ip_equal(&tuple->source, &tuple->destination))
		return false;
	return port_owner(&tuple->destination, bpf_ntohs(tuple->destination_port)) != 0;
}

static __always_inline void probe_starts(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_attest statement = { .kind = WEFT_ATTEST_PROBE };
	struct weft_host host = {};
	struct weft_tuple tuple = {};
	struct weft_sock *record;

	if (!is_on_node(ctx) || !host_of(kernel_sock(sk), &host) || host.workload)
		return;
	tuple_of_client(ctx, &tuple);
	if (!is_probed(&tuple))
		return;
	record = bpf_sk_storage_get(&weft_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!record)
		return;
	record->kind = WEFT_SOCK_PROBE;
	statement.cookie = bpf_get_socket_cookie(ctx);
	watch_states(ctx);
	if (attest(ctx, &statement))
		count(WEFT_COUNT_PROBES);
}

/* Whether the server's end may take what is vouched for: tuples are of no namespace, and a pod could
 * connect within itself by that of another's connection. */
static __always_inline bool may_take(struct bpf_sock_ops *ctx, const struct weft_tuple *tuple)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct weft_pod *pod;

	if (is_on_node(ctx))
		return true;
	pod = bpf_map_lookup_elem(&weft_pods, &netns);
	return pod && (ip_equal(&tuple->destination, &pod->ip4) ||
		       ip_equal(&tuple->destination, &pod->ip6));
}

#endif
