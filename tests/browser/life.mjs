// The whole life of a session, as the person at the browser sees it.

import assert from "node:assert/strict";
import { account, claims, eventually, test } from "./harness.mjs";
import {
  ACCESS, addClient, changePassword, form, jar, loggedIn, logIn, logOut, open, REFRESH, refresh, register, sees, seesHello,
  seesLogin, sessions,
} from "./page.mjs";

const FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0";

test("life/from-registration-to-logout", async (t) => {
  const host = await t.start();
  const alice = await t.person();
  const page = await alice.newPage();
  const user = account();
  await open(page, host.origin);
  await seesLogin(page);
  await t.shot(page, "log-in");

  await logIn(page, user);
  await sees(page, "The username or the password is wrong.");
  await t.shot(page, "log-in-wrong");

  await register(page, { ...user, password: "too short" });
  await sees(page, "Too short: use at least 15 characters.");
  await t.shot(page, "register-too-short");
  await register(page, user);
  await seesHello(page, user);
  await sees(page, "Your account is ready.");
  await sees(page, /\d+ min \d+ s left, then it renews itself/);
  const [row] = await eventually("a session", async () => (await sessions(page)).length === 1 && sessions(page));
  assert.match(row, /Chrome on Linux, this device/);
  await t.shot(page, "logged-in");

  const elsewhere = await t.person({ userAgent: FIREFOX });
  const other = await loggedIn(elsewhere, host.origin, user);
  await page.reload();
  await sees(page, "Firefox on Windows");
  await t.shot(page, "two-sessions");
  await page.getByRole("button", { name: "Log out Firefox on Windows" }).click();
  await sees(page, "Firefox on Windows is logged out.");
  assert.equal((await sessions(page)).length, 1);
  await refresh(other);
  await sees(other, "Your session has ended.");
  await seesLogin(other);
  await t.shot(other, "ended");

  const before = (await jar(alice, host.origin))[REFRESH];
  await refresh(page);
  await sees(page, "The access token is new.");
  assert.notEqual((await jar(alice, host.origin))[REFRESH], before);

  const renewed = { ...user, password: "another phrase of mine" };
  await changePassword(page, "not the current one", renewed.password);
  await sees(page, "This is not your current password.");
  await t.shot(page, "password-wrong");
  await changePassword(page, user.password, renewed.password);
  await sees(page, "Your password is changed");
  await t.shot(page, "password-changed");

  await logOut(page);
  await sees(page, "You are logged out.");
  await seesLogin(page);
  await t.shot(page, "logged-out");
  assert.deepEqual(await jar(alice, host.origin), {});
  await logIn(page, renewed);
  await seesHello(page, user);
});

test("life/a-name-that-is-taken-is-said-in-words", { once: true }, async (t) => {
  const host = await t.start();
  const page = await (await t.person()).newPage();
  const user = await host.user();
  await open(page, host.origin);
  await register(page, user);
  await sees(page, "This username is taken.");
  // The field is marked and has the focus, and its description says why.
  const field = form(page, "Create an account").getByLabel("Username");
  assert.equal(await field.getAttribute("aria-invalid"), "true");
  assert.equal(await field.evaluate((input) => input === document.activeElement), true);
  await t.shot(page, "register-taken");
});

test("life/password-managers-find-their-fields", { once: true }, async (t) => {
  const host = await t.start();
  const page = await loggedIn(await t.person(), host.origin, await host.user());
  const fields = await page.locator("input").evaluateAll((inputs) =>
    inputs.map((input) => [input.form.id, input.name || input.id, input.autocomplete]));
  assert.deepEqual(fields, [
    ["log-in", "username", "username"],
    ["log-in", "password", "current-password"],
    ["register", "username", "username"],
    ["register", "password", "new-password"],
    ["password", "password-username", "username"],
    ["password", "current_password", "current-password"],
    ["password", "new_password", "new-password"],
  ]);
});

test("life/cookies-are-as-the-contract-says", async (t) => {
  const host = await t.start();
  const alice = await t.person();
  const page = await loggedIn(alice, host.origin, await host.user());
  const look = async () => {
    const cookies = await alice.cookies(host.origin);
    const left = ({ expires }) => Math.round(expires - Date.now() / 1000);
    return Object.fromEntries(cookies.map((cookie) => [cookie.name, { ...cookie, left: left(cookie) }]));
  };
  const first = await look();
  assert.deepEqual(Object.keys(first).sort(), [ACCESS, REFRESH]);
  for (const [name, sameSite, lifetime] of [[ACCESS, "Lax", 900], [REFRESH, "Strict", 604_800]]) {
    const { domain, path, httpOnly, secure, left, ...cookie } = first[name];
    // A domain without a dot in front: this host alone, none of its subdomains.
    assert.deepEqual([domain, path, httpOnly, secure], ["127.0.0.1", "/", true, true]);
    assert.equal(cookie.sameSite, sameSite);
    assert.ok(left <= lifetime && left > lifetime - 60, `${name} lives ${left} s`);
  }
  await refresh(page);
  await sees(page, "The access token is new.");
  const second = await look();
  assert.deepEqual(Object.keys(second).sort(), [ACCESS, REFRESH]);
  const strip = (cookie) => ({ ...cookie, value: "", expires: 0, left: 0 });
  for (const name of [ACCESS, REFRESH]) {
    assert.deepEqual(strip(second[name]), strip(first[name]));
    assert.notEqual(second[name].value, first[name].value);
  }
  assert.equal(claims(second[REFRESH].value).gen, claims(first[REFRESH].value).gen + 1);
});

test("life/no-script-can-read-a-token", async (t) => {
  const host = await t.start();
  const alice = await t.person();
  const page = await loggedIn(alice, host.origin, await host.user());
  await addEverythingSeen(page);
  await refresh(page);
  await sees(page, "The access token is new.");
  const seen = await page.evaluate(async () => {
    const answers = [];
    for (const [method, path] of [["POST", "/auth/token"], ["GET", "/auth/me"], ["GET", "/auth/sessions"]]) {
      const answer = await fetch(path, { method });
      answers.push(answer.status, [...answer.headers], await answer.text());
    }
    return JSON.stringify([
      document.cookie,
      await cookieStore?.getAll(),
      { ...localStorage },
      { ...sessionStorage },
      await indexedDB.databases(),
      await caches.keys(),
      document.documentElement.outerHTML,
      performance.getEntries().map((entry) => entry.name),
      location.href,
      history.state,
      globalThis.told,
      answers,
    ]);
  });
  assert.match(seen, /"token_type":|token_type/);
  // No token, no part of one.
  assert.doesNotMatch(seen, /eyJ/);
  const tokens = Object.values(await jar(alice, host.origin));
  assert.equal(tokens.length, 2);
  for (const part of tokens.flatMap((token) => token.split("."))) assert.ok(!seen.includes(part));

  /** What goes through the channel between tabs. */
  async function addEverythingSeen(page) {
    await page.evaluate(() => {
      globalThis.told = [];
      const channel = new BroadcastChannel(`gatekey ${location.origin}/auth`);
      channel.onmessage = ({ data }) => told.push(data);
    });
  }
});

test("life/a-policy-forbids-inline-scripts-and-frames", async (t) => {
  const host = await t.start();
  const page = await loggedIn(await t.person(), host.origin, await host.user());
  const ran = await page.evaluate(() => {
    const attempt = (run) => {
      try {
        run();
      } catch (error) {
        return error.name;
      }
      return String(globalThis.hacked ?? "nothing");
    };
    const script = Object.assign(document.createElement("script"));
    return {
      html: attempt(() => (document.body.innerHTML += "<img src=x onerror='globalThis.hacked = 1'>")),
      text: attempt(() => (script.textContent = "globalThis.hacked = 1")),
    };
  });
  assert.deepEqual(ran, { html: "TypeError", text: "TypeError" });
  const port = await t.listen((_, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    response.end(`<iframe src="${host.origin}/"></iframe>`);
  });
  const framing = await page.context().newPage();
  await framing.goto(`http://127.0.0.1:${port}/`);
  const frame = await eventually("a frame", () => framing.frames()[1]);
  await eventually("the frame is refused", async () => /^chrome-error:/.test(frame.url()));
});

test("life/tabs-hear-of-login-and-logout", async (t) => {
  const host = await t.start();
  const alice = await t.person();
  const user = await host.user();
  const [one, two] = [await alice.newPage(), await alice.newPage()];
  await open(one, host.origin);
  await open(two, host.origin);
  await logIn(one, user);
  await seesHello(two, user);
  await logOut(two);
  await seesLogin(one);
  await sees(one, "Your session has ended.");
  // And somebody else in the same browser: nothing of the first one stays.
  const bob = await host.user();
  await logIn(two, bob);
  await seesHello(one, bob);
  assert.doesNotMatch(await one.content(), new RegExp(`${user.username}\\b`));
});

test("life/what-is-written-is-never-run", { once: true }, async (t) => {
  const host = await t.start();
  const user = { username: "<img src=x onerror=alert(1)>", password: "a pass phrase of mine" };
  assert.equal((await host.post("/auth/register", user)).status, 201);
  const strange = await t.person({ userAgent: "<script>alert(1)</script> <b>x</b>" });
  const page = await strange.newPage();
  const dialogs = [];
  page.on("dialog", (dialog) => (dialogs.push(dialog.message()), dialog.dismiss()));
  await open(page, host.origin);
  await logIn(page, user);
  await sees(page, "Hello, <img src=x onerror=alert(1)>");
  await sees(page, "<script>alert");
  assert.equal(await page.locator("img, li script, li b").count(), 0);
  assert.deepEqual(dialogs, []);
});

test("life/the-module-can-be-pinned-by-its-hash", { once: true }, async (t) => {
  const host = await t.start();
  const proxy = await t.proxy(host);
  const tag = (await fetch(`${host.origin}/auth/gatekey.js`)).headers.get("ETag").slice(1, -1);
  const html = (hash) => `
    <link rel="modulepreload" href="/auth/gatekey.js" integrity="${hash}">
    <script type="module">
      import("/auth/gatekey.js").then(() => (document.title = "loaded"), () => (document.title = "refused"));
    </script>`;
  const page = await (await t.person()).newPage();
  for (const [hash, title] of [[tag, "loaded"], [tag.replace(/-.{4}/, "-AAAA"), "refused"]]) {
    const headers = { "Content-Type": "text/html" };
    proxy.fault = ({ url }) => url === "/pinned" && { status: 200, headers, body: html(hash) };
    await page.goto(`${proxy.origin}/pinned`);
    await eventually(title, async () => (await page.title()) === title);
  }
});

// Without cookies: the tokens are in the memory of this page, and of no other.
test("life/the-body-transport-in-a-page", async (t) => {
  const host = await t.start({ config: { access_ttl: 60, leeway: 0, reuse_grace: 60 } });
  const alice = await t.person();
  const user = await host.user();
  const page = await alice.newPage();
  await open(page, host.origin);
  await addClient(page, { transport: "body" });
  const session = await page.evaluate((user) => client.login(user), user);
  assert.equal(session.username, user.username);
  const status = () => page.evaluate(async () => (await client.fetch("/note", { method: "POST" })).status);
  assert.equal(await status(), 204);
  assert.deepEqual(await jar(alice, host.origin), {});
  await host.advance(61);
  assert.equal(await status(), 204);
  assert.doesNotMatch(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])), /eyJ/);
  const other = await alice.newPage();
  await open(other, host.origin);
  await seesLogin(other);
  await page.evaluate(() => client.logout());
  assert.equal(await status(), 401);
  assert.deepEqual(await host.sessions(user), []);
});
