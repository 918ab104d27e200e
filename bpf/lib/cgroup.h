/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Whose socket is it, where no cgroup helper exists: read from the socket itself. */
#ifndef WEFT_CGROUP_H
#define WEFT_CGROUP_H

#include "../include/kernel.h"
#include "../include/abi.h"

static __always_inline bool sock_below(struct sock *sk, __u32 level, __u64 cgroup_id)
{
	struct cgroup *group = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	struct cgroup *ancestor;

	if (!group || cgroup_id == 0 || BPF_CORE_READ(group, level) < (int)level)
		return false;
	if (bpf_core_read(&ancestor, sizeof(ancestor), &group->ancestors[level]))
		return false;
	return BPF_CORE_READ(ancestor, kn, id) == cgroup_id;
}

#endif
