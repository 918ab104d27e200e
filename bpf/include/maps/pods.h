/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_PODS_H
#define WEFT_MAPS_PODS_H

#include "base.h"
#include "../../lib/address.h"

/* Enrolled pods by netns cookie, which is never reused. Writer: agent (last step of enrolment).
 * Reader: connect. Removed when the pod is withdrawn. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_PODS_MAX);
	__type(key, __u64);
	__type(value, struct weft_pod);
} weft_pods SEC(".maps");

/* Enrolled pods by workload: the destinations that a connection may reach without the agent.
 * Writer: agent (last step of enrolment). Reader: connect, track. The first thing removed when the
 * pod is withdrawn. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_PODS_MAX);
	__type(key, __u32);
	__type(value, struct weft_enrolled);
} weft_enrolled SEC(".maps");

/* Whether the workload is enrolled on this node under this very address. */
static __always_inline bool is_enrolled_at(__u32 workload, const struct weft_ip *ip)
{
	struct weft_enrolled *place = bpf_map_lookup_elem(&weft_enrolled, &workload);

	if (!place || ip_is_zero(ip))
		return false;
	return ip_equal(ip, ip_is_v4(ip) ? &place->ip4 : &place->ip6);
}

#endif
