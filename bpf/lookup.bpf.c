// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Steers connections that reach a pod, or a host-network workload, to a worker, without NAT, and
 * lets pass what the kernel vouches for. weft_lookup is attached to each pod's network namespace,
 * weft_lookup_host to the node's. Fails closed: no worker, no connection. */
#include "include/maps/base.h"
#include "include/maps/capture.h"
#include "include/maps/hosts.h"
#include "include/maps/listeners.h"
#include "include/maps/origins.h"
#include "include/maps/sockets.h"
#include "lib/address.h"
#include "lib/ports.h"

char LICENSE[] SEC("license") = "GPL";

/* What one more connection costs on each worker. Writer: agent. Reader: lookup. One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_costs);
} weft_costs SEC(".maps");

#define LOOPBACK_IFINDEX 1
#define LOOK(ctx, field) CTX_LOAD(ctx, struct bpf_sk_lookup, field)

/* The cheapest worker that is not in `excluded`; ties go to the first from `start` on. A function
 * of its own, so that the verifier walks its loop once. */
__noinline int weft_cheapest(__u32 excluded, __u32 start)
{
	__u32 zero = 0, at, best = WEFT_WORKERS_MAX;
	__u64 best_price = ~0ULL;
	struct weft_workers *workers = bpf_map_lookup_elem(&weft_workers, &zero);
	struct weft_costs *costs = bpf_map_lookup_elem(&weft_costs, &zero);

	if (!workers || !costs)
		return WEFT_WORKERS_MAX;
	for (at = 0; at < WEFT_WORKERS_MAX; at++) {
		__u32 worker = (start + at) & (WEFT_WORKERS_MAX - 1);
		__u64 price;

		if (costs->cost[worker] == 0 || (excluded & (1U << worker)))
			continue;
		price = (workers->live[worker] + 1) * costs->cost[worker];
		if (price < best_price) {
			best_price = price;
			best = worker;
		}
	}
	return best;
}

/* Assigns the worker's listener if it is alive. */
static __always_inline bool assign(struct bpf_sk_lookup *ctx, const struct weft_listener_key *key)
{
	struct bpf_sock *listener = bpf_map_lookup_elem(&weft_listeners, key);
	long failed;

	if (!listener)
		return false;
	failed = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return !failed;
}

/* `ip` names the listeners: a pod's address, or every address for the node's. */
static __always_inline int to_worker(struct bpf_sk_lookup *ctx, const struct weft_tuple *tuple,
				     const struct weft_ip *ip, __u16 class)
{
	struct weft_listener_key key = { .ip = *ip, .class = class };
	__u32 *remembered = bpf_map_lookup_elem(&weft_choices, tuple);
	__u32 tries, excluded = 0, start, worker;

	if (remembered) {
		key.worker = *remembered;
		if (assign(ctx, &key))
			return SK_PASS;
		excluded |= 1U << (*remembered & (WEFT_WORKERS_MAX - 1));
	}
	start = bpf_get_prandom_u32();
	for (tries = 0; tries < WEFT_WORKERS_MAX; tries++) {
		worker = weft_cheapest(excluded, start);
		if (worker >= WEFT_WORKERS_MAX)
			break;
		key.worker = worker;
		if (assign(ctx, &key)) {
			bpf_map_update_elem(&weft_choices, tuple, &worker, BPF_ANY);
			return SK_PASS;
		}
		excluded |= 1U << (worker & (WEFT_WORKERS_MAX - 1));
	}
	count(WEFT_COUNT_NO_WORKER);
	return SK_DROP;
}

static __always_inline void tuple_of_packet(struct bpf_sk_lookup *ctx, struct weft_tuple *tuple)
{
	if (LOOK(ctx, family) == AF_INET) {
		tuple->source = ip_of_v4(LOOK(ctx, remote_ip4));
		tuple->destination = ip_of_v4(LOOK(ctx, local_ip4));
	} else {
		tuple->source.words[0] = LOOK(ctx, remote_ip6[0]);
		tuple->source.words[1] = LOOK(ctx, remote_ip6[1]);
		tuple->source.words[2] = LOOK(ctx, remote_ip6[2]);
		tuple->source.words[3] = LOOK(ctx, remote_ip6[3]);
		tuple->destination.words[0] = LOOK(ctx, local_ip6[0]);
		tuple->destination.words[1] = LOOK(ctx, local_ip6[1]);
		tuple->destination.words[2] = LOOK(ctx, local_ip6[2]);
		tuple->destination.words[3] = LOOK(ctx, local_ip6[3]);
	}
	tuple->source_port = ctx->remote_port;
	tuple->destination_port = bpf_htons(LOOK(ctx, local_port));
}

static __always_inline bool is_capture_port(__u16 port)
{
	return port >= WEFT_CAPTURE_PORT_FIRST &&
	       port < WEFT_CAPTURE_PORT_FIRST + WEFT_CAPTURE_PORTS;
}

SEC("sk_lookup")
int weft_lookup(struct bpf_sk_lookup *ctx)
{
	struct weft_tuple tuple = {};
	__u16 port = LOOK(ctx, local_port);
	bool own;

	if (LOOK(ctx, protocol) != IPPROTO_TCP)
		return SK_PASS;
	tuple_of_packet(ctx, &tuple);
	if (bpf_map_lookup_elem(&weft_attest, &tuple))
		return SK_PASS;
	own = ip_equal(&tuple.source, &tuple.destination);
	if (is_capture_port(port)) {
		/* Loopback: a program bound there asks a resolver over TCP. */
		if (own || ip_is_loopback(&tuple.source))
			return to_worker(ctx, &tuple, &tuple.destination, WEFT_CLASS_OUTBOUND);
		count(WEFT_COUNT_CAPTURE_FOREIGN);
		return SK_DROP;
	}
	if (port == WEFT_HBONE_PORT)
		return to_worker(ctx, &tuple, &tuple.destination, WEFT_CLASS_HBONE);
	/* Packets to the pod's own address report its device, not lo. */
	if (own || LOOK(ctx, ingress_ifindex) == LOOPBACK_IFINDEX)
		return SK_PASS;
	return to_worker(ctx, &tuple, &tuple.destination, WEFT_CLASS_PLAINTEXT);
}

/* Only the very connection that `connect` sent here has an original destination. */
static __always_inline bool is_captured(const struct weft_tuple *tuple)
{
	struct weft_config *settings = config();
	struct weft_origin_key key = { .tuple = *tuple };

	if (!settings)
		return false;
	key.netns = settings->node_netns;
	return bpf_map_lookup_elem(&weft_origins, &key);
}

/* The node has services that are not in the mesh, by which it is administered: what is not for a
 * workload passes, whatever has become of the agent. */
static __always_inline __u16 class_on_node(const struct weft_tuple *tuple)
{
	__u16 port = bpf_ntohs(tuple->destination_port);

	if (is_capture_port(port) && is_captured(tuple))
		return WEFT_CLASS_OUTBOUND;
	if (port == WEFT_HBONE_PORT)
		return WEFT_CLASS_HBONE;
	return port_owner(&tuple->destination, port) ? WEFT_CLASS_PLAINTEXT : 0;
}

SEC("sk_lookup")
int weft_lookup_host(struct bpf_sk_lookup *ctx)
{
	struct weft_tuple tuple = {};
	struct weft_ip every;
	__u16 class;

	if (LOOK(ctx, protocol) != IPPROTO_TCP)
		return SK_PASS;
	tuple_of_packet(ctx, &tuple);
	if (bpf_map_lookup_elem(&weft_attest, &tuple))
		return SK_PASS;
	class = class_on_node(&tuple);
	if (!class)
		return SK_PASS;
	every = every_address(&tuple.destination);
	return to_worker(ctx, &tuple, &every, class);
}
