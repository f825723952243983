// Somebody copies the cookies of a session and uses them elsewhere.

import assert from "node:assert/strict";
import { test } from "./harness.mjs";
import { jar, loggedIn, logIn, open, refresh, sees, seesHello, seesLogin } from "./page.mjs";

const SAFARI =
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15";

for (const first of ["thief", "owner"]) {
  test(`theft/is-found-when-the-${first}-refreshes-first`, async (t) => {
    const host = await t.start();
    const owner = await t.person();
    const user = await host.user();
    const page = await loggedIn(owner, host.origin, user);
    const thief = await t.person({ userAgent: SAFARI });
    await thief.addCookies(await owner.cookies(host.origin));
    const stolen = await thief.newPage();
    await open(stolen, host.origin);
    await seesHello(stolen, user); // Until now nobody can tell them apart.

    const [one, other] = first === "thief" ? [stolen, page] : [page, stolen];
    await refresh(one);
    await sees(one, "The access token is new.");
    await host.advance(61); // Beyond any grace.
    await refresh(other);
    await seesLogin(other);
    await sees(other, "Your session has ended.");
    // And so has the one that had the newer token, access token and all.
    await one.getByRole("button", { name: "Log out everywhere else" }).click();
    await seesLogin(one);
    for (const person of [owner, thief]) assert.deepEqual(await jar(person, host.origin), {});

    await logIn(page, user);
    await seesHello(page, user);
    await sees(page, "Somebody may have copied your session");
    const places = await page.locator("#events .places").innerText();
    assert.match(places, /Safari on macOS \(127\.0\.0\.1\)/);
    assert.match(places, /Chrome on Linux \(127\.0\.0\.1\)/);
    assert.equal(await page.getByRole("alert").filter({ hasText: "copied" }).count(), 1);
    await t.shot(page, "stolen");
    await page.getByRole("button", { name: "Change the password" }).first().click();
    assert.equal(await page.getByLabel("Current password").evaluate((input) => input === document.activeElement), true);
    // Nobody else is told.
    const bob = await loggedIn(await t.person(), host.origin, await host.user());
    assert.equal(await bob.getByText("copied your session").isVisible(), false);
  });
}

// Within the grace a copy is answered like a second tab: that is its price. The next rotation finds it.
test("theft/within-the-grace-is-found-after-it", async (t) => {
  const host = await t.start();
  const owner = await t.person();
  const user = await host.user();
  const page = await loggedIn(owner, host.origin, user);
  const copied = await owner.cookies(host.origin);
  await refresh(page);
  await sees(page, "The access token is new.");
  const thief = await t.person();
  await thief.addCookies(copied);
  const stolen = await thief.newPage();
  await open(stolen, host.origin);
  await refresh(stolen);
  await sees(stolen, "The access token is new.");
  await host.advance(61);
  await refresh(page);
  await sees(page, "The access token is new.");
  await host.advance(61);
  await refresh(stolen);
  await seesLogin(stolen);
  await refresh(page);
  await seesLogin(page);
});
