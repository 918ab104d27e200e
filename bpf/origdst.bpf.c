// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* SO_ORIGINAL_DST for sockets a worker accepted, as netfilter would answer it. Attached to the
 * agent's cgroup. */
#include "include/maps/origin.h"
#include "lib/address.h"
#include "lib/sockaddr.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline void answered(struct bpf_sockopt *ctx, __u32 size)
{
	ctx->optlen = size;
	/* Keeps the two stores apart: merged into one of 64 bits they are refused. */
	asm volatile("" ::: "memory");
	ctx->retval = 0;
}

static __always_inline void answer4(struct bpf_sockopt *ctx, const struct weft_origin *origin)
{
	struct address4 *out = ctx->optval;

	if ((void *)(out + 1) > ctx->optval_end)
		return;
	__builtin_memset(out, 0, sizeof(*out));
	out->family = AF_INET;
	out->port = origin->port;
	out->ip = origin->ip.words[3];
	answered(ctx, sizeof(*out));
}

static __always_inline void answer6(struct bpf_sockopt *ctx, const struct weft_origin *origin)
{
	struct address6 *out = ctx->optval;

	if ((void *)(out + 1) > ctx->optval_end)
		return;
	__builtin_memset(out, 0, sizeof(*out));
	out->family = AF_INET6;
	out->port = origin->port;
	out->ip[0] = origin->ip.words[0];
	out->ip[1] = origin->ip.words[1];
	out->ip[2] = origin->ip.words[2];
	out->ip[3] = origin->ip.words[3];
	answered(ctx, sizeof(*out));
}

SEC("cgroup/getsockopt")
int weft_origdst(struct bpf_sockopt *ctx)
{
	struct weft_origin *origin;
	struct bpf_sock *sk;

	if (ctx->optname != SO_ORIGINAL_DST || (ctx->level != SOL_IP && ctx->level != SOL_IPV6)) {
		/* The kernel copies at most one page; zero leaves larger answers alone. */
		if (ctx->optlen > 4096)
			ctx->optlen = 0;
		return 1;
	}
	sk = ctx->sk;
	if (!sk)
		return 1;
	origin = bpf_sk_storage_get(&weft_sock_origin, sk, 0, 0);
	if (!origin)
		return 1;
	if (ctx->level == SOL_IPV6)
		answer6(ctx, origin);
	else if (ip_is_v4(&origin->ip))
		answer4(ctx, origin);
	return 1;
}
