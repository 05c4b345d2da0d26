"""A python-socketio client that does as it is told: guest.py URL TRANSPORT[,TRANSPORT] SERIALIZER. A line of its input is `[event, ...args]`; it
emits that and prints `["ack", ...values]`. It prints what it hears as `["heard", event, ...args]`, and answers what wants an answer with what it
was given. Bytes are `{"$binary": base64}` on both sides."""

import base64
import json
import sys

import socketio

WITHIN_SECONDS = 30


def told(value):
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return value


def meant(value):
    if isinstance(value, list):
        return [meant(item) for item in value]
    if isinstance(value, dict):
        binary = value.get("$binary")
        return {key: meant(item) for key, item in value.items()} if binary is None else base64.b64decode(binary)
    return value


def say(*values):
    sys.stdout.write(f"{json.dumps(told(values))}\n")
    sys.stdout.flush()


def main(url, transports, serializer):
    client = socketio.Client(reconnection=False, serializer=serializer)

    def hear(event, *arguments):
        say("heard", event, *arguments)
        return tuple(arguments)

    client.on("*", hear)
    client.connect(url, transports=transports, wait_timeout=WITHIN_SECONDS)
    say("connected")
    for line in sys.stdin:
        event, *arguments = meant(json.loads(line))
        client.emit(event, tuple(arguments), callback=lambda *values: say("ack", *values))
    client.disconnect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","), sys.argv[3])
