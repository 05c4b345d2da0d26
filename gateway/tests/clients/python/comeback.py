"""A python-socketio client that comes back by itself: comeback.py URL TRANSPORT[,TRANSPORT] threads|asyncio. It joins a room whenever it is connected, and says what happens, until its input ends."""

import asyncio
import json
import sys

import socketio

AGAIN = {"reconnection_delay": 0.2, "reconnection_delay_max": 0.2}


def say(text):
    # Handlers run in threads of their own: one write is whole.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def joined(answer):
    say(f"joined: {json.dumps([answer])}")


def heard(*arguments):
    say(f"heard: {json.dumps(arguments)}")


def with_threads(url, transports):
    client = socketio.Client(**AGAIN)

    def connected():
        say("connected")
        client.emit("join", "room", callback=joined)

    client.on("connect", connected)
    client.on("disconnect", lambda *_reason: say("away"))
    client.on("news", heard)
    client.connect(url, transports=transports)
    sys.stdin.read()
    client.disconnect()


async def with_asyncio(url, transports):
    client = socketio.AsyncClient(**AGAIN)

    async def connected():
        say("connected")
        await client.emit("join", "room", callback=joined)

    client.on("connect", connected)
    client.on("disconnect", lambda *_reason: say("away"))
    client.on("news", heard)
    await client.connect(url, transports=transports)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await client.disconnect()


if __name__ == "__main__":
    [url, transports, kind] = sys.argv[1:]
    if kind == "threads":
        with_threads(url, transports.split(","))
    else:
        asyncio.run(with_asyncio(url, transports.split(",")))
