// npm `jsonwebtoken`: verifies our tokens with a key of our set. It knows no EdDSA.

import { createPublicKey } from "node:crypto";

import { check, equal, issuer, load, refused, script } from "./harness.mjs";

const { default: jwt } = await load("jsonwebtoken");

script(async () => {
  for (const algorithm of ["ES256", "PS256"]) {
    const ours = await issuer(algorithm);
    const { access_token: token, session_id } = await ours.login();
    const { keys } = await (await fetch(`${ours.url}/auth/jwks.json`)).json();
    const { kid } = jwt.decode(token, { complete: true }).header;
    const key = createPublicKey({ key: keys.find((key) => key.kid === kid), format: "jwk" });
    const expected = { issuer: ours.url, audience: "notes-api", algorithms: [algorithm] };

    await check(`${algorithm}: jsonwebtoken verifies our token`, () => {
      equal(jwt.verify(token, key, expected).sid, session_id);
    });
    await refused(`${algorithm}: for another audience`, "jwt audience invalid", () =>
      jwt.verify(token, key, { ...expected, audience: "other-api" }),
    );
    await refused(`${algorithm}: after its end`, "jwt expired", () =>
      jwt.verify(token, key, { ...expected, clockTimestamp: Math.floor(Date.now() / 1000) + 901 }),
    );
  }
});
