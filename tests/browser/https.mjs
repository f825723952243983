// HTTPS as it is deployed: by the application itself (rustls), and by nginx in front of it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { request as plain } from "node:http";
import { request as secure } from "node:https";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { account, eventually, faketime, settings, test } from "./harness.mjs";
import {
  ACCESS, jar, logIn, logOut, open, REFRESH, refresh, register, sees, seesHello, seesLogin,
} from "./page.mjs";

/**
 * Starts an example: where people reach it, and where the application is that stands behind. With `moves` its clock can
 * be moved.
 */
async function start(t, name, moves = false) {
  const folder = t.folder();
  const clock = join(folder, "clock");
  // In place of the old one, so that nobody reads half a time.
  const set = (seconds) => (writeFileSync(`${clock}.new`, `+${seconds}`), renameSync(`${clock}.new`, clock));
  set(0);
  const moved = moves ? faketime({ FAKETIME_TIMESTAMP_FILE: clock, FAKETIME_NO_CACHE: "1" }) : {};
  const program = spawn(join(settings.hosts, name), {
    cwd: folder,
    // Debian keeps nginx where an ordinary path does not look.
    env: { ...moved, PATH: `${process.env.PATH}:/usr/sbin`, LISTEN: "127.0.0.1:0" },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own: nginx is to end with it.
    detached: true,
  });
  t.atEnd(() => {
    try {
      process.kill(-program.pid, "SIGKILL");
    } catch {} // It has ended already.
  });
  let log = "";
  program.stderr.on("data", (data) => (log += data));
  const served = { advance: set };
  served.origin = await new Promise((done, failed) => {
    createInterface({ input: program.stdout }).on("line", (line) => {
      served.behind ??= line.match(/http:\/\/[\d.:]+\d/)?.[0];
      const ready = line.match(/https:\/\/[\d.:]+\d/);
      if (ready) done(ready[0]);
    });
    program.on("exit", () => failed(new Error(`${name} ended: ${log}`)));
  });
  served.ca = readFileSync(join(folder, "localhost.pem"));
  served.certificate = { cert: served.ca, key: readFileSync(join(folder, "localhost.key")) };
  await eventually("somebody answers", async () => (await ask(served, "GET", "/auth/jwks.json")).status === 200);
  return served;
}

/** A request of a program that trusts the certificate, and that writes whatever it likes into its header. */
function ask({ origin, ca }, method, path, { headers = {}, body, from } = {}) {
  return new Promise((done, failed) => {
    const send = origin.startsWith("https:") ? secure : plain;
    const options = { method, ca, localAddress: from, agent: false };
    options.headers = { ...headers, ...(body && { "Content-Type": "application/json" }) };
    const request = send(origin + path, options, (response) => {
      let text = "";
      response.on("data", (data) => (text += data));
      response.on("end", () => done({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on("error", failed);
    request.end(body && JSON.stringify(body));
  });
}

/** The address that a login by such a program leaves in the list of sessions. */
async function addressOf(served, user, options) {
  const login = await ask(served, "POST", "/auth/login", { ...options, body: user });
  assert.equal(login.status, 200, login.text);
  const headers = { ...options.headers, Authorization: `Bearer ${JSON.parse(login.text).access_token}` };
  const { sessions } = JSON.parse((await ask(served, "GET", "/auth/sessions", { ...options, headers })).text);
  return sessions.find(({ current }) => current).ip;
}

/** Somebody new, who has just registered on the page of an example. */
async function registered(t, origin) {
  const person = await t.person({ ignoreHTTPSErrors: true });
  const page = await person.newPage();
  const user = account();
  await open(page, origin);
  await register(page, user);
  await seesHello(page, user);
  return { person, page, user };
}

test("https/a-life-over-tls", { once: true }, async (t) => {
  for (const name of settings["over-tls"]) {
    const { origin } = await start(t, name);
    const { person: alice, page, user } = await registered(t, origin);
    const cookies = await alice.cookies(origin);
    const kept = cookies.map(({ name, secure, httpOnly, sameSite, path, domain }) =>
      [name, secure, httpOnly, sameSite, path, domain]);
    assert.deepEqual(kept.sort(), [
      ["__Host-gatekey_access", true, true, "Lax", "/", "127.0.0.1"],
      ["__Host-gatekey_refresh", true, true, "Strict", "/", "127.0.0.1"],
    ]);

    const before = (await jar(alice, origin))[REFRESH];
    await refresh(page);
    await sees(page, "The access token is new.");
    assert.notEqual((await jar(alice, origin))[REFRESH], before, name);
    const hello = await page.evaluate(async () => (await fetch("/hello")).text());
    assert.equal(hello, `hello ${user.username}\n`, name);
    await t.shot(page, `over-tls-${name}`);

    // It is the browser that is in the list of sessions, and not the proxy.
    const { sessions } = await page.evaluate(async () => (await fetch("/auth/sessions")).json());
    assert.deepEqual(sessions.map(({ ip, current }) => [ip, current]), [["127.0.0.1", true]], name);

    await logOut(page);
    await seesLogin(page);
    assert.deepEqual(await jar(alice, origin), {}, name);
    // The same under the machine's name.
    const named = origin.replace("127.0.0.1", "localhost");
    await open(page, named);
    await logIn(page, user);
    await seesHello(page, user);
  }
});

test("https/theft-is-found", { once: true, seconds: 300 }, async (t) => {
  for (const name of settings["over-tls"]) {
    const { origin, advance } = await start(t, name, true);
    const { person: owner, page, user } = await registered(t, origin);
    const thief = await t.person({ ignoreHTTPSErrors: true });
    await thief.addCookies(await owner.cookies(origin));
    const stolen = await thief.newPage();
    await open(stolen, origin);
    await seesHello(stolen, user);
    await refresh(page);
    await sees(page, "The access token is new.");
    advance(61); // Beyond any grace.
    await refresh(stolen);
    await seesLogin(stolen);
    await sees(stolen, "Your session has ended.");
    await page.getByRole("button", { name: "Log out everywhere else" }).click();
    await seesLogin(page);
    for (const person of [owner, thief]) assert.deepEqual(await jar(person, origin), {}, name);
    await logIn(page, user);
    await seesHello(page, user);
    await sees(page, "Somebody may have copied your session");
  }
});

test("https/no-request-of-another-origin-is-accepted", { once: true, seconds: 300 }, async (t) => {
  for (const name of settings["over-tls"]) {
    const { origin, certificate } = await start(t, name);
    const { person: alice, page, user } = await registered(t, origin);
    const before = await jar(alice, origin);
    const answer = (_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<body>elsewhere");
    const [port, secured] = [await t.listen(answer), await t.listen(answer, certificate)];
    // The same site, where the browser sends the cookies along; the same host without TLS, and another site.
    for (const from of [`https://127.0.0.1:${secured}`, `http://127.0.0.1:${port}`, `https://localhost:${secured}`]) {
      for (const path of ["/auth/logout", "/auth/token"]) {
        const elsewhere = await alice.newPage();
        await elsewhere.goto(from);
        const silent = elsewhere.waitForRequest(origin + path);
        await elsewhere.evaluate((url) => {
          return fetch(url, { method: "POST", credentials: "include", mode: "no-cors" }).catch(() => {});
        }, origin + path);
        const refused = elsewhere.waitForResponse((response) => response.request().isNavigationRequest());
        await elsewhere.evaluate((action) => {
          const form = Object.assign(document.createElement("form"), { method: "post", action });
          document.body.append(form);
          form.submit();
        }, origin + path);
        await silent;
        const status = (await refused).status();
        // The answer is there before its page is, and Chromium may never close a window in between.
        await elsewhere.waitForURL(origin + path);
        // With the cookies it is the rule that refuses, without them there is nothing to do it with.
        const withCookies = from.startsWith("https://127");
        assert.ok(withCookies ? status === 403 : [400, 401].includes(status), `${name} ${from} ${path} ${status}`);
        assert.deepEqual(await jar(alice, origin), before, `${name} ${from} ${path}`);
        await elsewhere.close();
      }
    }
    // The nearest acceptance.
    const own = await page.evaluate(async () => (await fetch("/auth/token", { method: "POST" })).status);
    assert.equal(own, 200, name);
    assert.notEqual((await jar(alice, origin))[REFRESH], before[REFRESH]);
    await page.reload();
    await seesHello(page, user);
  }
});

// Behind a proxy that speaks HTTPS, with the certificate of the example.
test("https/pages-without-script", async (t) => {
  const { certificate } = await start(t, "https");
  const host = await t.start({ config: { pages: { login: "/form" }, access_ttl: 60, still_clock: true } });
  const { origin } = await t.proxy(host, certificate);
  const user = await host.user();
  const alice = await t.person({ ignoreHTTPSErrors: true, javaScriptEnabled: false });
  const page = await alice.newPage();
  const shows = async () => assert.match(await page.locator("body").textContent(), new RegExp(user.username));
  await page.goto(`${origin}/whoami`);
  assert.equal(page.url(), `${origin}/form?return_to=/whoami`);
  await page.getByLabel("Name").fill(user.username);
  await page.getByLabel("Password").fill(user.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(`${origin}/whoami`);
  await shows();
  const before = await jar(alice, origin);
  assert.deepEqual(Object.keys(before).sort(), [ACCESS, REFRESH]);
  for (const { secure, sameSite } of await alice.cookies(origin)) assert.deepEqual([secure, sameSite], [true, "Lax"]);
  await host.advance(91);
  await page.reload();
  await shows();
  assert.notEqual((await jar(alice, origin))[REFRESH], before[REFRESH]);
  await page.goto(`${origin}/form`);
  await page.getByRole("button", { name: "Log out" }).click();
  await eventually("no cookies", async () => Object.keys(await jar(alice, origin)).length === 0);
});

test("https/nobody-chooses-an-address", { once: true, needs: "node" }, async (t) => {
  const forged = { "X-Forwarded-For": "198.51.100.7", Forwarded: "for=198.51.100.7", "X-Real-IP": "198.51.100.7" };
  for (const name of settings["over-tls"]) {
    const served = await start(t, name);
    const user = account();
    assert.equal((await ask(served, "POST", "/auth/register", { body: user })).status, 201);
    // From outside: each has the address it comes from, whatever it writes.
    for (const from of ["127.0.0.1", "127.0.0.9"]) {
      for (const headers of [{}, forged, { "X-Forwarded-For": "198.51.100.7, 127.0.0.2" }]) {
        assert.equal(await addressOf(served, user, { from, headers }), from, `${name} ${JSON.stringify(headers)}`);
      }
    }
    if (!served.behind) continue;
    // Past nginx: the proxy's address is the one that is believed.
    const behind = { origin: served.behind };
    assert.equal(await addressOf(behind, user, { from: "127.0.0.2", headers: forged }), "198.51.100.7");
    assert.equal(await addressOf(behind, user, { from: "127.0.0.3", headers: forged }), "127.0.0.3");
    // What nginx gets, it passes on as it was: a path is not mended on the way.
    for (const path of ["/auth/me/", "/auth//me", "/auth/%6de"]) {
      assert.equal((await ask(served, "GET", path)).status, 404, path);
    }
    assert.equal((await ask(served, "GET", "/auth/me")).status, 401);
  }
});
