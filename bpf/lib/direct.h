/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Whether the kernel completes a connection itself, by one generation of rules. */
#ifndef WEFT_DIRECT_H
#define WEFT_DIRECT_H

#include "../include/maps/generation.h"
#include "../include/maps/pods.h"
#include "decision.h"
#include "rules.h"

#define ANY_ENDPOINT (~0U)

/* The verdict, with the endpoint in `decided` and its index in `choice`, which says the one wanted
 * again, or ANY_ENDPOINT. WEFT_VERDICT_AGENT: this generation does not decide. */
static __always_inline __u32 judge_direct(const struct ask *ask, struct decision *decided,
					  __u32 *choice)
{
	struct weft_rule *service, *backend;
	__u32 zero = 0, index = *choice;
	void *rules;

	rules = bpf_map_lookup_elem(&weft_generation, &zero);
	if (!rules)
		return WEFT_VERDICT_AGENT;
	service = rule_service(rules, &ask->ip, ask->port, ask->protocol);
	if (!service || service->count == 0)
		return WEFT_VERDICT_AGENT;
	if (index >= service->count)
		index = bpf_get_prandom_u32() % service->count;
	*choice = index;
	decided->record.version = service->version;
	backend = rule_backend(rules, service->value, index);
	if (!backend || ip_is_v4(&backend->ip) != ip_is_v4(&ask->ip))
		return WEFT_VERDICT_AGENT;
	/* A configured workload is not yet one that runs here: nobody proved who has its address. */
	if (!is_enrolled_at(backend->value, &backend->ip))
		return WEFT_VERDICT_AGENT;
	decided->ip = backend->ip;
	decided->port = backend->port;
	decided->record.destination = backend->value;
	return rule_verdict(rules, decided->record.source, backend->value,
			    bpf_ntohs(backend->port));
}

#endif
