/**
 * gatekey.js: a client of Gatekey's endpoints, for browsers, Node and whatever else has `fetch`.
 *
 * What makes it a good client, in five rules:
 *
 *  1. A session is over when a refresh answers `invalid_grant`, and at no other sign. A server that is busy, down or
 *     out of reach has logged nobody out, and neither has what a proxy says in its place.
 *  2. One refresh at a time: whoever needs one waits for the one under way. Other tabs are told afterwards, not locked
 *     out before: where two refresh at once, the server gives both the same answer.
 *  3. A refresh whose answer is lost is repeated at once, while the server still repeats its answer.
 *  4. Time is what the server says is left, counted by a clock that nobody sets.
 *  5. Credentials go to the origins that were named, and to no other.
 *
 * It stores nothing. In cookie transport no script ever sees a token; in body transport they die with the page.
 */

/**
 * Who is logged in, as `GET /me` answers it.
 *
 * @typedef {object} Session
 * @property {string} sub the account's id
 * @property {string} username
 * @property {string[]} roles
 * @property {string} session_id
 * @property {string} auth_time when the password was entered (RFC 3339)
 * @property {string} expires_at when the access token ends by the server's clock (RFC 3339)
 */

/**
 * @typedef {object} Options
 * @property {string} [url] where the endpoints are, `/auth` by default; absolute outside of a browser
 * @property {"cookie" | "body"} [transport] who keeps the tokens: the browser, in cookies that no script can read (the
 *   default), or this client, in memory
 * @property {string[]} [origins] where `fetch` adds credentials, beside the origin of `url`
 */

/** What the server said instead of what it was asked for. */
export class Refused extends Error {
  /**
   * @param {Response} response
   * @param {any} body
   */
  constructor(response, body) {
    super(body.error_description || "status " + response.status);
    this.name = "Refused";
    /** The HTTP status. */
    this.status = response.status;
    /** Gatekey's code, such as `invalid_credentials`. @type {string | undefined} */
    this.code = body.error;
    /** The field that breaks a rule. @type {string | undefined} */
    this.field = body.field;
    /** The rule that it breaks, such as `too_short`. @type {string | undefined} */
    this.rule = body.rule;
    /** Seconds to wait before another try, at most an hour. */
    this.retryAfter = secondsToWait(response);
  }

  /**
   * Reads a refusal, also one of your own routes or of a proxy.
   *
   * @param {Response} response
   * @returns {Promise<Refused>}
   */
  static async from(response) {
    return new Refused(response, await json(response));
  }
}

/** @param {Response} [response] */
const secondsToWait = (response) =>
  // A number as text is taken as one, a date is not.
  Math.min(/** @type {any} */ (response?.headers.get("Retry-After")), 3600) || undefined;

const authorization = "Authorization";

/** Milliseconds by a clock that nobody sets. */
const now = () => performance.now();

/**
 * A proxy in between may answer with a page of its own, which says nothing to us.
 *
 * @param {Response} response
 * @returns {Promise<any>}
 */
const json = async (response) => (await response.clone().json().catch(() => null)) ?? {};

/**
 * What an answer holds, if that has this member. One that has not is no success, whatever its status: a page of
 * somebody in between.
 *
 * @param {Response} response
 * @param {string} member
 */
async function read(response, member) {
  const answer = await json(response);
  if (!response.ok || !(member in answer)) throw new Refused(response, answer);
  return answer;
}

/**
 * Whether it was refused for its access token. Wrong passwords and logins that are too old are 401 as well, and so is
 * what a proxy says that wants a password of its own.
 *
 * @param {Response} response
 */
const lacksToken = async (response) =>
  response.status === 401 && /^(invalid_token|unauthenticated)$/.test((await json(response)).error);

/**
 * Makes a client. One is enough for a page.
 *
 * @param {Options} [options]
 */
export function gatekey({ url = "/auth", transport = "cookie", origins = [] } = {}) {
  /** What stands in the way of a refresh: an answer, or that there is none. @typedef {Response | Error} Trouble */

  const { document: page, location } = globalThis;
  const base = page?.baseURI ?? location?.href;
  const root = new URL(url, base).href.replace(/\/$/, "");
  const ours = [root, ...origins].map((named) => new URL(named).origin);
  const byCookie = transport !== "body";
  // Beside a token there must be no cookie: two credentials at once are refused.
  const credentials = byCookie ? "include" : "omit";

  /** Undefined as long as nobody asked. @type {Session | null | undefined} */
  let session = byCookie ? undefined : null;
  /** @type {Set<(session: Session | null) => void>} */
  const listeners = new Set();
  /** In body transport. @type {{ access_token: string, refresh_token: string } | undefined} */
  let tokens;
  /** When the access token ends, on the scale of `now()`. @type {number | undefined} */
  let end;
  /** When it is time for a new one, on the same scale. */
  let due = 0;
  /** How often tokens came or went, here or in another tab: a refresh that began before that has nothing to say. */
  let turns = 0;
  /** How often somebody began or ended to log in or out: what was asked before that is asked anew. */
  let era = 0;
  /** The latest login or logout. @type {Promise<Response> | undefined} */
  let acting;
  /** The refresh under way. @type {Promise<Trouble | null | undefined> | undefined} */
  let refreshing;
  /** No refresh before that, on the same scale, because of that. */
  let heldOff = 0;
  /** @type {any} */
  let lastTrouble;
  /** Refreshes ahead of time that failed in a row. */
  let failures = 0;
  /** @type {any} */
  let timer;
  /** Tabs share the cookies, and so the session. @type {BroadcastChannel | undefined} */
  let channel;

  /**
   * They are told what was answered to a refresh, or, by a 0, that the session is another one or over. No token goes
   * this way: none is in that answer.
   *
   * @param {any} what
   * @returns {any}
   */
  const tellTabs = (what) => channel?.postMessage(what);

  /**
   * @param {string} path
   * @param {object | undefined} body
   * @param {number} limit in milliseconds
   */
  const post = (path, body, limit) =>
    fetch(root + path, {
      method: "POST",
      credentials,
      redirect: "error", // The body has secrets, and would go along.
      headers: body && { "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(limit),
    });

  /** @param {Session | null} value */
  function change(value) {
    if (!value) {
      end = tokens = undefined;
      turns++;
    }
    if (value === session) return;
    session = value;
    // Each for itself: one that throws keeps nothing from the others.
    for (const listener of listeners) queueMicrotask(() => listener(value));
  }

  /** @param {number} seconds what the access token has left */
  function lasts(seconds) {
    end = now() + seconds * 1000;
    // Early enough for a second try, and not in all tabs at once: the first one tells the others. Never in haste.
    due = now() + Math.max(1, seconds - Math.min(60, seconds / 5) * (1 + Math.random())) * 1000;
    failures = 0;
    refreshAhead();
  }

  /** @param {any} answer */
  function granted(answer) {
    if (!byCookie) tokens = answer;
    heldOff = 0;
    turns++;
    lasts(answer.expires_in);
    // The cookies are somebody else's by now.
    if (session && session.session_id !== answer.session_id) look();
  }

  /**
   * Logs in or out. A refresh under way is waited for, but makes no further try.
   *
   * @param {string} path
   * @param {() => object | undefined} body
   */
  async function act(path, body) {
    era++;
    await refreshing;
    acting = post(path, body(), 30_000);
    const response = await acting;
    era++;
    return response;
  }

  /** Refreshes. Gives nothing once that is done, null when the session is over, or what stands in the way (a 503, say). */
  const renew = () => (refreshing ??= renewOnce().finally(() => (refreshing = undefined)));

  /** @returns {Promise<Trouble | null | undefined>} */
  async function renewOnce() {
    // Cookies of a refresh that began during a login could come after those of the login.
    try {
      await acting;
    } catch {
      // That is for whoever wanted to log in.
    }
    const started = now();
    if (started < heldOff) return lastTrouble;
    const eraBefore = era;
    const turnsBefore = turns;
    // Until another tab was faster, and the cookies are new; or somebody logged in or out.
    for (let pause = 0.25; turns === turnsBefore; pause *= 2) {
      let response, answer;
      try {
        const body = tokens && { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
        // The server repeats its answer for ten seconds: this one is given up in time for another try.
        lastTrouble = response = await post("/token", body, 8000);
        answer = await (response.ok ? read(response, "expires_in") : json(response));
      } catch (error) {
        response = undefined;
        lastTrouble = error;
      }
      if (turns !== turnsBefore) return;
      if (response?.ok) {
        granted(answer);
        return tellTabs(answer);
      }
      // Without a cookie the request was malformed: this browser holds no session any more.
      const status = response?.status ?? 500;
      const over = answer?.error === "invalid_grant";
      if (status === 400 && (over || (byCookie && answer.error === "invalid_request"))) {
        change(null);
        if (over) tellTabs(0);
        return null;
      }
      const asked = secondsToWait(response);
      const wait = Math.max(asked ?? 0, pause) * 1000 * (1 + Math.random() / 4);
      // What passes: it was lost on the way; the server is in trouble; a newer token is on its way into the cookies.
      if (
        (status < 500 && status !== 409) || wait > 4000 || now() + wait - started > 10_000 || era !== eraBefore ||
        (await new Promise((done) => setTimeout(done, wait)), era !== eraBefore)
      ) {
        heldOff = now() + (asked ? wait : 1000);
        return lastTrouble;
      }
    }
    return;
  }

  /** Refreshes when it is time, in a tab that somebody looks at. Elsewhere a request does, or whoever comes back. */
  async function refreshAhead() {
    if (!end || page?.hidden) return;
    let wait = due - now();
    if (wait <= 0) {
      if (!(await renew())) return;
      wait = Math.max(Math.min(2 ** ++failures, 60) * 1000, heldOff - now());
    }
    clearTimeout(timer);
    timer = setTimeout(refreshAhead, wait);
    timer.unref?.(); // Node would wait for it.
  }

  /**
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   * @param {boolean} [anyway] also where this client knows of no session
   */
  async function call(input, init, anyway) {
    const request = new Request(typeof input === "string" ? new URL(input, base ?? root) : input, init);
    if (!ours.includes(new URL(request.url).origin)) return fetch(request);
    const send = () => {
      const copy = new Request(request.clone(), { credentials });
      if (tokens && !copy.headers.has(authorization)) {
        copy.headers.set(authorization, "Bearer " + tokens.access_token);
      }
      return fetch(copy);
    };
    const turnsBefore = turns;
    const response = await send();
    // It was refused before anything was done, so to repeat it is safe.
    if ((session === null && !anyway) || !(await lacksToken(response))) return response;
    // Where tokens have come while it was on its way, the request only needs to be repeated.
    if (turns === turnsBefore) {
      const trouble = await renew();
      if (trouble instanceof Error) throw trouble;
      if (trouble !== undefined) return trouble?.clone() ?? response;
    }
    return send();
  }

  /** @returns {Promise<Session | null>} */
  async function resume() {
    if (!byCookie && !tokens) return null;
    const eraBefore = era;
    const response = await call(root + "/me", {}, true);
    // A refresh has said so; else this is no word about the session.
    const over = session === null && (await lacksToken(response));
    /** @type {Session | null} */
    const me = over ? null : await read(response, "session_id");
    if (era !== eraBefore) return resume();
    if (!me) return me;
    // Both are the server's times. Not everybody may read its `Date`; then the next 401 will tell.
    const left = Date.parse(me.expires_at) - Date.parse(/** @type {string} */ (response.headers.get("Date")));
    if (left && !end) lasts(left / 1000);
    change(me);
    return me;
  }

  /** Asks who is logged in, until that is known. Meanwhile everything stays as it is. */
  function look() {
    resume().catch(({ retryAfter }) => setTimeout(look, (retryAfter ?? 5) * 1000));
  }

  if (page) {
    try {
      if (byCookie) {
        channel = new BroadcastChannel("gatekey " + root);
        channel.onmessage = ({ data }) => {
          if (data && session) return granted(data);
          end = undefined;
          era++;
          look();
        };
      }
    } catch {
      // Old browsers have none, and those that block cookies refuse it.
    }
    page.addEventListener("visibilitychange", refreshAhead);
    addEventListener("online", refreshAhead);
    // A page from the back/forward cache shows who was logged in then.
    addEventListener("pageshow", ({ persisted }) => persisted && look());
  }

  return {
    /** Who is logged in: null for nobody, undefined as long as `resume` has not been asked. */
    get session() {
      return session;
    },

    /** Seconds until the access token ends. Undefined where that is not known. */
    get expiresIn() {
      return end && (end - now()) / 1000;
    },

    /**
     * Calls a function when somebody logs in or out, here or in another tab; at once if it is known who is logged in.
     *
     * @param {(session: Session | null) => void} listener
     * @returns {() => void} ends it
     */
    onChange(listener) {
      listeners.add(listener);
      if (session !== undefined) listener(session);
      return () => listeners.delete(listener);
    },

    /**
     * Asks the server who is logged in: once when a page starts. Rejects if it cannot tell; then nothing has changed.
     *
     * @returns {Promise<Session | null>}
     */
    resume,

    /**
     * @param {{ username: string, password: string }} credentials
     * @returns {Promise<Session>} rejects with `Refused`, or as `fetch` does
     */
    async login({ username, password }) {
      const response = await act("/login", () => ({ username, password, transport }));
      const answer = await read(response, "expires_in");
      if (session) change(null); // Whoever it was before.
      granted(answer);
      tellTabs(0);
      const me = await resume();
      if (!me) throw new Error("The cookies were not kept");
      return me;
    },

    /** Ends the session on the server. Rejects if that could not be done: then it goes on. */
    async logout() {
      const response = await act("/logout", () => tokens && { refresh_token: tokens.refresh_token });
      // Or there was nothing to end.
      if (response.status !== 204 && !(await lacksToken(response))) throw await Refused.from(response);
      change(null);
      tellTabs(0);
    },

    /** Refreshes now. Rejects if the server cannot; then the session goes on. */
    async refresh() {
      const trouble = await renew();
      if (trouble) throw trouble instanceof Error ? trouble : await Refused.from(trouble);
    },

    /**
     * As the global `fetch`, with the credentials. Where the access token is no longer good it is refreshed and the
     * request repeated, once. If a refresh is not to be had just now, its answer (429, 503) stands for the request's.
     *
     * @param {RequestInfo | URL} input
     * @param {RequestInit} [init]
     * @returns {Promise<Response>}
     */
    fetch: (input, init) => call(input, init),
  };
}
