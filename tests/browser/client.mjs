// gatekey.js in tabs of Chromium, where there is no page of ours to hide what it does.

import assert from "node:assert/strict";
import { eventually, test } from "./harness.mjs";
import { addClient } from "./page.mjs";

/** A tab with nothing but a client of its own, and what it was told: `client` and `told` in its scripts. */
async function tab(person, origin, options) {
  const page = await person.newPage();
  await page.goto(`${origin}/open`);
  await addClient(page, options);
  await page.evaluate(() => {
    globalThis.told = [];
    client.onChange((session) => told.push(session?.username ?? null));
  });
  return page;
}

const logIn = (page, user) => page.evaluate(async (user) => (await client.login(user)).username, user);
const resume = (page) => page.evaluate(async () => (await client.resume())?.username ?? null);
const who = (page) => page.evaluate(() => client.session?.username ?? null);
const status = (page, path) => page.evaluate(async (path) => (await client.fetch(path)).status, path);

/** Holds the first answer to `GET /me` of a tab: `asked` tells that it was asked for, `release` lets it come. */
async function holdMe(page) {
  const hold = { asked: false };
  const released = new Promise((done) => (hold.release = done));
  await page.route("**/auth/me", async (route) => {
    if (hold.asked) return route.continue();
    hold.asked = true;
    const response = await route.fetch();
    await released;
    await route.fulfill({ response });
  });
  return hold;
}

// Old browsers have none; those that block cookies refuse to make one.
for (const [what, script] of [
  ["missing", () => delete globalThis.BroadcastChannel],
  ["refused", () => (globalThis.BroadcastChannel = class { constructor() { throw new DOMException("no", "SecurityError"); } })],
]) {
  test(`client/it-works-with-a-broadcast-channel-${what}`, { once: true }, async (t) => {
    const host = await t.start({ config: { access_ttl: 60, leeway: 0, reuse_grace: 60 } });
    const alice = await t.person();
    await alice.addInitScript(script);
    const user = await host.user();
    const page = await tab(alice, host.origin);
    assert.equal(await resume(page), null);
    assert.equal(await logIn(page, user), user.username);
    await host.advance(61);
    assert.equal(await status(page, "/whoami"), 200);
    await page.evaluate(() => client.logout());
    assert.deepEqual(await page.evaluate(() => told), [null, user.username, null]);

    // Another tab logs somebody else in, and nothing says so: the next refresh does.
    await logIn(page, user);
    const other = await tab(alice, host.origin);
    const bob = await host.user();
    await logIn(other, bob);
    await page.evaluate(() => client.refresh());
    await eventually("bob", async () => (await who(page)) === bob.username);
  });
}

/** Two tabs of one browser, in which somebody is logged in; and who else has an account. */
async function twoTabs(t) {
  const host = await t.start();
  const alice = await t.person();
  const [user, bob] = [await host.user(), await host.user()];
  const [one, two] = [await tab(alice, host.origin), await tab(alice, host.origin)];
  await logIn(one, user);
  await eventually("alice in both", async () => (await who(two)) === user.username);
  return { user, bob, one, two };
}

test("client/another-account-is-seen-however-late", { once: true }, async (t) => {
  const { user, bob, one, two } = await twoTabs(t);
  let failed = 0;
  await two.route("**/auth/me", (route) => (failed++, route.abort()));
  await logIn(one, bob);
  await eventually("a question without an answer", () => failed > 0);
  assert.equal(await who(two), user.username);
  await two.unroute("**/auth/me");
  await eventually("bob in both", async () => (await who(two)) === bob.username);
});

test("client/a-slow-answer-is-not-about-who-is-here-now", { once: true }, async (t) => {
  const { user, bob, one, two } = await twoTabs(t);

  // The account is another one by the time that the answer comes.
  const slow = await holdMe(two);
  const asking = resume(two);
  await eventually("a question", () => slow.asked);
  await logIn(one, bob);
  await eventually("bob in both", async () => (await who(two)) === bob.username);
  slow.release();
  assert.equal(await asking, bob.username);
  assert.equal(await who(two), bob.username);

  // Or nobody is logged in any more.
  const late = await holdMe(one);
  const question = resume(one);
  await eventually("a question", () => late.asked);
  await one.evaluate(() => client.logout());
  late.release();
  assert.equal(await question, null);
  assert.equal(await who(one), null);
});

test("client/its-own-tokens-go-without-cookies", { once: true }, async (t) => {
  const host = await t.start({ config: { access_ttl: 60, leeway: 0, reuse_grace: 60 } });
  const alice = await t.person();
  const [user, bob] = [await host.user(), await host.user()];
  const page = await tab(alice, host.origin);
  await logIn(page, user);
  const own = await tab(alice, host.origin, { transport: "body" });
  await logIn(own, bob);
  for (const page of [own, own]) {
    assert.equal(await status(page, "/whoami"), 200);
    await host.advance(61);
  }
  assert.deepEqual([await resume(own), await resume(page)], [bob.username, user.username]);
  await own.evaluate(() => client.logout());
  assert.equal(await resume(page), user.username);
});

// What a browser does that blocks cookies: the answer comes, and nothing of it is kept.
test("client/cookies-that-are-blocked-are-told", { once: true }, async (t) => {
  const host = await t.start();
  const proxy = await t.proxy(host);
  const user = await host.user();
  const page = await tab(await t.person(), proxy.origin);
  proxy.fault = async ({ url }) => {
    if (url !== "/auth/login") return undefined;
    const answer = await host.post("/auth/login", { ...user, transport: "cookie" }, { "Sec-Fetch-Site": "same-origin" });
    return { status: answer.status, headers: { "Content-Type": "application/json" }, body: await answer.text() };
  };
  await assert.rejects(logIn(page, user), /The cookies were not kept/);
  assert.equal(await who(page), null);
  proxy.fault = () => undefined;
  assert.equal(await logIn(page, user), user.username);
});

test("client/origins-are-taken-as-they-are-written", { needs: "node", once: true }, async (t) => {
  const host = await t.start();
  const seen = [];
  const port = await t.listen((request, response) => {
    seen.push(request.headers.authorization?.slice(0, 9));
    response.end();
  });
  const { gatekey } = await import(new URL("../../packages/gatekey-js/gatekey.js", import.meta.url));
  const user = await host.user();
  for (const origin of [`http://127.0.0.1:${port}`, `HTTP://127.0.0.1:${port}/`, `http://localhost:${port}`]) {
    const auth = gatekey({ url: `${host.origin}/auth`, transport: "body", origins: [origin] });
    await auth.login(user);
    await auth.fetch(`http://127.0.0.1:${port}/`);
  }
  assert.deepEqual(seen, ["Bearer ey", "Bearer ey", undefined]);
  assert.throws(() => gatekey({ url: host.origin, origins: ["api.example.com"] }), TypeError);
});
