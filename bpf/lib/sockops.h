/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What a sockops context says, as values. */
#ifndef WEFT_SOCKOPS_H
#define WEFT_SOCKOPS_H

#include "address.h"

#define OPS(ctx, field) CTX_LOAD(ctx, struct bpf_sock_ops, field)

static __always_inline struct weft_ip ops_local_ip(struct bpf_sock_ops *ctx)
{
	struct weft_ip ip = { .words = {
		OPS(ctx, local_ip6[0]), OPS(ctx, local_ip6[1]),
		OPS(ctx, local_ip6[2]), OPS(ctx, local_ip6[3]),
	} };

	return ip;
}

static __always_inline struct weft_ip ops_remote_ip(struct bpf_sock_ops *ctx)
{
	struct weft_ip ip = { .words = {
		OPS(ctx, remote_ip6[0]), OPS(ctx, remote_ip6[1]),
		OPS(ctx, remote_ip6[2]), OPS(ctx, remote_ip6[3]),
	} };

	return ip;
}

struct ends {
	struct weft_ip local;
	struct weft_ip remote;
	__be16 local_port;
	__be16 remote_port;
};

static __always_inline void ops_ends(struct bpf_sock_ops *ctx, struct ends *ends)
{
	if (OPS(ctx, family) == AF_INET) {
		ends->local = ip_of_v4(OPS(ctx, local_ip4));
		ends->remote = ip_of_v4(OPS(ctx, remote_ip4));
	} else {
		ends->local = ops_local_ip(ctx);
		ends->remote = ops_remote_ip(ctx);
	}
	ends->local_port = bpf_htons(OPS(ctx, local_port));
	/* Network order in the upper half of the word. */
	ends->remote_port = bpf_htons(bpf_ntohl(OPS(ctx, remote_port)));
}

/* The tuple when this socket is the client, and when it is the server. */
static __always_inline void tuple_of_client(struct bpf_sock_ops *ctx, struct weft_tuple *tuple)
{
	struct ends ends;

	ops_ends(ctx, &ends);
	tuple->source = ends.local;
	tuple->destination = ends.remote;
	tuple->source_port = ends.local_port;
	tuple->destination_port = ends.remote_port;
}

static __always_inline void tuple_of_server(struct bpf_sock_ops *ctx, struct weft_tuple *tuple)
{
	struct ends ends;

	ops_ends(ctx, &ends);
	tuple->source = ends.remote;
	tuple->destination = ends.local;
	tuple->source_port = ends.remote_port;
	tuple->destination_port = ends.local_port;
}

#endif
