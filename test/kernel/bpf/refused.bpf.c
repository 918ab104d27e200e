// SPDX-License-Identifier: Apache-2.0
// A program the verifier must refuse: it reads through a pointer it did not check.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} refused_hash SEC(".maps");

SEC("tc")
int refused_fine(struct __sk_buff *skb)
{
	return 0;
}

SEC("tc")
int refused_unchecked(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&refused_hash, &key);

	return *value;
}

char _license[] SEC("license") = "GPL";
