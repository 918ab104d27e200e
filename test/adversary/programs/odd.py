"""Clients and listeners that do what libraries seldom do; says one line of JSON, see odd.ts."""

import ctypes
import errno
import json
import os
import resource
import socket
import struct
import sys
import time

IPPROTO_MPTCP = 262
IP_TRANSPARENT = 19
MSG_FASTOPEN = 0x20000000


def banner(sock, **more):
    """What the other end says at once."""
    sock.settimeout(2)
    sock.sendall(b"\n")
    text = sock.recv(4096).decode()
    return {"ok": text != "", "banner": text, "local": sock.getsockname()[:2], **more}


def of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def mptcp(host, port):
    sock = socket.socket(of(host), socket.SOCK_STREAM, IPPROTO_MPTCP)
    sock.settimeout(3)
    sock.connect((host, int(port)))
    return banner(sock)


def fastopen(host, port):
    sock = socket.socket(of(host), socket.SOCK_STREAM)
    sock.sendto(b"\n", MSG_FASTOPEN, (host, int(port)))
    return banner(sock)


def device(host, port, name):
    sock = socket.socket(of(host), socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
    sock.settimeout(3)
    sock.connect((host, int(port)))
    return banner(sock)


def mapped(host, port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.settimeout(3)
    sock.connect((f"::ffff:{host}", int(port)))
    return banner(sock)


def passed(host, port, cgroup):
    """By a socket that was made in another cgroup, and handed over."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        with open(f"{cgroup}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        made = socket.socket(of(host), socket.SOCK_STREAM)
        socket.send_fds(theirs, [b"x"], [made.fileno()])
        os._exit(0)
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(child, 0)
    sock = socket.socket(fileno=fds[0])
    sock.settimeout(3)
    sock.connect((host, int(port)))
    return banner(sock)


def again(first, first_port, host, port):
    """A socket that was connected, was let go, and connects elsewhere."""
    sock = socket.socket(of(host), socket.SOCK_STREAM)
    sock.settimeout(3)
    sock.connect((first, int(first_port)))
    let_go(sock)
    sock.connect((host, int(port)))
    return banner(sock)


def let_go(sock):
    """connect() with AF_UNSPEC."""
    ctypes.CDLL(None).connect(sock.fileno(), (ctypes.c_ubyte * 16)(), 16)


def listen_many(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(count) + 64, int(count) + 64))
    kept, at = [], 0
    while len(kept) < int(count):
        at += 1
        sock = socket.socket()
        try:
            sock.bind((f"127.{1 + at // 20000}.0.1", 10000 + at % 20000))
            sock.listen(1)
            kept.append(sock)
        except OSError:
            sock.close()
    print("listening", flush=True)
    sys.stdin.readline()
    return {"ok": True}

def question(name, ident=7):
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!6H", ident, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def dns_ways(resolver, name):
    """Who is seen to answer, by sockets of every kind."""
    seen = {}

    def told(way, sock, *peek):
        sock.settimeout(2)
        data, source = sock.recvfrom(4096, *peek)
        seen[way] = [source[0].removeprefix("::ffff:"), source[1], len(data) > 12]

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.sendto(question(name), (resolver, 53))
    told("peeked", sock, socket.MSG_PEEK)
    told("unconnected", sock)
    sock.connect((resolver, 53))
    sock.send(question(name))
    told("connected", sock)
    let_go(sock)
    sock.sendto(question(name), (resolver, 53))
    told("let go", sock)
    mapped = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    mapped.sendto(question(name), (f"::ffff:{resolver}", 53))
    told("mapped", mapped)
    mapped.connect((f"::ffff:{resolver}", 53))
    mapped.send(question(name))
    told("mapped, connected", mapped)
    sharing = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for each, host in zip(sharing, ("127.0.0.1", "")):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        each.bind((host, 40053))
    sharing[1].sendto(question(name), (resolver, 53))
    told("sharing a port", sharing[1])
    transparent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    transparent.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    transparent.sendto(question(name), (resolver, 53))
    told("transparent", transparent)
    return {"ok": True, "seen": seen}


def dns_at(host, name, *ports):
    """Which of these ports answer a question for a name."""
    answering = []
    for port in ports:
        with socket.socket(of(host), socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.15)
            try:
                sock.sendto(question(name), (host, int(port)))
                sock.recvfrom(4096)
                answering.append(int(port))
            except OSError:
                pass
    return {"ok": True, "answering": answering}


def dns_pipeline(host, streams, size, name):
    """Asks on many streams as fast as they take it and reads nothing, until told."""
    message = question(name)
    some = (struct.pack("!H", len(message)) + message) * 500
    links = []
    for _ in range(int(streams)):
        link = socket.socket(of(host))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect((host, 53))
        link.setblocking(False)
        links.append(link)
    sent, until = 0, time.monotonic() + 4
    while sent < int(size) and time.monotonic() < until:
        for link in links:
            try:
                sent += link.send(some)
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                return {"ok": True, "sent": sent, "ended": True}
    print(f"sent {sent}", flush=True)
    sys.stdin.readline()
    return {"ok": True, "sent": sent}


def dns_flood(host, seconds, *names):
    """Questions without pause, from ports of every socket there may be; nothing is read."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))
    sockets = [socket.socket(of(host), socket.SOCK_DGRAM) for _ in range(4000)]
    messages = [question(name) for name in names]
    for sock in sockets:
        sock.setblocking(False)
    print("flooding", flush=True)
    sent, until = 0, time.monotonic() + float(seconds)
    while time.monotonic() < until:
        for sock in sockets:
            try:
                sock.sendto(messages[sent % len(messages)], (host, 53))
            except OSError:
                pass
            sent += 1
    return {"ok": True, "sent": sent}


def squat_udp(first, last):
    """Every UDP port that the kernel would choose from."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write(f"{first} {last}")
    kept = []
    for port in range(int(first), int(last) + 1):
        for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            kept.append(sock)
    print("squatting", flush=True)
    sys.stdin.readline()
    return {"ok": True}



MODES = {name.replace("_", "-"): each for name, each in list(globals().items()) if callable(each)}

try:
    report = MODES[sys.argv[1]](*sys.argv[2:])
except OSError as error:
    report = {"ok": False, "error": errno.errorcode.get(error.errno, type(error).__name__)}
print(json.dumps(report))
