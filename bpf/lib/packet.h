/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What a packet is, parsed once into values, for the guard. */
#ifndef WEFT_PACKET_H
#define WEFT_PACKET_H

#include "address.h"

#define ETH_HEADER 14
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_IPV6 0x86DD

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_ROUTER_ADVERTISEMENT 134
#define ICMP6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMP6_REDIRECT 137

#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define DHCP_CLIENT 68
#define DHCP_SERVER 67

struct packet {
	struct weft_ip source;
	struct weft_ip destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 type;      /* ICMP and ICMPv6 */
	__u8 tcp_flags;
	__u8 parsed;    /* addresses are known; a fragment or odd header has protocol 0 */
	__u32 payload;  /* TCP bytes */
	__u32 l4;       /* offset of the transport header */
};

struct ipv4_header {
	__u8 version_length;
	__u8 service;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	struct weft_ip source;
	struct weft_ip destination;
};

/* The first bytes of TCP, UDP and ICMP alike. */
struct transport_header {
	__be16 source_port; /* ICMP: type and code */
	__be16 destination_port;
	__be32 sequence;
	__be32 acknowledged;
	__u8 tcp_length; /* in the upper half, in words */
	__u8 tcp_flags;
};

static __always_inline void parse_transport(struct __sk_buff *skb, struct packet *packet,
					    __u32 l4_bytes)
{
	struct transport_header header = {};

	/* UDP and ICMP headers have 8 bytes, TCP's first 14 are read if they are there. */
	if (bpf_skb_load_bytes(skb, packet->l4, &header, 8)) {
		packet->protocol = 0;
		return;
	}
	packet->source_port = header.source_port;
	packet->destination_port = header.destination_port;
	packet->type = bpf_ntohs(header.source_port) >> 8;
	if (packet->protocol != IPPROTO_TCP)
		return;
	if (bpf_skb_load_bytes(skb, packet->l4, &header, 14)) {
		packet->protocol = 0;
		return;
	}
	packet->tcp_flags = header.tcp_flags;
	packet->payload = l4_bytes - (header.tcp_length >> 4) * 4;
}

static __always_inline void parse_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv4_header header;
	__u32 header_bytes;

	if (bpf_skb_load_bytes(skb, ETH_HEADER, &header, sizeof(header)))
		return;
	packet->source = ip_of_v4(header.source);
	packet->destination = ip_of_v4(header.destination);
	packet->parsed = 1;
	if (header.fragment & bpf_htons(0x1fff))
		return;
	header_bytes = (header.version_length & 15) * 4;
	packet->protocol = header.protocol;
	packet->l4 = ETH_HEADER + header_bytes;
	parse_transport(skb, packet, bpf_ntohs(header.length) - header_bytes);
}

/* One hop-by-hop header is skipped (multicast listener reports carry it); others are odd. */
static __always_inline void parse_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6_header header;
	__u8 option[2];
	__u32 skipped = 0;

	if (bpf_skb_load_bytes(skb, ETH_HEADER, &header, sizeof(header)))
		return;
	packet->source = header.source;
	packet->destination = header.destination;
	packet->parsed = 1;
	packet->protocol = header.next;
	packet->l4 = ETH_HEADER + sizeof(header);
	if (packet->protocol == 0) {
		if (bpf_skb_load_bytes(skb, packet->l4, option, sizeof(option)))
			return;
		packet->protocol = option[0];
		skipped = (option[1] + 1) * 8;
		packet->l4 += skipped;
	}
	parse_transport(skb, packet, bpf_ntohs(header.length) - skipped);
}

#endif
