"""Clients that subscribe and then read nothing: slow_readers.py PORT COUNT.

When it is told to read, it prints how many of the first hundred were closed with which
code; "none" for those whose time to read the goodbye was over.

In Python, because Node cannot ask for a small receive buffer, and a thousand large
ones would fill the machine's TCP memory before anybody is slow.
"""
import collections
import json
import os
import socket
import sys

port, count = int(sys.argv[1]), int(sys.argv[2])
UPGRADE = (b"GET /connection/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
COMMANDS = "\n".join([json.dumps({"id": 1, "connect": {}}),
                      json.dumps({"id": 2, "subscribe": {"channel": "live:slow"}})]).encode()
MASK = os.urandom(4)
FRAME = bytes([0x81, 0x80 | len(COMMANDS)]) + MASK + bytes(b ^ MASK[i & 3] for i, b in enumerate(COMMANDS))


def reader():
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    peer.sendall(UPGRADE + FRAME)
    return peer


def await_subscribed(peer):
    got = b""
    while b'"id":2' not in got:
        piece = peer.recv(1024)
        if not piece:
            raise SystemExit("closed: %r" % got)
        got += piece


peers = []
for at in range(0, count, 100):
    some = [reader() for _ in range(min(100, count - at))]
    for one in some:
        await_subscribed(one)
    peers += some
print("subscribed", flush=True)
sys.stdin.readline()


def code_of(peer):
    """The code of the close frame at the end of what comes."""
    peer.settimeout(10)
    got = b""
    try:
        while piece := peer.recv(1 << 16):
            got += piece
    except OSError:
        pass
    at, code = 0, "none"
    while at + 4 <= len(got):
        size, head = got[at + 1] & 127, 2
        if size == 126:
            size, head = int.from_bytes(got[at + 2:at + 4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(got[at + 2:at + 10], "big"), 10
        if got[at] == 0x88 and at + head + 2 <= len(got):
            code = str(int.from_bytes(got[at + head:at + head + 2], "big"))
        at += head + size
    return code


print("codes", json.dumps(collections.Counter(map(code_of, peers[:100]))), flush=True)
sys.stdin.read()
