// Requests that never arrive, answers that never come back, servers that go away: at every step somebody can go on.

import assert from "node:assert/strict";
import { join } from "node:path";
import { account, test } from "./harness.mjs";
import {
  changePassword, jar, loggedIn, logIn, logOut, open, refresh, register, sees, seesHello, seesLogin,
} from "./page.mjs";

const CANNOT = "The server cannot be reached.";

/** Lets every request to a path fail, until told otherwise. */
function fail(proxy, path, fault) {
  proxy.fault = ({ url }) => (url.startsWith(path) ? fault : undefined);
}

const mend = (proxy) => (proxy.fault = () => undefined);

for (const fault of ["refuse", "lose"]) {
  const lost = fault === "lose" ? "answer" : "request";
  test(`lost/each-${lost}-of-a-life`, async (t) => {
    // The longest grace there is: a slow machine is no thief.
    const host = await t.start({ config: { reuse_grace: 60 } });
    const proxy = await t.proxy(host);
    const alice = await t.person();
    const page = await alice.newPage();
    const user = account();
    await open(page, proxy.origin);

    fail(proxy, "/auth/register", fault);
    await register(page, user);
    await sees(page, CANNOT);
    mend(proxy);
    await register(page, user);
    if (fault === "lose") {
      // It was done, and nobody heard of it.
      await sees(page, "This username is taken.");
      await page.getByRole("button", { name: "I have an account" }).click();
      await logIn(page, user);
    }
    await seesHello(page, user);
    await logOut(page);
    await seesLogin(page);

    fail(proxy, "/auth/login", fault);
    await logIn(page, user);
    await sees(page, CANNOT);
    mend(proxy);
    await logIn(page, user);
    await seesHello(page, user);

    // Who is logged in: the page asks until it hears.
    fail(proxy, "/auth/me", fault);
    await page.reload();
    await sees(page, CANNOT);
    await t.shot(page, "waiting");
    assert.equal(await page.getByRole("heading", { name: "Log in" }).isVisible(), false);
    mend(proxy);
    await seesHello(page, user);

    for (const path of ["/auth/sessions", "/security"]) {
      fail(proxy, path, fault);
      await refresh(page);
      await sees(page, `${CANNOT} Try again in a moment. You are still logged in.`);
      mend(proxy);
      await refresh(page);
      await sees(page, "The access token is new.");
    }

    // The refresh itself: gives up after a while, says so, and ends nothing.
    fail(proxy, "/auth/token", fault);
    await refresh(page);
    await sees(page, `${CANNOT} Try again in a moment. You are still logged in.`);
    await t.shot(page, "unreachable");
    mend(proxy);
    await seesRefresh(page);

    fail(proxy, "/auth/password", fault);
    const renewed = { ...user, password: "another phrase of mine" };
    await changePassword(page, user.password, renewed.password);
    await sees(page, CANNOT);
    mend(proxy);
    await changePassword(page, user.password, renewed.password);
    await sees(page, fault === "lose" ? "This is not your current password." : "Your password is changed");

    fail(proxy, "/auth/logout", fault);
    await logOut(page);
    await sees(page, `${CANNOT} Try again in a moment. You are still logged in.`);
    mend(proxy);
    await logOut(page);
    await seesLogin(page);
    await sees(page, "You are logged out.");
    assert.deepEqual(await jar(alice, proxy.origin), {});
    await logIn(page, renewed);
    await seesHello(page, user);
  });
}

/** Refreshes until the short pause after a failure is over. */
async function seesRefresh(page) {
  for (;;) {
    await refresh(page);
    const said = page.getByText(/The access token is new|cannot be reached/);
    await said.waitFor();
    if ((await said.innerText()).includes("is new")) return;
  }
}

// The access token has run out, and the answer to the refresh is lost: whoever asks for something does not notice.
test("lost/a-refresh-on-the-way-to-something", async (t) => {
  const host = await t.start({ config: { access_ttl: 60, leeway: 0, reuse_grace: 60 } });
  const proxy = await t.proxy(host);
  const alice = await t.person();
  const page = await loggedIn(alice, proxy.origin, await host.user());
  // As the page sees it: Chromium tries again by itself, too, when a connection breaks that it had before.
  let failed = 0;
  page.on("requestfailed", (request) => request.url().endsWith("/auth/token") && failed++);
  for (const fault of ["refuse", "lose"]) {
    await host.advance(61);
    failed = 0;
    proxy.fault = ({ url }) => url === "/auth/token" && failed < 2 && fault;
    await page.getByRole("button", { name: "Log out everywhere else" }).click();
    await sees(page, "Only this device is still logged in.");
    assert.ok(failed >= 2);
  }
});

test("lost/a-server-that-is-busy-has-logged-nobody-out", async (t) => {
  const host = await t.start();
  const proxy = await t.proxy(host);
  const alice = await t.person();
  const user = await host.user();
  const page = await loggedIn(alice, proxy.origin, user);
  const busy = { status: 429, headers: { "Retry-After": "2" }, body: '{"error":"rate_limited"}' };
  fail(proxy, "/auth/token", busy);
  await refresh(page);
  await sees(page, "That was too often. Try again in 2 s. You are still logged in.");
  await t.shot(page, "too-often");
  fail(proxy, "/auth/me", { status: 503, headers: { "Retry-After": "1" }, body: '{"error":"temporarily_unavailable"}' });
  await page.reload();
  await sees(page, "The server cannot do that at the moment. Try again in 1 s.");
  mend(proxy);
  await seesHello(page, user);
});

test("lost/a-server-that-is-restarted", async (t) => {
  const host = await t.start({ store: `sqlite:${join(t.folder(), "gatekey.db")}` });
  const alice = await t.person();
  const user = await host.user();
  const page = await loggedIn(alice, host.origin, user);
  const other = await alice.newPage();
  await open(other, host.origin);
  await host.stop();
  await refresh(page);
  await sees(page, `${CANNOT} Try again in a moment. You are still logged in.`);
  await host.start();
  await seesRefresh(page);
  await refresh(other);
  await sees(other, "The access token is new.");
  await page.reload();
  await seesHello(page, user);
});

// No network at all, for longer than the access token lives; then there is one again.
test("lost/a-browser-that-is-offline", async (t) => {
  const host = await t.start({ config: { access_ttl: 2, leeway: 0, reuse_grace: 60 } });
  const alice = await t.person();
  const user = await host.user();
  const page = await loggedIn(alice, host.origin, user);
  await alice.setOffline(true);
  await page.getByText("has run out").waitFor();
  await seesHello(page, user);
  await refresh(page);
  await sees(page, `${CANNOT} Try again in a moment. You are still logged in.`);
  await alice.setOffline(false);
  // By itself: the browser says that it is online.
  await page.getByText(/\d s left/).waitFor();
  await seesHello(page, user);
});
