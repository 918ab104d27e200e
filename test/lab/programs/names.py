"""Asks resolvers for names, in the ways libraries do; see programs.ts for what each mode does."""

import json
import random
import select
import socket
import struct
import sys
import time

TYPES = {"A": 1, "CNAME": 5, "TXT": 16, "AAAA": 28}


def question(name, kind, ident):
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!6H", ident, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", TYPES[kind], 1)


def skip_name(data, at):
    while data[at] and data[at] < 192:
        at += data[at] + 1
    return at + (2 if data[at] else 1)


def reading(data):
    """Code, whether it was cut, and the addresses."""
    flags, _, count = struct.unpack("!3H", data[2:8])
    at = skip_name(data, 12) + 4
    addresses = []
    for _ in range(count):
        at = skip_name(data, at)
        kind, _, ttl, size = struct.unpack("!2HIH", data[at : at + 10])
        if kind in (1, 28):
            family = socket.AF_INET if kind == 1 else socket.AF_INET6
            addresses.append(socket.inet_ntop(family, data[at + 10 : at + 10 + size]))
        at += 10 + size
    return {"code": flags & 15, "cut": bool(flags & 0x200), "own": bool(flags & 0x400), "ips": addresses}


def udp(host):
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def ask(resolver, names):
    """One socket for each question, as getaddrinfo does."""
    answers = {}
    for ident, entry in enumerate(names):
        name, kind = entry.rsplit("/", 1)
        with udp(resolver) as sock:
            sock.settimeout(3)
            sock.sendto(question(name, kind, ident), (resolver, 53))
            try:
                data, source = sock.recvfrom(65536)
            except OSError as error:
                answers[entry] = {"error": type(error).__name__}
                continue
            right = source[:2] == (resolver, 53) and data[:2] == struct.pack("!H", ident)
            answers[entry] = dict(reading(data), right=right)
    return answers


def all_at_once(resolvers, names):
    """Both types to every resolver from one socket, the first good answer counts: as musl does."""
    started = time.monotonic()
    answers = {}
    for ident, name in enumerate(names):
        with udp(resolvers[0]) as sock:
            kinds = {ident * 2: "A", ident * 2 + 1: "AAAA"}
            for number, kind in kinds.items():
                for resolver in resolvers:
                    sock.sendto(question(name, kind, number), (resolver, 53))
            got = {}
            sock.settimeout(3)
            while len(got) < 2:
                data, source = sock.recvfrom(65536)
                answer = reading(data)
                if source[0] in resolvers and source[1] == 53 and answer["code"] in (0, 3):
                    got.setdefault(kinds[struct.unpack("!H", data[:2])[0]], answer)
            answers[name] = got
    return {"answers": answers, "seconds": time.monotonic() - started}


def many(count, resolvers, names):
    """Sockets that ask every resolver at once; each answer must come from where it was asked for."""
    sockets = [udp(resolvers[0]) for _ in range(count)]
    wanted = {}
    for at, sock in enumerate(sockets):
        for slot, resolver in enumerate(resolvers):
            ident = at * len(resolvers) + slot
            wanted[ident] = (sock, resolver)
            sock.sendto(question(names[ident % len(names)], "A", ident), (resolver, 53))
    right, wrong = 0, 0
    until = time.monotonic() + 5
    while right + wrong < len(wanted) and time.monotonic() < until:
        for sock in select.select(sockets, [], [], 0.2)[0]:
            data, source = sock.recvfrom(65536)
            asked = wanted.get(struct.unpack("!H", data[:2])[0])
            if asked == (sock, source[0]) and source[1] == 53:
                right += 1
            else:
                wrong += 1
    return {"asked": len(wanted), "right": right, "wrong": wrong}


def flood(resolver, count, rate, names):
    """Questions at a steady rate from a few sockets."""
    sockets = [udp(resolver) for _ in range(8)]
    sent, answered, waits = {}, 0, []
    started = time.monotonic()
    while answered < count and time.monotonic() - started < count / rate + 3:
        due = min(count, int((time.monotonic() - started) * rate) + 1)
        while len(sent) < due:
            ident = len(sent)
            sent[ident] = time.monotonic()
            sockets[ident % 8].sendto(question(names[ident % len(names)], "A", ident), (resolver, 53))
        for sock in select.select(sockets, [], [], 0.001)[0]:
            data = sock.recv(65536)
            if reading(data)["ips"]:
                answered += 1
                waits.append(time.monotonic() - sent[struct.unpack("!H", data[:2])[0]])
    waits.sort()
    return {
        "answered": answered,
        "seconds": time.monotonic() - started,
        "p50Ms": waits[len(waits) // 2] * 1000 if waits else None,
        "p99Ms": waits[len(waits) * 99 // 100] * 1000 if waits else None,
    }


def garbage(resolver, count):
    """Datagrams that are no questions, of any size, and the start of many streams that are none."""
    source = random.Random(1)
    with udp(resolver) as sock:
        for at in range(count):
            size = source.choice([0, 1, 11, 12, 13, 17, 40, 512, 1500, 9000, 65507])
            data = bytearray(source.randbytes(size))
            if at % 3 == 0 and size > 12:
                data[2] &= 0x7F
                data[4:6] = b"\0\1"
            sock.sendto(data, (resolver, 53))
    for at in range(20):
        with socket.create_connection((resolver, 53), 3) as link:
            link.sendall(source.randbytes(source.randrange(1, 3000)))
    return {}


def silent(addresses):
    """Takes questions and says nothing."""
    sockets = []
    for address in addresses:
        sock = udp(address)
        sock.bind((address, 53))
        sockets.append(sock)
    print("listening", flush=True)
    while True:
        for sock in select.select(sockets, [], [])[0]:
            sock.recv(65536)


def main():
    mode, *rest = sys.argv[1:]
    if mode == "silent":
        return silent(rest)
    if mode == "ask":
        report = ask(rest[0], rest[1:])
    elif mode == "all-at-once":
        report = all_at_once(rest[0].split(","), rest[1:])
    elif mode == "many":
        report = many(int(rest[0]), rest[1].split(","), rest[2:])
    elif mode == "flood":
        report = flood(rest[0], int(rest[1]), float(rest[2]), rest[3:])
    else:
        report = garbage(rest[0], int(rest[1]))
    print(json.dumps(report))


main()
