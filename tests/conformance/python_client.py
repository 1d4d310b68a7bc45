"""A second foreign client: python3-websockets, and both wires written by hand.

usage: python_client.py ws-url json|protobuf token subscription-token
"""
import asyncio
import json
import sys

import websockets

# The messages that are used here, by name: fields as number, name, kind; a kind that is a
# message's name is that message, "map" one of ClientInfo, * a list.
SCHEMA = {
    "Command": "1 id u, 4 connect Connect, 5 subscribe Subscribe, 6 unsubscribe Channel, 7 publish Publish, 8 presence Channel,"
               " 9 presence_stats Channel, 10 history History, 11 ping Empty, 12 send Data, 13 rpc Rpc, 14 refresh Token,"
               " 15 sub_refresh SubRefresh",
    "Reply": "1 id u, 2 error Error, 4 push Push, 5 connect Connected, 6 subscribe Subscribed, 7 unsubscribe Empty, 8 publish Empty,"
             " 9 presence Presence, 10 presence_stats Stats, 11 history Page, 13 rpc Data, 14 refresh Expiry, 15 sub_refresh Ttl",
    "Empty": "", "Channel": "1 channel s", "Data": "1 data b", "Token": "1 token s", "SubRefresh": "1 channel s, 2 token s",
    "Connect": "1 token s, 4 name s, 5 version s", "Publish": "1 channel s, 2 data b", "Rpc": "1 data b, 2 method s",
    "Subscribe": "1 channel s, 2 token s, 3 recover u, 6 epoch s, 7 offset u, 11 join_leave u",
    "History": "1 channel s, 7 limit u, 8 since Position, 9 reverse u", "Position": "1 offset u, 2 epoch s",
    "Error": "1 code u, 2 message s, 3 temporary u", "Expiry": "3 expires u, 4 ttl u", "Ttl": "1 expires u, 2 ttl u",
    "Connected": "1 client s, 2 version s, 3 expires u, 4 ttl u, 7 ping u, 8 pong u",
    "Subscribed": "1 expires u, 2 ttl u, 3 recoverable u, 6 epoch s, 7 publications *Publication, 8 recovered u, 9 offset u,"
                  " 10 positioned u, 12 was_recovering u",
    "Presence": "1 presence map", "Entry": "1 key s, 2 value ClientInfo", "Stats": "1 num_clients u, 2 num_users u",
    "Page": "1 publications *Publication, 2 epoch s, 3 offset u", "Publication": "4 data b, 5 info ClientInfo, 6 offset u, 14 epoch s",
    "ClientInfo": "1 user s, 2 client s, 3 conn_info b, 4 chan_info b",
    "Push": "2 channel s, 4 pub Publication, 5 join Info, 6 leave Info, 7 unsubscribe Code", "Info": "1 info ClientInfo",
    "Code": "2 code u, 3 reason s",
}
SCHEMA = {name: [field.split() for field in fields.split(",") if field] for name, fields in SCHEMA.items()}


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def read_varint(data, at):
    value, shift = 0, 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def pack(kind, value):
    out = b""
    for number, name, what in SCHEMA[kind]:
        if name not in value:
            continue
        if what == "u":
            out += varint(int(number) << 3) + varint(int(value[name]))
            continue
        body = (value[name].encode() if what == "s" else json.dumps(value[name], ensure_ascii=False).encode() if what == "b"
                else pack(what, value[name]))
        out += varint(int(number) << 3 | 2) + varint(len(body)) + body
    return out


def unpack(kind, data):
    out, at = {}, 0
    fields = {int(number): (name, what) for number, name, what in SCHEMA[kind]}
    while at < len(data):
        key, at = read_varint(data, at)
        name, what = fields[key >> 3]  # what we do not know was not to be sent
        value, at = read_varint(data, at)
        assert (key & 7 == 0) == (what == "u"), (kind, name)
        if what == "u":
            out[name] = value
            continue
        body, at = data[at:at + value], at + value
        if what == "s":
            out[name] = body.decode()
        elif what == "b":
            out[name] = json.loads(body)
        elif what == "map":
            entry = unpack("Entry", body)
            out.setdefault(name, {})[entry["key"]] = entry["value"]
        elif what[0] == "*":
            out.setdefault(name, []).append(unpack(what[1:], body))
        else:
            out[name] = unpack(what, body)
    return out


class Client:
    def __init__(self, socket, wire):
        self.socket, self.wire, self.id, self.replies, self.pushes = socket, wire, 0, {}, []

    def encode(self, commands):
        if self.wire == "json":
            return "\n".join(json.dumps(command, ensure_ascii=False) for command in commands)
        packed = [pack("Command", command) for command in commands]
        return b"".join(varint(len(one)) + one for one in packed)

    def decode(self, frame):
        if self.wire == "json":
            return [json.loads(line) for line in frame.split("\n")]
        messages, at = [], 0
        while at < len(frame):
            size, at = read_varint(frame, at)
            messages.append(unpack("Reply", frame[at:at + size]))
            at += size
        return messages

    async def read(self):
        frame = await self.socket.recv()
        assert isinstance(frame, str if self.wire == "json" else bytes)
        for message in self.decode(frame):
            if message == {}:
                await self.socket.send("{}" if self.wire == "json" else b"\0")
            elif "push" in message:
                self.pushes.append(message["push"])
            else:
                assert message["id"] not in self.replies, message
                self.replies[message["id"]] = message

    async def ask(self, *commands, fragments=False):
        """All in one frame; their replies in order, without the ids."""
        numbered = []
        for command in commands:
            self.id += 1
            numbered.append({"id": self.id, **command})
        data = self.encode(numbered)
        # One message in many fragments, a ping between two of them.
        ping = await self.socket.ping(b"between") if fragments else None
        await self.socket.send([data[i:i + 7] for i in range(0, len(data), 7)] if fragments else data)
        while not all(command["id"] in self.replies for command in numbered):
            await self.read()
        if ping:
            await ping
        replies = [self.replies.pop(command["id"]) for command in numbered]
        for reply in replies:
            reply.pop("id")
        return replies if len(replies) > 1 else replies[0]

    async def pushed(self, count):
        while len(self.pushes) < count:
            await self.read()
        assert len(self.pushes) == count, self.pushes
        taken, self.pushes = self.pushes, []
        return taken


def code(reply):
    return reply["error"]["code"]


async def play(client, token, sub_token):
    ask, wire = client.ask, client.wire
    chat, room = f"chat:{wire}", f"room:{wire}"
    reply = await ask({"connect": {"token": token, "name": "python", "version": "3"}})
    me = {"user": "py", "client": reply["connect"]["client"]}
    assert len(me["client"]) == 36 and reply["connect"]["pong"], reply
    reply = await ask({"subscribe": {"channel": chat}})
    assert reply["subscribe"]["recoverable"] and reply["subscribe"]["epoch"], reply
    epoch = reply["subscribe"]["epoch"]

    data = {"text": "žluťoučký"}
    assert await ask({"publish": {"channel": chat, "data": data}}, fragments=True) == {"publish": {}}
    (push,) = await client.pushed(1)
    assert push == {"channel": chat, "pub": {"data": data, "info": me, "offset": 1, "epoch": epoch}}, push
    replies = await ask(*({"publish": {"channel": chat, "data": n}} for n in (2, 3)), {"history": {"channel": "live:x"}},
                        {"rpc": {"method": "no.such", "data": {}}}, {"ping": {}}, {"presence": {"channel": chat}})
    assert replies[:2] == [{"publish": {}}] * 2 and [code(reply) for reply in replies[2:]] == [108] * 4, replies
    assert [push["pub"]["offset"] for push in await client.pushed(2)] == [2, 3]

    async def history(**more):
        reply = await ask({"history": {"channel": chat, **more}})
        return [pub["offset"] for pub in reply["history"].get("publications", [])], reply["history"]["offset"]
    assert await history() == ([], 3)
    assert await history(limit=2) == ([1, 2], 3)
    assert await history(limit=2, reverse=True) == ([3, 2], 3)
    assert await history(limit=9, since={"offset": 1, "epoch": epoch}) == ([2, 3], 3)
    assert code(await ask({"history": {"channel": chat, "limit": 1, "since": {"offset": 1, "epoch": "other"}}})) == 112

    assert await ask({"unsubscribe": {"channel": chat}}) == {"unsubscribe": {}}
    assert await ask({"publish": {"channel": chat, "data": 4}}) == {"publish": {}}
    reply = (await ask({"subscribe": {"channel": chat, "recover": True, "offset": 3, "epoch": epoch}}))["subscribe"]
    assert reply["recovered"] and reply["was_recovering"], reply
    assert [(pub["data"], pub["offset"]) for pub in reply["publications"]] == [(4, 4)], reply
    assert client.pushes == []

    assert await ask({"subscribe": {"channel": room, "join_leave": True}}) == {"subscribe": {}}
    assert await client.pushed(1) == [{"channel": room, "join": {"info": me}}]
    assert await ask({"presence": {"channel": room}}) == {"presence": {"presence": {me["client"]: me}}}
    assert await ask({"presence_stats": {"channel": room}}) == {"presence_stats": {"num_clients": 1, "num_users": 1}}

    reply = await ask({"rpc": {"method": "message.send", "data": {"channel": "chat:rpc", "data": 1, "key": wire}}})
    assert reply["rpc"]["data"]["offset"] > 0, reply
    assert (await ask({"refresh": {"token": token}}))["refresh"]["expires"]
    reply = await ask({"subscribe": {"channel": "shut:py", "token": sub_token}})
    assert reply["subscribe"]["expires"] and reply["subscribe"]["ttl"] > 0, reply
    assert (await ask({"sub_refresh": {"channel": "shut:py", "token": sub_token}}))["sub_refresh"]["ttl"] > 0
    refused = await ask({"subscribe": {"channel": chat}}, {"subscribe": {"channel": "nowhere:x"}}, {"subscribe": {"channel": "shut:x"}},
                        {"publish": {"channel": "shut:x", "data": 1}}, {"sub_refresh": {"channel": "shut:x", "token": sub_token}})
    assert [code(reply) for reply in refused] == [105, 102, 103, 103, 103], refused
    await client.socket.send(client.encode([{"send": {"data": 1}}]))
    try:
        while True:
            await client.read()
    except websockets.ConnectionClosed as closed:
        assert (closed.rcvd.code, closed.rcvd.reason) == (3508, "not available"), closed


async def main(url, wire, token, sub_token):
    protocols = ["centrifuge-protobuf"] if wire == "protobuf" else None
    async with websockets.connect(url, compression=None, subprotocols=protocols) as socket:
        await play(Client(socket, wire), token, sub_token)
    print("ok")


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 120))
