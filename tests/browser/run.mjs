// Runs the tests of this folder: `cargo xtask browser` builds and finds what they need, then calls this.

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { launch, settings, sleep, Test, tests } from "./harness.mjs";

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
    full: { type: "boolean" },
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
const once = chosen.filter((test) => test.once); // dealt out to the hosts
const results = await Promise.all(hosts.map(lane));

/** All tests on one host, one after the other; the hosts run side by side. */
async function lane(host, index) {
  const here = chosen.filter((test) => !test.once || once.indexOf(test) % hosts.length === (index + 1) % hosts.length);
  const browser = here.some(({ needs }) => needs === "browser") ? await launch() : undefined;
  const result = { host, passed: 0, failed: [], seconds: 0 };
  const started = performance.now();
  for (const test of here) {
    const begun = performance.now();
    const error = await outcome(test, new Test(host, browser, test.name, index === 0));
    const took = ((performance.now() - begun) / 1000).toFixed(1);
    if (error) {
      result.failed.push(test.name);
      console.log(`FAIL ${host} ${test.name} (${took} s)\n${indented(error.stack ?? error)}`);
      console.log(`  repeat: cargo xtask browser --host ${host} --test ${test.name}`);
    } else {
      result.passed += 1;
      console.log(`ok   ${host} ${test.name} (${took} s)`);
    }
  }
  result.seconds = (performance.now() - started) / 1000;
  await browser?.close();
  return result;
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

console.log(`\n${"host".padEnd(10)}${"passed".padStart(8)}${"failed".padStart(8)}${"seconds".padStart(9)}`);
for (const { host, passed, failed, seconds } of results) {
  const row = [String(passed).padStart(8), String(failed.length).padStart(8), seconds.toFixed(0).padStart(9)];
  console.log(`${host.padEnd(10)}${row.join("")}`);
}
const passed = results.reduce((sum, result) => sum + result.passed, 0);
const failed = results.flatMap(({ host, failed }) => failed.map((name) => [host, name]));
for (const [host, name] of failed) console.log(`FAIL ${host} ${name}`);
console.log(`browser: ${passed} passed, ${failed.length} failed`);
process.exit(failed.length === 0 ? 0 : 1);
