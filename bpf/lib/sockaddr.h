/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Addresses as system calls take them. */
#ifndef WEFT_SOCKADDR_H
#define WEFT_SOCKADDR_H

#include "../include/kernel.h"

/* struct sockaddr_in and sockaddr_in6 (linux/in.h, linux/in6.h). */
struct address4 {
	__u16 family;
	__be16 port;
	__be32 ip;
	__u8 zero[8];
};

struct address6 {
	__u16 family;
	__be16 port;
	__u32 flow;
	__be32 ip[4];
	__u32 scope;
};

#endif
