/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Datagrams that go elsewhere than programs send them, and appear to come from where they were
 * sent: questions for resolvers go to a worker, those for a service to an endpoint. */
#ifndef WEFT_LIB_DATAGRAMS_H
#define WEFT_LIB_DATAGRAMS_H

#include "../include/maps/datagrams.h"
#include "../include/maps/listeners.h"
#include "bind.h"
#include "direct.h"
#include "listeners.h"

#define DNS_PORT 53

/* A zone of an address would be lost on the way to another one. */
static __always_inline bool is_question(const struct ask *ask)
{
	return ask->port == bpf_htons(DNS_PORT) && !ip_is_multicast(&ask->ip) &&
	       (ip_is_v4(&ask->ip) || !ip_is_link_local(&ask->ip));
}

static __always_inline bool was_asked(const struct weft_translation *known, const struct ask *ask)
{
	return known->asked_port == ask->port && ip_equal(&known->asked, &ask->ip);
}

static __always_inline bool goes_to(const struct weft_translation *known, const struct weft_ip *ip,
				    __be16 port)
{
	return known->asked_port && known->actual_port == port && ip_equal(&known->actual, ip);
}

static __always_inline void learn(struct weft_translation *known, const struct ask *ask,
				  const struct decision *decided, __u32 choice)
{
	known->asked = ask->ip;
	known->asked_port = ask->port;
	known->actual = decided->ip;
	known->actual_port = decided->port;
	known->choice = choice;
}

/* The socket's slot for that resolver: the one it has, or else the one to use next. */
static __always_inline __u32 slot_for(const struct weft_datagrams *kept, const struct ask *ask,
				      bool *known)
{
	*known = true;
	if (was_asked(&kept->slots[0], ask))
		return 0;
	if (was_asked(&kept->slots[1], ask))
		return 1;
	if (was_asked(&kept->slots[2], ask))
		return 2;
	*known = false;
	return kept->next % WEFT_DNS_SLOTS;
}

/* Port of the worker's socket if that lives, or 0. */
static __always_inline __be16 live_port(const struct weft_listener_key *key)
{
	struct bpf_sock *socket = bpf_map_lookup_elem(&weft_listeners, key);
	__be16 port;

	if (!socket)
		return 0;
	port = bpf_htons(socket->src_port);
	bpf_sk_release(socket);
	return port;
}

/* Leaves in `wanted` the worker whose port it returns; 0: no worker has a live socket. A function of
 * its own, so that the verifier walks its loop once. Linux 6.1 takes a map's key from the stack, but
 * not from what a function is given. */
__noinline int weft_any_live_port(struct weft_listener_key *wanted, __u32 workers)
{
	__u32 start = bpf_get_prandom_u32(), tries;
	struct weft_listener_key key;
	__be16 port;

	if (!wanted)
		return 0;
	key = *wanted;
	for (tries = 0; tries < WEFT_WORKERS_MAX && tries < workers; tries++) {
		key.worker = (start + tries) % workers;
		port = live_port(&key);
		if (port) {
			wanted->worker = key.worker;
			return port;
		}
	}
	return 0;
}

/* Tells the worker which resolver the datagram is for. */
static __always_inline bool tell_asked(struct bpf_sock_addr *ctx, const struct ask *ask,
				       const struct decision *decided, __be16 port, __u32 slot)
{
	struct weft_asked_key key = {
		.netns = bpf_get_netns_cookie(ctx), .port = port, .slot = slot,
		.v4 = ip_is_v4(&ask->ip),
	};
	struct weft_origin asked = {
		.ip = ask->ip, .port = ask->port, .workload = decided->record.source,
	};

	return !bpf_map_update_elem(&weft_asked, &key, &asked, BPF_ANY);
}

/* In connect() the kernel has not chosen a port yet; only there may one be bound. */
static __always_inline __be16 port_of_client(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					     bool connects)
{
	if (connects && !sk->src_port && !bind_random(ctx, sk))
		return 0;
	return bpf_htons(sk->src_port);
}

/* A question goes to the worker's socket of the slot that stands for the resolver. */
static __always_inline void decide_question(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					    const struct caller *caller, const struct ask *ask,
					    struct decision *decided, bool connects)
{
	struct weft_config *settings = config();
	bool v4 = ip_is_v4(&ask->ip), known;
	struct weft_listener_key key = { .ip = dns_listeners_ip(caller, v4) };
	struct weft_datagrams *kept =
		bpf_sk_storage_get(&weft_datagrams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct weft_translation *slot;
	__be16 client;
	__u32 at;

	if (!kept || !settings)
		return refuse(decided, WEFT_COUNT_STORAGE_FAILED, -ECONNREFUSED);
	at = slot_for(kept, ask, &known);
	/* clang knows the bound and would leave the check out, which the verifier wants to see; that of
	 * Linux 6.1 loses a comparison when the number was put aside meanwhile, but not a mask. */
	_Static_assert(WEFT_DNS_SLOTS == 3, "what the mask leaves is a slot or `direct`");
	asm volatile("%0 &= 3" : "+r"(at));
	if (at >= WEFT_DNS_SLOTS)
		return refuse(decided, WEFT_COUNT_STORAGE_FAILED, -ECONNREFUSED);
	slot = &kept->slots[at];
	key.class = WEFT_CLASS_DNS0 + at;
	key.worker = slot->choice;
	decided->ip = caller->host ? loopback_like(&ask->ip) : meeting_place(caller, &ask->ip);
	decided->port = known ? live_port(&key) : 0;
	if (!decided->port || decided->port != slot->actual_port)
		decided->port = weft_any_live_port(&key, settings->workers);
	if (!decided->port)
		return refuse(decided, WEFT_COUNT_DNS_NO_WORKER, -ECONNREFUSED);
	client = port_of_client(ctx, sk, connects);
	if (!client)
		return refuse(decided, WEFT_COUNT_DNS_NO_PORT, -ECONNREFUSED);
	if (!tell_asked(ctx, ask, decided, client, at))
		return refuse(decided, WEFT_COUNT_STORAGE_FAILED, -ECONNREFUSED);
	if (!known)
		kept->next = at + 1;
	learn(slot, ask, decided, key.worker);
	rewrite(decided, WEFT_SOCK_DNS, WEFT_COUNT_DNS_CAPTURED);
}

/* Other datagrams go where they are sent, but for an endpoint of this node whose verdict is known.
 * A socket stays with the endpoint it got; a refusal is told once. */
static __always_inline void decide_datagram(struct bpf_sock *sk, const struct caller *caller,
					    const struct ask *ask, struct decision *decided)
{
	struct weft_datagrams *kept = bpf_sk_storage_get(&weft_datagrams, sk, 0, 0);
	bool again = kept && was_asked(&kept->direct, ask);
	__u32 choice = again ? kept->direct.choice : ANY_ENDPOINT;
	__u32 verdict = judge_direct(ask, decided, &choice);
	bool told = again && !kept->direct.actual_port;

	if (verdict == WEFT_VERDICT_AGENT)
		return pass(decided, PASS_RECORDED, WEFT_COUNT_UDP_PASSED);
	if (!kept)
		kept = bpf_sk_storage_get(&weft_datagrams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept)
		return refuse(decided, WEFT_COUNT_STORAGE_FAILED, -ECONNREFUSED);
	learn(&kept->direct, ask, decided, choice);
	if (verdict == WEFT_VERDICT_ALLOW)
		return rewrite(decided, WEFT_SOCK_DIRECT, WEFT_COUNT_UDP_DIRECT);
	kept->direct.actual_port = 0;
	if (!told)
		report_denied(ask, decided, ip_is_v4(&ask->ip) ? &caller->ip4 : &caller->ip6);
	refuse(decided, WEFT_REASON_POLICY_DENIED, -ECONNREFUSED);
}

/* Where the program believes that address to be, or 0: it is the one it knows. */
static __always_inline struct weft_translation *translation_of(struct bpf_sock *sk,
							       const struct weft_ip *ip,
							       __be16 port)
{
	struct weft_datagrams *kept;

	if (!sk)
		return 0;
	kept = bpf_sk_storage_get(&weft_datagrams, sk, 0, 0);
	if (!kept)
		return 0;
	if (goes_to(&kept->slots[0], ip, port))
		return &kept->slots[0];
	if (goes_to(&kept->slots[1], ip, port))
		return &kept->slots[1];
	if (goes_to(&kept->slots[2], ip, port))
		return &kept->slots[2];
	return goes_to(&kept->direct, ip, port) ? &kept->direct : 0;
}

/* An IPv6 socket that is connected to a v4-mapped address runs the hook of sendmsg for every
 * datagram, with the address that connect() was given instead. */
static __always_inline bool is_decided(struct bpf_sock *sk, const struct ask *ask)
{
	return ip_is_v4(&ask->ip) && sk->dst_port == ask->port &&
	       sk->dst_ip4 == ask->ip.words[3] && translation_of(sk, &ask->ip, ask->port);
}

#endif
