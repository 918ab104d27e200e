/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which connections of a walk must end, and why. The programs of `end` end them, those of `sweep`
 * name them for the agent, which then ends them by inet_diag. */
#ifndef WEFT_DOOM_H
#define WEFT_DOOM_H

#include "../include/maps/kill.h"
#include "../include/maps/sockets.h"

/* 0 for what is no connection. */
static __always_inline struct tcp_sock *connection(struct sock_common *common)
{
	/* Reading a member also puts the whole struct into our BTF; libbpf otherwise finds the kfunc
	 * incompatible. */
	if (BPF_CORE_READ(common, skc_state) == BPF_TCP_LISTEN)
		return 0;
	return bpf_skc_to_tcp_sock(common);
}

/* The cookie of a socket that weft_kill names, whose record now says why; else 0. */
static __always_inline __u64 doomed_by_agent(struct sock_common *common)
{
	struct tcp_sock *tcp = connection(common);
	struct weft_sock *record;
	__u32 *reason;
	__u64 cookie;

	if (!tcp)
		return 0;
	cookie = bpf_get_socket_cookie(tcp);
	reason = bpf_map_lookup_elem(&weft_kill, &cookie);
	if (!reason)
		return 0;
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, 0);
	if (record)
		record->reason = *reason;
	return cookie;
}

/* Likewise of a socket that is older than its workload's enrolment. */
static __always_inline __u64 doomed_as_inherited(struct sock_common *common)
{
	struct tcp_sock *tcp = connection(common);
	struct weft_sock *record;

	if (!tcp)
		return 0;
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, 0);
	if (!record || record->kind != WEFT_SOCK_INHERITED)
		return 0;
	record->reason = WEFT_REASON_ENROLLED_LATE;
	return bpf_get_socket_cookie(tcp);
}

/* The agent reads cookies. */
static __always_inline void name_socket(struct bpf_iter__tcp *ctx, __u64 cookie)
{
	bpf_seq_write(ctx->meta->seq, &cookie, sizeof(cookie));
}

#endif
