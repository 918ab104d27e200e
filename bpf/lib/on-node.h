/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Where a workload that shares the node's network may go. */
#ifndef WEFT_ON_NODE_H
#define WEFT_ON_NODE_H

#include "decision.h"
#include "host.h"
#include "ports.h"

static __always_inline struct weft_ip loopback_like(const struct weft_ip *ip)
{
	struct weft_ip loopback = { .words = { 0, 0, 0, bpf_htonl(1) } };

	return ip_is_v4(ip) ? ip_of_v4(bpf_htonl(0x7f000001)) : loopback;
}

/* The node's services are reached at its own addresses and on loopback: those of workloads through
 * the agent, a workload's own at once (`destination` asks track to vouch for it), others untouched.
 * Returns whether that decides. */
static __always_inline bool decide_on_node(const struct weft_host *host, const struct weft_ip *asked,
					   __be16 port, struct decision *decided)
{
	__u32 owner = port_owner(asked, bpf_ntohs(port));

	if (owner && owner != host->workload)
		return false;
	pass(decided, owner ? PASS_RECORDED : PASS, WEFT_COUNT_LOCAL);
	decided->record.destination = owner;
	return true;
}

/* A workload that shares the node's network. Nothing it does is completed by the kernel alone. */
static __always_inline void decide_host(const struct weft_config *config,
					const struct weft_host *host, const struct ask *ask,
					struct decision *decided)
{
	struct weft_ip own = ip_is_v4(&ask->ip) ? host->ip4 : host->ip6;
	struct weft_ip asked = ask->ip;
	bool loopback = ip_is_loopback(&asked);

	if (!config->configured)
		return refuse(decided, WEFT_COUNT_UNCONFIGURED, -ECONNREFUSED);
	decided->record.source = host->workload;
	if (ask->protocol == IPPROTO_UDP)
		return pass(decided, PASS_RECORDED,
			    loopback ? WEFT_COUNT_LOCAL : WEFT_COUNT_UDP_PASSED);
	/* The kernel connects the unspecified address to loopback, too. */
	if (asked.words[3] == 0 && loopback)
		asked = loopback_like(&asked);
	if ((loopback || ip_equal(&asked, &own)) &&
	    decide_on_node(host, &asked, ask->port, decided))
		return;
	if (ip_is_link_local(&asked) || ip_is_multicast(&asked))
		return pass(decided, PASS, WEFT_COUNT_LOCAL);
	decided->action = AGENT;
	decided->counter = WEFT_COUNT_CAPTURED;
	decided->ip = loopback ? asked : own;
	if (ip_is_zero(&decided->ip))
		decided->ip = loopback_like(&asked);
	decided->port = capture_port();
	decided->record.kind = WEFT_SOCK_AGENT;
}

#endif
