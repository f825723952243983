// What tests are made of: a host program of their own, browser contexts, a proxy that loses things, patience.
//
// A test is `test("area/what-happens", async (t) => { … })`. Whatever it takes from `t` ends with it. It waits for
// conditions, never for time: see README.md.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, request as send } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** How long a condition may take to come true, on a machine that has other things to do. */
export const PATIENCE = 30_000;

/** What the command line says. `run.mjs` fills it in before any test runs. */
export const settings = {};

export const tests = [];

/**
 * Adds a test. `needs: "node"` is for one that drives no browser; `once: true` for one that says nothing about adapters,
 * and so runs on one host alone.
 */
export function test(name, options, run) {
  if (!run) [options, run] = [{}, options];
  tests.push({ name, needs: "browser", once: false, seconds: 120, ...options, run });
}

/** Waits until something is true: the value of `look`, once that is neither falsy nor an exception. */
export async function eventually(what, look) {
  const end = performance.now() + PATIENCE;
  for (let last; ; await sleep(50)) {
    try {
      const found = await look();
      if (found) return found;
      last = `last seen: ${found}`;
    } catch (error) {
      last = error.message;
    }
    if (performance.now() > end) assert.fail(`${what} within ${PATIENCE / 1000} s (${last})`);
  }
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** A package of tests/browser/package.json. */
export const required = (name) => createRequire(join(settings.modules, "x.js"))(name);

let accounts = 0;

/** A name and a password that nobody has yet. */
export const account = () => ({ username: `alice-${++accounts}`, password: "a pass phrase of mine" });

/** The claims of a token. They are only read, nothing is verified. */
export const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));

/** What one test gets. */
export class Test {
  #ends = [];
  pages = [];

  constructor(host, people, name) {
    Object.assign(this, { host, people, name });
  }

  /** Does something when the test ends, in whatever way. */
  atEnd(end) {
    this.#ends.push(end);
  }

  async end() {
    for (const end of this.#ends.reverse()) await end();
  }

  /** Starts a host program: `{ config, store, port, env }`, the last beside its environment. */
  async start(options) {
    const host = new Host(this.host, options);
    this.atEnd(() => host.stop());
    await host.start();
    return host;
  }

  /** A browser context: a person with a browser of their own. `browser`: one that the test started. */
  async person({ browser, ...options } = {}) {
    if (!browser) {
      const { person, leave } = await this.people.come(options, (page) => this.pages.push(page));
      this.atEnd(() => leave(this.failed));
      return person;
    }
    const context = await browser.newContext(options);
    context.setDefaultTimeout(PATIENCE);
    this.atEnd(() => context.close());
    context.on("page", (page) => this.pages.push(page));
    return context;
  }

  /** A browser with flags of its own. */
  async ownBrowser(options) {
    const browser = await launch(options);
    this.atEnd(() => browser.close());
    return browser;
  }

  /** A picture of a state of the page, for people to look at. */
  async shot(page, name) {
    const folder = join(settings.out, "screenshots", this.host);
    mkdirSync(folder, { recursive: true });
    await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  }

  /** An empty folder. */
  folder() {
    mkdirSync(join(settings.out, "tmp"), { recursive: true });
    return mkdtempSync(join(settings.out, "tmp", `${this.host}-`));
  }

  /** A server on a port of its own, for pages of other origins and for proxies: its port. HTTPS with a certificate. */
  async listen(handler, certificate) {
    const server = certificate ? createSecureServer(certificate, handler) : createServer(handler);
    // Chromium keeps connections, and `close` would wait for them.
    this.atEnd(() => void (server.close(), server.closeAllConnections()));
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    return server.address().port;
  }

  /**
   * A proxy in front of a host that can be told to misbehave: `proxy.fault = (request) => …`, where the answer names
   * what happens to that request. `"refuse"`: it never arrives. `"lose"`: the host answers, and the answer is lost.
   * `{ status, headers, body }`: the proxy answers instead. A promise of one of these: once that is known. With a
   * `certificate` (`{ key, cert }`) it speaks HTTPS.
   */
  async proxy(host, certificate) {
    const proxy = { fault: () => undefined, seen: [], answers: [] };
    const port = await this.listen(async (request, response) => {
      const { method, url, headers } = request;
      const fault = await proxy.fault({ method, url, headers });
      proxy.seen.push({ method, url, headers, fault });
      if (fault === "refuse") return request.socket.destroy();
      if (fault?.status) {
        request.resume();
        response.writeHead(fault.status, fault.headers ?? {});
        return response.end(fault.body ?? "");
      }
      const onward = send({ host: "127.0.0.1", port: host.port, method, path: url, headers }, (answer) => {
        const cookies = answer.headers["set-cookie"] ?? [];
        proxy.answers.push({ method, url, headers, status: answer.statusCode, cookies });
        if (fault === "lose") {
          answer.resume();
          return answer.on("end", () => request.socket.destroy());
        }
        // The raw fields: two Set-Cookie stay two.
        response.writeHead(answer.statusCode, answer.rawHeaders);
        answer.pipe(response);
      });
      onward.on("error", () => request.socket.destroy());
      request.pipe(onward);
    }, certificate);
    /** How many requests went to a path. */
    const asked = (path) => proxy.seen.filter(({ url }) => url === path).length;
    return Object.assign(proxy, { port, origin: `${certificate ? "https" : "http"}://127.0.0.1:${port}`, asked });
  }
}

/**
 * The people of a browser, one after the other. What makes one, a context and its pages, is emptied and serves the next:
 * to make it anew takes a second of a core, and that was most of the time of all tests. Nothing else is shared, since each
 * host has a port of its own.
 */
export class People {
  #gone = new Map();

  /** `nowhere` is the address of an empty page. */
  constructor(browser, nowhere) {
    Object.assign(this, { browser, nowhere });
  }

  /** A person, and how they leave. `told` hears of each of their pages. */
  async come(options, told) {
    const kind = JSON.stringify(options);
    const person = this.#gone.get(kind)?.pop() ?? (await this.browser.newContext(options));
    person.setDefaultTimeout(PATIENCE);
    const pages = person.pages();
    const { newPage: create, addInitScript } = Object.getPrototypeOf(person);
    // What is put into every page stays there.
    let marked = false;
    person.addInitScript = (...script) => ((marked = true), addInitScript.apply(person, script));
    person.newPage = async () => {
      const page = pages.pop() ?? (await create.call(person));
      told(page);
      return page;
    };
    // Once more: an answer that was on its way may have come.
    await person.clearCookies();
    const leave = async (failed) => {
      if (failed || marked || !(await this.#emptied(person))) return person.close();
      this.#gone.set(kind, [...(this.#gone.get(kind) ?? []), person]);
    };
    return { person, leave };
  }

  /** Whether nothing is left of them: their pages show nothing, and there are no cookies. */
  async #emptied(person) {
    try {
      await person.setOffline(false);
      await Promise.all([person, ...person.pages()].map((one) => one.unrouteAll({ behavior: "ignoreErrors" })));
      await Promise.all(person.pages().map((page) => page.goto(this.nowhere)));
      await person.clearCookies();
      return true;
    } catch {
      return false;
    }
  }

  async end() {
    await this.browser.close();
  }
}

/** A host program of tests/hosts: the protocol is in tests/README.md. */
class Host {
  #child;

  constructor(framework, { config = {}, store = "memory", port = 0, env = {} } = {}) {
    Object.assign(this, { framework, store, port, env });
    this.config = { limits: "off", ...config };
    this.keys = {
      GATEKEY_ACCESS_KEY: `hs256:${randomBytes(32).toString("base64")}`,
      GATEKEY_REFRESH_SECRET: randomBytes(32).toString("base64"),
    };
  }

  async start() {
    mkdirSync(join(settings.out, "tmp"), { recursive: true });
    const config = join(mkdtempSync(join(settings.out, "tmp", "config-")), "config.json");
    writeFileSync(config, JSON.stringify(this.config));
    const flags = ["--listen", `127.0.0.1:${this.port}`, "--store", this.store, "--config", config];
    // The kernel ends it should this process die without.
    const tied = process.platform === "linux" ? ["setpriv", "--pdeathsig=KILL", "--"] : [];
    const command = [...tied, join(settings.hosts, `host-${this.framework}`), ...flags];
    const child = spawn(command[0], command.slice(1), {
      env: { ...process.env, ...this.keys, ...this.env, RUST_LOG: "warn" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.log = "";
    child.stderr.on("data", (data) => (this.log += data));
    this.ended = new Promise((done) => child.on("exit", done));
    const ready = await new Promise((done, failed) => {
      createInterface({ input: child.stdout }).on("line", (line) => line.startsWith("ready ") && done(line.slice(6)));
      child.on("error", failed);
      child.on("exit", () => failed(new Error(`host-${this.framework} ended: ${this.log}`)));
    });
    this.port = Number(new URL(ready).port);
    this.origin = `http://127.0.0.1:${this.port}`;
  }

  /** As its operator would: requests under way are finished. */
  async stop() {
    if (this.#child?.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 10_000);
    await this.ended;
    clearTimeout(late);
  }

  /** Moves its clock. */
  async advance(seconds) {
    await this.control("clock", { advance: seconds });
  }

  async control(what, body) {
    const answer = await fetch(`${this.origin}/__test/${what}`, { method: "POST", body: JSON.stringify(body) });
    assert.equal(answer.status, 204, `/__test/${what}`);
  }

  /** Creates an account. */
  async user() {
    const user = account();
    assert.equal((await this.post("/auth/register", user)).status, 201);
    return user;
  }

  /** A request from a client that is no browser. */
  post(path, body, headers) {
    return fetch(this.origin + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  }

  /** The sessions of an account, as a new login sees them: its own is not among them. */
  async sessions(user) {
    const { access_token } = await (await this.post("/auth/login", user)).json();
    const headers = { Authorization: `Bearer ${access_token}` };
    const { sessions } = await (await fetch(`${this.origin}/auth/sessions`, { headers })).json();
    await this.post("/auth/logout", undefined, headers);
    return sessions.filter((session) => !session.current);
  }
}

/** Chromium. The background services would only look for hosts that a closed network does not have. */
export async function launch({ args = [], ...options } = {}) {
  const { chromium } = required("playwright-core");
  const quiet = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"];
  quiet.push("disable-component-update", "disable-sync");
  return chromium.launch({
    executablePath: settings.chromium,
    // Chromium refuses to sandbox what root starts.
    chromiumSandbox: process.getuid?.() !== 0,
    args: [...quiet.map((flag) => `--${flag}`), ...args],
    ...options,
  });
}

/**
 * The environment of a program with another time of day: `FAKETIME` or `FAKETIME_TIMESTAMP_FILE` say which. It is what
 * faketime sets, which passes no signal on itself: a program that is told to end cleans up behind it.
 */
export function faketime(time) {
  library ??= execFileSync(settings.faketime, ["-f", "+0", "printenv", "LD_PRELOAD"], { encoding: "utf8" }).trim();
  return { LD_PRELOAD: library, FAKETIME_DONT_FAKE_MONOTONIC: "1", ...time };
}

let library;

/** The text of a file of this repository. */
export const source = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
