"""Sends packets past the TCP stack, as a process that wants to avoid the mesh would (IPv4)."""

import argparse
import errno
import json
import socket
import struct

SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
PROTOCOL = 253  # for experiments (RFC 3692)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_syn(options):
    mark = options.mark.encode()
    head = struct.pack("!HHIIBBHHH", 40000, options.port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    pseudo = socket.inet_aton(options.source) + socket.inet_aton(options.destination)
    pseudo += struct.pack("!BBH", 0, 6, len(head) + len(mark))
    total = checksum(pseudo + head + mark)
    return head[:16] + struct.pack("!H", total) + head[18:] + mark


def ip_packet(options, protocol, payload):
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        1,
        0,
        64,
        protocol,
        0,
        socket.inet_aton(options.source),
        socket.inet_aton(options.destination),
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def send_ip(options):
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)
    sock.sendto(options.mark.encode(), (options.destination, 0))


def send_syn(options):
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock.sendto(ip_packet(options, 6, tcp_syn(options)), (options.destination, 0))


def send_frame(options):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    if options.mode == "packet-bypass":
        sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    sock.bind((options.device, 0))
    source = sock.getsockname()[4]
    udp = struct.pack("!HHHH", 40000, options.port, 8 + len(options.mark), 0)
    packet = ip_packet(options, 17, udp + options.mark.encode())
    target = bytes.fromhex(options.mac.replace(":", ""))
    sock.send(target + source + b"\x08\x00" + packet)


MODES = {"ip": send_ip, "syn": send_syn, "packet": send_frame, "packet-bypass": send_frame}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("--mark", required=True)
    parser.add_argument("--port", type=int, default=7)
    parser.add_argument("--device", default="eth0")
    parser.add_argument("--mac", default="ff:ff:ff:ff:ff:ff")
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    try:
        for _ in range(options.count):
            MODES[options.mode](options)
        report = {"ok": True}
    except OSError as error:
        report = {"ok": False, "error": errno.errorcode.get(error.errno, str(error))}
    print(json.dumps(report), flush=True)


main()
