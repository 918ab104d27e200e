"""What a program with every right in its own namespace tries, beside lab/programs/raw.py."""

import argparse
import errno
import json
import socket
import struct

IP_TRANSPARENT = 19
SO_MARK = 36
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
NEIGHBOUR_ADVERTISEMENT = 136
ALL_NODES = "ff02::1"


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def device_socket():
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind(("eth0", 0))
    return sock, sock.getsockname()[4]


def arp(options):
    """Says to everybody that `address` is here, or under `--mac`."""
    sock, own = device_socket()
    source = mac_bytes(options.mac) if options.mac else own
    address = socket.inet_aton(options.address)
    head = b"\xff" * 6 + source + struct.pack("!H", ETH_P_ARP)
    for operation in (1, 2):
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        sock.send(head + body + source + address + b"\xff" * 6 + address)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def neighbour(options):
    """The same of an IPv6 address."""
    sock, own = device_socket()
    address = socket.inet_pton(socket.AF_INET6, options.address)
    everybody = socket.inet_pton(socket.AF_INET6, ALL_NODES)
    override = 0x20000000
    body = struct.pack("!BBHI", NEIGHBOUR_ADVERTISEMENT, 0, 0, override) + address
    body += struct.pack("!BB", 2, 1) + own
    pseudo = address + everybody + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255)
    frame = bytes.fromhex("333300000001") + own + struct.pack("!H", ETH_P_IPV6)
    sock.send(frame + head + address + everybody + body)


def raw6(options):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 253)
    sock.sendto(options.message.encode(), (options.address, 0))


def udp(options):
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.sendto(options.message.encode(), (options.address, options.port))


def connect(options):
    """Connects with a forged mark, or from an address that is not here; tells before it does."""
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    sock = socket.socket(family)
    sock.settimeout(options.timeout)
    if options.mark:
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, int(options.mark, 16))
    if options.source:
        sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        sock.bind((options.source, options.source_port))
    print("connecting", flush=True)
    sock.connect((options.address, options.port))
    sock.sendall(options.message.encode())
    sock.recv(1)


MODES = {"arp": arp, "neighbour": neighbour, "raw6": raw6, "udp": udp, "connect": connect}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("address")
    parser.add_argument("--port", type=int, default=7)
    parser.add_argument("--message", default="")
    parser.add_argument("--mac", default="")
    parser.add_argument("--mark", default="")
    parser.add_argument("--source", default="")
    parser.add_argument("--source-port", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=2)
    options = parser.parse_args()
    try:
        MODES[options.mode](options)
        report = {"ok": True}
    except OSError as error:
        is_timeout = isinstance(error, TimeoutError) and error.errno is None
        name = "ETIMEDOUT" if is_timeout else errno.errorcode.get(error.errno, str(error))
        report = {"ok": False, "error": name}
    print(json.dumps(report), flush=True)


main()
