// Pages of others that send requests with our cookies. None may be accepted; our own pages' are.

import assert from "node:assert/strict";
import { eventually, test } from "./harness.mjs";
import { jar, loggedIn, refresh, sees, sessions } from "./page.mjs";

/** Where the pages of an attacker are, as seen from http://app.site.localhost. */
const PLACES = {
  "another port of the same host": "app.site.localhost",
  "a sibling subdomain": "evil.site.localhost",
  "a parent domain": "site.localhost",
  "another site": "evil.localhost",
  "an address": "127.0.0.1",
};

/** Where they also put a sandboxed frame on their page. */
const SANDBOXED = ["a sibling subdomain", "another site"];

/** What an attacker sends, where: every unsafe endpoint, and a route of the host's own. */
const TARGETS = ["/auth/logout", "/auth/token", "/auth/password", "/auth/revoke", "/auth/login", "/auth/register", "/note"];

/**
 * Runs in the attacker's page, or in a frame of it, with everything a page can send without asking first.
 * Answers how many requests it made.
 */
function attack({ app, targets, account, redirect }) {
  let sent = 0;
  const json = JSON.stringify({ ...account, transport: "cookie" });
  const wait = [];
  const form = (action, fields, attributes = {}) =>
    new Promise((done) => {
      sent += 1;
      const frame = Object.assign(document.createElement("iframe"), { name: `f${sent}` });
      const form = Object.assign(document.createElement("form"), { method: "post", action, target: frame.name, ...attributes });
      for (const [name, value] of Object.entries(fields)) {
        form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
      }
      document.body.append(frame, form);
      form.submit();
      frame.onload = done;
      setTimeout(done, 3000); // A frame that is refused may say nothing.
    });
  const silent = (url, init) => {
    sent += 1;
    return fetch(url, { mode: "no-cors", credentials: "include", method: "POST", ...init }).catch(() => {});
  };
  for (const path of ["/auth/logout", "/auth/token", "/auth/login", "/note"]) {
    const url = app + path;
    wait.push(form(url, { grant_type: "refresh_token", token: "x" }));
    // The trick that makes a form look like JSON: {"username":…,"x":"="}
    wait.push(form(url, { [json.slice(0, -1) + ',"x":"']: '"}' }, { enctype: "text/plain" }));
  }
  for (const override of [{ _method: "DELETE" }, { _method: "delete" }]) {
    wait.push(form(`${app}/auth/sessions`, override));
    wait.push(form(`${app}/note?_method=DELETE`, override, { enctype: "multipart/form-data" }));
  }
  for (const target of targets) {
    const url = app + target;
    wait.push(silent(url));
    wait.push(silent(url, { body: json }));
    wait.push(silent(url, { body: new URLSearchParams({ grant_type: "refresh_token" }) }));
    // These ask first, and nobody allows them.
    for (const init of [
      { headers: { "Content-Type": "application/json" }, body: json },
      { headers: { "X-HTTP-Method-Override": "DELETE" } },
      { method: "DELETE" },
    ]) {
      wait.push(silent(url, { mode: "cors", ...init }));
    }
    wait.push(silent(redirect + url));
    sent += 2;
    navigator.sendBeacon(url, json);
    wait.push(new Promise((done) => Object.assign(new Image(), { onload: done, onerror: done, src: url })));
  }
  return Promise.all(wait).then(() => sent);
}

test("csrf/no-request-of-another-origin-is-accepted", { seconds: 300 }, async (t) => {
  const host = await t.start();
  const proxy = await t.proxy(host);
  const app = `http://app.site.localhost:${proxy.port}`;
  const port = await t.listen((request, response) => {
    const away = request.url.match(/^\/redirect\?(.*)/)?.[1];
    if (away) return response.writeHead(307, { Location: away }).end();
    return response.writeHead(200, { "Content-Type": "text/html" }).end("<body>Win a prize</body>");
  });
  const alice = await t.person();
  const user = await host.user();
  const page = await loggedIn(alice, app, user);
  const before = await jar(alice, app);
  assert.equal(Object.keys(before).length, 2);

  // The nearest acceptance: the same requests from a page of our own.
  const own = (path) => page.evaluate(async (path) => (await fetch(path, { method: "POST" })).status, path);
  assert.equal(await own("/note"), 204);

  let sent = 0;
  proxy.answers.length = 0;
  const attacker = await host.user();
  for (const [name, place] of Object.entries(PLACES)) {
    const origin = `http://${place}:${port}`;
    const evil = await alice.newPage();
    await evil.goto(`${origin}/`);
    const what = { app, targets: TARGETS, account: attacker, redirect: `${origin}/redirect?` };
    sent += await evil.evaluate(attack, what);
    // And from a frame without an origin.
    if (SANDBOXED.includes(name)) {
      await evil.evaluate(() => {
        const frame = document.createElement("iframe");
        frame.sandbox = "allow-scripts allow-forms";
        frame.srcdoc = "<body>Win another</body>";
        document.body.append(frame);
      });
      const sandboxed = await eventually("a frame", () => evil.frames().find((frame) => frame.url() === "about:srcdoc"));
      sent += await sandboxed.evaluate(attack, what);
    }
    // The whole window goes there.
    for (const target of ["/auth/logout", "/auth/token", "/note"]) {
      await evil.goto(`${origin}/`);
      await evil.evaluate((action) => {
        const form = Object.assign(document.createElement("form"), { method: "post", action });
        document.body.append(form);
        form.submit();
      }, app + target);
      await evil.waitForURL(app + target);
      sent += 1;
    }
    assert.deepEqual(await jar(alice, app), before, `${name}: the cookies are as before`);
    await evil.close();
  }

  const unsafe = proxy.answers.filter(({ method }) => !["GET", "HEAD", "OPTIONS"].includes(method));
  const withCookies = unsafe.filter(({ headers }) => headers.cookie?.includes("gatekey"));
  // To revoke takes the token itself, and a token that nobody knows is revoked already (RFC 7009).
  const harmless = ({ url, headers }) => url.startsWith("/auth/revoke") && !headers.cookie;
  // Our own page may still ask what happened to the account.
  const ours = ({ headers }) => headers["sec-fetch-site"] === "same-origin";
  const accepted = proxy.answers.filter((answer) => answer.status < 400 && !harmless(answer) && !ours(answer));
  assert.deepEqual(accepted.map(({ method, url }) => `${method} ${url}`), []);
  // Those that a browser does send with our cookies are refused for that, or even before for their method or type. (A
  // 404 is Rocket's, which takes `_method` for the method of a route that is not there.)
  for (const { method, url, status } of withCookies) {
    assert.ok([403, 405, 415].includes(status) || (status === 404 && url.includes("_method")), `${method} ${url} ${status}`);
  }
  assert.ok(withCookies.some(({ status, url }) => status === 403 && url === "/note"));
  assert.ok(withCookies.length > 50 && unsafe.length > 150, `only ${withCookies.length} of ${unsafe.length} had cookies`);

  await refresh(page);
  await sees(page, "The access token is new.");
  assert.equal((await sessions(page)).length, 1);
  assert.equal((await host.post("/auth/login", user)).status, 200);
  console.log(`     ${t.host}: ${sent} requests, ${unsafe.length} unsafe arrived, ${withCookies.length} with cookies, 0 accepted`);
});

// A page that cannot send may still want to read.
test("csrf/no-answer-is-readable-elsewhere", async (t) => {
  const host = await t.start();
  const proxy = await t.proxy(host);
  const app = `http://app.site.localhost:${proxy.port}`;
  const port = await t.listen((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<body>"));
  const alice = await t.person();
  await loggedIn(alice, app, await host.user());
  for (const place of Object.values(PLACES)) {
    const evil = await alice.newPage();
    await evil.goto(`http://${place}:${port}/`);
    for (const path of ["/auth/me", "/auth/sessions", "/whoami", "/security", "/auth/gatekey.js"]) {
      const read = await evil.evaluate(
        (url) => fetch(url, { credentials: "include" }).then((answer) => answer.text(), (error) => error.name),
        app + path,
      );
      assert.equal(read, "TypeError", `${place} ${path}`);
    }
    // A script of ours in their page: the answers of endpoints are no scripts, and are not for other sites.
    const loaded = await evil.evaluate(
      (url) =>
        new Promise((done) => {
          const script = Object.assign(document.createElement("script"), { src: url });
          script.onload = () => done("loaded");
          script.onerror = () => done("refused");
          document.body.append(script);
        }),
      `${app}/auth/me`,
    );
    assert.equal(loaded, "refused", place);
    await evil.close();
  }
});
