// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Ends live connections of a namespace from inside the kernel. An object of its own: where the
 * kernel has no bpf_sock_destroy (before 6.5) it does not load, and the agent uses inet_diag. */
#include "include/maps/base.h"
#include "include/maps/sockets.h"

char LICENSE[] SEC("license") = "GPL";

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;

/* Sockets to end, by cookie, and the reason for their records. Writer: agent, emptied after each
 * sweep. Reader: weft_end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEFT_KILL_MAX);
	__type(key, __u64);
	__type(value, __u32);
} weft_kill SEC(".maps");

/* The agent counts what the iterators write. */
static __always_inline void ended(struct bpf_iter__tcp *ctx, __u64 cookie)
{
	bpf_seq_write(ctx->meta->seq, &cookie, sizeof(cookie));
}

SEC("iter/tcp")
int weft_end(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct weft_sock *record;
	struct tcp_sock *tcp;
	__u32 *reason;
	__u64 cookie;

	/* Reading a member also puts the whole struct into our BTF; libbpf otherwise finds the kfunc
	 * incompatible. */
	if (!common || BPF_CORE_READ(common, skc_state) == BPF_TCP_LISTEN)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	cookie = bpf_get_socket_cookie(tcp);
	reason = bpf_map_lookup_elem(&weft_kill, &cookie);
	if (!reason)
		return 0;
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, 0);
	if (record)
		record->reason = *reason;
	if (!bpf_sock_destroy(common))
		ended(ctx, cookie);
	return 0;
}

SEC("iter/tcp")
int weft_end_inherited(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct weft_sock *record;
	struct tcp_sock *tcp;
	__u64 cookie;

	if (!common || BPF_CORE_READ(common, skc_state) == BPF_TCP_LISTEN)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	record = bpf_sk_storage_get(&weft_socks, tcp, 0, 0);
	if (!record || record->kind != WEFT_SOCK_INHERITED)
		return 0;
	cookie = bpf_get_socket_cookie(tcp);
	record->reason = WEFT_REASON_ENROLLED_LATE;
	if (!bpf_sock_destroy(common))
		ended(ctx, cookie);
	return 0;
}
