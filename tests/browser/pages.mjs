// Pages without script: a browser that runs none stays logged in, and goes to the login page and back.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { account, settings, test } from "./harness.mjs";
import { jar, loggedIn } from "./page.mjs";

const REFRESH = "__Host-gatekey_refresh";
const ACCESS = "__Host-gatekey_access";
const COOKIES = [ACCESS, REFRESH];
/** Past the end of an access token of a minute, leeway included. */
const EXPIRED = 91;

/** Someone who logged in, in a browser that runs no script from now on. */
async function without(t, host) {
  const user = await host.user();
  const scripted = await t.person();
  await loggedIn(scripted, host.origin, user);
  const storageState = await scripted.storageState();
  await scripted.close();
  return { user, person: await t.person({ javaScriptEnabled: false, storageState }) };
}

const start = (t) =>
  t.start({ config: { pages: { login: "/open" }, access_ttl: 60, refresh_ttl: 86_400, reuse_grace: 60 } });

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
  assert.equal(page.url(), `${host.origin}/open?return_to=/whoami%3Ftab%3Da%252Fb`);
  assert.deepEqual(await jar(person, host.origin), {});
});

test("pages/the-example-needs-no-script", { once: true }, async (t) => {
  const program = spawn(join(settings.hosts, "axum-pages"), {
    cwd: t.folder(),
    env: { PATH: process.env.PATH, LISTEN: "127.0.0.1:0" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.atEnd(() => program.kill("SIGKILL"));
  const origin = await new Promise((done, failed) => {
    const lines = createInterface({ input: program.stdout });
    lines.on("line", (line) => /http:/.test(line) && done(line.match(/http:\/\/[\d.:]+\d/)[0]));
    program.on("exit", () => failed(new Error("axum-pages ended")));
  });
  const { username, password } = account();
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

  const port = await t.listen((_, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    response.end(`<!doctype html>
      <form method=post action="${origin}/logout"><button>out</button></form>
      <form method=post action="${origin}/login"><input name=username value="${username}">
      <input name=password value="${password}"><button>in</button></form>`);
  });
  const stranger = await t.person({ javaScriptEnabled: false });
  for (const [who, button] of [[person, "out"], [stranger, "in"]]) {
    const before = await jar(who, origin);
    const tab = await who.newPage();
    await tab.goto(`http://localhost:${port}`);
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
