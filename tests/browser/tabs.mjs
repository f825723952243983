// Several tabs of one browser: one cookie jar, one session, nobody waits for anybody.

import assert from "node:assert/strict";
import { claims, eventually, test } from "./harness.mjs";
import { addClient, jar, loggedIn, open, REFRESH, sees, seesHello, seesLogin } from "./page.mjs";

const TABS = 8;
const ROUNDS = 200;
/** The longest grace there is: a slow machine is no thief. */
const GRACE = 60;
/** What it is where nobody says otherwise. */
const DEFAULT_GRACE = 10;

test("tabs/eight-refresh-at-once-and-nobody-is-logged-out", { seconds: 900 }, async (t) => {
  // With every setting as it is. The server's clock stands still between rounds, so that a slow machine is no thief.
  const host = await t.start({ config: { still_clock: true } });
  const proxy = await t.proxy(host);
  const alice = await t.person();
  const user = await host.user();
  const tabs = [await loggedIn(alice, proxy.origin, user)];
  while (tabs.length < TABS) tabs.push(await alice.newPage());
  await Promise.all(tabs.slice(1).map((tab) => open(tab, proxy.origin)));
  await Promise.all(tabs.map((tab) => addClient(tab)));
  for (const tab of tabs) {
    await tab.evaluate(() => client.resume());
    await tab.evaluate(() => {
      globalThis.logouts = 0;
      client.onChange((session) => session ?? logouts++);
    });
  }
  const generation = async () => claims((await jar(alice, proxy.origin))[REFRESH]).gen;
  const first = await generation();
  proxy.answers.length = 0;

  for (let round = 1; round <= ROUNDS; round++) {
    // Past the grace of the round before: what the jar holds is presented as if nothing had been near it.
    await host.advance(DEFAULT_GRACE + 1);
    const outcomes = await Promise.all(tabs.map((tab) => tab.evaluate(() => client.refresh().then(() => "ok", String))));
    assert.deepEqual(new Set(outcomes), new Set(["ok"]), `round ${round}`);
  }

  const answers = proxy.answers.filter(({ url }) => url === "/auth/token");
  const granted = answers.filter(({ status }) => status === 200);
  // Who comes too late is told so, and comes again: nothing else is ever answered.
  const late = answers.filter(({ status }) => status === 409);
  assert.equal(granted.length + late.length, answers.length);
  // (Whoever was late may hear from a faster tab before its second try: then the cookies are new already.)
  assert.ok(answers.length >= ROUNDS * TABS);
  // A fork would be two tokens of one generation.
  const tokens = answers.flatMap(({ cookies }) => cookies).filter((cookie) => cookie.startsWith(`${REFRESH}=`));
  const issued = new Set(tokens.map((cookie) => cookie.slice(REFRESH.length + 1).split(";")[0]));
  const generations = [...issued].map((token) => claims(token).gen).sort((a, b) => a - b);
  assert.deepEqual(generations, Array.from(generations, (_, i) => first + 1 + i));
  assert.ok(generations.length >= ROUNDS);
  assert.equal(await generation(), generations.at(-1));
  const logouts = await Promise.all(tabs.map((tab) => tab.evaluate(() => globalThis.logouts)));
  assert.deepEqual(logouts, tabs.map(() => 0));
  assert.equal((await host.sessions(user)).length, 1);
  for (const tab of tabs) {
    await tab.getByRole("button", { name: "Refresh now" }).click();
    await sees(tab, "The access token is new.");
  }
  const counts = `${granted.length} refreshes, ${late.length} told to come again, ${generations.length} rotations`;
  console.log(`     ${t.host}: ${TABS} tabs, ${counts}, 0 logouts, 0 forks`);
});

// Without a pause between rounds the server is in a burst all the time: rotations, replays and holds as they come.
test("tabs/eight-refresh-without-a-pause", { once: true }, async (t) => {
  const host = await t.start({ config: { reuse_grace: GRACE } });
  const alice = await t.person();
  const user = await host.user();
  const tabs = [await loggedIn(alice, host.origin, user)];
  while (tabs.length < TABS) tabs.push(await alice.newPage());
  await Promise.all(tabs.map((tab) => open(tab, host.origin)));
  await Promise.all(tabs.map((tab) => addClient(tab)));
  const failed = await Promise.all(
    tabs.map((tab) =>
      tab.evaluate(async () => {
        for (let i = 0; i < 25; i++) await client.refresh();
        return (await client.resume()) === null;
      }),
    ),
  );
  assert.deepEqual(new Set(failed), new Set([false]));
  assert.equal((await host.sessions(user)).length, 1);
});

// Access tokens of two seconds, and nobody touches anything: the cookies expire in the jar again and again.
test("tabs/they-renew-by-themselves", async (t) => {
  const host = await t.start({ config: { access_ttl: 2, leeway: 0, reuse_grace: GRACE } });
  const proxy = await t.proxy(host);
  const alice = await t.person();
  const user = await host.user();
  const tabs = [await loggedIn(alice, proxy.origin, user)];
  while (tabs.length < 4) tabs.push(await alice.newPage());
  await Promise.all(tabs.slice(1).map((tab) => open(tab, proxy.origin)));
  // Whichever tab makes them: the others are told.
  const renewals = () => proxy.answers.filter(({ url, status }) => url === "/auth/token" && status === 200).length;
  const before = renewals();
  await eventually("renewals", () => renewals() >= before + 3);
  for (const tab of tabs) {
    await seesHello(tab, user);
    // The page's own request, with whatever token there is by now.
    await tab.getByRole("button", { name: "Log out everywhere else" }).click();
    await sees(tab, "Only this device is still logged in.");
  }
});

test("tabs/a-session-that-ends-elsewhere-ends-in-all", async (t) => {
  const host = await t.start({ config: { access_ttl: 60, leeway: 0 } });
  const alice = await t.person();
  const user = await host.user();
  const [one, two] = [await loggedIn(alice, host.origin, user), await alice.newPage()];
  await open(two, host.origin);
  await host.control("user", { username: user.username, disabled: true });
  await host.advance(61);
  await one.getByRole("button", { name: "Log out everywhere else" }).click();
  await seesLogin(one);
  await seesLogin(two);
  await sees(two, "Your session has ended.");
  assert.deepEqual(await jar(alice, host.origin), {});
});
