"""Connects to `HOST PORT` for each line it reads, sends a byte and wants it back; reports a line."""

import errno
import json
import socket
import sys

TIMEOUT_SECONDS = 2


def probe(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        sock.connect((host, port))
        local = sock.getsockname()
        sock.sendall(b"?")
        answer = sock.recv(1)
        return {"ok": answer == b"?", "local": local[:2]}


print("ready", flush=True)
for line in sys.stdin:
    host, port = line.split()
    try:
        report = probe(host, int(port))
    except OSError as error:
        report = {"ok": False, "error": errno.errorcode.get(error.errno, "ETIMEDOUT")}
    print(json.dumps(report), flush=True)
