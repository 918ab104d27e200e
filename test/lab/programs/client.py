"""A TCP client of the lab; see programs.ts for what each mode does."""

import argparse
import errno
import hashlib
import json
import select
import socket
import struct
import sys
import threading
import time

CHUNK = 65536


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def make_socket(options):
    sock = socket.socket(family_of(options.host))
    sock.settimeout(options.timeout)
    if options.device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options.device.encode())
    if options.bind or options.bind_port:
        any_address = "::" if family_of(options.host) == socket.AF_INET6 else "0.0.0.0"
        sock.bind((options.bind or any_address, options.bind_port))
    return sock


def connected(options):
    sock = make_socket(options)
    sock.connect((options.host, options.port))
    return sock


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def read_all(sock):
    data = b""
    while piece := sock.recv(CHUNK):
        data += piece
    return data


def message(options):
    return options.message.encode() * (options.bytes // len(options.message) or 1)


def ends(sock):
    return {"local": sock.getsockname()[:2], "peer": sock.getpeername()[:2]}


def echo(options):
    sock, sent = connected(options), message(options)
    told = ends(sock)
    sock.sendall(sent)
    return {"ok": read_exactly(sock, len(sent)) == sent, **told}


def half_close_on(sock, options):
    sent, told = message(options), ends(sock)
    got = []
    # Both directions at once: a message larger than every buffer on the way would block.
    reader = threading.Thread(target=lambda: got.append(read_all(sock)))
    reader.start()
    sock.sendall(sent)
    sock.shutdown(socket.SHUT_WR)
    reader.join()
    return {"ok": bool(got) and got[0] == sent, **told}


def half_close(options):
    return half_close_on(connected(options), options)


def nonblocking(options):
    sock = make_socket(options)
    sock.setblocking(False)
    code = sock.connect_ex((options.host, options.port))
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, errno.errorcode[code])
    _, writable, _ = select.select([], [sock], [], options.timeout)
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if writable else errno.ETIMEDOUT
    if code:
        raise OSError(code, errno.errorcode[code])
    sock.settimeout(options.timeout)
    return half_close_on(sock, options)


def banner(options):
    sock = connected(options)
    first = sock.makefile("r").readline().strip()
    return {"ok": first != "", "banner": first, **ends(sock)}


def late(options):
    sock = connected(options)
    told = ends(sock)
    first = read_all(sock).decode().strip()
    sock.sendall(message(options))
    sock.close()
    return {"ok": first != "", "banner": first, **told}


def send(options):
    sock, digest = connected(options), hashlib.sha256()
    block, remaining = bytes(range(251)) * 261, options.bytes
    started = time.monotonic()
    while remaining > 0:
        piece = block[:remaining]
        sock.sendall(piece)
        digest.update(piece)
        remaining -= len(piece)
    sock.shutdown(socket.SHUT_WR)
    answer = read_all(sock).decode().split()
    wanted = [str(options.bytes), digest.hexdigest()]
    return {"ok": answer == wanted, "answer": answer, "seconds": time.monotonic() - started}


def push(options):
    sock, digest, total = connected(options), hashlib.sha256(), 0
    sock.setblocking(False)
    block, finish = bytes(range(251)) * 261, False
    while not finish and total < options.bytes:
        readable, writable, _ = select.select([sys.stdin], [sock], [], 0.5)
        finish = bool(readable)
        if writable:
            # The pattern goes on where the last send stopped.
            start = total % 251
            sent = sock.send(block[start:])
            digest.update(block[start : start + sent])
            total += sent
        elif not finish:
            print(f"blocked {total}", flush=True)
    sock.settimeout(60)
    sock.shutdown(socket.SHUT_WR)
    answer = read_all(sock).decode().split()
    return {"ok": answer == [str(total), digest.hexdigest()], "answer": answer, "bytes": total}


def fetch(options):
    sock, digest, total = connected(options), hashlib.sha256(), 0
    sock.sendall(f"{options.bytes}\n".encode())
    while piece := sock.recv(CHUNK):
        digest.update(piece)
        total += len(piece)
    wanted, block, remaining = hashlib.sha256(), bytes(range(256)) * (CHUNK // 256), options.bytes
    while remaining > 0:
        wanted.update(block[:remaining])
        remaining -= len(block[:remaining])
    return {"ok": total == options.bytes and digest.digest() == wanted.digest(), "bytes": total}


def reset(options):
    sock = connected(options)
    sock.sendall(message(options))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return {"ok": True}


def connect(options):
    sock = connected(options)
    return {"ok": True, **ends(sock)}


MODES = {
    "echo": echo,
    "half-close": half_close,
    "nonblocking": nonblocking,
    "banner": banner,
    "late": late,
    "send": send,
    "push": push,
    "fetch": fetch,
    "reset": reset,
    "connect": connect,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--bind", default="")
    parser.add_argument("--bind-port", type=int, default=0)
    parser.add_argument("--device", default="")
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--message", default="hello from the client\n")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        report = MODES[options.mode](options)
    except OSError as error:
        is_timeout = isinstance(error, TimeoutError) and error.errno is None
        name = "ETIMEDOUT" if is_timeout else errno.errorcode.get(error.errno, str(error))
        report = {"ok": False, "error": name}
    report["elapsedMs"] = round((time.monotonic() - started) * 1000)
    print(json.dumps(report), flush=True)


main()
