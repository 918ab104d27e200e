/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which workload or prober of the node's own namespace a socket belongs to: by the names of its
 * cgroup and of those above it. */
#ifndef WEFT_HOST_H
#define WEFT_HOST_H

#include "../include/maps/hosts.h"
#include "cgroup.h"

/* Walks down from the root, so that neither a deep cgroup nor a new one of an old name is missed.
 * The deepest workload counts; whoever is below a prober is one. A function of its own, so that the
 * verifier walks its loop once. */
__noinline int weft_host_of(__u64 sock, struct weft_host *out)
{
	struct weft_host_name key = { .parent = WEFT_CGROUP_ROOT };
	struct sock *sk = (struct sock *)sock;
	struct cgroup *group = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	struct cgroup *ancestor;
	struct weft_host *found;
	const char *name;
	int depth, level;
	long bytes;

	if (!group || !out)
		return 0;
	level = BPF_CORE_READ(group, level);
	for (depth = 1; depth <= WEFT_CGROUP_DEPTH_MAX && depth <= level; depth++) {
		if (bpf_core_read(&ancestor, sizeof(ancestor), &group->ancestors[depth]))
			break;
		name = BPF_CORE_READ(ancestor, kn, name);
		__builtin_memset(key.name, 0, sizeof(key.name));
		bytes = bpf_probe_read_kernel_str(key.name, sizeof(key.name), name);
		/* As long as that it may have been cut; no known name is. */
		if (bytes <= 0 || bytes == sizeof(key.name))
			break;
		found = bpf_map_lookup_elem(&weft_hosts, &key);
		if (!found)
			break;
		out->flags |= found->flags;
		if (found->workload) {
			out->workload = found->workload;
			out->ip4 = found->ip4;
			out->ip6 = found->ip6;
		}
		if (!found->below)
			break;
		key.parent = found->below;
	}
	return out->workload || (out->flags & WEFT_HOST_PROBE);
}

/* `sk` is a kernel pointer. Whether it is of a workload (`out->workload`) or a prober. */
static __always_inline bool host_of(struct sock *sk, struct weft_host *out)
{
	__builtin_memset(out, 0, sizeof(*out));
	return sk && weft_host_of((__u64)sk, out);
}

/* The same for sockets that hooks are given: such a pointer cannot be computed with, but copied. */
static __always_inline struct sock *kernel_sock(struct bpf_sock *full)
{
	struct bpf_sock *copy = full;
	struct sock *sk = 0;

	if (!full || bpf_probe_read_kernel(&sk, sizeof(sk), &copy))
		return 0;
	return sk;
}

#endif
