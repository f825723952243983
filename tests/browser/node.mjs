// gatekey.js without a browser: as the host serves it, in Node, with tokens in memory.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { eventually, test } from "./harness.mjs";

const PACKAGE = new URL("../../packages/gatekey-js/gatekey.js", import.meta.url);

/** The module that the host serves. With a clock it reads that one: it stands still unless the test moves it. */
async function served(host, clock) {
  const text = await (await fetch(`${host.origin}/auth/gatekey.js`)).text();
  const before = clock ? `const performance = globalThis[Symbol.for(${JSON.stringify(clock.name)})];\n` : "";
  return import(`data:text/javascript,${encodeURIComponent(before + text)}`);
}

let clocks = 0;

/** A clock for `served`: `seconds` is its time, `reads` how often it was asked. */
function clock() {
  const clock = { name: `clock ${++clocks}`, seconds: 0, reads: 0, now: () => (clock.reads++, clock.seconds * 1000) };
  globalThis[Symbol.for(clock.name)] = clock;
  return clock;
}

/** A client behind a proxy, logged in, and what it was told. */
async function client(t, host, { clock, ...options } = {}) {
  const proxy = await t.proxy(host);
  const { gatekey } = await served(host, clock);
  const client = gatekey({ url: `${proxy.origin}/auth`, transport: "body", ...options });
  const user = await host.user();
  await client.login(user);
  const told = [];
  client.onChange((session) => told.push(session?.username ?? null));
  proxy.seen.length = 0;
  return { client, proxy, user, told };
}

/** A host whose access tokens have just run out, and a client that does not know. */
async function expired(t, options) {
  // The longest grace, so that a slow machine does not look like a thief.
  const host = await t.start({ config: { access_ttl: 60, leeway: 0, reuse_grace: 60 } });
  const all = { host, ...(await client(t, host, options)) };
  await host.advance(61);
  return all;
}

test("node/the-package-is-what-is-served", { needs: "node" }, async (t) => {
  const host = await t.start();
  const [one, other] = [await import(PACKAGE), await served(host)];
  assert.deepEqual(Object.keys(one).sort(), ["Refused", "gatekey"]);
  assert.deepEqual(Object.keys(other).sort(), Object.keys(one).sort());
  const user = await host.user();
  for (const { gatekey } of [one, other]) {
    const client = gatekey({ url: `${host.origin}/auth/`, transport: "body" });
    assert.equal((await client.login(user)).username, user.username);
  }
});

test("node/a-session-from-login-to-logout", { needs: "node" }, async (t) => {
  const host = await t.start();
  const { gatekey, Refused } = await served(host);
  const auth = gatekey({ url: `${host.origin}/auth`, transport: "body" });
  const told = [];
  const stop = auth.onChange((session) => told.push(session?.username ?? null));
  assert.equal(auth.session, null);
  assert.equal(await auth.resume(), null);
  assert.equal((await auth.fetch(`${host.origin}/whoami`)).status, 401);

  const user = await host.user();
  const wrong = await auth.login({ ...user, password: "not the right one" }).catch((error) => error);
  assert.ok(wrong instanceof Refused);
  assert.deepEqual([wrong.status, wrong.code, wrong.message], [401, "invalid_credentials", "The name or the password is wrong."]);

  const session = await auth.login(user);
  assert.equal(auth.session, session);
  assert.deepEqual(Object.keys(session).sort(), ["auth_time", "expires_at", "roles", "session_id", "sub", "username"]);
  assert.ok(auth.expiresIn > 800 && auth.expiresIn <= 900);
  // Both a path and an absolute URL, a Request too.
  for (const input of ["/whoami", `${host.origin}/whoami`, new Request(`${host.origin}/whoami`)]) {
    assert.equal((await (await auth.fetch(input)).json()).username, user.username);
  }
  await auth.refresh();
  assert.equal((await auth.fetch("/note", { method: "POST" })).status, 204);
  await auth.logout();
  assert.deepEqual([auth.session, auth.expiresIn], [null, undefined]);
  assert.equal((await auth.fetch("/whoami")).status, 401);
  assert.deepEqual(told, [null, user.username, null]);
  assert.deepEqual(await host.sessions(user), []);
  stop();
  await auth.login(user);
  assert.equal(told.length, 3);
});

test("node/one-refresh-serves-everyone-who-waits", { needs: "node" }, async (t) => {
  const { client, proxy, user } = await expired(t);
  const answers = await Promise.all(Array.from({ length: 10 }, () => client.fetch("/whoami")));
  for (const answer of answers) assert.equal((await answer.json()).username, user.username);
  assert.equal(proxy.asked("/auth/token"), 1);
  assert.equal(proxy.asked("/whoami"), 20);
});

test("node/a-body-is-sent-again-after-a-refresh", { needs: "node", once: true }, async (t) => {
  const { client, proxy, user } = await expired(t);
  const body = JSON.stringify({ current_password: user.password, new_password: "another phrase of mine" });
  const headers = { "Content-Type": "application/json" };
  const answer = await client.fetch("/auth/password", { method: "POST", headers, body });
  assert.equal(answer.status, 204);
  assert.equal(proxy.asked("/auth/password"), 2);
});

test("node/a-401-that-no-refresh-mends-is-handed-on", { needs: "node" }, async (t) => {
  const host = await t.start();
  const { client: auth, proxy } = await client(t, host);
  const body = JSON.stringify({ current_password: "not the right one", new_password: "another phrase of mine" });
  const headers = { "Content-Type": "application/json" };
  const answer = await auth.fetch("/auth/password", { method: "POST", headers, body });
  assert.deepEqual([answer.status, (await answer.json()).error], [401, "invalid_credentials"]);
  await host.advance(301);
  const old = await auth.fetch("/fresh");
  assert.deepEqual([old.status, (await old.json()).error], [401, "insufficient_user_authentication"]);
  // A proxy that wants a password of its own.
  proxy.fault = ({ url }) => url === "/whoami" && { status: 401, body: "<h1>Who are you?</h1>" };
  assert.equal((await auth.fetch("/whoami")).status, 401);
  assert.equal(proxy.asked("/auth/token"), 0);
  assert.ok(auth.session);
});

// What no answer but `invalid_grant` may do: end a session. These speak of the client alone, so one host is enough.
const TROUBLE = {
  "a store that is down": { status: 503, headers: { "Retry-After": "1" }, body: '{"error":"temporarily_unavailable"}' },
  "a fault of ours": { status: 500, body: '{"error":"server_error"}' },
  "a proxy without a server": { status: 502, headers: { "Content-Type": "text/html" }, body: "<h1>Bad Gateway</h1>" },
  "too many refreshes": { status: 429, headers: { "Retry-After": "1" }, body: '{"error":"rate_limited"}' },
  "a rule of another site": { status: 403, body: '{"error":"csrf_failed"}' },
  "a proxy that wants a password": { status: 401, body: '{"error":"unauthenticated"}' },
  "a proxy that knows another grant": { status: 403, body: '{"error":"invalid_grant"}' },
  "a request that a proxy does not like": { status: 400, body: '{"error":"invalid_request"}' },
  "an object in place of an answer": { status: 200, body: '{"status":"ok"}' },
  "a page in place of an answer": { status: 200, headers: { "Content-Type": "text/html" }, body: "<h1>Log in to the wifi</h1>" },
  "no way there": "refuse",
  "no way back": "lose",
};
test("node/trouble-ends-no-session", { needs: "node", once: true }, async (t) => {
  const host = await t.start({ config: { access_ttl: 60, leeway: 0, reuse_grace: 60 } });
  const trouble = async ([name, fault], { client: auth, proxy, told }) => {
    proxy.fault = ({ url }) => (url === "/auth/token" ? fault : undefined);
    const answer = await auth.fetch("/whoami").catch((error) => error);
    // What stands in the way of the refresh is the answer: a 401 would read as the end of the session.
    if (fault.status > 299) assert.equal(answer.status, fault.status, name);
    else assert.ok(answer instanceof TypeError || (answer.name === "Refused" && answer.status === 200), `${name}: ${answer}`);
    assert.ok(auth.session, name);
    assert.deepEqual(told.length, 1, name);
    proxy.fault = () => undefined;
    await eventually(`${name}: recovered`, async () => (await auth.fetch("/whoami")).status === 200);
    assert.deepEqual(told.length, 1, name);
  };
  const clients = await Promise.all(Object.values(TROUBLE).map(() => client(t, host)));
  await host.advance(61);
  await Promise.all(Object.entries(TROUBLE).map((entry, i) => trouble(entry, clients[i])));
});

test("node/retry-after-is-waited-for", { needs: "node", once: true }, async (t) => {
  const { client, proxy } = await expired(t);
  const busy = { status: 429, headers: { "Retry-After": "2" }, body: '{"error":"rate_limited"}' };
  proxy.fault = ({ url }) => (url === "/auth/token" ? busy : undefined);
  const started = performance.now();
  for (let i = 0; i < 3; i++) assert.equal((await client.fetch("/whoami")).status, 429);
  if (performance.now() - started < 2000) assert.equal(proxy.asked("/auth/token"), 1);
  proxy.fault = () => undefined;
  await eventually("another try", async () => (await client.fetch("/whoami")).status === 200);
  assert.ok(performance.now() - started >= 2000);
});

test("node/a-superseded-refresh-is-tried-again", { needs: "node", once: true }, async (t) => {
  const { client, proxy } = await expired(t);
  proxy.fault = ({ url }) =>
    url === "/auth/token" && proxy.asked(url) < 2 && { status: 409, body: '{"error":"superseded"}' };
  assert.equal((await client.fetch("/whoami")).status, 200);
  assert.equal(proxy.asked("/auth/token"), 3);
});

test("node/a-lost-answer-is-asked-for-again", { needs: "node" }, async (t) => {
  const { client, proxy, host, user } = await expired(t);
  proxy.fault = ({ url }) => url === "/auth/token" && proxy.asked(url) < 2 && "lose";
  assert.equal((await client.fetch("/whoami")).status, 200);
  assert.equal(proxy.asked("/auth/token"), 3);
  // The family has not forked: what the client holds is the live token.
  await host.advance(61);
  assert.equal((await client.fetch("/whoami")).status, 200);
  assert.equal((await host.sessions(user)).length, 1);
});

test("node/invalid-grant-ends-a-session", { needs: "node" }, async (t) => {
  const { client, proxy, host, user, told } = await expired(t);
  const { access_token } = await (await host.post("/auth/login", user)).json();
  const headers = { Authorization: `Bearer ${access_token}` };
  await fetch(`${host.origin}/auth/sessions?keep_current=true`, { method: "DELETE", headers });
  assert.equal((await client.fetch("/whoami")).status, 401);
  assert.equal(client.session, null);
  await eventually("word of it", () => told.length === 2);
  assert.deepEqual(told, [user.username, null]);
  // And then it asks no more.
  assert.equal((await client.fetch("/whoami")).status, 401);
  assert.equal(proxy.asked("/auth/token"), 1);
  assert.equal((await client.login(user)).username, user.username);
});

test("node/credentials-go-to-named-origins-alone", { needs: "node", once: true }, async (t) => {
  const host = await t.start();
  const seen = [];
  const port = await t.listen((request, response) => {
    seen.push(request.headers.authorization);
    response.end();
  });
  const other = `http://127.0.0.1:${port}`;
  const { client: auth } = await client(t, host);
  await auth.fetch(other);
  // Nor after a redirect.
  const { client: named, proxy } = await client(t, host, { origins: [other] });
  await named.fetch(other);
  proxy.fault = ({ url }) => url === "/away" && { status: 307, headers: { Location: `http://localhost:${port}/` } };
  await named.fetch("/away");
  assert.deepEqual(seen.map((value) => value?.slice(0, 9)), [undefined, "Bearer ey", undefined]);
  // A header of the caller's own stays as it is.
  await named.fetch(other, { headers: { Authorization: "Basic eDp5" } });
  assert.equal(seen.at(-1), "Basic eDp5");
});

test("node/a-late-answer-does-not-bring-a-session-back", { needs: "node", once: true }, async (t) => {
  const { client, proxy, host, told } = await expired(t);
  let arrived, release;
  const held = new Promise((done) => (release = done));
  proxy.fault = ({ url }) => {
    if (url !== "/auth/token") return undefined;
    arrived = true;
    return held;
  };
  const late = client.fetch("/whoami");
  await eventually("a refresh under way", () => arrived);
  const bob = await host.user();
  const login = client.login(bob);
  release(undefined);
  proxy.fault = () => undefined;
  assert.equal((await login).username, bob.username);
  await late;
  assert.equal((await (await client.fetch("/whoami")).json()).username, bob.username);
  assert.deepEqual(told.at(-1), bob.username);

  await client.logout();
  assert.equal((await client.fetch("/whoami")).status, 401);
});

test("node/refreshes-ahead-of-time-and-keeps-no-process", { needs: "node", once: true }, async (t) => {
  const host = await t.start({ config: { access_ttl: 2, leeway: 0 } });
  const { proxy, client: auth } = await client(t, host);
  await eventually("two refreshes that nobody asked for", () => proxy.asked("/auth/token") >= 2);
  assert.ok(auth.session);
  // A program that has nothing else to do ends, whatever the timer.
  const user = await host.user();
  const program = `
    import { gatekey } from ${JSON.stringify(PACKAGE.href)};
    const auth = gatekey({ url: ${JSON.stringify(`${host.origin}/auth`)}, transport: "body" });
    await auth.login(${JSON.stringify(user)});
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: "inherit" });
  t.atEnd(() => child.kill());
  let code;
  child.on("exit", (exit) => (code = exit));
  await eventually("its end", () => code !== undefined);
  assert.equal(code, 0);
});

// Answers that no Gatekey gives at this place, though the status is one of ours.
const FOREIGN = [
  { status: 401, headers: { "Content-Type": "text/html" }, body: "<h1>Who are you?</h1>" },
  { status: 401, body: '{"error":"login_required"}' },
  { status: 401, body: "null" },
  { status: 400, body: '{"error":"invalid_request"}' },
  { status: 200, headers: { "Content-Type": "text/html" }, body: "<h1>Log in to the wifi</h1>" },
  { status: 200, body: "{}" },
];
test("node/who-is-logged-in-is-not-known-from-a-stranger", { needs: "node", once: true }, async (t) => {
  const host = await t.start();
  const { client: auth, proxy, told } = await client(t, host);
  for (const answer of FOREIGN) {
    proxy.fault = ({ url }) => (url === "/auth/me" ? answer : undefined);
    await assert.rejects(auth.resume(), { name: "Refused", status: answer.status }, answer.body);
    assert.ok(auth.session, answer.body);
  }
  assert.equal(told.length, 1);
  proxy.fault = () => undefined;
  assert.equal((await auth.resume()).sub, auth.session.sub);
  // Our own word counts, once the refresh has said the same.
  await fetch(`${host.origin}/auth/sessions`, { method: "DELETE", headers: await bearer(auth, proxy) });
  assert.equal(await auth.resume(), null);
  assert.equal(auth.session, null);
});

test("node/nobody-is-logged-out-by-a-stranger", { needs: "node", once: true }, async (t) => {
  const host = await t.start();
  const { client: auth, proxy, user, told } = await client(t, host);
  for (const answer of FOREIGN) {
    proxy.fault = ({ url }) => (url === "/auth/logout" ? answer : undefined);
    await assert.rejects(auth.logout(), { name: "Refused", status: answer.status }, answer.body);
    assert.ok(auth.session, answer.body);
    assert.equal((await auth.fetch("/whoami")).status, 200);
  }
  assert.equal((await host.sessions(user)).length, 1);
  assert.equal(told.length, 1);
  proxy.fault = () => undefined;
  await auth.logout();
  assert.equal(auth.session, null);
  assert.deepEqual(await host.sessions(user), []);
  // Without anything to end the server says 401 itself, and that is no failure.
  await auth.logout();
});

/** What the client sends as its credential. */
async function bearer(auth, proxy) {
  await auth.fetch("/whoami");
  return { Authorization: proxy.seen.at(-1).headers.authorization };
}

test("node/no-secret-follows-a-redirect", { needs: "node", once: true }, async (t) => {
  const { client: auth, proxy, user } = await expired(t);
  const elsewhere = [];
  const port = await t.listen((request, response) => {
    elsewhere.push(request.url);
    request.resume();
    response.end("{}");
  });
  for (const status of [307, 308]) {
    for (const path of ["/auth/token", "/auth/logout", "/auth/login"]) {
      proxy.fault = ({ url }) => url === path && { status, headers: { Location: `http://127.0.0.1:${port}${path}` } };
      const asks = { "/auth/token": () => auth.refresh(), "/auth/logout": () => auth.logout(), "/auth/login": () => auth.login(user) };
      await assert.rejects(asks[path](), TypeError, path);
      assert.ok(auth.session, path);
    }
  }
  assert.deepEqual(elsewhere, []);
  proxy.fault = () => undefined;
  await eventually("the session goes on", async () => (await auth.fetch("/whoami")).status === 200);
});

// What counts is when the next try would be made, not when this one has failed.
test("node/no-try-comes-after-the-grace", { needs: "node", once: true }, async (t) => {
  for (const [took, tries] of [[8.6, 2], [9.2, 1]]) {
    const time = clock();
    const { client: auth, proxy } = await expired(t, { clock: time });
    let first = true;
    proxy.fault = ({ url }) => {
      if (url !== "/auth/token" || !first) return undefined;
      first = false;
      time.seconds += took;
      return { status: 503, headers: { "Retry-After": "1" }, body: '{"error":"temporarily_unavailable"}' };
    };
    assert.equal((await auth.fetch("/whoami")).status, tries === 2 ? 200 : 503);
    assert.equal(proxy.asked("/auth/token"), tries, `after ${took} s`);
    assert.ok(auth.session);
  }
});

test("node/nobody-waits-longer-than-an-hour", { needs: "node", once: true }, async (t) => {
  const time = clock();
  const { client: auth, proxy } = await expired(t, { clock: time });
  proxy.fault = ({ url }) =>
    url === "/auth/token" && { status: 429, headers: { "Retry-After": "999999999" }, body: '{"error":"rate_limited"}' };
  await assert.rejects(auth.refresh(), { status: 429, retryAfter: 3600 });
  proxy.fault = () => undefined;
  time.seconds += 3599;
  assert.equal((await auth.fetch("/whoami")).status, 429);
  time.seconds += 901;
  assert.equal((await auth.fetch("/whoami")).status, 200);
});

// When an access token has nothing left, the session has reached its end: the next refresh will say so.
test("node/the-end-of-a-session-is-noticed-without-haste", { needs: "node", once: true }, async (t) => {
  const host = await t.start();
  const { client: auth, proxy } = await client(t, host);
  const when = [];
  const { session_id } = auth.session;
  const answer = { access_token: "a", token_type: "Bearer", expires_in: 0, refresh_token: "b", refresh_expires_in: 0, session_id };
  proxy.fault = ({ url }) => {
    if (url !== "/auth/token") return undefined;
    when.push(performance.now());
    return { status: 200, body: JSON.stringify(answer) };
  };
  await auth.refresh();
  await eventually("three refreshes", () => when.length >= 3);
  assert.ok(when[2] - when[0] >= 1900, `${when[2] - when[0]} ms`);
});

test("node/a-login-ends-the-tries-of-a-refresh", { needs: "node", once: true }, async (t) => {
  const time = clock();
  const { client: auth, proxy, host } = await expired(t, { clock: time });
  const bob = await host.user();
  let read;
  proxy.fault = ({ url }) => {
    if (url !== "/auth/token") return undefined;
    read = time.reads;
    return { status: 503, headers: { "Retry-After": "3" }, body: '{"error":"temporarily_unavailable"}' };
  };
  const waiting = auth.fetch("/whoami");
  // It has the answer, and has looked at its clock to see whether there is time for another try.
  await eventually("a pause before the next try", () => read !== undefined && time.reads > read);
  await auth.login(bob);
  assert.equal((await waiting).status, 503);
  assert.equal(proxy.asked("/auth/token"), 1);
  assert.equal((await (await auth.fetch("/whoami")).json()).username, bob.username);
});

test("node/a-refresh-waits-for-a-login", { needs: "node", once: true }, async (t) => {
  const { client: auth, proxy, host, user } = await expired(t);
  const bob = await host.user();
  let release;
  const held = new Promise((done) => (release = done));
  proxy.fault = ({ url }) => (url === "/auth/login" ? held : undefined);
  const login = auth.login(bob);
  const asking = auth.fetch("/whoami");
  for (const promise of [login, asking]) promise.catch(() => {}); // Should this test fail before it waits for them.
  await eventually("a 401", () => proxy.answers.some(({ url, status }) => url === "/whoami" && status === 401));
  // Were it not for the login, the refresh would be on its way by the time that something else has been answered.
  for (let i = 0; i < 5; i++) assert.equal((await host.sessions(user)).length, 1);
  assert.equal(proxy.asked("/auth/token"), 0);
  release(undefined);
  assert.equal((await login).username, bob.username);
  assert.equal((await (await asking).json()).username, bob.username);
});

// Some clocks stand still while a machine sleeps, others go on.
test("node/a-machine-that-has-slept", { needs: "node", once: true }, async (t) => {
  const hours = 6 * 3600;
  for (const counted of [0, hours]) {
    const time = clock();
    const { client: auth, proxy, host, user, told } = await expired(t, { clock: time });
    await host.advance(hours);
    time.seconds += counted;
    const answers = await Promise.all([auth.fetch("/whoami"), auth.fetch("/whoami")]);
    assert.deepEqual(answers.map(({ status }) => status), [200, 200]);
    assert.equal(proxy.asked("/auth/token"), 1);
    assert.equal(auth.expiresIn, 60);
    assert.deepEqual(told, [user.username]);
  }
});
