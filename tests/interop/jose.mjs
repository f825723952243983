// npm `jose`: reads our key set and verifies our tokens; signs tokens that our Verifier takes.

import { ask, check, equal, issuer, load, publish, refused, script, start } from "./harness.mjs";

const jose = await load("jose");
const now = () => Math.floor(Date.now() / 1000);

script(async () => {
  for (const algorithm of ["EdDSA", "ES256", "PS256"]) {
    const ours = await issuer(algorithm);
    const { access_token: token, session_id } = await ours.login();
    const keys = jose.createRemoteJWKSet(new URL(`${ours.url}/auth/jwks.json`), { cooldownDuration: 0 });
    const expected = { issuer: ours.url, audience: "notes-api", typ: "at+jwt", algorithms: [algorithm] };
    expected.requiredClaims = ["jti", "client_id", "auth_time"];

    await check(`${algorithm}: jose verifies our token`, async () => {
      const { payload, protectedHeader } = await jose.jwtVerify(token, keys, expected);
      equal(protectedHeader.alg, algorithm);
      equal([payload.sid, payload.preferred_username, payload.roles], [session_id, "alice-1", []]);
    });
    await check(`${algorithm}: the kid is jose's thumbprint of the key`, async () => {
      const { keys } = await (await fetch(`${ours.url}/auth/jwks.json`)).json();
      equal(await jose.calculateJwkThumbprint(keys[0]), keys[0].kid);
    });
    await refused(`${algorithm}: for another audience`, "ERR_JWT_CLAIM_VALIDATION_FAILED", () =>
      jose.jwtVerify(token, keys, { ...expected, audience: "other-api" }),
    );
    await refused(`${algorithm}: one character of the claims changed`, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED", () => {
      const [header, claims, signature] = token.split(".");
      const other = claims.startsWith("eyJ") ? `eyK${claims.slice(3)}` : claims;
      return jose.jwtVerify([header, other, signature].join("."), keys, expected);
    });
    await check(`${algorithm}: jose follows a rotation of our keys`, async () => {
      await ours.rotateKeys();
      const rotated = await ours.login();
      for (const each of [rotated.access_token, token]) await jose.jwtVerify(each, keys, expected);
      const kids = [token, rotated.access_token].map((each) => jose.decodeProtectedHeader(each).kid);
      if (kids[0] === kids[1]) throw new Error("the key did not change");
    });
  }

  for (const algorithm of ["EdDSA", "Ed25519", "ES256", "PS256", "RS256"]) {
    const pair = await jose.generateKeyPair(algorithm, { modulusLength: 2048 });
    const kid = "2026-11";
    const jwk = { ...(await jose.exportJWK(pair.publicKey)), kid, use: "sig" };
    if (algorithm !== "RS256") jwk.alg = algorithm;
    const jwks = await publish({ keys: [{ kty: "oct", k: "AAAA", kid: "old" }, jwk] });
    const args = ["--issuer", "https://issuer.example.com", "--audience", "notes-api", "--jwks", jwks];
    const service = await start("verifier", [...args, "--tokens", "keycloak"]);

    const sign = (header = {}, claims = {}, key = pair.privateKey) =>
      new jose.SignJWT({
        iss: "https://issuer.example.com", aud: ["notes-api", "account"], sub: "alice-id", iat: now(), exp: now() + 300,
        typ: "Bearer", azp: "web", realm_access: { roles: ["admin"] }, scope: "openid read", ...claims,
      })
        .setProtectedHeader({ alg: algorithm, typ: "JWT", kid, ...header })
        .sign(key);
    const answers = async (path, token, status) => equal(await ask(service + path, await token), status);

    await check(`${algorithm}: our Verifier takes a token of jose, with role and scope`, async () => {
      for (const path of ["/whoami", "/admin", "/scoped"]) await answers(path, sign(), 200);
      await answers("/fresh", sign(), 401);
      await answers("/admin", sign({}, { realm_access: { roles: ["user"] } }), 403);
    });
    await check(`${algorithm}: our Verifier refuses its nearest neighbours`, async () => {
      const other = await jose.generateKeyPair(algorithm, { modulusLength: 2048 });
      for (const [name, token] of [
        ["another key", sign({}, {}, other.privateKey)],
        ["another audience", sign({}, { aud: "account" })],
        ["another issuer", sign({}, { iss: "https://issuer.example.com/" })],
        ["expired", sign({}, { exp: now() - 31 })],
        ["not valid yet", sign({}, { nbf: now() + 60 })],
        ["an ID token", sign({}, { typ: "ID" })],
        ["another typ", sign({ typ: "at+jwt" })],
        ["a key in the header", sign({ jwk })],
        ["a float for exp", sign({}, { exp: now() + 300.5 })],
      ]) {
        const status = await ask(`${service}/whoami`, await token);
        if (status !== 401) throw new Error(`${name}: ${status}`);
      }
    });
    await check(`${algorithm}: nothing without a signature, and nothing signed with the public key`, async () => {
      const unsecured = new jose.UnsecuredJWT({ sub: "alice-id" })
        .setIssuer("https://issuer.example.com").setAudience("notes-api").setExpirationTime("5m").encode();
      await answers("/whoami", unsecured, 401);
      const spki = await jose.exportSPKI(pair.publicKey);
      await answers("/whoami", sign({ alg: "HS256" }, {}, new TextEncoder().encode(spki)), 401);
    });
  }
});
