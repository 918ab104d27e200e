/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which workload a socket is of: by its network namespace, or in the node's own by its cgroup. */
#ifndef WEFT_CALLER_H
#define WEFT_CALLER_H

#include "../include/maps/pods.h"
#include "cgroup.h"
#include "decision.h"
#include "host.h"

enum origin { KNOWN, UNKNOWN, FOREIGN };

/* FOREIGN: no business of the mesh, although a program of ours runs at its cgroup. */
static __always_inline enum origin unknown_or_foreign(const struct weft_config *config,
						      struct sock *raw)
{
	/* Never written: what runs here was attached at the workloads' cgroup. */
	if (!config->workloads_cgroup)
		return UNKNOWN;
	return sock_below(raw, config->workloads_level, config->workloads_cgroup) ? UNKNOWN
										  : FOREIGN;
}

static __always_inline enum origin find_caller(const struct weft_config *config, __u64 netns,
					       struct sock *raw, struct caller *caller)
{
	enum origin otherwise = unknown_or_foreign(config, raw);
	struct weft_host host;
	struct weft_pod *pod;

	if (netns == config->node_netns && host_of(raw, &host)) {
		/* A prober. */
		if (!host.workload)
			return FOREIGN;
		caller->workload = host.workload;
		caller->ip4 = host.ip4;
		caller->ip6 = host.ip6;
		caller->host = 1;
		caller->on_device = BPF_CORE_READ(raw, __sk_common.skc_bound_dev_if) != 0;
		return KNOWN;
	}
	if (otherwise == FOREIGN)
		return FOREIGN;
	pod = bpf_map_lookup_elem(&weft_pods, &netns);
	if (!pod)
		return UNKNOWN;
	caller->workload = pod->workload;
	caller->ip4 = pod->ip4;
	caller->ip6 = pod->ip6;
	return KNOWN;
}

#endif
