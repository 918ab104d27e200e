/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_PODS_H
#define WEFT_MAPS_PODS_H

#include "base.h"

/* Enrolled pods by netns cookie, which is never reused. Writer: agent (last step of enrolment).
 * Reader: connect. Removed when the pod is withdrawn. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_PODS_MAX);
	__type(key, __u64);
	__type(value, struct weft_pod);
} weft_pods SEC(".maps");

#endif
