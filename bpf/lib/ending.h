/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* How a connection ended and what it carried, as its socket knows when its state becomes CLOSE. */
#ifndef WEFT_ENDING_H
#define WEFT_ENDING_H

#include "../include/kernel.h"
#include "../include/abi.h"

/* TCP counts a SYN as one acknowledged byte, and a FIN as one in each direction. */
static __always_inline __u64 without(__u64 bytes, __u64 flags)
{
	return bytes > flags ? bytes - flags : 0;
}

static __always_inline bool own_fin_acknowledged(__u32 before)
{
	return before == BPF_TCP_FIN_WAIT2 || before == BPF_TCP_TIME_WAIT ||
	       before == BPF_TCP_LAST_ACK || before == BPF_TCP_CLOSING;
}

static __always_inline bool peer_fin_arrived(struct bpf_sock *sk)
{
	struct sock *full = (struct sock *)bpf_skc_to_tcp_sock(sk);

	return full && (BPF_CORE_READ(full, __sk_common.skc_flags) & (1UL << SOCK_DONE));
}

/* A reset by the peer, or a loss of it, leaves an error; one of our own leaves out the goodbyes. */
static __always_inline __u32 reason_of_end(struct bpf_sock *sk, const struct weft_sock *record,
					   __u32 before)
{
	struct sock *full = (struct sock *)bpf_skc_to_tcp_sock(sk);

	if (record->reason)
		return record->reason;
	if (!record->established)
		return WEFT_REASON_CONNECT_FAILED;
	if (full && BPF_CORE_READ(full, sk_err))
		return WEFT_REASON_UPSTREAM_RESET;
	if (before == BPF_TCP_ESTABLISHED || before == BPF_TCP_CLOSE_WAIT)
		return WEFT_REASON_DOWNSTREAM_RESET;
	return WEFT_REASON_COMPLETED;
}

#endif
