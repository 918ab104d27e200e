/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Where datagrams go instead of where programs send them, and who asked which resolver. */
#ifndef WEFT_MAPS_DATAGRAMS_H
#define WEFT_MAPS_DATAGRAMS_H

#include "base.h"

/* Where a socket's datagrams go instead of where the program sends them. */
struct weft_translation {
	struct weft_ip asked;
	struct weft_ip actual;
	__be16 asked_port; /* 0: unused */
	__be16 actual_port; /* 0: refused, and that was told */
	__u32 choice; /* slots: the worker; direct: the endpoint's index */
};
_Static_assert(sizeof(struct weft_translation) == 40, "weft_translation");

struct weft_datagrams {
	struct weft_translation slots[WEFT_DNS_SLOTS];
	__u32 next; /* slot to use for the next new resolver */
	__u32 pad;
	struct weft_translation direct; /* the service it talks to, and the endpoint it got */
};
_Static_assert(sizeof(struct weft_datagrams) == 168, "weft_datagrams");

/* Writer, reader: connect. Lives and dies with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weft_datagrams);
} weft_datagrams SEC(".maps");

/* The resolver behind a question, and the asker. Writer: connect. Reader: workers. LRU: a question
 * whose entry was evicted is not answered, never sent elsewhere. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEFT_ASKED_MAX);
	__type(key, struct weft_asked_key);
	__type(value, struct weft_origin);
} weft_asked SEC(".maps");

#endif
