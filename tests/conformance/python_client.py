"""A second foreign client: python3-websockets, bare JSON, fragmented frames and pings.

usage: python_client.py ws-url token
"""
import asyncio
import json
import sys

import websockets


async def command(socket, **body):
    await socket.send(json.dumps(body))
    while True:
        for line in (await socket.recv()).split("\n"):
            message = json.loads(line)
            if message.get("id") == body["id"]:
                return message


async def main(url, token):
    async with websockets.connect(url, compression=None) as socket:
        reply = await command(socket, id=1, connect={"token": token, "name": "python"})
        assert reply["connect"]["client"], reply
        reply = await command(socket, id=2, subscribe={"channel": "chat:python"})
        assert reply["subscribe"]["recoverable"], reply
        # One command in many fragments, a ping between two of them.
        text = json.dumps({"id": 3, "publish": {"channel": "chat:python", "data": {"text": "žluťoučký"}}})
        ping = await socket.ping(b"between")
        await socket.send([text[i:i + 7] for i in range(0, len(text), 7)])
        await ping
        seen = {"reply": False, "push": False}
        while not all(seen.values()):
            for line in (await socket.recv()).split("\n"):
                message = json.loads(line)
                if message.get("id") == 3:
                    assert message["publish"] == {}, message
                    seen["reply"] = True
                elif "push" in message:
                    publication = message["push"]["pub"]
                    assert publication["data"] == {"text": "žluťoučký"}, message
                    assert publication["info"]["user"] == "py", message
                    seen["push"] = True
        reply = await command(socket, id=4, history={"channel": "chat:python", "limit": 10})
        assert reply["history"]["offset"] == 1, reply
    print("ok")


asyncio.run(asyncio.wait_for(main(sys.argv[1], sys.argv[2]), 20))
