// What the scripts share: a host program that is started and ended, one check a line, an exit code.

import { spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const modules = createRequire(join(process.env.INTEROP_HOME, "x.js"));

/** A package of package-lock.json. */
export const load = (name) => import(pathToFileURL(modules.resolve(name)));

const folder = mkdtempSync(join(tmpdir(), "gatekey-interop-"));
const ends = [() => rmSync(folder, { recursive: true })];
let [passed, failed] = [0, 0];

/** One claim about the two of us: what is returned or not thrown is good. */
export async function check(what, run) {
  try {
    await run();
    passed += 1;
    console.log(`ok    ${what}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${what}: ${error.stack ?? error}`);
  }
}

/** Passes if `run` fails in the way that `expected` (a code, or a piece of the message) says. */
export async function refused(what, expected, run) {
  await check(what, async () => {
    let answer;
    try {
      answer = await run();
    } catch (error) {
      const said = [error.code, error.error, error.name, error.message].join(" ");
      if (!said.includes(expected)) throw new Error(`refused otherwise: ${said}`);
      return;
    }
    throw new Error(`accepted: ${JSON.stringify(answer)}`);
  });
}

export function equal(actual, expected) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${a} instead of ${b}`);
}

/** Starts a host program; its address, once it says that it is ready. */
export function start(program, args, environment = {}) {
  const child = spawn(join(process.env.INTEROP_HOSTS, program), args, {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", process.env.INTEROP_LOG ? "inherit" : "ignore"],
  });
  ends.push(() => child.kill("SIGKILL"));
  return new Promise((ready, never) => {
    createInterface(child.stdout).on("line", (line) => {
      const [word, url] = line.split(" ");
      if (word === "ready") ready(url);
    });
    child.on("error", never);
    child.on("exit", (code) => never(new Error(`${program} ended with ${code}; INTEROP_LOG=1 shows why`)));
  });
}

async function freePort() {
  const server = createServer();
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

const KEYS = {
  EdDSA: () => generateKeyPairSync("ed25519"),
  ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
  PS256: () => generateKeyPairSync("rsa", { modulusLength: 3072 }),
};

/** A Gatekey that signs with this algorithm, under the issuer that it is reached by. */
export async function issuer(algorithm, config = {}) {
  const pem = KEYS[algorithm]().privateKey.export({ type: "pkcs8", format: "pem" });
  const environment = {
    GATEKEY_ACCESS_KEY: pem,
    GATEKEY_REFRESH_SECRET: randomBytes(32).toString("base64"),
  };
  // The issuer's name has its port in it, and somebody else may take that between.
  for (let left = 3; ; left -= 1) {
    const port = await freePort();
    const file = join(folder, `${algorithm}-${port}.json`);
    const url = `http://127.0.0.1:${port}`;
    writeFileSync(file, JSON.stringify({ issuer: url, audience: "notes-api", limits: "off", ...config }));
    const args = ["--store", "memory", "--listen", `127.0.0.1:${port}`, "--config", file];
    try {
      return new Issuer(await start("host-axum", args, environment));
    } catch (error) {
      if (left === 0) throw error;
    }
  }
}

class Issuer {
  constructor(url) {
    this.url = url;
    this.accounts = 0;
  }

  post(path, body) {
    const headers = { "content-type": "application/json" };
    return fetch(this.url + path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** The tokens of a new account's first login. */
  async login() {
    const account = { username: `alice-${++this.accounts}`, password: "a long enough pass phrase" };
    await this.post("/auth/register", account);
    return (await this.post("/auth/login", account)).json();
  }

  rotateKeys() {
    return this.post("/__test/keys/rotate", {});
  }
}

/** Serves a JWK Set; its URL. */
export async function publish(set) {
  const server = createServer((_, response) => {
    response.setHeader("content-type", "application/jwk-set+json");
    response.end(JSON.stringify(set));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  ends.push(() => server.close());
  return `http://127.0.0.1:${server.address().port}/jwks.json`;
}

/** The status that a token is answered with. */
export async function ask(url, token) {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  return response.status;
}

/** Runs a script to its end. */
export async function script(run) {
  try {
    await run();
  } catch (error) {
    failed += 1;
    console.log(`FAIL  the script itself: ${error.stack ?? error}`);
  }
  for (const end of ends.reverse()) end();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}
