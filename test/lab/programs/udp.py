"""UDP echo: `serve HOST PORT`, or `send HOST PORT --message TEXT`."""

import argparse
import json
import socket


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("serve", "send"))
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--message", default="ping")
    parser.add_argument("--connected", action="store_true")
    options = parser.parse_args()
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if options.mode == "serve":
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((options.host, options.port))
        print(f"listening {options.port}", flush=True)
        while True:
            data, peer = sock.recvfrom(65536)
            sock.sendto(data, peer)
    sock.settimeout(5)
    try:
        if options.connected:
            sock.connect((options.host, options.port))
            sock.send(options.message.encode())
            data, peer = sock.recv(65536), sock.getpeername()
        else:
            sock.sendto(options.message.encode(), (options.host, options.port))
            data, peer = sock.recvfrom(65536)
        ok = data.decode() == options.message
        report = {"ok": ok, "from": {"ip": peer[0], "port": peer[1]}}
    except OSError as error:
        report = {"ok": False, "error": error.strerror or "timeout"}
    print(json.dumps(report), flush=True)


main()
