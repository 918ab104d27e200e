// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The life of connections, seen from TCP: original destinations reach the accepted socket, direct
 * connections are vouched for before their SYN and reported at their end, listeners are noticed,
 * workers' connections counted. One program for workloads, one for the agent. */
#include "include/maps/base.h"
#include "include/maps/capture.h"
#include "include/maps/events.h"
#include "include/maps/hosts.h"
#include "include/maps/listening.h"
#include "include/maps/origin.h"
#include "include/maps/origins.h"
#include "include/maps/pods.h"
#include "include/maps/sockets.h"
#include "lib/cgroup.h"
#include "lib/ending.h"
#include "lib/host.h"
#include "lib/host-ports.h"
#include "lib/sockops.h"
#include "lib/vouch.h"

char LICENSE[] SEC("license") = "GPL";

/* ---- workloads ---- */

static __always_inline void keep_origin(struct bpf_sock_ops *ctx, struct weft_sock *record)
{
	struct weft_origin_key key = {};
	struct weft_origin origin = {
		.ip = record->ip, .port = record->port, .workload = record->source,
	};

	tuple_of_client(ctx, &key.tuple);
	key.netns = bpf_get_netns_cookie(ctx);
	bpf_map_update_elem(&weft_origins, &key, &origin, BPF_ANY);
}

static __always_inline void forget_origin(struct bpf_sock_ops *ctx)
{
	struct weft_origin_key key = {};

	tuple_of_client(ctx, &key.tuple);
	key.netns = bpf_get_netns_cookie(ctx);
	bpf_map_delete_elem(&weft_origins, &key);
}

static __always_inline void direct_starts(struct bpf_sock_ops *ctx, struct weft_sock *record)
{
	struct weft_attest statement = {
		.kind = WEFT_ATTEST_DIRECT,
		.cookie = bpf_get_socket_cookie(ctx),
		.version = record->version,
		.source = record->source,
		.destination = record->destination,
	};

	if (!has_own_address(ctx) || !reaches_enrolled(ctx, record->destination) ||
	    !attest(ctx, &statement))
		record->kind = WEFT_SOCK_REFUSED;
}

/* A workload of the node that calls itself. What nobody vouches for is captured as plaintext. */
static __always_inline void own_call_starts(struct bpf_sock_ops *ctx, struct weft_sock *record)
{
	struct weft_attest statement = {
		.kind = WEFT_ATTEST_DIRECT,
		.cookie = bpf_get_socket_cookie(ctx),
		.source = record->source,
		.destination = record->source,
	};

	if (!reaches_own_port(ctx, record->source))
		return;
	watch_states(ctx);
	attest(ctx, &statement);
}

/* The source port is fixed, the SYN not sent. */
static __always_inline void client_starts(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_sock *record = bpf_sk_storage_get(&weft_socks, sk, 0, 0);

	if (!record || record->kind == 0 || record->kind == WEFT_SOCK_PROBE)
		return probe_starts(ctx, sk);
	if (record->kind == WEFT_SOCK_PASS)
		return record->destination ? own_call_starts(ctx, record) : probe_starts(ctx, sk);
	if (record->kind != WEFT_SOCK_AGENT && record->kind != WEFT_SOCK_DIRECT)
		return;
	record->started_ns = bpf_ktime_get_ns();
	watch_states(ctx);
	if (record->kind == WEFT_SOCK_AGENT)
		keep_origin(ctx, record);
	else
		direct_starts(ctx, record);
}

static __always_inline void client_established(struct bpf_sock *sk)
{
	struct weft_sock *record = bpf_sk_storage_get(&weft_socks, sk, 0, 0);

	if (record)
		record->established = 1;
}

static __always_inline void server_established(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_tuple tuple = {};
	struct weft_attest *statement;
	struct weft_sock *record;

	tuple_of_server(ctx, &tuple);
	statement = bpf_map_lookup_elem(&weft_attest, &tuple);
	if (!statement || !may_take(ctx, &tuple))
		return;
	record = bpf_sk_storage_get(&weft_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (record) {
		record->kind = WEFT_SOCK_ACCEPTED;
		record->established = 1;
		record->source = statement->source;
		record->destination = statement->destination;
		record->version = statement->version;
		record->ip = tuple.destination;
		record->port = tuple.destination_port;
	}
	bpf_map_delete_elem(&weft_attest, &tuple);
	count(WEFT_COUNT_ATTESTED);
}

static __always_inline void report_closed(struct bpf_sock_ops *ctx, struct bpf_sock *sk,
					  struct weft_sock *record)
{
	struct weft_closed *event = bpf_ringbuf_reserve(&weft_events, sizeof(*event), 0);

	if (!event) {
		count(WEFT_COUNT_EVENTS_LOST);
		return;
	}
	event->type = WEFT_EVENT_CLOSED;
	event->reason = reason_of_end(sk, record, OPS(ctx, args[0]));
	event->version = record->version;
	event->cookie = bpf_get_socket_cookie(ctx);
	event->duration_ns = bpf_ktime_get_ns() - record->started_ns;
	event->sent_bytes = without(ctx->bytes_acked,
				    1 + own_fin_acknowledged(OPS(ctx, args[0])));
	event->received_bytes = without(ctx->bytes_received, peer_fin_arrived(sk));
	event->source = record->source;
	event->destination = record->destination;
	event->srtt_us = OPS(ctx, srtt_us) >> 3;
	event->retransmits = OPS(ctx, total_retrans);
	tuple_of_client(ctx, &event->tuple);
	event->asked_ip = record->ip;
	event->asked_port = record->port;
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void client_closed(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_sock *record = bpf_sk_storage_get(&weft_socks, sk, 0, 0);

	if (!record)
		return;
	if (record->kind == WEFT_SOCK_AGENT)
		return forget_origin(ctx);
	if (record->kind == WEFT_SOCK_PROBE || record->kind == WEFT_SOCK_PASS)
		return withdraw_attest(ctx);
	if (record->kind != WEFT_SOCK_DIRECT && record->kind != WEFT_SOCK_REFUSED)
		return;
	if (!record->started_ns)
		return;
	withdraw_attest(ctx);
	report_closed(ctx, sk, record);
	/* Told once. The kind stays: a reset may still have to leave, after the state is CLOSE. */
	record->started_ns = 0;
}

static __always_inline void listening_key(struct bpf_sock_ops *ctx, struct weft_listening_key *key)
{
	key->netns = bpf_get_netns_cookie(ctx);
	key->port = OPS(ctx, local_port);
	key->family = OPS(ctx, family);
	key->pad = 0;
}

/* The agent's listeners in a pod are not the pod's. */
static __always_inline bool of_agent(struct sock *sk)
{
	struct weft_config *settings = config();

	return settings && sock_below(sk, settings->agent_level, settings->agent_cgroup);
}

/* A pod's, or one of the node's that is not known yet; programs of the node are only watched where
 * they are workloads. */
static __always_inline bool is_watched(struct sock *sk)
{
	struct weft_config *settings = config();

	return settings && sock_below(sk, settings->workloads_level, settings->workloads_cgroup);
}

static __always_inline void listener_opened(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct sock *kernel = kernel_sock(sk);
	struct weft_listening_key key;
	struct weft_host host = {};
	struct weft_sock *record;

	if (!kernel || of_agent(kernel))
		return;
	if (is_watched(kernel)) {
		watch_states(ctx);
		listening_key(ctx, &key);
		listening_add(&key);
	}
	if (!is_on_node(ctx) || !host_of(kernel, &host) || !host.workload)
		return;
	watch_states(ctx);
	record = bpf_sk_storage_get(&weft_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (record)
		listener_claim(kernel, record, host.workload);
}

/* An open that races with the last close may be missed; discovery, not enforcement, reads this. */
static __always_inline void listener_closed(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_sock *record = bpf_sk_storage_get(&weft_socks, sk, 0, 0);
	struct weft_listening_key key;
	__u32 *listeners;

	if (record && record->kind == WEFT_SOCK_LISTENS)
		listener_release(record);

	listening_key(ctx, &key);
	listeners = bpf_map_lookup_elem(&weft_listening, &key);
	if (listeners && __sync_fetch_and_add(listeners, -1) <= 1)
		bpf_map_delete_elem(&weft_listening, &key);
}

SEC("sockops")
int weft_track_workload(struct bpf_sock_ops *ctx)
{
	__u32 op = OPS(ctx, op);
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 1;
	switch (op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		client_starts(ctx, sk);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		client_established(sk);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		server_established(ctx, sk);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		listener_opened(ctx, sk);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (OPS(ctx, args[1]) != BPF_TCP_CLOSE)
			break;
		if (OPS(ctx, args[0]) == BPF_TCP_LISTEN)
			listener_closed(ctx, sk);
		else
			client_closed(ctx, sk);
		break;
	}
	return 1;
}

/* ---- the agent ---- */

/* A delivery that nobody vouches for would be captured as plaintext and delivered again, for ever.
 * Without its mark the answer is routed away from the pod and the connect times out. */
static __always_inline void delivery_starts(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_attest statement = {
		.kind = WEFT_ATTEST_AGENT, .cookie = bpf_get_socket_cookie(ctx),
	};
	struct weft_tuple tuple = {};
	int none = 0;

	if (sk->mark != WEFT_DELIVERY_MARK)
		return;
	/* For whom it is, or another workload of the node could take its port. */
	if (is_on_node(ctx)) {
		tuple_of_client(ctx, &tuple);
		statement.destination =
			port_owner(&tuple.destination, bpf_ntohs(tuple.destination_port));
	}
	watch_states(ctx);
	if (!attest(ctx, &statement))
		bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &none, sizeof(none));
}

static __always_inline __u64 *live_of(const struct weft_listener *listener)
{
	__u32 zero = 0;
	struct weft_workers *workers = bpf_map_lookup_elem(&weft_workers, &zero);

	if (!workers || listener->worker >= WEFT_WORKERS_MAX)
		return 0;
	return &workers->live[listener->worker];
}

static __always_inline void take_origin(struct bpf_sock_ops *ctx, struct bpf_sock *sk,
					const struct weft_tuple *tuple)
{
	struct weft_origin_key key = { .tuple = *tuple };
	struct weft_origin *origin, *kept;

	key.netns = bpf_get_netns_cookie(ctx);
	origin = bpf_map_lookup_elem(&weft_origins, &key);
	if (!origin) {
		count(WEFT_COUNT_ORIGIN_MISSING);
		return;
	}
	kept = bpf_sk_storage_get(&weft_sock_origin, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = *origin;
	bpf_map_delete_elem(&weft_origins, &key);
}

/* The node's listeners serve many workloads: says which one was meant. */
static __always_inline void keep_owner(struct bpf_sock *sk, const struct weft_tuple *tuple)
{
	struct weft_origin *kept;

	kept = bpf_sk_storage_get(&weft_sock_origin, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept)
		return;
	kept->ip = tuple->destination;
	kept->port = tuple->destination_port;
	kept->workload = port_owner(&tuple->destination, bpf_ntohs(tuple->destination_port));
}

/* Runs under the lock accept() must take, so a worker never sees the socket without its origin. */
static __always_inline void worker_accepts(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_listener *listener = bpf_sk_storage_get(&weft_listener, sk, 0, 0);
	struct weft_tuple tuple = {};
	__u64 *live;

	if (!listener)
		return;
	watch_states(ctx);
	tuple_of_server(ctx, &tuple);
	bpf_map_delete_elem(&weft_choices, &tuple);
	if (listener->class == WEFT_CLASS_OUTBOUND)
		take_origin(ctx, sk, &tuple);
	if (listener->class == WEFT_CLASS_PLAINTEXT && is_on_node(ctx))
		keep_owner(sk, &tuple);
	live = live_of(listener);
	if (live && !listener->counted) {
		listener->counted = 1;
		__sync_fetch_and_add(live, 1);
	}
}

static __always_inline void agent_closed(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct weft_listener *listener = bpf_sk_storage_get(&weft_listener, sk, 0, 0);
	__u64 *live;

	if (!listener) {
		if (sk->mark == WEFT_DELIVERY_MARK)
			withdraw_attest(ctx);
		return;
	}
	live = live_of(listener);
	if (live && listener->counted) {
		listener->counted = 0;
		__sync_fetch_and_add(live, -1);
	}
}

SEC("sockops")
int weft_track_agent(struct bpf_sock_ops *ctx)
{
	__u32 op = OPS(ctx, op);
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 1;
	switch (op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		delivery_starts(ctx, sk);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		worker_accepts(ctx, sk);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (OPS(ctx, args[1]) == BPF_TCP_CLOSE && OPS(ctx, args[0]) != BPF_TCP_LISTEN)
			agent_closed(ctx, sk);
		break;
	}
	return 1;
}
