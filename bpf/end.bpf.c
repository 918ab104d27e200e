// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Ends live connections of a namespace from inside the kernel. An object of its own: where the
 * kernel has no bpf_sock_destroy (before 6.5) it does not load, and the agent lets weft_doom name
 * them and uses inet_diag. */
#include "include/maps/base.h"
#include "lib/doom.h"

char LICENSE[] SEC("license") = "GPL";

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;

SEC("iter/tcp")
int weft_end(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__u64 cookie = common ? doomed_by_agent(common) : 0;

	if (cookie && !bpf_sock_destroy(common))
		name_socket(ctx, cookie);
	return 0;
}

SEC("iter/tcp")
int weft_end_inherited(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__u64 cookie = common ? doomed_as_inherited(common) : 0;

	if (cookie && !bpf_sock_destroy(common))
		name_socket(ctx, cookie);
	return 0;
}
