/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What a program asked for when it connects or sends, and what becomes of it, as values. */
#ifndef WEFT_DECISION_H
#define WEFT_DECISION_H

#include "address.h"

/* What was asked, taken from the context. */
struct ask {
	struct weft_ip ip;
	__be16 port;
	__u16 protocol;
};

enum action { PASS, PASS_RECORDED, REFUSE, AGENT, DIRECT };

struct decision {
	__u32 action;
	__u32 counter;
	__s32 error;
	__be16 port;
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

static __always_inline __be16 capture_port(void)
{
	return bpf_htons(WEFT_CAPTURE_PORT_FIRST + bpf_get_prandom_u32() % WEFT_CAPTURE_PORTS);
}

#endif
