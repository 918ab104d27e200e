/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Reads one generation of rules. `rules` is the inner map a hook took once, so every answer within
 * that hook comes from the same generation. A missing entry never means "allow". */
#ifndef WEFT_RULES_H
#define WEFT_RULES_H

#include "address.h"

static __always_inline struct weft_rule *rule_service(void *rules, const struct weft_ip *ip,
						      __be16 port, __u32 protocol)
{
	struct weft_rule_key key = {
		.kind = WEFT_RULE_SERVICE, .a = protocol, .b = bpf_ntohs(port), .ip = *ip,
	};

	return bpf_map_lookup_elem(rules, &key);
}

static __always_inline struct weft_rule *rule_backend(void *rules, __u32 service, __u32 index)
{
	struct weft_rule_key key = { .kind = WEFT_RULE_BACKEND, .a = service, .b = index };

	return bpf_map_lookup_elem(rules, &key);
}

/* The most specific entry: (source, port), (source, any), (any, port), (any, any). */
static __always_inline __u32 rule_verdict(void *rules, __u32 source, __u32 destination, __u16 port)
{
	struct weft_rule_key key = {
		.kind = WEFT_RULE_VERDICT, .a = source, .b = destination, .c = port,
	};
	struct weft_rule *rule = bpf_map_lookup_elem(rules, &key);

	if (!rule) {
		key.c = 0;
		rule = bpf_map_lookup_elem(rules, &key);
	}
	if (!rule) {
		key.a = 0;
		key.c = port;
		rule = bpf_map_lookup_elem(rules, &key);
	}
	if (!rule) {
		key.c = 0;
		rule = bpf_map_lookup_elem(rules, &key);
	}
	return rule ? rule->value : WEFT_VERDICT_AGENT;
}

#endif
