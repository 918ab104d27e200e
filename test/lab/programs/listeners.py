"""Opens and closes TCP listeners as told on standard input; see programs.ts."""

import errno
import json
import selectors
import socket
import sys

name = sys.argv[1]
selector = selectors.DefaultSelector()
listeners = {}


def open_listener(key, host, port, *flags):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if "reuseport" in flags:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, "v6only" in flags)
    listener.bind((host, int(port)))
    listener.listen(64)
    listeners[key] = listener
    selector.register(listener, selectors.EVENT_READ)


def close_listener(key):
    listener = listeners.pop(key)
    selector.unregister(listener)
    listener.close()


COMMANDS = {"open": open_listener, "close": close_listener}


def obey(line):
    command, key, *rest = line.split()
    try:
        COMMANDS[command](key, *rest)
        print(f"done {command} {key}", flush=True)
    except OSError as error:
        print(f"failed {command} {key} {errno.errorcode[error.errno]}", flush=True)


def answer(listener):
    connection, _ = listener.accept()
    connection.sendall(f"{json.dumps({'name': name})}\n".encode())
    connection.close()


selector.register(sys.stdin, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is not sys.stdin:
            answer(key.fileobj)
            continue
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        obey(line)
