// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The second line before workloads that share the node's network: their listeners accept only what
 * is vouched for, for them. `lookup` steers what is meant for a known port; this drops what it cannot know of
 * (a port in the moment it is opened, one that another workload has, one too many). Attached above
 * their cgroups. Fails closed. */
#include "include/maps/base.h"
#include "include/maps/sockets.h"
#include "lib/host.h"
#include "lib/packet.h"

char LICENSE[] SEC("license") = "GPL";

#define ADMITTED 1
#define DROPPED 0

/* Here packets begin at the network header. */
static __always_inline bool tuple_of_skb(struct __sk_buff *skb, struct weft_tuple *tuple)
{
	struct ipv4_header header4;
	struct ipv6_header header6;
	__be16 ports[2];
	__u32 l4;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, &header4, sizeof(header4)) ||
		    header4.protocol != IPPROTO_TCP)
			return false;
		tuple->source = ip_of_v4(header4.source);
		tuple->destination = ip_of_v4(header4.destination);
		l4 = (header4.version_length & 15) * 4;
	} else {
		if (bpf_skb_load_bytes(skb, 0, &header6, sizeof(header6)) ||
		    header6.next != IPPROTO_TCP)
			return false;
		tuple->source = header6.source;
		tuple->destination = header6.destination;
		l4 = sizeof(header6);
	}
	if (bpf_skb_load_bytes(skb, l4, ports, sizeof(ports)))
		return false;
	tuple->source_port = ports[0];
	tuple->destination_port = ports[1];
	return true;
}

static __always_inline bool is_on_node(struct sock *sk)
{
	struct weft_config *settings = config();

	return settings &&
	       BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie) == settings->node_netns;
}

SEC("cgroup_skb/ingress")
int weft_admit(struct __sk_buff *skb)
{
	struct weft_tuple tuple = {};
	struct weft_host host = {};
	struct bpf_sock *listener = skb->sk;
	struct weft_attest *statement;
	struct sock *sk;

	/* A SYN, or what completes its handshake: both are the listener's. UDP has no such state. */
	if (!listener || listener->state != BPF_TCP_LISTEN)
		return ADMITTED;
	sk = kernel_sock(listener);
	if (!sk || !is_on_node(sk) || !host_of(sk, &host) || !host.workload)
		return ADMITTED;
	if (tuple_of_skb(skb, &tuple)) {
		statement = bpf_map_lookup_elem(&weft_attest, &tuple);
		if (statement && (!statement->destination ||
				  statement->destination == host.workload))
			return ADMITTED;
	}
	count(WEFT_COUNT_UNADMITTED);
	return DROPPED;
}
