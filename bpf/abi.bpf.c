// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Holds no program: its BTF shows every shared struct to the test that compares src/kernel/abi.ts
 * with the C layouts. */
#include "include/abi.h"

#define SHOW(name) struct name show_##name

SHOW(weft_ip);
SHOW(weft_tuple);
SHOW(weft_config);
SHOW(weft_pod);
SHOW(weft_enrolled);
SHOW(weft_rule_key);
SHOW(weft_rule);
SHOW(weft_sock);
SHOW(weft_attest);
SHOW(weft_origin_key);
SHOW(weft_origin);
SHOW(weft_listener_key);
SHOW(weft_listener);
SHOW(weft_workers);
SHOW(weft_costs);
SHOW(weft_listening_key);
SHOW(weft_closed);
SHOW(weft_denied);
SHOW(weft_listed);
SHOW(weft_tagging);
SHOW(weft_host);
SHOW(weft_host_name);
SHOW(weft_port_key);
SHOW(weft_port);
SHOW(weft_asked_key);
