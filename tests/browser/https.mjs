// HTTPS as it is deployed: by the application itself (rustls), and by nginx in front of it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { request as plain } from "node:http";
import { request as secure } from "node:https";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { account, eventually, settings, test } from "./harness.mjs";
import {
  ACCESS, jar, logIn, logOut, open, REFRESH, refresh, register, sees, seesHello, seesLogin,
} from "./page.mjs";

/** Starts an example: where people reach it, and where the application is that stands behind. */
async function start(t, name) {
  const folder = t.folder();
  const program = spawn(join(settings.hosts, name), {
    cwd: folder,
    // Debian keeps nginx where an ordinary path does not look.
    env: { PATH: `${process.env.PATH}:/usr/sbin`, LISTEN: "127.0.0.1:0" },
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
  const served = {};
  served.origin = await new Promise((done, failed) => {
    createInterface({ input: program.stdout }).on("line", (line) => {
      served.behind ??= line.match(/http:\/\/[\d.:]+\d/)?.[0];
      const ready = line.match(/https:\/\/[\d.:]+\d/);
      if (ready) done(ready[0]);
    });
    program.on("exit", () => failed(new Error(`${name} ended: ${log}`)));
  });
  served.ca = readFileSync(join(folder, "localhost.pem"));
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

test("https/a-life-over-tls", { once: true }, async (t) => {
  for (const name of settings["over-tls"]) {
    const { origin } = await start(t, name);
    const alice = await t.person({ ignoreHTTPSErrors: true });
    const page = await alice.newPage();
    const user = account();
    await open(page, origin);
    await register(page, user);
    await seesHello(page, user);
    const cookies = await alice.cookies(origin);
    assert.deepEqual(cookies.map(({ name, secure, httpOnly }) => [name, secure, httpOnly]).sort(), [
      ["__Host-gatekey_access", true, true],
      ["__Host-gatekey_refresh", true, true],
    ]);
    assert.deepEqual([ACCESS, REFRESH], cookies.map(({ name }) => name).sort());

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

    // A page of another origin, here plain http on the same host, logs nobody out.
    const port = await t.listen((_, response) => response.end("elsewhere"));
    const elsewhere = await alice.newPage();
    await elsewhere.goto(`http://127.0.0.1:${port}/`);
    await elsewhere.evaluate((url) => {
      return fetch(url, { method: "POST", credentials: "include", mode: "no-cors" }).catch(() => {});
    }, `${origin}/auth/logout`);
    await page.reload();
    await seesHello(page, user);

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
