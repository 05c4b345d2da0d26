"""A python-socketio client that comes back by itself: comeback.py URL TRANSPORT[,TRANSPORT]. Says when it is connected and when it is away, until its input ends."""

import sys

import socketio

AGAIN_AFTER_SECONDS = 0.2


def say(text):
    print(text, flush=True)


def main(url, transports):
    client = socketio.Client(reconnection_delay=AGAIN_AFTER_SECONDS, reconnection_delay_max=AGAIN_AFTER_SECONDS)
    client.on("connect", lambda: say("connected"))
    client.on("disconnect", lambda reason: say(f"away: {reason}"))
    client.connect(url, transports=transports)
    sys.stdin.read()
    client.disconnect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","))
