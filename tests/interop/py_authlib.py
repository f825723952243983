"""Authlib and joserfc, its library for tokens: verify our tokens, drive our token endpoint, sign what our Verifier takes."""

import time

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from harness import Issuer, ask, check, equal, fetch_json, publish, refused, script, start
from joserfc import errors, jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

EMPTY = "response_types_supported"

NEW_KEYS = {
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "PS256": lambda: RSAKey.generate_key(3072),
    "RS256": lambda: RSAKey.generate_key(2048),
}


def ours_by_them(algorithm):
    ours = Issuer(algorithm)
    tokens = ours.login()
    keys = KeySet.import_key_set(fetch_json(ours.jwks))

    def verify(token, audience="notes-api", now=None):
        decoded = jwt.decode(token, keys, algorithms=[algorithm])
        one = {"essential": True}
        claims = jwt.JWTClaimsRegistry(
            now=now, iss={**one, "value": ours.url}, aud={**one, "value": audience}, exp=one, jti=one, client_id=one
        )
        claims.validate(decoded.claims)
        return decoded

    check(
        f"{algorithm}: joserfc verifies our token",
        lambda: equal(verify(tokens["access_token"]).claims["sid"], tokens["session_id"]),
    )
    check(
        f"{algorithm}: the kid is joserfc's thumbprint of the key",
        lambda: equal(keys.keys[0].thumbprint(), keys.keys[0].kid),
    )
    refused(
        f"{algorithm}: for another audience",
        errors.InvalidClaimError,
        lambda: verify(tokens["access_token"], audience="other-api"),
    )
    refused(
        f"{algorithm}: after its end",
        errors.ExpiredTokenError,
        lambda: verify(tokens["access_token"], now=int(time.time()) + 901),
    )


def client():
    ours = Issuer("ES256", reuse_grace=0)
    url = f"{ours.url}/.well-known/oauth-authorization-server"
    metadata = AuthorizationServerMetadata(fetch_json(url))

    def described():
        # Its check of the whole insists on https, which no host of a test has.
        for name in set(metadata) - {"issuer", "jwks_uri", "token_endpoint", "revocation_endpoint", EMPTY}:
            getattr(metadata, f"validate_{name}")()
        equal(metadata["token_endpoint_auth_methods_supported"], ["none"])

    check("Authlib takes our metadata", described)

    # RFC 8414 requires the member (section 2) and forbids an empty one (section 3.2). Ours is empty, as the contract says: there
    # is no authorization endpoint, so any value would promise something.
    refused("but for an array that is empty", ValueError, lambda: getattr(metadata, f"validate_{EMPTY}")())
    equal(metadata[EMPTY], [])

    first = ours.login()
    session = OAuth2Session("gatekey", token_endpoint_auth_method="none", token=first)
    second = {}

    def swapped():
        second.update(session.refresh_token(metadata["token_endpoint"], refresh_token=first["refresh_token"]))
        assert second["refresh_token"] != first["refresh_token"]
        equal(session.get(f"{ours.url}/whoami").status_code, 200)

    check("Authlib's client swaps a refresh token and goes on with the new one", swapped)

    def refresh(token):
        return session.refresh_token(metadata["token_endpoint"], refresh_token=token)

    def refused_as(code, run):
        try:
            run()
        except OAuthError as error:
            equal(error.error, code)
        else:
            raise AssertionError("accepted")

    check("a used one is invalid_grant", lambda: refused_as("invalid_grant", lambda: refresh(first["refresh_token"])))
    check(
        "the password grant is told by its code",
        lambda: refused_as(
            "unsupported_grant_type",
            lambda: session.fetch_token(metadata["token_endpoint"], username="a", password="b", grant_type="password"),
        ),
    )

    def revoked():
        tokens = ours.login()
        answer = session.revoke_token(
            metadata["revocation_endpoint"], token=tokens["refresh_token"], token_type_hint="refresh_token"
        )
        equal(answer.status_code, 200)
        equal(ask(f"{ours.url}/whoami", tokens["access_token"]), 401)

    check("Authlib's client revokes", revoked)


def theirs_by_us(algorithm):
    key = NEW_KEYS[algorithm]()
    jwk = {**key.as_dict(private=False), "kid": "k1", "use": "sig", "alg": algorithm}
    service = start(
        "verifier", "--issuer", "https://tenant.auth0.example/", "--audience", "notes-api",
        "--jwks", publish({"keys": [jwk]}), "--tokens", "auth0",
    )

    def sign(header={}, key=key, **claims):
        now = int(time.time())
        whole = {
            "iss": "https://tenant.auth0.example/", "aud": ["notes-api", "https://tenant.auth0.example/userinfo"],
            "sub": "auth0|1", "iat": now, "exp": now + 300, "azp": "web", "scope": "openid read", "permissions": ["admin"],
            **claims,
        }
        return jwt.encode({"alg": algorithm, "typ": "JWT", "kid": "k1", **header}, whole, key, algorithms=[algorithm])

    def taken():
        for path in ("/whoami", "/admin", "/scoped"):
            equal(ask(service + path, sign()), 200)
        equal(ask(service + "/admin", sign(permissions=["read:notes"])), 403)

    check(f"{algorithm}: our Verifier takes a token of joserfc, with permission and scope", taken)

    def neighbours():
        for name, token in {
            "another key": sign(key=NEW_KEYS[algorithm]()),
            "for the userinfo endpoint alone": sign(aud="https://tenant.auth0.example/userinfo"),
            "without the slash of the issuer": sign(iss="https://tenant.auth0.example"),
            "expired": sign(exp=int(time.time()) - 31),
            "permissions that are no texts": sign(permissions=[7]),
            "another typ": sign({"typ": "at+jwt"}),
        }.items():
            assert ask(service + "/whoami", token) == 401, name

    check(f"{algorithm}: our Verifier refuses its nearest neighbours", neighbours)


def run():
    for algorithm in ("EdDSA", "ES256", "PS256"):
        ours_by_them(algorithm)
    client()
    for algorithm in NEW_KEYS:
        theirs_by_us(algorithm)


script(run)
