"""PyJWT: finds our keys and verifies our tokens; signs tokens that our Verifier takes."""

import json
import time

import jwt
from harness import NEW_KEYS, Issuer, ask, check, equal, publish, refused, script, start

CLASSES = {"EdDSA": "OKPAlgorithm", "ES256": "ECAlgorithm", "PS256": "RSAPSSAlgorithm", "RS256": "RSAAlgorithm"}


def ours_by_them(algorithm):
    ours = Issuer(algorithm)
    tokens = ours.login()
    keys = jwt.PyJWKClient(ours.jwks, cache_jwk_set=False)
    required = ["exp", "iat", "sub", "jti", "client_id"]

    def verify(token, **changes):
        expected = {"audience": "notes-api", "issuer": ours.url, **changes}
        key = keys.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, algorithms=[algorithm], options={"require": required}, **expected)

    check(
        f"{algorithm}: PyJWT verifies our token",
        lambda: equal(verify(tokens["access_token"])["sid"], tokens["session_id"]),
    )
    refused(
        f"{algorithm}: for another audience",
        jwt.InvalidAudienceError,
        lambda: verify(tokens["access_token"], audience="other-api"),
    )
    refused(
        f"{algorithm}: of another issuer",
        jwt.InvalidIssuerError,
        lambda: verify(tokens["access_token"], issuer="https://other.example.com"),
    )
    refused(f"{algorithm}: a refresh token", jwt.PyJWTError, lambda: verify(tokens["refresh_token"]))

    def rotation():
        ours.rotate_keys()
        for token in (ours.login()["access_token"], tokens["access_token"]):
            verify(token)

    check(f"{algorithm}: PyJWT follows a rotation of our keys", rotation)


def theirs_by_us(algorithm):
    key = NEW_KEYS[algorithm]()
    jwk = getattr(jwt.algorithms, CLASSES[algorithm]).to_jwk(key.public_key(), as_dict=True)
    url = publish({"keys": [json.loads(json.dumps({**jwk, "kid": "k1", "alg": algorithm}))]})
    service = start(
        "verifier", "--issuer", "https://issuer.example.com", "--audience", "notes-api", "--jwks", url,
        "--tokens", "rfc9068",
    )

    def sign(header={}, key=key, alg=algorithm, **claims):
        now = int(time.time())
        whole = {
            "iss": "https://issuer.example.com", "aud": "notes-api", "sub": "alice-id", "iat": now, "exp": now + 300,
            "jti": "j", "client_id": "web", "roles": ["admin"], "scope": "read", **claims,
        }
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(whole, key, alg, headers={"kid": "k1", "typ": "at+jwt", **header})

    def taken():
        for path in ("/whoami", "/admin", "/scoped"):
            equal(ask(service + path, sign()), 200)
        equal(ask(service + "/admin", sign(roles=["user"])), 403)
        equal(ask(service + "/scoped", sign(scope="write")), 403)

    check(f"{algorithm}: our Verifier takes a token of PyJWT, with role and scope", taken)

    def neighbours():
        now = int(time.time())
        for name, token in {
            "another key": sign(key=NEW_KEYS[algorithm]()),
            "another audience": sign(aud=["other-api"]),
            "another issuer": sign(iss="https://other.example.com"),
            "expired": sign(exp=now - 31),
            "no jti": sign(jti=None),
            "no client": sign(client_id=None),
            "another typ": sign({"typ": "JWT"}),
            "another kid": sign({"kid": "k2"}),
            "alg none": sign(key=None, alg="none"),
            "bound to a key": sign(cnf={"jkt": "x"}),
        }.items():
            assert ask(service + "/whoami", token) == 401, name

    check(f"{algorithm}: our Verifier refuses its nearest neighbours", neighbours)


def run():
    for algorithm in ("EdDSA", "ES256", "PS256"):
        ours_by_them(algorithm)
    for algorithm in NEW_KEYS:
        theirs_by_us(algorithm)


script(run)
