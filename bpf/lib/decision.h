/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What a program asked for when it connects or sends, and what becomes of it, as values. */
#ifndef WEFT_DECISION_H
#define WEFT_DECISION_H

#include "../include/maps/events.h"
#include "address.h"

/* What was asked, taken from the context. */
struct ask {
	struct weft_ip ip;
	__be16 port;
	__u16 protocol;
};

/* Who asks. */
struct caller {
	struct weft_ip ip4; /* zero: none */
	struct weft_ip ip6;
	__u32 workload;
	__u32 host; /* shares the node's network */
	__u32 on_device; /* its socket may use one device only, which is not loopback's */
};

/* UNTOUCHED: not even counted. */
enum action { REFUSE, UNTOUCHED, PASS, PASS_RECORDED, REWRITE };

struct decision {
	__u32 action;
	__u32 counter;
	__s32 error;
	__be16 port; /* with `ip`: where it goes instead */
	__u16 pad;
	struct weft_ip ip;
	struct weft_sock record;
};

static __always_inline void refuse(struct decision *decided, __u32 counter, __s32 error)
{
	decided->action = REFUSE;
	decided->counter = counter;
	decided->error = error;
}

static __always_inline void pass(struct decision *decided, __u32 action, __u32 counter)
{
	decided->action = action;
	decided->counter = counter;
	decided->record.kind = WEFT_SOCK_PASS;
}

static __always_inline void rewrite(struct decision *decided, __u32 kind, __u32 counter)
{
	decided->action = REWRITE;
	decided->counter = counter;
	decided->record.kind = kind;
}

/* To a worker, by one of the virtual ports. */
static __always_inline void capture(const struct weft_ip *target, struct decision *decided)
{
	rewrite(decided, WEFT_SOCK_AGENT, WEFT_COUNT_CAPTURED);
	decided->ip = *target;
	decided->port = bpf_htons(WEFT_CAPTURE_PORT_FIRST +
				  bpf_get_prandom_u32() % WEFT_CAPTURE_PORTS);
	decided->record.destination = 0;
}

/* Where a workload meets the agent: at its own address, or on loopback where it shares the node's,
 * because that address may not be the node's any more, and then it would be somebody else's. From one
 * device loopback is not reached. */
static __always_inline struct weft_ip meeting_place(const struct caller *caller,
						    const struct weft_ip *asked)
{
	struct weft_ip own = ip_is_v4(asked) ? caller->ip4 : caller->ip6;

	if (!caller->host || (caller->on_device && !ip_is_zero(&own)))
		return own;
	return ip_is_loopback(asked) ? *asked : loopback_like(asked);
}

static __always_inline bool is_own(const struct caller *caller, const struct weft_ip *ip)
{
	return ip_equal(ip, &caller->ip4) || ip_equal(ip, &caller->ip6);
}

static __always_inline void report_denied(const struct ask *ask, const struct decision *decided,
					  const struct weft_ip *source_ip)
{
	struct weft_denied *event = bpf_ringbuf_reserve(&weft_events, sizeof(*event), 0);

	if (!event) {
		count(WEFT_COUNT_EVENTS_LOST);
		return;
	}
	event->type = WEFT_EVENT_DENIED;
	event->reason = WEFT_REASON_POLICY_DENIED;
	event->version = decided->record.version;
	event->source = decided->record.source;
	event->destination = decided->record.destination;
	event->source_ip = *source_ip;
	event->asked_ip = ask->ip;
	event->endpoint_ip = decided->ip;
	event->asked_port = ask->port;
	event->endpoint_port = decided->port;
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

#endif
