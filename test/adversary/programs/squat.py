"""Listens on every port it is given; says which it got, and of every connection that came."""

import select
import socket
import sys

listeners = []
for port in sys.argv[1:]:
    for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "127.0.0.1")):
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            sock.bind((host, int(port)))
            sock.listen(64)
            listeners.append(sock)
        except OSError as error:
            print(f"refused {host} {port} {error.errno}", flush=True)
print(f"squatting {len(listeners)}", flush=True)
while True:
    for ready in select.select(listeners, [], [])[0]:
        conn, peer = ready.accept()
        print(f"caught {ready.getsockname()[1]} from {peer[0]}", flush=True)
        conn.close()
