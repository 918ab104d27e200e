/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What a kernel socket says, as values, for iterators. */
#ifndef WEFT_SOCK_H
#define WEFT_SOCK_H

#include "address.h"

static __always_inline void sock_tuple(struct sock *sk, struct weft_tuple *tuple)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
		tuple->source = ip_of_v4(BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		tuple->destination = ip_of_v4(BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else {
		BPF_CORE_READ_INTO(&tuple->source, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&tuple->destination, sk, __sk_common.skc_v6_daddr);
	}
	tuple->source_port = bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
	tuple->destination_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
}

#endif
