// SPDX-License-Identifier: Apache-2.0
// One program and one map of every kind the addon handles; loaded by test/kernel.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2

struct sample_value {
	__u64 count;
	__be32 address;
	__u16 port;
	__u8 flags[2];
};

struct sample_event {
	__u32 number;
	__u32 twice;
};

const volatile __u32 sample_redirect_port = 0;
const volatile __u8 sample_pad[3] = { 1, 2, 3 };
const volatile __u64 sample_big = 0;

__u32 sample_runs;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct sample_value);
} sample_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} sample_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} sample_percpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} sample_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sample_value);
} sample_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} sample_sockets SEC(".maps");

struct sample_inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct sample_inner);
} sample_outer SEC(".maps");

// Sends connections to a port of the test's own elsewhere.
SEC("cgroup/connect4")
int sample_connect4(struct bpf_sock_addr *ctx)
{
	if (sample_redirect_port != 0 && ctx->user_port == bpf_htons(7))
		ctx->user_port = bpf_htons(sample_redirect_port);
	return 1;
}

// Refuses what the first version would let through.
SEC("cgroup/connect4")
int sample_refuse4(struct bpf_sock_addr *ctx)
{
	return ctx->user_port != bpf_htons(7);
}

// Gives every accepted socket a value of its own.
SEC("sockops")
int sample_sockops(struct bpf_sock_ops *ctx)
{
	struct sample_value *value;

	if (ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB || !ctx->sk)
		return 1;
	value = bpf_sk_storage_get(&sample_storage, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (value) {
		value->count = 42;
		value->port = bpf_ntohl(ctx->remote_port);
	}
	return 1;
}

SEC("sk_lookup")
int sample_lookup(struct bpf_sk_lookup *ctx)
{
	__u32 key = ctx->local_port;
	struct bpf_sock *sk;

	sk = bpf_map_lookup_elem(&sample_sockets, &key);
	if (!sk)
		return SK_PASS;
	bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return SK_PASS;
}

// Answers the packet's length and writes an event; for BPF_PROG_TEST_RUN and TCX.
SEC("tc")
int sample_tc(struct __sk_buff *skb)
{
	struct sample_event *event;

	sample_runs++;
	event = bpf_ringbuf_reserve(&sample_ring, sizeof(*event), 0);
	if (!event)
		return 2;
	event->number = skb->len;
	event->twice = skb->len * 2;
	bpf_ringbuf_submit(event, 0);
	return sample_redirect_port == 9 ? 2 : 0;
}

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct sock_common {
	__u16 skc_num;
	__be16 skc_dport;
	unsigned char skc_state;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

// Writes the local port of every TCP socket of the namespace.
SEC("iter/tcp")
int sample_iter(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	__u16 port;

	if (!sk)
		return 0;
	port = sk->skc_num;
	bpf_seq_write(ctx->meta->seq, &port, sizeof(port));
	return 0;
}

char _license[] SEC("license") = "GPL";
