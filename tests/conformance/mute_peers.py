"""Peers that speak and never read: mute_peers.py PORT COUNT pings|subscribe.

  pings      each sends WebSocket pings without a payload until nothing more goes, at
             most a million: every answer is two bytes
  subscribe  each connects and subscribes to a channel of its own, live:mute<n>

In Python, because Node cannot ask for a small receive buffer (see slow_readers.py).
"""
import json
import os
import socket
import sys
import threading

port, count, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
UPGRADE = (b"GET /connection/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
MASK = os.urandom(4)
PINGS = (b"\x89\x80" + MASK) * 10000


def text(payload):
    return bytes([0x81, 0x80 | len(payload)]) + MASK + bytes(b ^ MASK[i & 3] for i, b in enumerate(payload))


def opened(*sent):
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    peer.sendall(b"".join((UPGRADE, *sent)))
    return peer


def await_text(peer, what):
    got = b""
    while what not in got:
        piece = peer.recv(1024)
        if not piece:
            raise SystemExit("closed: %r" % got)
        got += piece


def flood(peer):
    peer.settimeout(1)
    try:
        for _ in range(100):
            peer.sendall(PINGS)
    except OSError:
        pass


peers = []
for n in range(count):
    if mode == "pings":
        peers.append(opened())
        await_text(peers[-1], b"\r\n\r\n")
    else:
        peers.append(opened(text(b"\n".join((json.dumps({"id": 1, "connect": {}}).encode(), json.dumps(
            {"id": 2, "subscribe": {"channel": "live:mute%d" % n}}).encode())))))
        await_text(peers[-1], b'"id":2')
if mode == "pings":
    floods = [threading.Thread(target=flood, args=(peer,)) for peer in peers]
    for one in floods:
        one.start()
    for one in floods:
        one.join()
print("done", flush=True)
sys.stdin.read()
