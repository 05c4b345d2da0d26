"""A chat behind the gateway: who may connect, and what an event does. README.md says how to start it."""

import hashlib
import hmac
import os
import pathlib
import time

from flask import Flask, abort, request, send_file

SECRET = os.environ["BACKEND_SECRET"].encode()
MAX_AGE_SECONDS = 300

app = Flask(__name__)


def verify():
    """Only the gateway knows the secret."""
    parts = dict(part.split("=", 1) for part in request.headers.get("Gateway-Signature", "").split(",") if "=" in part)
    signed = parts.get("t", "").encode() + b"." + request.get_data()
    expected = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), parts.get("v1", "").encode()):
        abort(401)
    # Only the gateway can have signed the time, so it is a number.
    if abs(time.time() - int(parts["t"])) > MAX_AGE_SECONDS:
        abort(401)


@app.get("/")
def page():
    return send_file(pathlib.Path(__file__).with_name("page.html"))


@app.post("/socket")
def socket():
    verify()
    call = request.get_json()
    handler = {"connect": connect, "event": event}.get(call["type"])
    return handler(call) if handler else {}


def connect(call):
    name = (call.get("auth") or {}).get("name")
    if not isinstance(name, str) or not name.strip():
        return {"refuse": {"message": "a name is needed", "data": {"code": "no_name"}}}
    return {
        "user": name,
        "data": {"said": 0},
        "actions": [{"join": ["lobby"]}, to_lobby(call, "joined", name)],
    }


def event(call):
    handler = {"say": say, "whisper": whisper}.get(call["event"])
    if handler is None:
        return {"ack": [{"ok": False, "error": {"code": "unknown_event"}}]}
    return handler(call, *call["args"])


def say(call, text=None, *_):
    if not isinstance(text, str):
        return {"ack": [{"ok": False, "error": {"code": "bad_text"}}]}
    said = call["socket"]["data"]["said"] + 1
    return {
        "ack": [{"ok": True, "said": said}],
        "data": {"said": said},
        "actions": [to_lobby(call, "said", call["socket"]["user"], text)],
    }


def whisper(call, user=None, text=None, *_):
    room = f"$user:{user}"
    sender = call["socket"]["user"]
    return {"ack": [{"ok": True}], "actions": [{"emit": {"rooms": [room], "event": "whispered", "args": [sender, text]}}]}


def to_lobby(call, event, *args):
    """An event for everybody else in the lobby."""
    return {"emit": {"rooms": ["lobby"], "except": [call["socket"]["id"]], "event": event, "args": list(args)}}


if __name__ == "__main__":
    from waitress import serve

    port = int(os.environ.get("PORT", "8000"))
    print(f"the page is at http://localhost:{port}/?name=ann", flush=True)
    serve(app, host="127.0.0.1", port=port, threads=8)
