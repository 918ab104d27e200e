/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Under which address the sockets of a workload's questions are entered. */
#ifndef WEFT_LIB_LISTENERS_H
#define WEFT_LIB_LISTENERS_H

#include "address.h"
#include "decision.h"

/* "weft": where no workload has its address. */
#define HOST_LISTENERS bpf_htonl(0x77656674)

/* src/kernel/datapath/dns-listener.ts repeats it. Workloads that share the node's address are told
 * apart by their numbers. */
static __always_inline struct weft_ip dns_listeners_ip(const struct caller *caller, bool v4)
{
	struct weft_ip key = { .words = { HOST_LISTENERS, 0, bpf_htonl(v4 ? 4 : 6),
					  bpf_htonl(caller->workload) } };

	if (caller->host)
		return key;
	return v4 ? caller->ip4 : caller->ip6;
}

#endif
