// The page of the quickstart: a browser client of Gatekey's endpoints in cookie transport.
//
// The tokens are in HttpOnly cookies, so this script never sees one. It knows only when the access token runs out, and
// what the server answers. Three rules make it a good client, and are worth copying:
//
//  1. A session is over when a refresh answers `invalid_grant`, and at no other sign. A server that is busy, down or out
//     of reach has not logged anyone out.
//  2. One refresh at a time: whoever needs one waits for the one under way.
//  3. Text from the server goes into the page as text (`textContent`), never as HTML.

const AUTH = "/auth";
const byId = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// --- Talking to the server ---------------------------------------------------------------------------------------

/** The server said no, or nothing: `status` is 0 when it could not be reached. */
class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body.error_description ?? body.error ?? `status ${status}`);
    Object.assign(this, { status, code: body.error, field: body.field, rule: body.rule, retryAfter });
  }

  /** Worth another try later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** The session is over: only logging in again helps. */
class LoggedOut extends Error {}

/** One request, one answer: the JSON body (or null), or a `Refused`. */
async function send(method, path, body) {
  let response, json;
  try {
    response = await fetch(AUTH + path, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
      cache: "no-store",
      // A refresh whose answer is lost is safe to repeat: within the grace the server replays the same answer.
      signal: AbortSignal.timeout(20_000),
    });
    // A proxy in between may answer with a page of its own, which says nothing to us.
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    json = isJson ? await response.json() : null;
  } catch {
    throw new Refused(0, {});
  }
  serverClock.read(response);

  if (response.ok) return json;
  throw new Refused(response.status, json ?? {}, Number(response.headers.get("Retry-After")) || undefined);
}

/** A request that needs to be logged in: refreshes when the access token is no longer good, then asks again. */
async function call(method, path, body) {
  let renewed = false;
  for (let attempt = 1; ; attempt++) {
    const before = renewals;
    try {
      return await send(method, path, body);
    } catch (refused) {
      // A 401 was refused before anything was done, so repeating is safe. `invalid_credentials` is a 401 as well, but
      // it speaks of a password; a refresh would not mend it.
      const stale = refused.code === "invalid_token" || refused.code === "unauthenticated";
      if (!stale || renewed || attempt === 4) throw refused;
    }
    // Somebody may have refreshed while this request was on its way; then it only needs to be repeated.
    renewed = before !== renewals || (await renew());
  }
}

let renewals = 0; // refreshes that brought new cookies
let renewing = null; // the refresh under way
let heldOff = null; // the last refresh was told to wait: { until, refused }

/** Refreshes. True: the cookies are new. False: superseded, the jar has newer ones; repeat what you were doing. */
function renew() {
  renewing ??= renewOnce().finally(() => {
    renewing = null;
  });
  return renewing;
}

async function renewOnce() {
  if (heldOff && performance.now() < heldOff.until) {
    heldOff.refused.retryAfter = Math.ceil((heldOff.until - performance.now()) / 1000);
    throw heldOff.refused;
  }
  try {
    // No body: the refresh token is in its cookie, and a new pair of cookies is the answer.
    const tokens = await send("POST", "/token");
    heldOff = null;
    renewals += 1;
    accessToken.expiresIn(tokens.expires_in);
    return true;
  } catch (refused) {
    if (refused.code === "superseded") {
      // Another tab was faster, and its cookies are about to arrive in the jar that we share.
      await sleep(400);
      return false;
    }
    // `invalid_grant` ends the session. The other two: there was no refresh cookie, so there is no session here.
    if (["invalid_grant", "invalid_request", "unauthenticated"].includes(refused.code)) throw new LoggedOut();
    if (refused.retryAfter) heldOff = { until: performance.now() + refused.retryAfter * 1000, refused };
    throw refused;
  }
}

// --- Time ----------------------------------------------------------------------------------------------------------

// The visitor's clock may be wrong by hours, so only its ticking is used: what time it is, the server's answers tell.
const serverClock = {
  at: Date.now(),
  seen: performance.now(),
  read(response) {
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (!Number.isNaN(date)) [this.at, this.seen] = [date, performance.now()];
  },
  now() {
    return this.at + performance.now() - this.seen;
  },
};

// When the access token runs out, and the refresh shortly before that.
const accessToken = {
  end: null, // on the scale of performance.now()
  timer: undefined,
  failures: 0,

  left() {
    return this.end === null ? 0 : this.end - performance.now();
  },

  expiresIn(seconds) {
    this.end = performance.now() + seconds * 1000;
    this.failures = 0;
    const early = Math.min(60, seconds / 5);
    this.wake(seconds - early);
    paintCountdown();
  },

  wake(seconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), Math.max(0, seconds) * 1000);
  },

  forget() {
    clearTimeout(this.timer);
    this.end = null;
  },

  async refresh() {
    // A tab that nobody looks at does not keep the session alive.
    if (document.hidden) return this.wake(5);
    if (!loggedIn()) return; // logged out while a refresh was under way
    const complained = this.failures > 0;
    try {
      if (!(await renew())) this.wake(1); // superseded: ask again, with the newer cookie
      if (complained) tell("");
    } catch (error) {
      if (error instanceof LoggedOut) return showLoggedOut("Your session has ended. Please log in again.");
      this.failures += 1;
      // As long as the server asks for; else longer each time, up to a minute.
      this.wake(error.retryAfter ?? Math.min(60, 2 ** this.failures));
      explain(error);
    }
  },
};

// Somebody comes back to this tab: much may have happened in others.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && loggedIn()) run(null, load);
});

// --- What the page shows -------------------------------------------------------------------------------------------

/** The message at the top of the page; "" takes it away. */
function tell(info, problem = "") {
  byId("info").textContent = info;
  byId("problem").textContent = problem;
}

const loggedIn = () => !byId("logged-in").hidden;

function show(id, focus) {
  for (const view of ["waiting", "logged-out", "logged-in"]) byId(view).hidden = view !== id;
  if (focus) byId(focus).focus();
}

function showLoggedOut(info, problem) {
  accessToken.forget();
  showForm("log-in");
  show("logged-out", info || problem ? "log-in-title" : null);
  tell(info, problem);
}

/** Of the two forms for those who are not logged in, only one is to be seen. */
function showForm(id) {
  for (const form of ["log-in", "register"]) {
    byId(form).hidden = form !== id;
    clearErrors(byId(form));
  }
  byId("logged-out").setAttribute("aria-labelledby", `${id}-title`);
}

/** Asks who is logged in and where, and shows it. */
async function load() {
  const me = await call("GET", "/me");
  const { sessions } = await call("GET", "/sessions");
  // Not needed after a refresh, which said `expires_in`; a reloaded page has only this.
  accessToken.expiresIn((Date.parse(me.expires_at) - serverClock.now()) / 1000);

  byId("hello").textContent = `Hello, ${me.username}`;
  byId("roles").textContent = me.roles.join(", ") || "none";
  byId("auth-time").textContent = dateAndTime.format(new Date(me.auth_time));
  byId("password-username").defaultValue = me.username; // which a reset of the form leaves alone
  byId("sessions").replaceChildren(...sessions.map(sessionItem));
  if (!loggedIn()) show("logged-in");
}

function sessionItem(session) {
  const item = byId("session").content.cloneNode(true).firstElementChild;
  const find = (selector) => item.querySelector(selector);
  const device = inWords(session.user_agent);
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
    button.remove(); // "Log out" does that
  } else {
    find(".badge").remove();
    button.setAttribute("aria-label", `Revoke ${device}, ${ip}`);
    onClick(button, async () => {
      await call("DELETE", `/sessions/${encodeURIComponent(session.id)}`);
      await load();
      tell(`${device} is logged out.`);
      byId("sessions-title").focus(); // the button that had the focus is gone
    });
  }
  return item;
}

function paintCountdown() {
  const left = Math.ceil(accessToken.left() / 1000);
  byId("countdown").textContent = left > 0 ? `${duration(left)} left (renews by itself)` : "has run out";
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
function inWords(userAgent) {
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

/** Shows a refusal, beside the field that it is about if there is one. */
function explain(error, form) {
  if (!(error instanceof Refused)) throw error;
  const beside = (name, text) => {
    const input = form?.elements.namedItem(name);
    if (!input) return tell("", text);
    showError(input, text);
    input.focus();
  };
  const again = error.retryAfter ? `Try again in ${duration(error.retryAfter)}.` : "Try again in a moment.";

  if (error.passing) {
    const reason =
      error.status === 0 ? "The server cannot be reached."
      : error.status === 429 ? "That was too often."
      : "The server has a problem.";
    const still = loggedIn() ? " You are still logged in." : "";
    tell("", `${reason} ${again}${still}`);
  } else if (error.code === "validation_failed") {
    beside(error.field, RULES[error.rule]?.(error.field) ?? error.message);
  } else if (error.code === "username_taken") {
    beside("username", "This username is taken.");
  } else if (error.code === "invalid_credentials" && form === byId("password")) {
    beside("current_password", "This is not your current password.");
  } else if (error.code === "invalid_credentials") {
    tell("", "The username or the password is wrong.");
    form?.elements.namedItem("password").select();
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

/** Runs a task for a button or form, and shows how it fails. */
async function run(element, task) {
  const form = element instanceof HTMLFormElement ? element : undefined;
  const button = form ? form.querySelector("button:not([type])") : element;
  // Not the `disabled` attribute: a disabled button loses the focus, and the keyboard its place.
  if (button?.getAttribute("aria-disabled") === "true") return;
  button?.setAttribute("aria-disabled", "true");
  try {
    await task();
  } catch (error) {
    if (error instanceof LoggedOut) showLoggedOut("Your session has ended. Please log in again.");
    else explain(error, form);
  } finally {
    button?.removeAttribute("aria-disabled");
  }
}

function onClick(button, task) {
  button.addEventListener("click", () => {
    tell("");
    run(button, task);
  });
}

function onSubmit(id, task) {
  const form = byId(id);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell("");
    clearErrors(form);
    const fields = Object.fromEntries(new FormData(form));
    run(form, () => task(fields));
  });
}

async function logIn(username, password) {
  await send("POST", "/login", { username, password, transport: "cookie" });
  try {
    await load();
  } catch (error) {
    if (!(error instanceof LoggedOut)) throw error;
    const why = "The server logged you in, but the browser did not keep its cookies.";
    return showLoggedOut("", `${why} They need https, or http on this machine.`);
  }
  for (const form of document.forms) form.reset();
  byId("hello").focus();
}

onSubmit("log-in", ({ username, password }) => logIn(username, password));

onSubmit("register", async ({ username, password }) => {
  await send("POST", "/register", { username, password });
  // Registering opens no session; the same name and password do. Should that fail, what is left to do is to log in.
  showForm("log-in");
  byId("log-in-username").value = username;
  await logIn(username, password);
  tell("Your account is ready.");
});

onSubmit("password", async ({ current_password, new_password }) => {
  await call("POST", "/password", { current_password, new_password });
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

onClick(byId("refresh"), async () => {
  // Superseded: once more, with the cookie that another tab has fetched.
  if (!(await renew())) await renew();
  await load();
  tell("The access token is new.");
});

onClick(byId("log-out"), async () => {
  try {
    await send("POST", "/logout"); // no fresh access token is needed, the refresh cookie is enough
  } catch (error) {
    if (error.status !== 401) throw error; // no cookie at all: another tab has logged out
  }
  showLoggedOut("You are logged out.");
});

onClick(byId("log-out-everywhere"), async () => {
  await call("DELETE", "/sessions");
  showLoggedOut("You are logged out everywhere.");
});

onClick(byId("log-out-others"), async () => {
  await call("DELETE", "/sessions?keep_current=true");
  await load();
  tell("Only this device is still logged in.");
});

// --- Start ---------------------------------------------------------------------------------------------------------

for (let pause = 1; ; pause = Math.min(60, pause * 2)) {
  try {
    await load();
    break;
  } catch (error) {
    if (error instanceof LoggedOut) {
      showLoggedOut("");
      break;
    }
    explain(error);
    // Nobody knows yet whether there is a session: wait and ask again, rather than offer to log in over it.
    if (!error.passing) {
      show("");
      break;
    }
    await sleep((error.retryAfter ?? pause) * 1000);
    tell("");
  }
}
