"""Two clients of python-socketio 4 (Engine.IO 3) use the relay application: relay.py URL TRANSPORT[,TRANSPORT]. Prints each step that holds."""

import os
import queue
import sys
import threading
import traceback

import socketio

WITHIN_SECONDS = 20
OK = {"ok": True}
EVENTS = ("chat", "bytes", "news", "heard", "number")


class Peer:
    """A connected client whose events wait in a queue."""

    def __init__(self, url, transports, namespaces=None):
        self.events = queue.Queue()
        self.gone = threading.Event()
        self.client = socketio.Client(reconnection=True, reconnection_delay=0.1)
        for event in EVENTS:
            self.client.on(event, lambda *args, event=event: self.events.put((event, *args)))
        self.client.on("disconnect", self.gone.set)
        there = threading.Event()
        self.client.on("connect", there.set, namespace=(namespaces or ["/"])[0])
        self.client.connect(url, transports=transports, namespaces=namespaces)
        # It returns before it has joined the namespaces.
        if not there.wait(WITHIN_SECONDS):
            raise AssertionError("not connected")

    def call(self, event, *args):
        # This version sends a tuple as the arguments of the event.
        return self.client.call(event, args, timeout=WITHIN_SECONDS)

    def next(self):
        return self.events.get(timeout=WITHIN_SECONDS)


def step(name, actual, expected):
    if actual != expected:
        raise AssertionError(f"{name}: {actual!r} instead of {expected!r}")
    print(name, flush=True)


def main(url, transports):
    ann, bob = Peer(url, transports), Peer(url, transports)
    step("echo", list(ann.call("echo", 1, "two", {"three": [None, True, "漢字 😀"]})), [1, "two", {"three": [None, True, "漢字 😀"]}])
    step("join", bob.call("join", ["room", "other"]), OK)
    step("publish", ann.call("publish", "room", "chat", "hello 😀", {"from": "ann"}), OK)
    step("hear", bob.next(), ("chat", "hello 😀", {"from": "ann"}))
    # This client takes empty binary for None.
    binary = [b"one", {"deep": [b"\x00\xff", "text"]}, b"\x04"]
    step("echo binary", list(ann.call("echo", *binary)), binary)
    step("publish binary", ann.call("publish", "room", "bytes", *binary), OK)
    step("hear binary", bob.next(), ("bytes", *binary))
    step("refusal", bob.call("join", 7)["error"]["code"], "bad_room")
    step("broadcast", bob.call("broadcast", "news"), OK)
    step("hear broadcast", ann.next(), ("news",))
    step("leave", bob.call("leave", "room"), OK)
    step("publish to nobody", ann.call("publish", "room", "chat", "unheard"), OK)
    step("publish to the other room", ann.call("publish", "other", "heard"), OK)
    step("hear only the other room", bob.next(), ("heard",))
    for number in range(200):
        ann.client.emit("publish", ("other", "number", number, "é😀"))
    # The client hears each event in a thread of its own, so it may tell two of them the other way round.
    step("hear 200 events", sorted(bob.next() for _ in range(200)), [("number", number, "é😀") for number in range(200)])
    step("transport", ann.client.transport(), transports[-1])
    chat = Peer(url, transports, ["/chat"])
    step("another namespace", chat.client.call("echo", ("x",), namespace="/chat", timeout=WITHIN_SECONDS), "x")
    chat.client.disconnect()
    # As if the connection had broken.
    ann.gone.clear()
    ann.client.eio.disconnect(abort=True)
    if not ann.gone.wait(WITHIN_SECONDS):
        raise AssertionError("the client does not see that its connection is gone")
    ann.client.disconnect()
    step("the other stays", bob.call("echo", 1), 1)
    bob.client.disconnect()


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2].split(","))
    except BaseException:
        traceback.print_exc()
        # The threads of the clients would go on.
        os._exit(1)
