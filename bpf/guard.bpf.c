// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* No way round the mesh and no stolen address. Loaded once per pod with that pod's constants:
 * weft_guard_pod on the egress of the pod's device stamps what may leave; weft_guard_host on the
 * ingress of the device's other end drops what is not stamped or not the pod's. Fails closed. */
#include "include/maps/base.h"
#include "include/maps/capture.h"
#include "include/maps/sockets.h"
#include "lib/packet.h"

char LICENSE[] SEC("license") = "GPL";

/* The pod's addresses; zero when it has none of that family. */
const volatile struct weft_ip guard_ip4 = {};
const volatile struct weft_ip guard_ip6 = {};
/* The pod's address on the link. Another's would draw that one's packets here, and with them the
 * plaintext of the direct path. */
const volatile __u8 guard_mac[6] = {};
/* Nobody in the pod knows it. A packet that skips the inner program (AF_PACKET with
 * PACKET_QDISC_BYPASS, AF_XDP) has none. Never 0. */
const volatile __u16 guard_stamp = 0;
const volatile __u64 guard_agent_cgroup = 0;
const volatile __u32 guard_agent_level = 0;
/* Whether programs of the pod may send ICMP echo requests, and DHCP. */
const volatile __u8 guard_ping = 0;
const volatile __u8 guard_dhcp = 0;

#define TC_PASS 0
#define TC_DROP 2
#define SOCK_LOAD(sk, field) CTX_LOAD(sk, struct bpf_sock, field)

static __always_inline struct weft_ip own_ip4(void)
{
	struct weft_ip ip = { .words = { guard_ip4.words[0], guard_ip4.words[1],
					 guard_ip4.words[2], guard_ip4.words[3] } };

	return ip;
}

static __always_inline struct weft_ip own_ip6(void)
{
	struct weft_ip ip = { .words = { guard_ip6.words[0], guard_ip6.words[1],
					 guard_ip6.words[2], guard_ip6.words[3] } };

	return ip;
}

/* Whether the packet goes where its socket sends to. Who rules the namespace may rewrite packets on
 * their way to the device (NAT, tunnels, source routes), and lead a connection that may leave
 * somewhere else, in plaintext. Datagrams are not the mesh's. */
static __always_inline bool goes_where_sent(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct ipv4_header header4;
	struct ipv6_header header6;

	if (sk->protocol != IPPROTO_TCP)
		return true;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, ETH_HEADER, &header4, sizeof(header4)))
			return false;
		return header4.protocol == IPPROTO_TCP &&
		       header4.destination == SOCK_LOAD(sk, dst_ip4);
	}
	if (bpf_skb_load_bytes(skb, ETH_HEADER, &header6, sizeof(header6)))
		return false;
	/* The kernel puts a hop-by-hop header before very large packets. */
	return (header6.next == IPPROTO_TCP || header6.next == 0) &&
	       header6.destination.words[0] == SOCK_LOAD(sk, dst_ip6[0]) &&
	       header6.destination.words[1] == SOCK_LOAD(sk, dst_ip6[1]) &&
	       header6.destination.words[2] == SOCK_LOAD(sk, dst_ip6[2]) &&
	       header6.destination.words[3] == SOCK_LOAD(sk, dst_ip6[3]);
}

static __always_inline bool kind_may_leave(__u8 kind)
{
	return kind == WEFT_SOCK_DIRECT || kind == WEFT_SOCK_ACCEPTED || kind == WEFT_SOCK_PASS ||
	       kind == WEFT_SOCK_PROBE || kind == WEFT_SOCK_INHERITED || kind == WEFT_SOCK_DNS;
}

/* A kernel's own socket holds no reference on its namespace. Its cgroup says nothing: it is that
 * of whoever made the namespace. */
static __always_inline bool of_kernel(struct bpf_sock *full)
{
	struct bpf_sock *copy = full;
	struct sock_common *sk = 0;

	if (bpf_probe_read_kernel(&sk, sizeof(sk), &copy))
		return false;
	return BPF_CORE_READ_BITFIELD_PROBED(sk, skc_net_refcnt) == 0;
}

/* The answer to a SYN that `lookup` let in: vouched for, or given to a worker. */
static __always_inline bool answers_known_syn(const struct packet *packet)
{
	struct weft_tuple tuple = {
		.source = packet->destination,
		.destination = packet->source,
		.source_port = packet->destination_port,
		.destination_port = packet->source_port,
	};

	if (packet->protocol != IPPROTO_TCP ||
	    (packet->tcp_flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK))
		return false;
	return bpf_map_lookup_elem(&weft_attest, &tuple) ||
	       bpf_map_lookup_elem(&weft_choices, &tuple);
}

/* What the kernel sends of itself and carries no program's bytes. Echo replies only with a socket:
 * without one they may come from a namespace behind the pod. */
static __always_inline bool harmless_of_kernel(const struct packet *packet, bool has_socket)
{
	switch (packet->protocol) {
	case IPPROTO_ICMP:
		return packet->type != ICMP_ECHO &&
		       (packet->type != ICMP_ECHO_REPLY || has_socket);
	case IPPROTO_ICMPV6:
		return packet->type != ICMP6_ECHO &&
		       (packet->type != ICMP6_ECHO_REPLY || has_socket);
	case IPPROTO_IGMP:
		return true;
	case IPPROTO_TCP:
		return packet->payload == 0 && !(packet->tcp_flags & TCP_SYN);
	}
	return false;
}

static __always_inline bool allowed_by_flag(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_ICMP && packet->type == ICMP_ECHO)
		return guard_ping;
	if (packet->protocol == IPPROTO_ICMPV6 && packet->type == ICMP6_ECHO)
		return guard_ping;
	return guard_dhcp && packet->protocol == IPPROTO_UDP && ip_is_v4(&packet->source) &&
	       packet->source_port == bpf_htons(DHCP_CLIENT) &&
	       packet->destination_port == bpf_htons(DHCP_SERVER);
}

static __always_inline bool may_leave(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct bpf_sock *sk = skb->sk, *full = 0;
	struct weft_sock *record;
	bool kernel_owned;

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return true;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	if (sk)
		full = bpf_sk_fullsock(sk);
	if (guard_agent_cgroup &&
	    bpf_skb_ancestor_cgroup_id(skb, guard_agent_level) == guard_agent_cgroup &&
	    (!full || goes_where_sent(skb, full)))
		return true;
	/* Without a full socket (none, a request, TIME_WAIT) no program can have written it. */
	kernel_owned = !full;
	if (full) {
		record = bpf_sk_storage_get(&weft_socks, full, 0, 0);
		if (record && kind_may_leave(record->kind))
			return goes_where_sent(skb, full);
		/* In the name of a listener the kernel sends resets. */
		kernel_owned = of_kernel(full) || full->state == BPF_TCP_LISTEN;
	}
	if (skb->protocol == bpf_htons(ETH_P_IP))
		parse_ipv4(skb, &packet);
	else
		parse_ipv6(skb, &packet);
	if (!packet.parsed)
		return false;
	if (!full && answers_known_syn(&packet))
		return true;
	if (kernel_owned && harmless_of_kernel(&packet, sk != 0))
		return true;
	return allowed_by_flag(&packet);
}

SEC("tc")
int weft_guard_pod(struct __sk_buff *skb)
{
	if (!may_leave(skb)) {
		count(WEFT_COUNT_GUARD_DROPPED);
		return TC_DROP;
	}
	/* The kernel copies it to tc_index, which survives the way to the other end. */
	skb->tc_classid = guard_stamp;
	return TC_PASS;
}

static __always_inline bool arp_is_own(struct __sk_buff *skb)
{
	struct weft_ip own = own_ip4();
	__be32 sender;

	if (bpf_skb_load_bytes(skb, ETH_HEADER + 14, &sender, sizeof(sender)))
		return false;
	return sender == 0 || (!ip_is_zero(&own) && sender == own.words[3]);
}

/* A neighbour advertisement speaks for its target; routers are not pods. */
static __always_inline bool speaks_for_itself(struct __sk_buff *skb, const struct packet *packet)
{
	struct weft_ip target, own = own_ip6();

	if (packet->protocol != IPPROTO_ICMPV6)
		return true;
	if (packet->type == ICMP6_ROUTER_ADVERTISEMENT || packet->type == ICMP6_REDIRECT)
		return false;
	if (packet->type != ICMP6_NEIGHBOUR_ADVERTISEMENT)
		return true;
	if (bpf_skb_load_bytes(skb, packet->l4 + 8, &target, sizeof(target)))
		return false;
	return ip_is_link_local(&target) || (!ip_is_zero(&own) && ip_equal(&target, &own));
}

static __always_inline bool link_source_is_own(struct __sk_buff *skb)
{
	__u8 mac[6];
	int at;

	if (bpf_skb_load_bytes(skb, 6, mac, sizeof(mac)))
		return false;
	for (at = 0; at < 6; at++)
		if (mac[at] != guard_mac[at])
			return false;
	return true;
}

static __always_inline bool source_is_own(struct __sk_buff *skb)
{
	struct weft_ip own4 = own_ip4(), own6 = own_ip6();
	struct packet packet = {};

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return arp_is_own(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		parse_ipv4(skb, &packet);
		if (packet.parsed && packet.source.words[3] == 0)
			return guard_dhcp && packet.protocol == IPPROTO_UDP &&
			       packet.destination_port == bpf_htons(DHCP_SERVER);
		return packet.parsed && !ip_is_zero(&own4) && ip_equal(&packet.source, &own4);
	}
	parse_ipv6(skb, &packet);
	if (!packet.parsed || !speaks_for_itself(skb, &packet))
		return false;
	if (ip_is_zero(&packet.source))
		return packet.protocol == IPPROTO_ICMPV6;
	return ip_is_link_local(&packet.source) ||
	       (!ip_is_zero(&own6) && ip_equal(&packet.source, &own6));
}

SEC("tc")
int weft_guard_host(struct __sk_buff *skb)
{
	if (skb->tc_index != guard_stamp) {
		count(WEFT_COUNT_UNSTAMPED_DROPPED);
		return TC_DROP;
	}
	if (!link_source_is_own(skb) || !source_is_own(skb)) {
		count(WEFT_COUNT_SPOOFED_DROPPED);
		return TC_DROP;
	}
	return TC_PASS;
}
