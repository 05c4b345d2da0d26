"""Two python-socketio clients use the relay application: relay.py URL TRANSPORT[,TRANSPORT] [SERIALIZER]. Prints each step that holds; fails loudly."""

import queue
import sys

import socketio

WITHIN_SECONDS = 10
OK = {"ok": True}


class Peer:
    """A connected client whose events wait in a queue."""

    def __init__(self, url, transports, serializer):
        self.events = queue.Queue()
        self.reasons = queue.Queue()
        self.client = socketio.Client(reconnection=False, serializer=serializer)
        self.client.on("*", lambda event, *args: self.events.put((event, *args)))
        self.client.on("disconnect", self.reasons.put)
        self.client.connect(url, transports=transports, wait_timeout=WITHIN_SECONDS)

    def call(self, event, *args):
        return self.client.call(event, args, timeout=WITHIN_SECONDS)

    def next(self):
        return self.events.get(timeout=WITHIN_SECONDS)


def step(name, actual, expected):
    if actual != expected:
        raise AssertionError(f"{name}: {actual!r} instead of {expected!r}")
    print(name, flush=True)


def main(url, transports, serializer="default"):
    ann, bob = Peer(url, transports, serializer), Peer(url, transports, serializer)
    step("connect", len({ann.client.get_sid(), bob.client.get_sid(), ann.client.eio.sid, bob.client.eio.sid}), 4)
    step("echo", list(ann.call("echo", 1, "two", {"three": [None, True, "漢字 😀"]})), [1, "two", {"three": [None, True, "漢字 😀"]}])
    step("join", bob.call("join", ["room", "other"]), OK)
    step("publish", ann.call("publish", "room", "chat", "hello", {"from": "ann"}), OK)
    step("hear", bob.next(), ("chat", "hello", {"from": "ann"}))
    binary = [b"one", {"deep": [b"\x00\xff", "text"]}, b""]
    step("echo binary", list(ann.call("echo", *binary)), binary)
    step("publish binary", ann.call("publish", "room", "bytes", *binary), OK)
    step("hear binary", bob.next(), ("bytes", *binary))
    step("refusal", bob.call("join", 7)["error"]["code"], "bad_room")
    step("broadcast", bob.call("broadcast", "news"), OK)
    step("hear broadcast", ann.next(), ("news",))
    step("leave", bob.call("leave", "room"), OK)
    step("publish to nobody", ann.call("publish", "room", "unheard"), OK)
    step("publish to the other room", ann.call("publish", "other", "heard"), OK)
    step("hear only the other room", bob.next(), ("heard",))
    if transports == ["polling", "websocket"]:
        step("upgrade", ann.client.transport(), "websocket")
    else:
        step("transport", ann.client.transport(), transports[0])
    ann.client.disconnect()
    step("disconnect", ann.reasons.get(timeout=WITHIN_SECONDS), "client disconnect")
    step("the other stays", bob.call("echo", 1), 1)
    bob.client.disconnect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","), *sys.argv[3:])
