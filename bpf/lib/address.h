/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Pure questions about addresses. */
#ifndef WEFT_ADDRESS_H
#define WEFT_ADDRESS_H

#include "../include/kernel.h"
#include "../include/abi.h"

#define V4_MAPPED bpf_htonl(0xffff)

static __always_inline struct weft_ip ip_of_v4(__be32 address)
{
	struct weft_ip ip = { .words = { 0, 0, V4_MAPPED, address } };

	return ip;
}

/* One branch instead of four, here and below: the verifier walks every combination. */
static __always_inline bool ip_equal(const struct weft_ip *a, const struct weft_ip *b)
{
	return ((a->words[3] ^ b->words[3]) | (a->words[2] ^ b->words[2]) |
		(a->words[1] ^ b->words[1]) | (a->words[0] ^ b->words[0])) == 0;
}

static __always_inline bool ip_is_v4(const struct weft_ip *ip)
{
	return (ip->words[0] | ip->words[1] | (ip->words[2] ^ V4_MAPPED)) == 0;
}

static __always_inline bool ip_is_zero(const struct weft_ip *ip)
{
	return (ip->words[0] | ip->words[1] | ip->words[2] | ip->words[3]) == 0;
}

static __always_inline bool ip_is_unspecified(const struct weft_ip *ip)
{
	return ip_is_zero(ip) || (ip_is_v4(ip) && ip->words[3] == 0);
}

/* Of the family of `ip`. */
static __always_inline struct weft_ip loopback_like(const struct weft_ip *ip)
{
	struct weft_ip v6 = { .words = { 0, 0, 0, bpf_htonl(1) } };

	return ip_is_v4(ip) ? ip_of_v4(bpf_htonl(0x7f000001)) : v6;
}

/* 127.0.0.0/8, ::1, and the unspecified address, which the kernel connects to loopback. */
static __always_inline bool ip_is_loopback(const struct weft_ip *ip)
{
	if (ip_is_v4(ip))
		return (ip->words[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000) ||
		       ip->words[3] == 0;
	return (ip->words[0] | ip->words[1] | ip->words[2]) == 0 &&
	       (ip->words[3] == bpf_htonl(1) || ip->words[3] == 0);
}

static __always_inline bool ip_is_link_local(const struct weft_ip *ip)
{
	if (ip_is_v4(ip))
		return (ip->words[3] & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000);
	return (ip->words[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool ip_is_multicast(const struct weft_ip *ip)
{
	if (ip_is_v4(ip))
		return (ip->words[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
	return (ip->words[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

#endif
