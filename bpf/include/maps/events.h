/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef WEFT_MAPS_EVENTS_H
#define WEFT_MAPS_EVENTS_H

#include "base.h"

/* Endings of direct connections. Writer: connect, track. Reader: agent. Full: the record is lost
 * and counted; telemetry never delays a connection. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEFT_EVENTS_BYTES);
} weft_events SEC(".maps");

#endif
