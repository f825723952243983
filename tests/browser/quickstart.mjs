// The examples as a newcomer starts them, with every setting as it is.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { account, settings, test } from "./harness.mjs";
import { jar, logIn, logOut, open, refresh, register, sees, seesHello, seesLogin } from "./page.mjs";

test("quickstart/works-as-it-is", { once: true }, async (t) => {
  for (const name of settings.example) {
    // Its keys and its database are made in the folder it is started in.
    const program = spawn(join(settings.hosts, name), {
      cwd: t.folder(),
      env: { PATH: process.env.PATH, LISTEN: "127.0.0.1:0" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    t.atEnd(() => program.kill("SIGKILL"));
    let log = "";
    program.stderr.on("data", (data) => (log += data));
    const origin = await new Promise((done, failed) => {
      const lines = createInterface({ input: program.stdout });
      lines.on("line", (line) => /http:/.test(line) && done(line.match(/http:\/\/[\d.:]+\d/)[0]));
      program.on("exit", () => failed(new Error(`${name} ended: ${log}`)));
    });

    const alice = await t.person();
    const page = await alice.newPage();
    const complaints = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    const user = account();
    await open(page, origin);
    await register(page, user);
    await seesHello(page, user);
    await refresh(page);
    await sees(page, "The access token is new.");
    const hello = await page.evaluate(async () => (await fetch("/hello")).text());
    assert.equal(hello, `hello ${user.username}\n`, name);
    await logOut(page);
    await seesLogin(page);
    assert.deepEqual(await jar(alice, origin), {}, name);
    // What the console has to say of a page without a session is that nobody is logged in.
    assert.deepEqual(complaints.filter((text) => !/status of 40[01]/.test(text)), [], name);
    // The same page under the machine's name.
    await open(page, origin.replace("127.0.0.1", "localhost"));
    await logIn(page, user);
    await seesHello(page, user);
  }
});
