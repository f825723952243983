// The page of the quickstarts: who is logged in, where, and for how long.
//
// gatekey.js does what is difficult: it refreshes in time and once, and knows a busy server from the end of a session.
// What is left is to show it. Copy from here what you need; two rules are worth keeping:
//
//  1. Text from the server, names above all, goes into the page as text (`textContent`), never as HTML.
//  2. What is private leaves the page when the session does, and when the page is left: browsers keep whole pages and
//     bring them back when somebody presses "Back".

import { gatekey, Refused } from "/auth/gatekey.js";

const auth = gatekey();
const byId = (id) => document.getElementById(id);

// --- Talking to the server -----------------------------------------------------------------------------------------

/** Asks for something and reads its JSON, if it has any. Throws `Refused`, or what `fetch` throws when it is offline. */
async function ask(method, path, body) {
  const response = await auth.fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  serverClock.read(response);
  if (!response.ok) throw await Refused.from(response);
  return response.status === 204 ? null : response.json();
}

// The visitor's clock may be wrong by hours: what time it is, the server's answers tell.
const serverClock = {
  ahead: 0,
  read(response) {
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (date) this.ahead = date - performance.now();
  },
  now() {
    return this.ahead + performance.now();
  },
};

// --- What the page shows -------------------------------------------------------------------------------------------

/** The messages at the top of the page: what went well, and what did not. */
function tell(info, problem = "") {
  byId("info").textContent = info;
  byId("problem").textContent = problem;
}

function show(view) {
  for (const id of ["waiting", "logged-out", "logged-in"]) byId(id).hidden = id !== view;
}

/** Of the two forms for those who are not logged in, one is to be seen. */
function showForm(id) {
  for (const form of ["log-in", "register"]) {
    byId(form).hidden = form !== id;
    clearErrors(byId(form));
  }
  byId("logged-out").setAttribute("aria-labelledby", `${id}-title`);
}

/** Takes everything private out of the page. */
function forget() {
  for (const id of ["hello", "roles", "auth-time", "countdown"]) byId(id).textContent = "";
  byId("sessions").replaceChildren();
  byId("events").replaceChildren();
  byId("security").hidden = true;
  byId("password-username").defaultValue = "";
  for (const form of document.forms) {
    form.reset();
    clearErrors(form);
  }
}

const ENDED = "Your session has ended. Please log in again.";
let shown; // whose page this is

auth.onChange(showSession);

function showSession(session) {
  const ended = shown && !session;
  if (session?.sub !== shown) forget();
  shown = session?.sub;
  if (!session) {
    showForm("log-in");
    show("logged-out");
    if (ended) {
      tell("", ENDED);
      byId("log-in-title").focus();
    }
    return;
  }
  byId("hello").textContent = `Hello, ${session.username}`;
  byId("roles").textContent = session.roles.join(", ") || "none";
  byId("auth-time").textContent = dateAndTime.format(new Date(session.auth_time));
  byId("password-username").defaultValue = session.username; // The form's reset leaves it alone.
  paintCountdown();
  show("logged-in");
  load().catch(explain);
}

/** Where else somebody is logged in, and whether a session was stolen. */
async function load() {
  const [{ sessions }, { events }] = await Promise.all([ask("GET", "/auth/sessions"), ask("GET", "/security")]);
  if (!auth.session) return; // Logged out meanwhile.
  byId("sessions").replaceChildren(...sessions.map(sessionItem));
  byId("events").replaceChildren(...events.map(eventItem));
  byId("security").hidden = events.length === 0;
}

function sessionItem(session) {
  const item = byId("session").content.cloneNode(true).firstElementChild;
  const find = (selector) => item.querySelector(selector);
  const device = deviceInWords(session.user_agent);
  const ip = session.ip ?? "unknown address";

  find(".device").textContent = device;
  find(".device").title = session.user_agent ?? "";
  find(".ip").textContent = ip;
  for (const [selector, time] of [[".last-used", session.last_used_at], [".created", session.created_at]]) {
    find(selector).textContent = ago(time);
    find(selector).dateTime = time;
  }

  const button = find("button");
  if (session.current) {
    button.remove(); // "Log out" does that.
  } else {
    find(".this-device").remove();
    button.setAttribute("aria-label", `Log out ${device}, ${ip}`);
    onClick(button, async () => {
      await ask("DELETE", `/auth/sessions/${encodeURIComponent(session.id)}`);
      await load();
      tell(`${device} is logged out.`);
      byId("sessions-title").focus(); // The button that had the focus is gone.
    });
  }
  return item;
}

/** A session that two parties held. Which of them was the owner the server cannot know; the owner can. */
function eventItem({ at, clients }) {
  const item = byId("event").content.cloneNode(true).firstElementChild;
  const places = clients.map(({ ip, user_agent }) => `${deviceInWords(user_agent)} (${ip ?? "unknown address"})`);
  item.querySelector("time").textContent = dateAndTime.format(new Date(at));
  item.querySelector("time").dateTime = at;
  item.querySelector(".places").textContent = places.join(" and ");
  return item;
}

function paintCountdown() {
  if (!auth.session || auth.expiresIn === undefined) return;
  const left = Math.ceil(auth.expiresIn);
  byId("countdown").textContent =
    left > 0 ? `${duration(left)} left, then it renews itself` : "has run out and is renewed with the next request";
}
setInterval(paintCountdown, 1000);

/** "14 min 5 s" */
function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

const dateAndTime = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
const relativeTime = new Intl.RelativeTimeFormat("en");

/** "3 minutes ago", by the server's clock. */
function ago(time) {
  const seconds = (serverClock.now() - Date.parse(time)) / 1000;
  for (const [unit, size] of [["day", 86_400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= size) return relativeTime.format(-Math.floor(seconds / size), unit);
  }
  return "just now";
}

/** "Firefox on Linux": a guess, for people only. The order matters, since browsers name one another. */
function deviceInWords(userAgent) {
  if (!userAgent) return "Unknown device";
  const first = (pairs) => pairs.find(([pattern]) => pattern.test(userAgent))?.[1];
  const browser = first([
    [/Edg(e|A|iOS)?\//, "Edge"],
    [/OPR\//, "Opera"],
    [/SamsungBrowser\//, "Samsung Internet"],
    [/Firefox\/|FxiOS\//, "Firefox"],
    [/Chrome\/|CriOS\//, "Chrome"],
    [/Version\/.* Safari\//, "Safari"],
  ]);
  const system = first([
    [/iPhone/, "iPhone"],
    [/iPad/, "iPad"],
    [/Android/, "Android"],
    [/Windows/, "Windows"],
    [/Mac OS X|Macintosh/, "macOS"],
    [/CrOS/, "ChromeOS"],
    [/Linux/, "Linux"],
  ]);
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? system ?? userAgent.split(/[/ ]/)[0].slice(0, 40); // "curl"
}

// --- Saying what went wrong ----------------------------------------------------------------------------------------

// The rule that a field breaks, in words. The server decides; if you change its settings, change these sentences.
// What this page never sends (`wrong_type`, …) is left to the server's own sentence.
const RULES = {
  too_short: (field) => (field === "username" ? "Please enter a username." : "Too short: use at least 15 characters."),
  too_long: (field) => `Too long: use at most ${field === "username" ? 128 : 256} characters.`,
  common: () => "This is one of the first passwords that an attacker tries. Choose another one.",
  contains_username: () => "The password must not contain your username.",
  characters: () => "This has characters that cannot be used here.",
};

/** Says why something did not work: beside the field that it is about, if there is one. */
function explain(error, form) {
  const beside = (name, text) => {
    const input = form?.elements.namedItem(name);
    if (!input) return tell("", text);
    showError(input, text);
    input.focus();
  };
  const { status, code } = error;
  const stillIn = auth.session ? " You are still logged in." : "";

  // `fetch` throws a TypeError, or a DOMException when it took too long; anything else is a mistake of this page.
  const known = error instanceof Refused || error instanceof TypeError || error instanceof DOMException;
  if (!known) throw error;
  if (status === 429 || status >= 500) {
    const reason = status === 429 ? "That was too often." : "The server cannot do that at the moment.";
    tell("", `${reason} Try again in ${error.retryAfter ? duration(error.retryAfter) : "a moment"}.${stillIn}`);
  } else if (!code) {
    // No answer, or one of somebody in between.
    tell("", `The server cannot be reached. Try again in a moment.${stillIn}`);
  } else if (code === "validation_failed") {
    beside(error.field, RULES[error.rule]?.(error.field) ?? error.message);
  } else if (code === "username_taken") {
    beside("username", "This username is taken.");
  } else if (code === "invalid_credentials" && form === byId("password")) {
    beside("current_password", "This is not your current password.");
  } else if (code === "invalid_credentials") {
    tell("", "The username or the password is wrong.");
    form?.elements.namedItem("password").select();
  } else if (status === 401 && auth.session === null) {
    tell("", ENDED); // The forms are there already.
  } else {
    tell("", error.message);
  }
}

/** Each input is described by a paragraph for its error. */
function showError(input, text) {
  byId(`${input.id}-error`).textContent = text;
  input.setAttribute("aria-invalid", "true");
}

function clearErrors(form) {
  for (const error of form.querySelectorAll(".error")) error.textContent = "";
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

// --- What the visitor does -----------------------------------------------------------------------------------------

/** Runs a task for a button or form, once at a time, and says how it fails. */
async function run(element, task) {
  const form = element instanceof HTMLFormElement ? element : undefined;
  const button = form ? form.querySelector("button:not([type])") : element;
  // Not the `disabled` attribute: a disabled button loses the focus, and the keyboard its place.
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  tell("");
  try {
    await task();
  } catch (error) {
    explain(error, form);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

function onClick(button, task) {
  button.addEventListener("click", () => run(button, task));
}

function onSubmit(id, task) {
  const form = byId(id);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearErrors(form);
    const fields = Object.fromEntries(new FormData(form));
    run(form, () => task(fields));
  });
}

async function logIn(username, password) {
  await auth.login({ username, password });
  for (const form of document.forms) form.reset();
  byId("hello").focus();
}

onSubmit("log-in", ({ username, password }) => logIn(username, password));

onSubmit("register", async ({ username, password }) => {
  await ask("POST", "/auth/register", { username, password });
  // Registering opens no session; the same name and password do. Should that fail, what is left to do is to log in.
  showForm("log-in");
  byId("log-in-username").value = username;
  await logIn(username, password);
  tell("Your account is ready.");
});

onSubmit("password", async ({ current_password, new_password }) => {
  await ask("POST", "/auth/password", { current_password, new_password });
  byId("password").reset();
  await load();
  tell("Your password is changed, and your other sessions are logged out.");
  byId("password-title").focus();
});

for (const id of ["log-in", "register"]) {
  byId(`to-${id}`).addEventListener("click", () => {
    tell("");
    showForm(id);
    byId(`${id}-username`).focus();
  });
}

byId("to-password").addEventListener("click", () => byId("password-current").focus());

onClick(byId("refresh"), async () => {
  await auth.refresh();
  paintCountdown();
  await load();
  tell("The access token is new.");
});

onClick(byId("log-out"), async () => {
  await auth.logout();
  tell("You are logged out.");
});

onClick(byId("log-out-others"), async () => {
  await ask("DELETE", "/auth/sessions?keep_current=true");
  await load();
  tell("Only this device is still logged in.");
});

onClick(byId("log-out-everywhere"), async () => {
  await ask("DELETE", "/auth/sessions");
  await auth.logout(); // Nothing is left to end; this tells gatekey.js and the other tabs.
  tell("You are logged out everywhere.");
});

// --- Coming and going ----------------------------------------------------------------------------------------------

/** Asks who is logged in until the server says. Nobody is offered to log in over a session that may be there. */
async function start() {
  for (let pause = 1; ; pause = Math.min(60, pause * 2)) {
    try {
      // Nobody is no change, where nobody was logged in before.
      if (!(await auth.resume())) showSession(null);
      return;
    } catch (error) {
      explain(error);
      await new Promise((done) => setTimeout(done, (error.retryAfter ?? pause) * 1000));
      tell("");
    }
  }
}

addEventListener("pagehide", () => {
  forget();
  tell("");
  show("waiting");
});
addEventListener("pageshow", ({ persisted }) => persisted && start());

start();
