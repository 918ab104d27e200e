/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the programs and the agent tell each other. src/kernel/abi.ts declares the same layouts and
 * a test compares both through BTF. Fixed widths; padding is explicit and zero; `be` is network
 * order, everything else host order. A change of any layout raises WEFT_ABI. */
#ifndef WEFT_ABI_H
#define WEFT_ABI_H

#include <linux/types.h>
#include "limits.h"

#define WEFT_ABI 2

/* Reasons: numbers of src/model/reason.ts. */
#define WEFT_REASON_COMPLETED 0
#define WEFT_REASON_POLICY_DENIED 16
#define WEFT_REASON_POLICY_CHANGED 18
#define WEFT_REASON_NOT_ENROLLED 28
#define WEFT_REASON_CONNECT_FAILED 33
#define WEFT_REASON_UPSTREAM_RESET 40
#define WEFT_REASON_DOWNSTREAM_RESET 41
#define WEFT_REASON_ENROLLED_LATE 44
#define WEFT_REASON_INTERNAL 63

/* Counters: a reason's number counts refusals for it; above them, what else is worth counting. */
#define WEFT_COUNT_CAPTURED 64
#define WEFT_COUNT_DIRECT 65
#define WEFT_COUNT_LOCAL 66
#define WEFT_COUNT_UDP_PASSED 67
#define WEFT_COUNT_UNKNOWN_PASSED 68
#define WEFT_COUNT_UNCONFIGURED 69
#define WEFT_COUNT_NO_ADDRESS 70
#define WEFT_COUNT_STORAGE_FAILED 71
#define WEFT_COUNT_ATTEST_FAILED 72
#define WEFT_COUNT_ATTESTED 73
#define WEFT_COUNT_NO_WORKER 74
#define WEFT_COUNT_CAPTURE_FOREIGN 75
#define WEFT_COUNT_EVENTS_LOST 76
#define WEFT_COUNT_GUARD_DROPPED 77
#define WEFT_COUNT_UNSTAMPED_DROPPED 78
#define WEFT_COUNT_SPOOFED_DROPPED 79
#define WEFT_COUNT_ORIGIN_MISSING 80
#define WEFT_COUNT_UDP_DIRECT 81
#define WEFT_COUNT_DNS_CAPTURED 82
#define WEFT_COUNT_DNS_NO_WORKER 83
#define WEFT_COUNT_DNS_NO_PORT 84
#define WEFT_COUNT_PROBES 85
#define WEFT_COUNT_PORTS_FULL 86
#define WEFT_COUNT_PORTS_TAKEN 87
#define WEFT_COUNT_UNADMITTED 88
#define WEFT_COUNTERS 96

/* Kinds of socket records. */
#define WEFT_SOCK_AGENT 1     /* captured: ends at a worker in the pod */
#define WEFT_SOCK_DIRECT 2    /* completed by the kernel, attested */
#define WEFT_SOCK_ACCEPTED 3  /* the server side of an attested connection */
#define WEFT_SOCK_PASS 4      /* outside the mesh's care: UDP, link-local, unknown */
#define WEFT_SOCK_PROBE 5     /* of an exempt host cgroup */
#define WEFT_SOCK_INHERITED 6 /* older than the pod's enrolment */
#define WEFT_SOCK_REFUSED 7   /* direct, but could not be attested: the guard drops it */
#define WEFT_SOCK_DNS 8       /* UDP, connected: asks a resolver through the agent */
#define WEFT_SOCK_LISTENS 9   /* a host-network workload's, counted in weft_host_ports */

/* Who attested a tuple. */
#define WEFT_ATTEST_DIRECT 1
#define WEFT_ATTEST_AGENT 2
#define WEFT_ATTEST_PROBE 3 /* of a cgroup that may probe every workload */

/* Classes of listeners: src/model/messages.ts ListenerClass. */
#define WEFT_CLASS_OUTBOUND 1
#define WEFT_CLASS_PLAINTEXT 2
#define WEFT_CLASS_HBONE 3
/* One UDP socket for each resolver that a client's socket may ask at once: the port an answer comes
 * from tells which resolver it stands for. */
#define WEFT_CLASS_DNS0 4
#define WEFT_CLASS_DNS1 5
#define WEFT_CLASS_DNS2 6

/* What a cgroup of the node's own namespace is. */
#define WEFT_HOST_PROBE 1 /* may probe */
/* Where the walk over names of cgroups begins: the root of the hierarchy. */
#define WEFT_CGROUP_ROOT 1

/* Kinds of rules in a generation. */
#define WEFT_RULE_SERVICE 1
#define WEFT_RULE_BACKEND 2
#define WEFT_RULE_VERDICT 3

#define WEFT_VERDICT_AGENT 0
#define WEFT_VERDICT_ALLOW 1
#define WEFT_VERDICT_DENY 2

#define WEFT_EVENT_CLOSED 1
#define WEFT_EVENT_DENIED 2

/* The agent marks sockets that deliver into a pod; only those are attested and routed to lo. */
#define WEFT_DELIVERY_MARK 0x111

/* 16 bytes of an address, IPv4 v4-mapped. */
struct weft_ip {
	__be32 words[4];
};
_Static_assert(sizeof(struct weft_ip) == 16, "weft_ip");

/* A connection as its client sees it. */
struct weft_tuple {
	struct weft_ip source;
	struct weft_ip destination;
	__be16 source_port;
	__be16 destination_port;
};
_Static_assert(sizeof(struct weft_tuple) == 36, "weft_tuple");

struct weft_config {
	__u32 abi;
	__u32 configured; /* 0: refuse everything */
	__u32 unknown_pass;
	__u32 direct;
	__u32 workers;
	__u32 agent_level; /* depth of the agent's cgroup; the root is 0 */
	__u64 agent_cgroup;
	__u32 dns; /* capture port 53 */
	__u32 workloads_level;
	__u64 workloads_cgroup;
	__u64 node_netns; /* cookie of the agent's own namespace */
};
_Static_assert(sizeof(struct weft_config) == 56, "weft_config");

struct weft_pod {
	__u32 workload;
	__u32 flags;
	struct weft_ip ip4; /* zero: none */
	struct weft_ip ip6;
};
_Static_assert(sizeof(struct weft_pod) == 40, "weft_pod");

/* Where a workload is enrolled on this node. */
struct weft_enrolled {
	struct weft_ip ip4; /* zero: none */
	struct weft_ip ip6;
	__u64 netns;
};
_Static_assert(sizeof(struct weft_enrolled) == 40, "weft_enrolled");

/* Key of a generation. service: a = protocol, b = port (host order), ip. backend: a = service,
 * b = index. verdict: a = source (0 = every), b = destination, c = port (0 = every). */
struct weft_rule_key {
	__u32 kind;
	__u32 a;
	__u32 b;
	__u32 c;
	struct weft_ip ip;
};
_Static_assert(sizeof(struct weft_rule_key) == 32, "weft_rule_key");

/* service: value = service, count. backend: value = workload, ip, port. verdict: value. */
struct weft_rule {
	__u64 version;
	struct weft_ip ip;
	__u32 value;
	__u16 count;
	__be16 port;
};
_Static_assert(sizeof(struct weft_rule) == 32, "weft_rule");

/* Record of a workload's socket. */
struct weft_sock {
	__u8 kind;
	__u8 established;
	__be16 port; /* with `ip`: the destination the program asked for */
	__u32 source;
	__u32 destination;
	__u32 reason; /* why it was ended from outside; 0 when it was not */
	struct weft_ip ip;
	__u64 version;
	__u64 started_ns;
};
_Static_assert(sizeof(struct weft_sock) == 48, "weft_sock");

struct weft_attest {
	__u64 cookie; /* of the client's socket */
	__u64 version;
	__u32 source;
	__u32 destination;
	__u32 kind;
	__u32 pad;
};
_Static_assert(sizeof(struct weft_attest) == 32, "weft_attest");

struct weft_origin_key {
	struct weft_tuple tuple;
	__u32 pad;
	__u64 netns;
};
_Static_assert(sizeof(struct weft_origin_key) == 48, "weft_origin_key");

/* Where a captured connection wanted to go; what a worker reads from an accepted socket. */
struct weft_origin {
	struct weft_ip ip;
	__be16 port;
	__u16 pad;
	__u32 workload; /* the caller's */
};
_Static_assert(sizeof(struct weft_origin) == 24, "weft_origin");

struct weft_listener_key {
	struct weft_ip ip;
	__u16 class;
	__u16 worker;
};
_Static_assert(sizeof(struct weft_listener_key) == 20, "weft_listener_key");

/* Written on a listener by the agent, inherited by its children. */
struct weft_listener {
	__u32 worker;
	__u16 class;
	__u16 counted;
	__u32 workload;
	__u32 pad;
};
_Static_assert(sizeof(struct weft_listener) == 16, "weft_listener");

/* live: connections per worker. cost: multiplies `live + 1`; 0 means never chosen. */
struct weft_workers {
	__u64 live[WEFT_WORKERS_MAX];
};
_Static_assert(sizeof(struct weft_workers) == 128, "weft_workers");

struct weft_costs {
	__u32 cost[WEFT_WORKERS_MAX];
};
_Static_assert(sizeof(struct weft_costs) == 64, "weft_costs");

struct weft_listening_key {
	__u64 netns;
	__u16 port; /* host order */
	__u16 family;
	__u32 pad;
};
_Static_assert(sizeof(struct weft_listening_key) == 16, "weft_listening_key");

/* Ring: a direct connection ended. From the source's point of view. */
struct weft_closed {
	__u32 type;
	__u32 reason;
	__u64 version;
	__u64 cookie;
	__u64 duration_ns;
	__u64 sent_bytes;
	__u64 received_bytes;
	__u32 source;
	__u32 destination;
	__u32 srtt_us;
	__u32 retransmits;
	struct weft_tuple tuple;
	struct weft_ip asked_ip;
	__be16 asked_port;
	__u16 pad;
};
_Static_assert(sizeof(struct weft_closed) == 120, "weft_closed");

/* Ring: a direct connection was refused. */
struct weft_denied {
	__u32 type;
	__u32 reason;
	__u64 version;
	__u32 source;
	__u32 destination;
	struct weft_ip source_ip;
	struct weft_ip asked_ip;
	struct weft_ip endpoint_ip;
	__be16 asked_port;
	__be16 endpoint_port;
	__u32 pad;
};
_Static_assert(sizeof(struct weft_denied) == 80, "weft_denied");

/* One socket of a namespace, written by the iterator. */
struct weft_listed {
	__u64 cookie;
	__u64 version;
	struct weft_tuple tuple; /* as the socket sees it: source is local */
	__u32 source;
	__u32 destination;
	__u8 kind; /* 0: no record */
	__u8 state;
	__u16 family;
	__u64 sent_bytes;
	__u64 received_bytes;
	__u64 started_ns; /* CLOCK_MONOTONIC; 0 when unknown */
	__u32 srtt_us;
	__be16 asked_port; /* with `asked_ip`: the destination the program asked for */
	__u16 pad;
	struct weft_ip asked_ip;
};
_Static_assert(sizeof(struct weft_listed) == 112, "weft_listed");

/* What the tagging iterators need to know of the pod whose namespace they walk, or of the
 * host-network workload whose sockets they look for in the node's. */
struct weft_tagging {
	struct weft_ip ip4;
	struct weft_ip ip6;
	__u64 netns;
	__u32 workload; /* 0: every socket of the namespace */
	__u32 pad;
};
_Static_assert(sizeof(struct weft_tagging) == 48, "weft_tagging");

/* A cgroup by its name below another. Cgroups are known by name, not by id: a service that restarts
 * gets a new cgroup of the old name, and must not speak before the agent has noticed. */
struct weft_host_name {
	__u64 parent; /* WEFT_CGROUP_ROOT, or `below` of the parent's entry */
	char name[WEFT_CGROUP_NAME_MAX]; /* zero-padded */
};
_Static_assert(sizeof(struct weft_host_name) == 104, "weft_host_name");

/* A cgroup whose processes live in the node's namespace: a workload, a prober, or on the way to
 * one. */
struct weft_host {
	__u64 below; /* parent of the names below it; 0: none is known */
	__u32 workload; /* 0: none */
	__u32 flags;
	struct weft_ip ip4; /* zero: none */
	struct weft_ip ip6;
};
_Static_assert(sizeof(struct weft_host) == 48, "weft_host");

/* A port of the node that a workload serves. ip: zero is every IPv6 address, v4-mapped 0.0.0.0
 * every IPv4 one. `configured` entries are the agent's, the others count listening sockets. */
struct weft_port_key {
	struct weft_ip ip;
	__u16 port; /* host order */
	__u16 configured;
};
_Static_assert(sizeof(struct weft_port_key) == 20, "weft_port_key");

struct weft_port {
	__u32 workload; /* ~0: about to be removed */
	__u32 listeners;
};
_Static_assert(sizeof(struct weft_port) == 8, "weft_port");

/* Who asks a resolver through the agent: the socket at this port, and which of its resolvers.
 * The value is the resolver and the asker: struct weft_origin. */
struct weft_asked_key {
	__u64 netns;
	__be16 port;
	__u8 slot;
	__u8 v4;
	__u32 pad;
};
_Static_assert(sizeof(struct weft_asked_key) == 16, "weft_asked_key");

#endif
