"""Tokens made by PyJWT, a line each: what they are for, and the token. Keys come and go as PEM files.

    python tokens.py FOLDER SECRET
"""

import json
import sys
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

folder, secret = Path(sys.argv[1]), sys.argv[2]
now = int(time.time())
KEYS = {
    "rsa": (lambda: rsa.generate_private_key(65537, 2048), ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
    "p256": (lambda: ec.generate_private_key(ec.SECP256R1()), ["ES256"]),
    "p384": (lambda: ec.generate_private_key(ec.SECP384R1()), ["ES384"]),
    "p521": (lambda: ec.generate_private_key(ec.SECP521R1()), ["ES512"]),
    "ed25519": (ed25519.Ed25519PrivateKey.generate, ["EdDSA"]),
}


def say(name, key, good, token):
    print(json.dumps({"name": name, "key": key, "good": good, "token": token}))


def claims(**more):
    return {"sub": "ann", "exp": now + 600, **more}


for algorithm in ["HS256", "HS384", "HS512"]:
    say(f"PyJWT {algorithm}", "secret", True, jwt.encode(claims(), secret, algorithm))
say("wrong secret", "secret", False, jwt.encode(claims(), secret + "x", "HS256"))
say("none", "secret", False, jwt.encode(claims(), None, "none"))
say("expired", "secret", "token_expired", jwt.encode(claims(exp=now - 600), secret, "HS256"))
say("not yet", "secret", False, jwt.encode(claims(nbf=now + 600), secret, "HS256"))
say("another audience", "secret", False, jwt.encode(claims(aud="others"), secret, "HS256"))

for name, (generate, algorithms) in KEYS.items():
    key, other = generate(), generate()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.pem").write_bytes(public)
    (folder / f"{name}.key").write_bytes(private)
    for algorithm in algorithms:
        say(f"PyJWT {algorithm}", name, True, jwt.encode(claims(), key, algorithm))
    say("another key", name, False, jwt.encode(claims(), other, algorithms[0]))
    # The public key taken for a shared secret; PyJWT refuses to make one, so by hand.
    import base64, hashlib, hmac

    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
    for shared in [public, public.strip()]:
        signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims())
        mac = base64.urlsafe_b64encode(hmac.new(shared, signed, hashlib.sha256).digest()).rstrip(b"=")
        say("key confusion", name, False, (signed + b"." + mac).decode())
