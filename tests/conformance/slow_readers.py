"""Clients that subscribe and then read nothing: slow_readers.py PORT COUNT.

In Python, because Node cannot ask for a small receive buffer, and a thousand large
ones would fill the machine's TCP memory before anybody is slow.
"""
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
sys.stdin.read()
