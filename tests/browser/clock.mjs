// The browser's clock and the server's are a day apart. The server is the one that is moved, whole: what counts is the
// difference, and a browser cannot be given another time of day.

import assert from "node:assert/strict";
import { eventually, faketime, test } from "./harness.mjs";
import { jar, loggedIn, open, REFRESH, refresh, sees, seesHello } from "./page.mjs";

for (const [name, shift] of [["behind", "+1d"], ["ahead", "-1d"]]) {
  test(`clock/a-browser-that-is-a-day-${name}`, async (t) => {
    const host = await t.start({
      env: faketime({ FAKETIME: shift }),
      config: { access_ttl: 4, leeway: 0, reuse_grace: 60 },
    });
    const { headers } = await fetch(`${host.origin}/open`);
    const apart = (Date.parse(headers.get("Date")) - Date.now()) / 3_600_000;
    assert.ok(Math.abs(apart) > 23, `${apart} hours apart`);

    const alice = await t.person();
    const user = await host.user();
    const page = await loggedIn(alice, host.origin, user);
    await sees(page, /^[1-4] s left, then it renews itself/);
    await sees(page, "last used just now");
    const first = (await jar(alice, host.origin))[REFRESH];
    await eventually("it renews itself", async () => (await jar(alice, host.origin))[REFRESH] !== first);
    // A page that is new knows the time that is left as well.
    await page.reload();
    await seesHello(page, user);
    await sees(page, /^[1-4] s left, then it renews itself/);
    await refresh(page);
    await sees(page, "The access token is new.");
    const tab = await alice.newPage();
    await open(tab, host.origin);
    await seesHello(tab, user);
  });
}
