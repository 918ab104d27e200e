{
  "targets": [
    {
      "target_name": "weft",
      "sources": [
        "native/addon.cc",
        "native/env_state.cc",
        "native/js/callback.cc",
        "native/js/convert.cc",
        "native/js/error.cc",
        "native/bpf/btf.cc",
        "native/bpf/iter.cc",
        "native/bpf/libbpf_log.cc",
        "native/bpf/link.cc",
        "native/bpf/map.cc",
        "native/bpf/map_batch.cc",
        "native/bpf/map_create.cc",
        "native/bpf/object.cc",
        "native/bpf/object_options.cc",
        "native/bpf/program.cc",
        "native/bpf/ring.cc",
        "native/net/accept.cc",
        "native/net/address.cc",
        "native/net/bind_udp.cc",
        "native/net/connect.cc",
        "native/net/connect_wait.cc",
        "native/net/diag.cc",
        "native/net/listen.cc",
        "native/net/namespace.cc",
        "native/net/namespace_thread.cc",
        "native/net/sockopt.cc",
        "native/net/unix_channel.cc",
        "native/net/unix_listen.cc",
        "native/net/unix_message.cc"
      ],
      "include_dirs": ["native"],
      "defines": ["NAPI_VERSION=9", "_GNU_SOURCE"],
      "cflags_cc": [
        "-std=c++20",
        "-fno-exceptions",
        "-fno-rtti",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-missing-field-initializers"
      ],
      "libraries": ["-lbpf"]
    }
  ]
}
