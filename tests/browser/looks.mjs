// How the pages look, to people and to their tools: axe finds no violation in any state, by day and by night, on a wide
// screen and on a phone. The pictures are in target/browser/screenshots.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { account, settings, test } from "./harness.mjs";
import { ACCESS, changePassword, logIn, open, refresh, register, sees, seesHello } from "./page.mjs";
import { example } from "./pages.mjs";

const SCREENS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 720 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 720 } },
  phone: { colorScheme: "light", viewport: { width: 320, height: 640 } },
};

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`looks/every-state-on-a-${name}-screen`, { once: true }, async (t) => {
    const host = await t.start();
    const proxy = await t.proxy(host);
    // The page's own policy keeps the checker out.
    const alice = await t.person({ ...screen, bypassCSP: true });
    const page = await alice.newPage();
    const user = await host.user();

    const check = (state) => looksGood(t, page, `${name}-${state}`);

    proxy.fault = ({ url }) => url === "/auth/me" && { status: 503, headers: { "Retry-After": "1" }, body: "{}" };
    await page.goto(`${proxy.origin}/`);
    await sees(page, "The server cannot do that at the moment.");
    await check("waiting");
    proxy.fault = () => undefined;
    await open(page, proxy.origin);
    await check("log-in");
    await logIn(page, { ...user, password: "not the right one" });
    await sees(page, "The username or the password is wrong.");
    await check("log-in-wrong");
    await register(page, user);
    await sees(page, "This username is taken.");
    await check("register-taken");
    await page.getByRole("button", { name: "I have an account" }).click();
    await logIn(page, user);
    await seesHello(page, user);
    await sees(page, "this device");
    await check("logged-in");
    await changePassword(page, user.password, "too short");
    await sees(page, "Too short: use at least 15 characters.");
    await check("password-short");

    // A session that was copied; and a very long name on a device of an unknown kind.
    const copied = await alice.cookies(proxy.origin);
    await refresh(page);
    await sees(page, "The access token is new.");
    await host.advance(61);
    const refused = await fetch(`${host.origin}/auth/token`, {
      method: "POST",
      headers: {
        Cookie: copied.map(({ name, value }) => `${name}=${value}`).join("; "),
        "Sec-Fetch-Site": "same-origin",
        "User-Agent": "x".repeat(200),
      },
    });
    assert.equal(refused.status, 400);
    await refresh(page);
    await sees(page, "Your session has ended.");
    await check("ended");
    await logIn(page, user);
    await sees(page, "Somebody may have copied your session");
    await check("stolen");
  });
}

// Everything can be done without a mouse, and it is to be seen where one is.
test("looks/the-keyboard-is-enough", { once: true }, async (t) => {
  const host = await t.start();
  const page = await (await t.person()).newPage();
  const user = await host.user();
  await open(page, host.origin);
  const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await press("Tab");
  assert.equal(await focus(), "log-in-username");
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineWidth);
  assert.equal(ring, "3px");
  await page.keyboard.type(user.username);
  await press("Tab");
  await page.keyboard.type(user.password);
  await press("Enter");
  await seesHello(page, user);
  // Where the story goes on, there is the focus: a reader reads it out.
  assert.equal(await focus(), "hello");
  await press("Tab", "Enter");
  await sees(page, "The access token is new.");
  assert.equal(await focus(), "refresh");
  await press("Tab", "Enter");
  await sees(page, "You are logged out.");
  assert.equal(await focus(), "log-in-title");
});

test("looks/every-state-of-pages-without-script", { once: true }, async (t) => {
  const origin = await example(t);
  const { username, password } = account();
  // The checker is a script, so scripts run here; the pages have none.
  const alice = await t.person({ ...SCREENS.phone, bypassCSP: true });
  const page = await alice.newPage();
  const check = (state) => looksGood(t, page, `pages-${state}`);
  const press = async (button, fields) => {
    for (const [label, text] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(text);
    await page.getByRole("button", { name: button }).click();
  };
  await page.goto(`${origin}/`);
  await check("start");
  await page.goto(`${origin}/account`);
  await check("log-in");
  await press("Log in", { Name: username, Password: password });
  await page.getByRole("alert").waitFor();
  await check("log-in-wrong");
  await press("Register", { Name: username, Password: password });
  await page.getByText(`You are ${username}.`).waitFor();
  await check("account");
  await alice.clearCookies({ name: ACCESS });
  await press("Change it", { Password: password, "New password": "another phrase of mine" });
  await page.getByRole("alert").getByText("nothing was changed").waitFor();
  await check("password-late");
});

/** Takes a picture, asks axe, and looks whether a screen is wide enough. */
async function looksGood(t, page, state) {
  await t.shot(page, state);
  await page.evaluate(readFileSync(join(settings.modules, "axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => axe.run());
  const found = violations.map(({ id, impact, nodes }) => `${state}: ${impact} ${id} ${nodes[0].html}`);
  assert.deepEqual(found, []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${state} is ${wide} pixels too wide`);
}
