// The back button: browsers keep whole pages, with all that was on them.

import assert from "node:assert/strict";
import { eventually, test } from "./harness.mjs";
import { loggedIn, logIn, logOut, open, seesHello, seesLogin } from "./page.mjs";

/** Notes what is on the page at the moment when it is shown, before any of its own scripts. */
const watch = () => {
  globalThis.shown = [];
  addEventListener("pageshow", ({ persisted }) => {
    shown.push({ persisted, text: document.body.innerText, values: [...document.querySelectorAll("input")].map((i) => i.value) });
  });
};

/** A person whose browser keeps pages: Playwright turns that off. */
async function keeper(t) {
  const browser = await t.ownBrowser({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  const person = await t.person({ browser });
  await person.addInitScript(watch);
  return person;
}

/** What was on the page when it came back. */
async function back(page) {
  await page.goBack({ waitUntil: "commit" });
  return eventually("the page is back", async () => (await page.evaluate(() => shown)).at(-1));
}

function assertNothingPrivate({ text, values }, user) {
  assert.doesNotMatch(text, new RegExp(`${user.username}|Chrome on|127\\.0\\.0\\.1`));
  assert.deepEqual(new Set(values), new Set([""]));
}

test("back/a-kept-page-shows-nothing-private-after-logout", async (t) => {
  const host = await t.start();
  const alice = await keeper(t);
  const user = await host.user();
  const page = await loggedIn(alice, host.origin, user);
  await page.getByLabel("Current password").fill(user.password);
  await page.goto(`${host.origin}/open`);
  // On another device, so that nothing tells this browser.
  const other = await loggedIn(await t.person(), host.origin, user);
  await other.getByRole("button", { name: "Log out everywhere", exact: true }).click();
  await seesLogin(other);
  const kept = await back(page);
  assert.equal(kept.persisted, true, "the browser kept the page");
  assertNothingPrivate(kept, user);
  await seesLogin(page);
  await t.shot(page, "back-after-logout");
  assert.doesNotMatch(await page.content(), new RegExp(user.username));
});

test("back/nor-after-logout-in-another-tab-or-on-the-page", async (t) => {
  const host = await t.start();
  const alice = await keeper(t);
  const user = await host.user();
  const page = await loggedIn(alice, host.origin, user);
  await page.goto(`${host.origin}/open`);
  const other = await alice.newPage();
  await open(other, host.origin);
  await logOut(other);
  await seesLogin(other);
  assertNothingPrivate(await back(page), user);
  await seesLogin(page);

  await logIn(page, user);
  await seesHello(page, user);
  await logOut(page);
  await seesLogin(page);
  await page.goto(`${host.origin}/open`);
  assertNothingPrivate(await back(page), user);
  await seesLogin(page);
});

test("back/a-kept-page-comes-back-while-the-session-lives", async (t) => {
  const host = await t.start();
  const alice = await keeper(t);
  const user = await host.user();
  const page = await loggedIn(alice, host.origin, user);
  await page.goto(`${host.origin}/open`);
  assert.equal((await back(page)).persisted, true);
  await seesHello(page, user);
  await page.getByText("this device").waitFor();
});
