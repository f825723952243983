// npm `oauth4webapi`: a strict client drives our metadata, /token, /revoke, /introspect, and verifies tokens as a resource
// server does (RFC 8414, 6749, 7009, 7662, 9068, 6750).

import { check, equal, issuer, load, refused, script } from "./harness.mjs";

const oauth = await load("oauth4webapi");
const plain = { [oauth.allowInsecureRequests]: true };

script(async () => {
  const secret = "the-secret-of-the-notes-service-in-tests-alone";
  const ours = await issuer("ES256", { introspection_clients: { notes: secret }, reuse_grace: 0 });
  const client = { client_id: "gatekey" };
  const none = oauth.None();
  let server;

  await check("the metadata is found and taken", async () => {
    const response = await oauth.discoveryRequest(new URL(ours.url), { algorithm: "oauth2", ...plain });
    server = await oauth.processDiscoveryResponse(new URL(ours.url), response);
    equal(server.token_endpoint, `${ours.url}/auth/token`);
  });

  const refresh = async (token) => {
    const response = await oauth.refreshTokenGrantRequest(server, client, none, token, plain);
    return oauth.processRefreshTokenResponse(server, client, response);
  };
  const first = await ours.login();
  let second;
  await check("a refresh token is swapped", async () => {
    second = await refresh(first.refresh_token);
    equal([second.token_type, second.expires_in], ["bearer", 900]);
    if (second.refresh_token === first.refresh_token) throw new Error("not rotated");
  });
  await refused("a used one is invalid_grant", "invalid_grant", () => refresh(first.refresh_token));
  await refused("and so is its successor then", "invalid_grant", () => refresh(second.refresh_token));
  await refused("another client's is refused", "invalid_", async () => {
    const { refresh_token } = await ours.login();
    const other = { client_id: "somebody-else" };
    const response = await oauth.refreshTokenGrantRequest(server, other, none, refresh_token, plain);
    return oauth.processRefreshTokenResponse(server, other, response);
  });
  await refused("a grant that we do not offer is told by its code", "unsupported_grant_type", async () => {
    const response = await oauth.clientCredentialsGrantRequest(server, client, none, {}, plain);
    return oauth.processClientCredentialsResponse(server, client, response);
  });
  await refused("more scope than was granted is told by its code", "invalid_scope", async () => {
    const { refresh_token } = await ours.login();
    const options = { additionalParameters: { scope: "admin" }, ...plain };
    const response = await oauth.refreshTokenGrantRequest(server, client, none, refresh_token, options);
    return oauth.processRefreshTokenResponse(server, client, response);
  });

  const tokens = await ours.login();
  const request = (token) =>
    new Request(`${ours.url}/whoami`, { headers: { authorization: `Bearer ${token}` } });
  const validate = (token, audience) =>
    oauth.validateJwtAccessToken(server, request(token), audience, { signingAlgorithms: ["ES256"], ...plain });
  await check("an access token is one of RFC 9068", async () => {
    const claims = await validate(tokens.access_token, "notes-api");
    equal([claims.client_id, claims.sid], ["gatekey", tokens.session_id]);
  });
  await refused("but for another audience", "unexpected JWT \"aud\"", () => validate(tokens.access_token, "other-api"));
  await refused("and a refresh token is none", "", () => validate(tokens.refresh_token, "notes-api"));

  const api = (token) =>
    oauth.protectedResourceRequest(token, "GET", new URL(`${ours.url}/whoami`), undefined, undefined, plain);
  await check("a protected resource is reached with it", async () => {
    equal((await api(tokens.access_token)).status, 200);
  });
  await check("the challenge of a bad token is read", async () => {
    const [challenge] = await api("x.y.z").then(
      () => [],
      (error) => error.cause,
    );
    equal([challenge.scheme, challenge.parameters.error], ["bearer", "invalid_token"]);
  });

  const live = async (token) => {
    const asking = { client_id: "notes" };
    const authentication = oauth.ClientSecretBasic(secret);
    const response = await oauth.introspectionRequest(server, asking, authentication, token, plain);
    return oauth.processIntrospectionResponse(server, asking, response);
  };
  await check("introspection says that it is live", async () => {
    const answer = await live(tokens.access_token);
    equal([answer.active, answer.client_id], [true, "gatekey"]);
  });
  await check("revocation ends the session", async () => {
    for (const token of [tokens.refresh_token, tokens.refresh_token, "unknown"]) {
      const response = await oauth.revocationRequest(server, client, none, token, plain);
      await oauth.processRevocationResponse(response);
    }
    equal(await live(tokens.access_token), { active: false });
  });
  await refused("and its refresh token", "invalid_grant", () => refresh(tokens.refresh_token));
});
