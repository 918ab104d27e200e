/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The few kernel structs our programs read, relocated at load (CO-RE), so that the build needs
 * neither the build machine's BTF nor a generated vmlinux.h. Only names must match the kernel. */
#ifndef WEFT_KERNEL_H
#define WEFT_KERNEL_H

#include <stdbool.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_ICMP 1
#define IPPROTO_IGMP 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define SOL_SOCKET 1
#define SOL_IP 0
#define SOL_TCP 6
#define SOL_IPV6 41
#define SO_MARK 36
#define SO_ORIGINAL_DST 80
#define TCP_BPF_SOCK_OPS_CB_FLAGS 1008
#define ECONNREFUSED 111
#define ENETUNREACH 101
/* enum sock_flags: the peer's FIN has arrived. */
#define SOCK_DONE 1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
	const char *name;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	unsigned char skc_net_refcnt : 1;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
	int sk_err;
};

struct tcp_sock {
	__u8 bpf_sock_ops_cb_flags;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u32 srtt_us;
};

struct inet_sock {
	struct sock sk;
};

struct udp_sock {
	struct inet_sock inet;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

#pragma clang attribute pop

/* Reads a 32-bit context field by a load of its own. clang otherwise merges loads of two branches
 * into "ctx + variable", which the verifier refuses ("dereference of modified ctx ptr"). */
#define CTX_LOAD(ctx, type, field)                                                            \
	({                                                                                    \
		__u32 loaded__;                                                               \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                         \
			     : "=r"(loaded__)                                                 \
			     : "r"(ctx), "i"(__builtin_offsetof(type, field)));               \
		loaded__;                                                                     \
	})

#endif
