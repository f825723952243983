"""What the scripts share: a host program that is started and ended, one check a line, an exit code."""

import atexit
import base64
import http.server
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import urllib.error
import urllib.request

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

FOLDER = tempfile.mkdtemp(prefix="gatekey-interop-")
atexit.register(shutil.rmtree, FOLDER)
passed = failed = 0

NEW_KEYS = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "PS256": lambda: rsa.generate_private_key(65537, 3072),
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
}


def pem(key):
    """A private key as an operator would write it."""
    format = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, format, serialization.NoEncryption()).decode()


def check(what, run):
    """One claim about the two of us: what raises nothing is good."""
    global passed, failed
    try:
        run()
    except BaseException:  # also an assertion of theirs
        failed += 1
        print(f"FAIL  {what}: {traceback.format_exc()}")
    else:
        passed += 1
        print(f"ok    {what}")


def refused(what, expected, run):
    """Passes if `run` raises the expected exception."""

    def refusal():
        try:
            answer = run()
        except expected:
            return
        raise AssertionError(f"accepted: {answer}")

    check(what, refusal)


def equal(actual, expected):
    assert actual == expected, f"{actual!r} instead of {expected!r}"


def start(program, *args, **environment):
    """Starts a host program; its address, once it says that it is ready."""
    log = None if os.environ.get("INTEROP_LOG") else subprocess.DEVNULL
    command = [os.path.join(os.environ["INTEROP_HOSTS"], program), *args]
    child = subprocess.Popen(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
    )
    atexit.register(child.kill)
    for line in child.stdout:
        word, _, url = line.strip().partition(" ")
        if word == "ready":
            return url
    raise RuntimeError(f"{program} ended with {child.wait()}; INTEROP_LOG=1 shows why")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Issuer:
    """A Gatekey that signs with this algorithm, under the issuer that it is reached by."""

    def __init__(self, algorithm, **config):
        # The issuer's name has its port in it, and somebody else may take that between.
        for left in reversed(range(4)):
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            path = os.path.join(FOLDER, f"{port}.json")
            with open(path, "w") as file:
                json.dump({"issuer": url, "audience": "notes-api", "limits": "off", **config}, file)
            environment = {
                "GATEKEY_ACCESS_KEY": pem(NEW_KEYS[algorithm]()),
                "GATEKEY_REFRESH_SECRET": base64.b64encode(secrets.token_bytes(32)).decode(),
            }
            args = ["--store", "memory", "--listen", f"127.0.0.1:{port}", "--config", path]
            try:
                self.url = start("host-axum", *args, **environment)
                break
            except RuntimeError:
                if not left:
                    raise
        self.jwks = f"{self.url}/auth/jwks.json"
        self.accounts = 0

    def post(self, path, body):
        return post_json(self.url + path, body)

    def login(self):
        """The tokens of a new account's first login."""
        self.accounts += 1
        account = {"username": f"alice-{self.accounts}", "password": "a long enough pass phrase"}
        self.post("/auth/register", account)
        return self.post("/auth/login", account)

    def rotate_keys(self):
        self.post("/__test/keys/rotate", {})


def post_json(url, body):
    fields = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), fields, method="POST")
    with urllib.request.urlopen(request) as response:
        text = response.read()
    return json.loads(text) if text else None


def fetch_json(url):
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def publish(key_set):
    """Serves a JWK Set; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(key_set).encode()
            self.send_response(200)
            self.send_header("content-type", "application/jwk-set+json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/jwks.json"


def ask(url, token):
    """The status that a token is answered with."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def script(run):
    """Runs a script to its end."""
    check_whole(run)
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if passed and not failed else 1)


def check_whole(run):
    global failed
    try:
        run()
    except Exception:
        failed += 1
        print(f"FAIL  the script itself: {traceback.format_exc()}")
