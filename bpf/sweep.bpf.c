// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Walks the sockets of a namespace: lists them, marks those older than the pod's enrolment, and
 * names those to end where the kernel cannot end them from inside. The iterators see the namespace
 * of whoever opens them. */
#include "include/maps/base.h"
#include "include/maps/hosts.h"
#include "include/maps/listening.h"
#include "include/maps/sockets.h"
#include "lib/cgroup.h"
#include "lib/doom.h"
#include "lib/ending.h"
#include "lib/host-ports.h"
#include "lib/host.h"
#include "lib/sock.h"

char LICENSE[] SEC("license") = "GPL";

/* The pod or host-network workload being enrolled or withdrawn. Writer: agent, one at a time.
 * Reader: the programs that tag and release. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_tagging);
} weft_tagging SEC(".maps");

/* How far a client's connection has come, as its record tells at the end. */
static __always_inline void list_progress(struct tcp_sock *tcp, struct weft_listed *listed)
{
	unsigned long flags = BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_flags);

	listed->sent_bytes = without(BPF_CORE_READ(tcp, bytes_acked),
				     listed->state == BPF_TCP_FIN_WAIT2 ? 2 : 1);
	listed->received_bytes = without(BPF_CORE_READ(tcp, bytes_received),
					 flags & (1UL << SOCK_DONE) ? 1 : 0);
	listed->srtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
}

SEC("iter/tcp")
int weft_list(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct weft_listed listed = {};
	struct weft_sock *record;
	struct tcp_sock *tcp;

	if (!common)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	listed.cookie = bpf_get_socket_cookie(tcp);
	listed.state = BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_state);
	listed.family = BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_family);
	sock_tuple((struct sock *)tcp, &listed.tuple);
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, 0);
	if (record) {
		listed.kind = record->kind;
		listed.version = record->version;
		listed.source = record->source;
		listed.destination = record->destination;
		listed.started_ns = record->started_ns;
		listed.asked_ip = record->ip;
		listed.asked_port = record->port;
		list_progress(tcp, &listed);
	}
	bpf_seq_write(ctx->meta->seq, &listed, sizeof(listed));
	return 0;
}

static __always_inline bool of_agent(struct sock *sk)
{
	struct weft_config *settings = config();

	return settings && sock_below(sk, settings->agent_level, settings->agent_cgroup);
}

static __always_inline struct weft_tagging *tagging(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&weft_tagging, &zero);
}

/* Asks to be told of the socket's end. */
static __always_inline bool watch_end(struct tcp_sock *tcp)
{
	int flags = BPF_SOCK_OPS_STATE_CB_FLAG;

	return !bpf_setsockopt(tcp, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags));
}

/* Notices a listener that LISTEN_CB was not there to see. */
static __always_inline void adopt_listener(struct tcp_sock *tcp, __u64 netns)
{
	struct weft_listening_key key = {
		.netns = netns,
		.port = BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_num),
		.family = BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_family),
	};

	if (BPF_CORE_READ(tcp, bpf_sock_ops_cb_flags) & BPF_SOCK_OPS_STATE_CB_FLAG)
		return;
	if (watch_end(tcp))
		listening_add(&key);
}

/* Connections within the pod never leave it and are nobody's business. */
static __always_inline bool stays_inside(const struct weft_tagging *pod,
					 const struct weft_tuple *tuple)
{
	return ip_is_loopback(&tuple->destination) || ip_is_link_local(&tuple->destination) ||
	       ip_equal(&tuple->destination, &pod->ip4) ||
	       ip_equal(&tuple->destination, &pod->ip6);
}

/* A socket that already has a record (but "pass", which an unknown pod's sockets get) was made
 * while our programs watched. */
SEC("iter/tcp")
int weft_tag_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct weft_tagging *pod = tagging();
	struct weft_tuple tuple = {};
	struct weft_sock *record;
	struct tcp_sock *tcp;

	if (!common || !pod)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp || of_agent((struct sock *)tcp))
		return 0;
	if (BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_state) == BPF_TCP_LISTEN) {
		adopt_listener(tcp, pod->netns);
		return 0;
	}
	sock_tuple((struct sock *)tcp, &tuple);
	if (stays_inside(pod, &tuple))
		return 0;
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (record && (record->kind == 0 || record->kind == WEFT_SOCK_PASS))
		record->kind = WEFT_SOCK_INHERITED;
	return 0;
}

static __always_inline bool is_of_workload(struct tcp_sock *tcp, __u32 workload)
{
	struct tcp_sock *copy = tcp;
	struct weft_host host = {};
	struct sock *sk = 0;

	if (bpf_probe_read_kernel(&sk, sizeof(sk), &copy))
		return false;
	return host_of(sk, &host) && host.workload == workload;
}

/* Connections of the node with itself are not the mesh's, unless one of its workloads serves them:
 * then they are of before, and nobody knows who calls. */
static __always_inline bool stays_on_node(const struct weft_tagging *host,
					  const struct weft_tuple *tuple)
{
	return stays_inside(host, tuple) &&
	       !port_owner(&tuple->destination, bpf_ntohs(tuple->destination_port)) &&
	       !port_owner(&tuple->source, bpf_ntohs(tuple->source_port));
}

/* The sockets of one workload among those of the node. */
SEC("iter/tcp")
int weft_tag_host(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct weft_tagging *host = tagging();
	struct weft_tuple tuple = {};
	struct weft_sock *record;
	struct tcp_sock *tcp;
	bool listens;

	if (!common || !host)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp || !is_of_workload(tcp, host->workload))
		return 0;
	listens = BPF_CORE_READ((struct sock *)tcp, __sk_common.skc_state) == BPF_TCP_LISTEN;
	sock_tuple((struct sock *)tcp, &tuple);
	if (!listens && stays_on_node(host, &tuple))
		return 0;
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, BPF_SK_STORAGE_GET_F_CREATE);
	/* Nor has what an unknown workload was let past a source. */
	if (!record || (record->kind != 0 && (record->kind != WEFT_SOCK_PASS || record->source)))
		return 0;
	if (!listens) {
		record->kind = WEFT_SOCK_INHERITED;
		record->source = host->workload;
	} else {
		/* Before 6.10 nobody is told of its end, and the port stays the workload's: that is
		 * nearer to the truth than nobody's. */
		watch_end(tcp);
		listener_claim((struct sock *)tcp, record, host->workload);
	}
	return 0;
}

/* The workload is withdrawn: its listeners serve nobody's ports any more. */
SEC("iter/tcp")
int weft_release_host(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct weft_tagging *host = tagging();
	struct weft_sock *record;
	struct tcp_sock *tcp;

	if (!common || !host || BPF_CORE_READ(common, skc_state) != BPF_TCP_LISTEN)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, 0);
	if (record && record->kind == WEFT_SOCK_LISTENS && record->source == host->workload)
		listener_release(record);
	return 0;
}

/* UDP sockets of before: nothing else would give them the record `guard` asks for. */
SEC("iter/udp")
int weft_tag_udp(struct bpf_iter__udp *ctx)
{
	struct udp_sock *udp = ctx->udp_sk;
	struct weft_sock *record;

	if (!udp || of_agent((struct sock *)udp))
		return 0;
	record = bpf_sk_storage_get(&weft_socks, udp, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (record && record->kind == 0)
		record->kind = WEFT_SOCK_INHERITED;
	return 0;
}

/* As weft_end and weft_end_inherited, but for the ending. */
SEC("iter/tcp")
int weft_doom(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__u64 cookie = common ? doomed_by_agent(common) : 0;

	if (cookie)
		name_socket(ctx, cookie);
	return 0;
}

SEC("iter/tcp")
int weft_doom_inherited(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__u64 cookie = common ? doomed_as_inherited(common) : 0;

	if (cookie)
		name_socket(ctx, cookie);
	return 0;
}
