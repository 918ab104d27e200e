/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Bounds shared with src/model/limits.ts; a test compares them. */
#ifndef WEFT_LIMITS_H
#define WEFT_LIMITS_H

#define WEFT_WORKERS_MAX 16
#define WEFT_CAPTURE_PORTS 32
#define WEFT_CAPTURE_PORT_FIRST 15101
#define WEFT_HBONE_PORT 15008
#define WEFT_PODS_MAX 1024
#define WEFT_ATTEST_MAX 65536
#define WEFT_ORIGINS_MAX 65536
#define WEFT_DNS_SLOTS 3
#define WEFT_HOSTS_MAX 1024
#define WEFT_HOST_PORTS_MAX 16384

/* Known to the kernel side only. */
#define WEFT_LISTENER_CLASSES 6
#define WEFT_ADDRESSES_PER_POD 2
#define WEFT_LISTENERS_MAX \
	(WEFT_PODS_MAX * WEFT_ADDRESSES_PER_POD * WEFT_LISTENER_CLASSES * WEFT_WORKERS_MAX)
#define WEFT_CHOICES_MAX 65536
#define WEFT_ASKED_MAX 65536
#define WEFT_CGROUP_NAME_MAX 96
#define WEFT_CGROUP_DEPTH_MAX 10
#define WEFT_LISTENING_MAX 65536
#define WEFT_KILL_MAX 65536
#define WEFT_EVENTS_BYTES (1 << 20)
/* Template only: each generation's own size is chosen when it is made. */
#define WEFT_RULES_TEMPLATE 1024

#endif
