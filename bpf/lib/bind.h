/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Gives a socket a port from within connect(), which the kernel would do only afterwards. */
#ifndef WEFT_BIND_H
#define WEFT_BIND_H

#include "address.h"
#include "sockaddr.h"

/* The kernel's own choice where nobody set another (ip_local_port_range). */
#define EPHEMERAL_FIRST 32768
#define EPHEMERAL_COUNT 28232
#define BIND_TRIES 8

static __always_inline __be16 random_port(void)
{
	return bpf_htons(EPHEMERAL_FIRST + bpf_get_prandom_u32() % EPHEMERAL_COUNT);
}

/* Keeps the address the program bound to without a port. False: no free port was found. */
static __always_inline bool bind_random(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	struct address4 v4 = { .family = AF_INET, .ip = sk->src_ip4 };
	struct address6 v6 = { .family = AF_INET6 };
	int tries;

	v6.ip[0] = sk->src_ip6[0];
	v6.ip[1] = sk->src_ip6[1];
	v6.ip[2] = sk->src_ip6[2];
	v6.ip[3] = sk->src_ip6[3];
	for (tries = 0; tries < BIND_TRIES; tries++) {
		v4.port = v6.port = random_port();
		if (sk->family == AF_INET
			    ? !bpf_bind(ctx, (struct sockaddr *)&v4, sizeof(v4))
			    : !bpf_bind(ctx, (struct sockaddr *)&v6, sizeof(v6)))
			return true;
	}
	return false;
}

#endif
