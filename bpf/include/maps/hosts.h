/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Workloads and probers in the node's own namespace, which are known by their cgroups. */
#ifndef WEFT_MAPS_HOSTS_H
#define WEFT_MAPS_HOSTS_H

#include "base.h"

/* Workloads and probers by the names of their cgroups, from the root of the hierarchy down. Writer:
 * agent. Reader: connect, track, sweep, by lib/host.h. Removed at withdrawal. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_HOSTS_MAX);
	__type(key, struct weft_host_name);
	__type(value, struct weft_host);
} weft_hosts SEC(".maps");

/* Writer: track at listen() and close, sweep at enrolment, agent (configured ports). Reader:
 * lookup, connect, track of the agent, agent, workers. Full: the port is not served by the mesh,
 * and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_HOST_PORTS_MAX);
	__type(key, struct weft_port_key);
	__type(value, struct weft_port);
} weft_host_ports SEC(".maps");

/* Addresses of enrolled pods: what a prober may reach. Writer: agent. Reader: track. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_PODS_MAX * WEFT_ADDRESSES_PER_POD);
	__type(key, struct weft_ip);
	__type(value, __u32);
} weft_addresses SEC(".maps");

#endif
