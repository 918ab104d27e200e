/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Where a workload that shares the node's network may go. */
#ifndef WEFT_ON_NODE_H
#define WEFT_ON_NODE_H

#include "decision.h"
#include "ports.h"

/* The node's services are reached at its own addresses and on loopback: those of workloads through
 * the agent, a workload's own at once (`destination` asks track to vouch for it), others untouched.
 * Returns whether that decides. */
static __always_inline bool is_within_node(const struct caller *caller, const struct ask *ask,
					   struct decision *decided)
{
	__u32 owner = port_owner(&ask->ip, bpf_ntohs(ask->port));

	if (owner && owner != caller->workload)
		return false;
	pass(decided, owner ? PASS_RECORDED : PASS, WEFT_COUNT_LOCAL);
	decided->record.destination = owner;
	return true;
}

/* Nothing that such a workload does is completed by the kernel alone. */
static __always_inline void decide_on_node(const struct caller *caller, const struct ask *ask,
					   struct decision *decided)
{
	struct weft_ip target = meeting_place(caller, &ask->ip);
	bool loopback = ip_is_loopback(&ask->ip);

	if (ask->protocol == IPPROTO_UDP)
		return pass(decided, PASS_RECORDED,
			    loopback ? WEFT_COUNT_LOCAL : WEFT_COUNT_UDP_PASSED);
	if ((loopback || is_own(caller, &ask->ip)) && is_within_node(caller, ask, decided))
		return;
	if (ip_is_link_local(&ask->ip) || ip_is_multicast(&ask->ip))
		return pass(decided, PASS, WEFT_COUNT_LOCAL);
	capture(&target, decided);
}

#endif
