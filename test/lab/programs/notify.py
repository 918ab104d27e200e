"""Receives what sd_notify sends: binds the address (`@` is abstract), says `bound`, and prints each
message on one line, its newlines as `|`."""
import socket
import sys

name = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind("\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    print(receiver.recv(65536).decode().rstrip("\n").replace("\n", "|"), flush=True)
