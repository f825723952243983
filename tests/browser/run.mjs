// Runs the tests of this folder: `cargo xtask browser` builds and finds what they need, then calls this.

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { launch, People, settings, sleep, Test, tests } from "./harness.mjs";

const { values } = parseArgs({
  options: {
    modules: { type: "string" },
    chromium: { type: "string" },
    faketime: { type: "string" },
    hosts: { type: "string" },
    out: { type: "string" },
    example: { type: "string", multiple: true, default: [] },
    "over-tls": { type: "string", multiple: true, default: [] },
    host: { type: "string", multiple: true },
    test: { type: "string", multiple: true },
    list: { type: "boolean" },
  },
});
Object.assign(settings, values);

const here = new URL(".", import.meta.url);
const own = ["run.mjs", "harness.mjs", "page.mjs"];
for (const file of readdirSync(here).sort()) {
  if (file.endsWith(".mjs") && !own.includes(file)) await import(new URL(file, here));
}

const globs = (values.test ?? ["*"]).map((glob) => {
  const pattern = glob.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${pattern}$`);
});
const chosen = tests.filter(({ name }) => globs.some((glob) => glob.test(name)));
if (values.list) {
  for (const { name } of chosen) console.log(name);
  process.exit(0);
}
if (chosen.length === 0) {
  console.error("no test has such a name: --list shows all");
  process.exit(2);
}

for (const folder of ["screenshots", "failures", "tmp"]) {
  if (chosen.length === tests.length || folder !== "screenshots") {
    rmSync(join(settings.out, folder), { recursive: true, force: true });
  }
}

const hosts = values.host ?? ["axum", "actix", "rocket"];
const results = new Map(hosts.map((host) => [host, { host, passed: 0, failed: [], seconds: 0 }]));
const took = [];
// The hosts run side by side, each with a browser. Who is done with its own takes of what needs to run on one host only.
const once = chosen.filter((test) => test.once);
const everywhere = chosen.filter((test) => !test.once && test.needs === "browser");
// These wait more than they work.
const quiet = chosen.filter((test) => !test.once && test.needs !== "browser");
const nowhere = await emptyPage();
await Promise.all([...hosts.map(lane), beside()]);

async function lane(host) {
  const people = everywhere.length + once.length > 0 ? new People(await launch(), nowhere) : undefined;
  for (const test of everywhere) await attempt(host, test, people);
  for (let test; (test = once.shift()); ) await attempt(host, test, people);
  await people?.end();
}

async function beside() {
  for (const test of quiet) for (const host of hosts) await attempt(host, test);
}

async function attempt(host, test, people) {
  const result = results.get(host);
  const begun = performance.now();
  const error = await outcome(test, new Test(host, people, test.name));
  const seconds = (performance.now() - begun) / 1000;
  result.seconds += seconds;
  took.push({ host, name: test.name, seconds });
  if (error) {
    result.failed.push(test.name);
    console.log(`FAIL ${host} ${test.name} (${seconds.toFixed(1)} s)\n${indented(error.stack ?? error)}`);
    console.log(`  repeat: cargo xtask browser --host ${host} --test ${test.name}`);
  } else {
    result.passed += 1;
    console.log(`ok   ${host} ${test.name} (${seconds.toFixed(1)} s)`);
  }
}

/** The address of a page with nothing on it. It ends with this program. */
function emptyPage() {
  const server = createServer((_, response) => {
    response.writeHead(200, { "Content-Type": "text/html", "Cache-Control": "no-store" });
    response.end("<!doctype html><title>nothing</title>");
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(`http://127.0.0.1:${server.address().port}/`)));
}

/** What went wrong, if anything. */
async function outcome(test, t) {
  try {
    const late = sleep(test.seconds * 1000).then(() => {
      throw new Error(`no end within ${test.seconds} s`);
    });
    await Promise.race([test.run(t), late]);
    return undefined;
  } catch (error) {
    t.failed = true;
    await pictures(t);
    return error;
  } finally {
    await t.end().catch((error) => console.log(`  at the end of ${test.name}: ${error.message}`));
  }
}

function indented(text) {
  return String(text).replace(/\x1b\[\d+m/g, "").replace(/^/gm, "  ");
}

async function pictures(t) {
  const folder = join(settings.out, "failures");
  mkdirSync(folder, { recursive: true });
  for (const [i, page] of t.pages.entries()) {
    const path = join(folder, `${t.host}-${t.name.replaceAll("/", "-")}-${i}.png`);
    await page.screenshot({ path, timeout: 5000 }).then(() => console.log(`  seen: ${path}`), () => {});
  }
}

took.sort((a, b) => b.seconds - a.seconds);
const slowest = took.slice(0, 10).map(({ host, name, seconds }) => `${host} ${name} ${seconds.toFixed(1)} s`);
console.log(`\nslowest:\n${indented(slowest.join("\n"))}`);
console.log(`\n${"host".padEnd(10)}${"passed".padStart(8)}${"failed".padStart(8)}${"seconds".padStart(9)}`);
for (const { host, passed, failed, seconds } of results.values()) {
  const row = [String(passed).padStart(8), String(failed.length).padStart(8), seconds.toFixed(0).padStart(9)];
  console.log(`${host.padEnd(10)}${row.join("")}`);
}
const all = [...results.values()];
const passed = all.reduce((sum, result) => sum + result.passed, 0);
const failed = all.flatMap(({ host, failed }) => failed.map((name) => [host, name]));
for (const [host, name] of failed) console.log(`FAIL ${host} ${name}`);
console.log(`browser: ${passed} passed, ${failed.length} failed`);
process.exit(failed.length === 0 ? 0 : 1);
