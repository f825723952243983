// Pages without script: a browser that runs none stays logged in, and goes to the login page and back.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { account, claims, eventually, settings, test } from "./harness.mjs";
import { ACCESS, jar, loggedIn, REFRESH } from "./page.mjs";

const COOKIES = [ACCESS, REFRESH];
/** Past the end of an access token of a minute, leeway included. */
const EXPIRED = 91;

/** Someone who logged in, in a browser that runs no script from now on. */
async function without(t, host) {
  const user = await host.user();
  const scripted = await t.person();
  await loggedIn(scripted, host.origin, user);
  const person = await t.person({ javaScriptEnabled: false });
  await person.addCookies(await scripted.cookies());
  await scripted.clearCookies();
  return { user, person };
}

/** The policy is what a site of pages has. The server's clock stands still, so that a slow machine is no thief. */
const start = (t) =>
  t.start({ config: { pages: { login: "/form" }, access_ttl: 60, refresh_ttl: 86_400, still_clock: true } });
/** Within the grace of that policy, and after it. */
const [WITHIN, AFTER] = [5, 11];

const text = (page) => page.locator("body").textContent();

test("pages/a-login-outlives-its-access-token", async (t) => {
  const host = await start(t);
  const { user, person } = await without(t, host);
  const page = await person.newPage();
  const before = await jar(person, host.origin);
  for (const cookie of await person.cookies(host.origin)) assert.equal(cookie.sameSite, "Lax", cookie.name);
  await page.goto(`${host.origin}/whoami`);
  assert.match(await text(page), new RegExp(user.username));
  assert.deepEqual(await jar(person, host.origin), before, "nothing was refreshed");

  // The server's clock is past the token's end; then the browser has dropped the cookie, too.
  await host.advance(EXPIRED);
  await page.goto(`${host.origin}/whoami`);
  assert.match(await text(page), new RegExp(user.username));
  const after = await jar(person, host.origin);
  assert.deepEqual(Object.keys(after).sort(), COOKIES);
  assert.notEqual(after[ACCESS], before[ACCESS]);
  assert.notEqual(after[REFRESH], before[REFRESH]);

  await host.advance(EXPIRED);
  await person.clearCookies({ name: ACCESS });
  const tabs = await Promise.all(Array.from({ length: 6 }, () => person.newPage()));
  await Promise.all(tabs.map((tab) => tab.goto(`${host.origin}/whoami`)));
  for (const tab of tabs) assert.match(await text(tab), new RegExp(user.username));
  assert.equal((await host.sessions(user)).length, 1, "one session");
  await host.advance(EXPIRED);
  await tabs[0].reload();
  assert.match(await text(tabs[0]), new RegExp(user.username));
});

test("pages/a-link-of-another-site-arrives-logged-in-and-its-form-and-frame-do-nothing", async (t) => {
  const host = await start(t);
  const { user, person } = await without(t, host);
  const port = await t.listen((request, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    response.end(`<!doctype html><a href="${host.origin}/whoami">link</a>
      <form method=post action="${host.origin}/auth/token"><button>token</button></form>
      <form method=post action="${host.origin}/note"><button>note</button></form>
      ${request.url === "/framed" ? `<iframe name=f src="${host.origin}/whoami"></iframe>` : ""}`);
  });
  const elsewhere = `http://localhost:${port}`;
  const page = await person.newPage();
  await host.advance(EXPIRED);
  const before = await jar(person, host.origin);
  await page.goto(`${elsewhere}/framed`);
  assert.deepEqual(await jar(person, host.origin), before, "a frame is no navigation of the person's");
  for (const button of ["token", "note"]) {
    await page.goto(elsewhere);
    await page.getByRole("button", { name: button }).click();
    await page.waitForURL(`${host.origin}/**`);
    assert.doesNotMatch(await text(page), /token_type|"sub"/);
    assert.deepEqual(await jar(person, host.origin), before, button);
  }
  await page.goto(elsewhere);
  await page.getByRole("link").click();
  await page.waitForURL(`${host.origin}/whoami`);
  assert.match(await text(page), new RegExp(user.username));
  assert.notEqual((await jar(person, host.origin))[REFRESH], before[REFRESH]);
});

test("pages/a-refused-navigation-goes-to-the-login-page", async (t) => {
  const host = await start(t);
  const { person } = await without(t, host);
  const page = await person.newPage();
  const { [REFRESH]: refresh } = await jar(person, host.origin);
  assert.equal((await host.post("/auth/logout", { refresh_token: refresh })).status, 204);
  await person.clearCookies({ name: ACCESS });
  await page.goto(`${host.origin}/whoami?tab=a%2Fb`);
  assert.equal(page.url(), `${host.origin}/form?return_to=/whoami%3Ftab%3Da%252Fb`);
  assert.deepEqual(await jar(person, host.origin), {});
});

/** A page elsewhere with forms that log somebody out, and somebody in as the attacker. */
async function forms(t, out, into, { username, password }) {
  const port = await t.listen((_, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    response.end(`<!doctype html>
      <form method=post action="${out}"><button>out</button></form>
      <form method=post action="${into}"><input name=username value="${username}">
      <input name=password value="${password}"><button>in</button></form>`);
  });
  return `http://localhost:${port}`;
}

test("pages/forms-log-in-and-out", async (t) => {
  const host = await start(t);
  const user = await host.user();
  const person = await t.person({ javaScriptEnabled: false });
  const page = await person.newPage();
  const enter = async (password) => {
    await page.getByLabel("Name").fill(user.username);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Log in" }).click();
  };
  await page.goto(`${host.origin}/whoami?a=b&c=d`);
  assert.equal(page.url(), `${host.origin}/form?return_to=/whoami%3Fa%3Db%26c%3Dd`);
  await enter("not the one at all");
  await page.getByText("invalid_credentials").waitFor();
  assert.deepEqual(await jar(person, host.origin), {});
  await page.goto(`${host.origin}/whoami?a=b&c=d`);
  await enter(user.password);
  await page.waitForURL(`${host.origin}/whoami?a=b&c=d`);
  assert.match(await text(page), new RegExp(user.username));
  const before = await jar(person, host.origin);
  assert.deepEqual(Object.keys(before).sort(), COOKIES);

  // Of another site: neither out nor in, though a login brings no cookie.
  const elsewhere = await forms(t, `${host.origin}/form/logout`, `${host.origin}/form/login`, await host.user());
  const stranger = await t.person({ javaScriptEnabled: false });
  for (const who of [person, stranger]) {
    const had = await jar(who, host.origin);
    const tab = await who.newPage();
    for (const button of ["out", "in"]) {
      await tab.goto(elsewhere);
      await tab.getByRole("button", { name: button }).click();
      await tab.getByText("csrf_failed").waitFor();
      assert.deepEqual(await jar(who, host.origin), had, button);
    }
  }

  await page.goto(`${host.origin}/form`);
  await page.getByRole("button", { name: "Log out" }).click();
  // The same address, so what tells is the jar.
  await eventually("no cookies", async () => Object.keys(await jar(person, host.origin)).length === 0);
  assert.deepEqual(await host.sessions(user), []);
  await page.goto(`${host.origin}/whoami`);
  assert.equal(page.url(), `${host.origin}/form?return_to=/whoami`);
});

test("pages/an-answer-that-is-lost-logs-nobody-out", async (t) => {
  const host = await start(t);
  const proxy = await t.proxy(host);
  const { user, person } = await without(t, host);
  const generation = async () => claims((await jar(person, proxy.origin))[REFRESH]).gen;
  for (const [later, rotations] of [[WITHIN, 1], [AFTER, 2], [3600, 2]]) {
    await host.advance(EXPIRED);
    const before = await generation();
    proxy.answers.length = 0;
    proxy.fault = ({ url }) => url === "/whoami" && "lose";
    const lost = await person.newPage();
    await assert.rejects(lost.goto(`${proxy.origin}/whoami`), /ERR_/);
    await lost.close();
    // The host answered with new cookies, and the browser never heard of them.
    assert.ok(proxy.answers.some(({ url, status, cookies }) => url === "/whoami" && status === 200 && cookies.length === 2));
    assert.equal(await generation(), before);
    proxy.fault = () => undefined;
    await host.advance(later);
    const page = await person.newPage();
    await page.goto(`${proxy.origin}/whoami`);
    assert.match(await text(page), new RegExp(user.username), `${later} s later`);
    // Within the grace it gets what was lost; after it, what was lost gives way.
    assert.equal(await generation(), before + rotations, `${later} s later`);
  }
  assert.equal((await host.sessions(user)).length, 1);
});

test("pages/a-handler-that-panics-logs-nobody-out", async (t) => {
  const host = await start(t);
  const { user, person } = await without(t, host);
  for (const later of [WITHIN, AFTER]) {
    await host.advance(EXPIRED);
    // Rocket answers 500, of the others the connection ends; and the browser shows a page of its own either way.
    const broken = await person.newPage();
    await assert.rejects(broken.goto(`${host.origin}/panic`), /ERR_/);
    await broken.close();
    await host.advance(later);
    const page = await person.newPage();
    await page.goto(`${host.origin}/whoami`);
    assert.match(await text(page), new RegExp(user.username), `${later} s later`);
    assert.deepEqual(Object.keys(await jar(person, host.origin)).sort(), COOKIES);
  }
  assert.equal((await host.sessions(user)).length, 1);
});

/** Starts the example of pages without script: its origin. */
export async function example(t) {
  const program = spawn(join(settings.hosts, "axum-pages"), {
    cwd: t.folder(),
    env: { PATH: process.env.PATH, LISTEN: "127.0.0.1:0" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.atEnd(() => program.kill("SIGKILL"));
  return new Promise((done, failed) => {
    const lines = createInterface({ input: program.stdout });
    lines.on("line", (line) => /http:/.test(line) && done(line.match(/http:\/\/[\d.:]+\d/)[0]));
    program.on("exit", () => failed(new Error("axum-pages ended")));
  });
}

test("pages/the-example-needs-no-script", { once: true }, async (t) => {
  const origin = await example(t);
  let { username, password } = account();
  const person = await t.person({ javaScriptEnabled: false });
  const page = await person.newPage();
  const enter = async (button, name = username) => {
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: button }).click();
  };
  await page.goto(`${origin}/account`);
  assert.equal(page.url(), `${origin}/login?return_to=/account`);
  await t.shot(page, "pages-login");
  await enter("Log in");
  await page.getByRole("alert").getByText("The name or the password is wrong.").waitFor();
  await enter("Register");
  await page.waitForURL(`${origin}/account`);
  await page.getByText(`You are ${username}.`).waitFor();
  await t.shot(page, "pages-account");

  await person.clearCookies({ name: ACCESS });
  await page.reload();
  await page.getByText(`You are ${username}.`).waitFor();
  assert.deepEqual(Object.keys(await jar(person, origin)).sort(), COOKIES);

  // A form that comes when the access token is over: back to it, and nothing is lost but what was typed.
  const change = async (current, next) => {
    await page.getByLabel("Password", { exact: true }).fill(current);
    await page.getByLabel("New password").fill(next);
    await page.getByRole("button", { name: "Change it" }).click();
  };
  const renewed = "another phrase of mine";
  await person.clearCookies({ name: ACCESS });
  await change(password, renewed);
  await page.getByRole("alert").getByText("nothing was changed").waitFor();
  await t.shot(page, "pages-late");
  assert.deepEqual(Object.keys(await jar(person, origin)).sort(), COOKIES);
  await change("not the one at all", renewed);
  await page.getByRole("alert").getByText("The name or the password is wrong.").waitFor();
  await change(password, renewed);
  await page.getByRole("alert").getByText("The password is changed.").waitFor();
  password = renewed;
  await page.goto(`${origin}/account`);

  const elsewhere = await forms(t, `${origin}/logout`, `${origin}/login`, { username, password });
  const stranger = await t.person({ javaScriptEnabled: false });
  for (const [who, button] of [[person, "out"], [stranger, "in"]]) {
    const before = await jar(who, origin);
    const tab = await who.newPage();
    await tab.goto(elsewhere);
    await tab.getByRole("button", { name: button }).click();
    await tab.getByText("This form came from another site.").waitFor();
    assert.deepEqual(await jar(who, origin), before, button);
  }

  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByText("Hello, stranger.").waitFor();
  assert.deepEqual(await jar(person, origin), {});
  await page.goBack();
  assert.doesNotMatch(await text(page), new RegExp(username));
  assert.equal(page.url(), `${origin}/login?return_to=/account`);
  // A way back that leaves the site leads to the start.
  await page.goto(`${origin}/login?return_to=//evil.example/`);
  await enter("Log in");
  await page.waitForURL(`${origin}/`);
  await page.getByText(`Hello, ${username}.`).waitFor();
});
