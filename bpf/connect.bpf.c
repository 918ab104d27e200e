// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Who connects, where to, and how: direct to an endpoint of this node, through the agent, past the
 * mesh, or not at all. Attached to the workloads' cgroup. Fails closed. */
#include "include/maps/base.h"
#include "include/maps/datagrams.h"
#include "include/maps/events.h"
#include "include/maps/hosts.h"
#include "include/maps/pods.h"
#include "include/maps/sockets.h"
#include "lib/address.h"
#include "lib/decision.h"
#include "lib/host.h"
#include "lib/on-node.h"
#include "lib/rules.h"

char LICENSE[] SEC("license") = "GPL";

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

static __always_inline void report_denied(const struct ask *ask, const struct decision *decided,
					  const struct weft_ip *source_ip)
{
	struct weft_denied *event = bpf_ringbuf_reserve(&weft_events, sizeof(*event), 0);

	if (!event) {
		count(WEFT_COUNT_EVENTS_LOST);
		return;
	}
	event->type = WEFT_EVENT_DENIED;
	event->reason = WEFT_REASON_POLICY_DENIED;
	event->version = decided->record.version;
	event->source = decided->record.source;
	event->destination = decided->record.destination;
	event->source_ip = *source_ip;
	event->asked_ip = ask->ip;
	event->endpoint_ip = decided->ip;
	event->asked_port = ask->port;
	event->endpoint_port = decided->port;
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

/* Sets action DIRECT or REFUSE and returns true when this generation decides here. */
static __always_inline bool decide_direct(const struct ask *ask, const struct weft_ip *own,
					  struct decision *decided)
{
	struct weft_rule *service, *backend;
	__u32 zero = 0, verdict;
	void *rules;

	rules = bpf_map_lookup_elem(&weft_generation, &zero);
	if (!rules)
		return false;
	service = rule_service(rules, &ask->ip, ask->port, ask->protocol);
	if (!service || service->count == 0)
		return false;
	decided->record.version = service->version;
	backend = rule_backend(rules, service->value, bpf_get_prandom_u32() % service->count);
	if (!backend || ip_is_v4(&backend->ip) != ip_is_v4(&ask->ip))
		return false;
	/* A configured workload is not yet one that runs here: nobody proved who has its address. */
	if (!is_enrolled_at(backend->value, &backend->ip))
		return false;
	decided->ip = backend->ip;
	decided->port = backend->port;
	decided->record.destination = backend->value;
	verdict = rule_verdict(rules, decided->record.source, backend->value,
			       bpf_ntohs(backend->port));
	if (verdict == WEFT_VERDICT_ALLOW) {
		decided->action = DIRECT;
		decided->counter = WEFT_COUNT_DIRECT;
		decided->record.kind = WEFT_SOCK_DIRECT;
		return true;
	}
	if (verdict == WEFT_VERDICT_DENY) {
		refuse(decided, WEFT_REASON_POLICY_DENIED, -ECONNREFUSED);
		report_denied(ask, decided, own);
		return true;
	}
	return false;
}

static __always_inline void decide_tcp(const struct weft_config *config, const struct weft_pod *pod,
				       const struct ask *ask, struct decision *decided)
{
	struct weft_ip own = ip_is_v4(&ask->ip) ? pod->ip4 : pod->ip6;

	if (ip_is_zero(&own))
		return refuse(decided, WEFT_COUNT_NO_ADDRESS, -ENETUNREACH);
	if (config->direct && decide_direct(ask, &own, decided))
		return;
	decided->action = AGENT;
	decided->counter = WEFT_COUNT_CAPTURED;
	decided->ip = own;
	decided->port = capture_port();
	decided->record.kind = WEFT_SOCK_AGENT;
	decided->record.destination = 0;
}

static __always_inline void decide_pod(const struct weft_config *config, __u64 netns,
				       const struct ask *ask, struct decision *decided)
{
	struct weft_pod *pod;

	if (!config->configured)
		return refuse(decided, WEFT_COUNT_UNCONFIGURED, -ECONNREFUSED);
	pod = bpf_map_lookup_elem(&weft_pods, &netns);
	if (!pod) {
		if (config->unknown_pass)
			return pass(decided, PASS_RECORDED, WEFT_COUNT_UNKNOWN_PASSED);
		return refuse(decided, WEFT_REASON_NOT_ENROLLED, -ECONNREFUSED);
	}
	decided->record.source = pod->workload;
	if (ip_is_loopback(&ask->ip) || ip_equal(&ask->ip, &pod->ip4) ||
	    ip_equal(&ask->ip, &pod->ip6))
		return pass(decided, ask->protocol == IPPROTO_UDP ? PASS_RECORDED : PASS,
			    WEFT_COUNT_LOCAL);
	if (ask->protocol == IPPROTO_UDP)
		return pass(decided, PASS_RECORDED, WEFT_COUNT_UDP_PASSED);
	if (ip_is_link_local(&ask->ip) || ip_is_multicast(&ask->ip))
		return pass(decided, PASS_RECORDED, WEFT_COUNT_LOCAL);
	decide_tcp(config, pod, ask, decided);
}

/* Workloads' cgroup, or not: our programs are attached above other cgroups as well. */
static __always_inline bool is_watched(const struct weft_config *config, struct sock *sk)
{
	return config->workloads_cgroup == 0 ||
	       sock_below(sk, config->workloads_level, config->workloads_cgroup);
}

static __always_inline void decide(const struct weft_config *config, __u64 netns, struct sock *sk,
				   const struct ask *ask, struct decision *decided)
{
	struct weft_host host = {};

	if (netns == config->node_netns && host_of(sk, &host)) {
		if (host.workload)
			return decide_host(config, &host, ask, decided);
		return pass(decided, PASS, 0);
	}
	if (!is_watched(config, sk))
		return pass(decided, PASS, 0);
	decide_pod(config, netns, ask, decided);
}

/* Keeps the record with the socket. A socket that connects again must not keep an old one. */
static __always_inline bool keep_record(struct bpf_sock *sk, struct decision *decided)
{
	struct weft_sock *record;

	if (!sk)
		return decided->action == PASS;
	record = bpf_sk_storage_get(&weft_socks, sk, 0,
				    decided->action == PASS ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	if (!record)
		return decided->action == PASS;
	*record = decided->record;
	return true;
}

/* Returns what the hook returns. */
static __always_inline int settle(struct bpf_sock *sk, struct decision *decided,
				  const struct ask *ask)
{
	if (decided->action != REFUSE) {
		decided->record.ip = ask->ip;
		decided->record.port = ask->port;
		if (!keep_record(sk, decided))
			refuse(decided, WEFT_COUNT_STORAGE_FAILED, -ECONNREFUSED);
	}
	if (decided->counter)
		count(decided->counter);
	if (decided->action != REFUSE)
		return 1;
	bpf_set_retval(decided->error);
	return 0;
}

/* The agent's own sockets are never touched, wherever its cgroup lies. */
static __always_inline bool is_agent(const struct weft_config *config)
{
	return config->agent_cgroup != 0 &&
	       bpf_get_current_ancestor_cgroup_id(config->agent_level) == config->agent_cgroup;
}

static __always_inline int hook(struct bpf_sock_addr *ctx, const struct ask *ask,
				struct decision *decided)
{
	struct weft_config *settings = config();

	if (!settings)
		return 0;
	if (is_agent(settings)) {
		decided->action = PASS;
		return 1;
	}
	decide(settings, bpf_get_netns_cookie(ctx), kernel_sock(ctx->sk), ask, decided);
	return settle(ctx->sk, decided, ask);
}

static __always_inline bool rewrites(const struct decision *decided)
{
	return decided->action == AGENT || decided->action == DIRECT;
}

static __always_inline struct weft_ip asked_ip6(struct bpf_sock_addr *ctx)
{
	struct weft_ip ip = { .words = {
		CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[0]),
		CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[1]),
		CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[2]),
		CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[3]),
	} };

	return ip;
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	struct ask ask = {
		.ip = ip_of_v4(CTX_LOAD(ctx, struct bpf_sock_addr, user_ip4)),
		.port = CTX_LOAD(ctx, struct bpf_sock_addr, user_port),
		.protocol = CTX_LOAD(ctx, struct bpf_sock_addr, protocol),
	};
	struct decision decided = {};
	int verdict;

	if (ask.protocol != IPPROTO_TCP && ask.protocol != IPPROTO_UDP)
		return 1;
	verdict = hook(ctx, &ask, &decided);
	if (verdict && rewrites(&decided)) {
		ctx->user_ip4 = decided.ip.words[3];
		ctx->user_port = decided.port;
	}
	return verdict;
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr *ctx)
{
	struct ask ask = {
		.ip = asked_ip6(ctx),
		.port = CTX_LOAD(ctx, struct bpf_sock_addr, user_port),
		.protocol = CTX_LOAD(ctx, struct bpf_sock_addr, protocol),
	};
	struct decision decided = {};
	int verdict;

	if (ask.protocol != IPPROTO_TCP && ask.protocol != IPPROTO_UDP)
		return 1;
	verdict = hook(ctx, &ask, &decided);
	if (verdict && rewrites(&decided)) {
		ctx->user_ip6[0] = decided.ip.words[0];
		ctx->user_ip6[1] = decided.ip.words[1];
		ctx->user_ip6[2] = decided.ip.words[2];
		ctx->user_ip6[3] = decided.ip.words[3];
		ctx->user_port = decided.port;
	}
	return verdict;
}

/* Datagrams pass untouched; their sockets need a record, or `guard` would drop them. */
SEC("cgroup/sendmsg4")
int weft_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct ask ask = {
		.ip = ip_of_v4(CTX_LOAD(ctx, struct bpf_sock_addr, user_ip4)),
		.port = CTX_LOAD(ctx, struct bpf_sock_addr, user_port),
		.protocol = IPPROTO_UDP,
	};
	struct decision decided = {};

	return hook(ctx, &ask, &decided);
}

SEC("cgroup/sendmsg6")
int weft_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct ask ask = {
		.ip = asked_ip6(ctx),
		.port = CTX_LOAD(ctx, struct bpf_sock_addr, user_port),
		.protocol = IPPROTO_UDP,
	};
	struct decision decided = {};

	return hook(ctx, &ask, &decided);
}

static __always_inline struct weft_sock *rewritten(struct bpf_sock *sk)
{
	struct weft_sock *record;

	if (!sk)
		return 0;
	record = bpf_sk_storage_get(&weft_socks, sk, 0, 0);
	if (!record || (record->kind != WEFT_SOCK_AGENT && record->kind != WEFT_SOCK_DIRECT))
		return 0;
	return record;
}

/* A program sees the peer it asked for. */
SEC("cgroup/getpeername4")
int weft_getpeername4(struct bpf_sock_addr *ctx)
{
	struct weft_sock *record = rewritten(ctx->sk);

	if (record) {
		ctx->user_ip4 = record->ip.words[3];
		ctx->user_port = record->port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int weft_getpeername6(struct bpf_sock_addr *ctx)
{
	struct weft_sock *record = rewritten(ctx->sk);

	if (record) {
		ctx->user_ip6[0] = record->ip.words[0];
		ctx->user_ip6[1] = record->ip.words[1];
		ctx->user_ip6[2] = record->ip.words[2];
		ctx->user_ip6[3] = record->ip.words[3];
		ctx->user_port = record->port;
	}
	return 1;
}
