// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Who connects, where to, and how: direct to an endpoint of this node, through the agent, past the
 * mesh, or not at all. Attached to the workloads' cgroup. Fails closed. */
#include "include/maps/sockets.h"
#include "lib/caller.h"
#include "lib/datagrams.h"
#include "lib/direct.h"
#include "lib/on-node.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline void decide_tcp(const struct weft_config *config, const struct weft_ip *own,
				       const struct ask *ask, struct decision *decided)
{
	__u32 verdict = WEFT_VERDICT_AGENT, choice = ANY_ENDPOINT;

	if (ip_is_zero(own))
		return refuse(decided, WEFT_COUNT_NO_ADDRESS, -ENETUNREACH);
	if (config->direct)
		verdict = judge_direct(ask, decided, &choice);
	if (verdict == WEFT_VERDICT_ALLOW)
		return rewrite(decided, WEFT_SOCK_DIRECT, WEFT_COUNT_DIRECT);
	if (verdict == WEFT_VERDICT_DENY) {
		report_denied(ask, decided, own);
		return refuse(decided, WEFT_REASON_POLICY_DENIED, -ECONNREFUSED);
	}
	capture(own, decided);
}

static __always_inline void decide_pod(const struct weft_config *config, struct bpf_sock *sk,
				       const struct caller *caller, const struct ask *ask,
				       struct decision *decided)
{
	const struct weft_ip *own = ip_is_v4(&ask->ip) ? &caller->ip4 : &caller->ip6;
	bool udp = ask->protocol == IPPROTO_UDP;

	if (ip_is_loopback(&ask->ip) || is_own(caller, &ask->ip))
		return pass(decided, udp ? PASS_RECORDED : PASS, WEFT_COUNT_LOCAL);
	if (udp && config->direct)
		return decide_datagram(sk, caller, ask, decided);
	if (udp)
		return pass(decided, PASS_RECORDED, WEFT_COUNT_UDP_PASSED);
	if (ip_is_link_local(&ask->ip) || ip_is_multicast(&ask->ip))
		return pass(decided, PASS_RECORDED, WEFT_COUNT_LOCAL);
	decide_tcp(config, own, ask, decided);
}

/* Whatever resolver was meant, also one on loopback. Where the workload has no address of that family
 * there is no question to carry. */
static __always_inline bool decide_name(const struct weft_config *config,
					struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					const struct caller *caller, const struct ask *ask,
					struct decision *decided, bool connects)
{
	const struct weft_ip *own = ip_is_v4(&ask->ip) ? &caller->ip4 : &caller->ip6;
	struct weft_ip target = meeting_place(caller, &ask->ip);

	if (!config->dns || !is_question(ask) || ip_is_zero(own))
		return false;
	if (ask->protocol == IPPROTO_UDP)
		decide_question(ctx, sk, caller, ask, decided, connects);
	else
		capture(&target, decided);
	return true;
}

static __always_inline void decide(const struct weft_config *config, struct bpf_sock_addr *ctx,
				   struct bpf_sock *sk, const struct ask *ask,
				   struct decision *decided, bool connects)
{
	struct caller caller = {};
	enum origin origin = find_caller(config, bpf_get_netns_cookie(ctx), kernel_sock(sk), &caller);

	if (origin == FOREIGN) {
		decided->action = UNTOUCHED;
		return;
	}
	if (!config->configured)
		return refuse(decided, WEFT_COUNT_UNCONFIGURED, -ECONNREFUSED);
	if (origin == UNKNOWN) {
		if (config->unknown_pass)
			return pass(decided, PASS_RECORDED, WEFT_COUNT_UNKNOWN_PASSED);
		return refuse(decided, WEFT_REASON_NOT_ENROLLED, -ECONNREFUSED);
	}
	if (!connects && is_decided(sk, ask)) {
		decided->action = UNTOUCHED;
		return;
	}
	decided->record.source = caller.workload;
	if (decide_name(config, ctx, sk, &caller, ask, decided, connects))
		return;
	if (caller.host)
		decide_on_node(&caller, ask, decided);
	else
		decide_pod(config, sk, &caller, ask, decided);
}

/* Keeps the record with the socket. A socket that connects again must not keep an old one. */
static __always_inline bool keep_record(struct bpf_sock *sk, struct decision *decided)
{
	struct weft_sock *record;

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

static __always_inline int hook(struct bpf_sock_addr *ctx, struct ask *ask,
				struct decision *decided, bool connects)
{
	struct weft_config *settings = config();
	struct bpf_sock *sk = ctx->sk;

	if (!settings || !sk)
		return 0;
	if (is_agent(settings)) {
		decided->action = UNTOUCHED;
		return 1;
	}
	/* The kernel takes the unspecified address for loopback. */
	if (ip_is_unspecified(&ask->ip))
		ask->ip = loopback_like(&ask->ip);
	decide(settings, ctx, sk, ask, decided, connects);
	if (decided->action == UNTOUCHED)
		return 1;
	return settle(sk, decided, ask);
}

static __always_inline struct ask asked4(struct bpf_sock_addr *ctx, __u32 protocol)
{
	struct ask ask = {
		.ip = ip_of_v4(CTX_LOAD(ctx, struct bpf_sock_addr, user_ip4)),
		.port = CTX_LOAD(ctx, struct bpf_sock_addr, user_port),
		.protocol = protocol,
	};

	return ask;
}

static __always_inline struct ask asked6(struct bpf_sock_addr *ctx, __u32 protocol)
{
	struct ask ask = {
		.ip = { .words = {
			CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[0]),
			CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[1]),
			CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[2]),
			CTX_LOAD(ctx, struct bpf_sock_addr, user_ip6[3]),
		} },
		.port = CTX_LOAD(ctx, struct bpf_sock_addr, user_port),
		.protocol = protocol,
	};

	return ask;
}

static __always_inline void write4(struct bpf_sock_addr *ctx, const struct weft_ip *ip, __be16 port)
{
	ctx->user_ip4 = ip->words[3];
	ctx->user_port = port;
}

static __always_inline void write6(struct bpf_sock_addr *ctx, const struct weft_ip *ip, __be16 port)
{
	ctx->user_ip6[0] = ip->words[0];
	ctx->user_ip6[1] = ip->words[1];
	ctx->user_ip6[2] = ip->words[2];
	ctx->user_ip6[3] = ip->words[3];
	ctx->user_port = port;
}

static __always_inline int hook4(struct bpf_sock_addr *ctx, __u32 protocol, bool connects)
{
	struct ask ask = asked4(ctx, protocol);
	struct decision decided = {};
	int verdict = hook(ctx, &ask, &decided, connects);

	if (verdict && decided.action == REWRITE)
		write4(ctx, &decided.ip, decided.port);
	return verdict;
}

static __always_inline int hook6(struct bpf_sock_addr *ctx, __u32 protocol, bool connects)
{
	struct ask ask = asked6(ctx, protocol);
	struct decision decided = {};
	int verdict = hook(ctx, &ask, &decided, connects);

	if (verdict && decided.action == REWRITE)
		write6(ctx, &decided.ip, decided.port);
	return verdict;
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	__u32 protocol = CTX_LOAD(ctx, struct bpf_sock_addr, protocol);

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 1;
	return hook4(ctx, protocol, true);
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr *ctx)
{
	__u32 protocol = CTX_LOAD(ctx, struct bpf_sock_addr, protocol);

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 1;
	return hook6(ctx, protocol, true);
}

SEC("cgroup/sendmsg4")
int weft_sendmsg4(struct bpf_sock_addr *ctx)
{
	return hook4(ctx, IPPROTO_UDP, false);
}

SEC("cgroup/sendmsg6")
int weft_sendmsg6(struct bpf_sock_addr *ctx)
{
	return hook6(ctx, IPPROTO_UDP, false);
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

static __always_inline int shown4(struct bpf_sock_addr *ctx)
{
	struct ask from = asked4(ctx, IPPROTO_UDP);
	struct weft_translation *known = translation_of(ctx->sk, &from.ip, from.port);

	if (known)
		write4(ctx, &known->asked, known->asked_port);
	return 1;
}

static __always_inline int shown6(struct bpf_sock_addr *ctx)
{
	struct ask from = asked6(ctx, IPPROTO_UDP);
	struct weft_translation *known = translation_of(ctx->sk, &from.ip, from.port);

	if (known)
		write6(ctx, &known->asked, known->asked_port);
	return 1;
}

/* A datagram comes from where the program sent its question. */
SEC("cgroup/recvmsg4")
int weft_recvmsg4(struct bpf_sock_addr *ctx)
{
	return shown4(ctx);
}

SEC("cgroup/recvmsg6")
int weft_recvmsg6(struct bpf_sock_addr *ctx)
{
	return shown6(ctx);
}

/* A program sees the peer it asked for. */
SEC("cgroup/getpeername4")
int weft_getpeername4(struct bpf_sock_addr *ctx)
{
	struct weft_sock *record;

	if (CTX_LOAD(ctx, struct bpf_sock_addr, protocol) == IPPROTO_UDP)
		return shown4(ctx);
	record = rewritten(ctx->sk);
	if (record)
		write4(ctx, &record->ip, record->port);
	return 1;
}

SEC("cgroup/getpeername6")
int weft_getpeername6(struct bpf_sock_addr *ctx)
{
	struct weft_sock *record;

	if (CTX_LOAD(ctx, struct bpf_sock_addr, protocol) == IPPROTO_UDP)
		return shown6(ctx);
	record = rewritten(ctx->sk);
	if (record)
		write6(ctx, &record->ip, record->port);
	return 1;
}
