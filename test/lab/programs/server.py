"""A TCP server of the lab; see programs.ts for what each mode does."""

import argparse
import hashlib
import json
import socket
import struct
import sys
import threading
import time

CHUNK = 65536


def read_all(conn):
    while True:
        data = conn.recv(CHUNK)
        if not data:
            return
        yield data


def echo(conn, options):
    for data in read_all(conn):
        conn.sendall(data)
    conn.shutdown(socket.SHUT_WR)


def banner(conn, options):
    conn.sendall((options.banner + "\n").encode())
    echo(conn, options)


def sink(conn, options):
    if options.rate == 0:
        options.go.wait()
    total, digest = 0, hashlib.sha256()
    for data in read_all(conn):
        total += len(data)
        digest.update(data)
        if options.rate:
            time.sleep(len(data) / options.rate)
    conn.sendall(f"{total} {digest.hexdigest()}\n".encode())
    conn.shutdown(socket.SHUT_WR)


def source(conn, options):
    line = conn.makefile("r").readline()
    remaining, block = int(line), bytes(range(256)) * (CHUNK // 256)
    digest = hashlib.sha256()
    while remaining > 0:
        piece = block[:remaining]
        conn.sendall(piece)
        digest.update(piece)
        remaining -= len(piece)
    conn.shutdown(socket.SHUT_WR)
    print(f"sent {line.strip()} {digest.hexdigest()}", flush=True)


def early(conn, options):
    conn.sendall((options.banner + "\n").encode())
    conn.shutdown(socket.SHUT_WR)
    print(f"got {sum(len(data) for data in read_all(conn))}", flush=True)


def reset(conn, options):
    conn.recv(1)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def address(name):
    host, port = name[0], name[1]
    return {"ip": host.removeprefix("::ffff:"), "port": port}


def identity(conn, options):
    told = {
        "name": options.name,
        "local": address(conn.getsockname()),
        "remote": address(conn.getpeername()),
    }
    conn.sendall((json.dumps(told) + "\n").encode())
    conn.shutdown(socket.SHUT_WR)
    for _ in read_all(conn):
        pass


MODES = {f.__name__: f for f in (echo, banner, early, reset, sink, source, identity)}


def serve(conn, options):
    try:
        MODES[options.mode](conn, options)
    except OSError as error:
        print(f"error {error.__class__.__name__}", flush=True)
    finally:
        conn.close()


def wait_for_go(options):
    for line in sys.stdin:
        if line.strip() == "go":
            options.go.set()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="::")
    parser.add_argument("--name", default="")
    parser.add_argument("--banner", default="220 ready")
    parser.add_argument("--rate", type=int)
    options = parser.parse_args()
    options.go = threading.Event()
    if options.rate == 0:
        threading.Thread(target=wait_for_go, args=(options,), daemon=True).start()
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind((options.host, options.port))
    listener.listen(4096)
    print(f"listening {listener.getsockname()[1]}", flush=True)
    threading.stack_size(256 * 1024)
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve, args=(conn, options), daemon=True).start()


main()
