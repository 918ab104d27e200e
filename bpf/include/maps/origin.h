/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_ORIGIN_H
#define WEFT_MAPS_ORIGIN_H

#include "base.h"

/* Original destination of a socket a worker accepted. Writer: track of the agent, before accept()
 * can return it. Reader: origdst, and workers by descriptor. Lives and dies with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weft_origin);
} weft_sock_origin SEC(".maps");

#endif
