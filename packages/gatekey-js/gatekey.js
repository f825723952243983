/**
 * gatekey.js: a client of Gatekey's endpoints, for browsers, Node and whatever else has `fetch`.
 *
 * What makes it a good client, in five rules:
 *
 *  1. A session is over when a refresh answers `invalid_grant`, and at no other sign. A server that is busy, down or
 *     out of reach has logged nobody out.
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
    super(body.error_description || `status ${response.status}`);
    this.name = "Refused";
    /** The HTTP status. */
    this.status = response.status;
    /** Gatekey's code, such as `invalid_credentials`. @type {string | undefined} */
    this.code = body.error;
    /** The field that breaks a rule. @type {string | undefined} */
    this.field = body.field;
    /** The rule that it breaks, such as `too_short`. @type {string | undefined} */
    this.rule = body.rule;
    /** Seconds to wait before another try. */
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
const secondsToWait = (response) => Number(response?.headers.get("Retry-After")) || undefined;

/**
 * A proxy in between may answer with a page of its own, which says nothing to us.
 *
 * @param {Response} response
 * @returns {Promise<any>}
 */
const json = async (response) => (await response.json().catch(() => null)) ?? {};

/**
 * Makes a client. One is enough for a page.
 *
 * @param {Options} [options]
 */
export function gatekey({ url = "/auth", transport = "cookie", origins = [] } = {}) {
  const page = globalThis.document;
  const base = page?.baseURI ?? globalThis.location?.href;
  const root = new URL(url, base).href.replace(/\/$/, "");
  const ours = [new URL(root).origin, ...origins];
  const byCookie = transport !== "body";

  /** Undefined as long as nobody asked. @type {Session | null | undefined} */
  let session = byCookie ? undefined : null;
  /** @type {Set<(session: Session | null) => void>} */
  const listeners = new Set();
  /** In body transport. @type {{ access_token: string, refresh_token: string } | undefined} */
  let tokens;
  /** When the access token ends, on the scale of `performance.now()`. @type {number | undefined} */
  let end;
  /** When it is time for a new one, on the same scale. */
  let due = 0;
  /** How often tokens came or went, here or in another tab: a refresh that began before that has nothing to say. */
  let turns = 0;
  /** How often somebody logged in or out here. */
  let era = 0;
  /** The refresh under way. @type {Promise<Response | null | undefined> | undefined} */
  let refreshing;
  /** No refresh before that, and why. @type {{ until: number, response?: Response, error?: unknown } | undefined} */
  let heldOff;
  /** Refreshes ahead of time that failed in a row. */
  let failures = 0;
  /** @type {any} */
  let timer;

  /**
   * @param {string} path
   * @param {object} [body]
   * @param {RequestInit} [init]
   */
  const post = (path, body, init) =>
    fetch(root + path, {
      method: "POST",
      credentials: byCookie ? "include" : "omit",
      headers: body && { "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
      ...init,
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
    const now = performance.now();
    end = now + seconds * 1000;
    // Early enough for a second try, and not in all tabs at once: the first one tells the others.
    due = end - Math.min(60, seconds / 5) * 1000 * (1 + Math.random());
    failures = 0;
    refreshAhead();
  }

  /** @param {any} answer */
  function granted(answer) {
    if (!byCookie) tokens = answer;
    heldOff = undefined;
    turns++;
    lasts(answer.expires_in);
  }

  /** Before somebody logs in or out: a refresh under way is waited for, but makes no further try. */
  async function newEra() {
    era++;
    await refreshing?.catch(() => {});
  }

  /** Refreshes. Gives nothing once that is done, null when the session is over, or what stands in the way (a 503, say). */
  const renew = () => (refreshing ??= renewOnce().finally(() => (refreshing = undefined)));

  /** @returns {Promise<Response | null | undefined>} */
  async function renewOnce() {
    const started = performance.now();
    if (heldOff && started < heldOff.until) {
      if (heldOff.error) throw heldOff.error;
      return heldOff.response;
    }
    const [eraBefore, turnsBefore] = [era, turns];
    for (let pause = 0.25; ; pause *= 2) {
      let response, error, answer;
      try {
        const body = tokens && { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
        // The server repeats its answer for ten seconds: this one is given up in time for another try.
        response = await post("/token", body, { signal: AbortSignal.timeout(8000) });
        answer = await (response.ok ? response.json() : json(response.clone()));
      } catch (thrown) {
        [response, error] = [undefined, thrown];
      }
      // Another tab was faster, and the cookies are new; or somebody logged in or out.
      if (turns !== turnsBefore) return;
      if (response?.ok) {
        granted(answer);
        channel?.postMessage(answer.expires_in);
        return;
      }
      // Without a cookie the request was malformed: this browser holds no session any more.
      const over = answer?.error === "invalid_grant";
      if (over || (byCookie && answer?.error === "invalid_request")) {
        change(null);
        if (over) channel?.postMessage(0);
        return null;
      }
      // Lost on the way; or in trouble; or superseded by a newer token, which is on its way into the cookies.
      const passing = !response || response.status >= 500 || response.status === 409;
      const asked = secondsToWait(response);
      const wait = (asked ?? pause) * 1000 * (1 + Math.random() / 4);
      const now = performance.now();
      if (!passing || era !== eraBefore || pause > 2 || wait > 4000 || now - started > 10_000) {
        heldOff = { until: now + (asked ? wait : 1000), response, error };
        if (error) throw error;
        return response;
      }
      await new Promise((done) => setTimeout(done, wait));
    }
  }

  /** Refreshes when it is time, in a tab that somebody looks at. Elsewhere a request does, or whoever comes back. */
  async function refreshAhead() {
    clearTimeout(timer);
    if (!end || page?.hidden) return;
    let wait = due - performance.now();
    if (wait <= 0) {
      if (!(await renew().catch(() => true))) return;
      wait = Math.max(Math.min(2 ** ++failures, 60) * 1000, (heldOff?.until ?? 0) - performance.now());
      clearTimeout(timer);
    }
    timer = setTimeout(refreshAhead, Math.min(wait, 86_400_000));
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
      const copy = new Request(request.clone(), byCookie ? { credentials: "include" } : undefined);
      if (tokens && !copy.headers.has("Authorization")) {
        copy.headers.set("Authorization", `Bearer ${tokens.access_token}`);
      }
      return fetch(copy);
    };
    const turnsBefore = turns;
    const response = await send();
    // A 401 was refused before anything was done, so to repeat it is safe. Wrong passwords and logins that are too old
    // are 401 as well; a refresh would not mend them.
    if (response.status !== 401 || (session === null && !anyway)) return response;
    const { error } = await json(response.clone());
    if (error !== "invalid_token" && error !== "unauthenticated") return response;
    // Where tokens have come while it was on its way, the request only needs to be repeated.
    if (turns === turnsBefore) {
      const trouble = await renew();
      if (trouble !== undefined) return trouble?.clone() ?? response;
    }
    return send();
  }

  async function resume() {
    if (!byCookie && !tokens) return null;
    const eraBefore = era;
    const response = await call(`${root}/me`, {}, true);
    if (era !== eraBefore) return session ?? null;
    if (response.status === 401) {
      change(null);
      return null;
    }
    if (!response.ok) throw await Refused.from(response);
    /** @type {Session} */
    const me = await response.json();
    // Both are the server's times. Not everybody may read its `Date`; then the next 401 will tell.
    const left = Date.parse(me.expires_at) - Date.parse(response.headers.get("Date") ?? "");
    if (left && !end) lasts(left / 1000);
    change(me);
    return me;
  }

  // Tabs share the cookies, and so the session. They are told that it is good for so many seconds, or, by a 0, that it
  // is another one or over. No token goes this way.
  const channel = byCookie && page ? new BroadcastChannel(`gatekey ${root}`) : undefined;
  const look = () => void resume().catch(() => {}); // Without an answer everything stays as it is.
  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data && session) return granted({ expires_in: data });
      end = undefined;
      look();
    };
  }
  if (page) {
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
      return end && (end - performance.now()) / 1000;
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
      return () => void listeners.delete(listener);
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
      await newEra();
      const response = await post("/login", { username, password, transport });
      if (!response.ok) throw await Refused.from(response);
      granted(await response.json());
      const me = await resume();
      if (!me) throw new Error("The cookies were not kept");
      channel?.postMessage(0);
      return me;
    },

    /** Ends the session on the server. Rejects if that could not be done: then it goes on. */
    async logout() {
      await newEra();
      const response = await post("/logout", tokens && { refresh_token: tokens.refresh_token });
      // A 401: there was nothing to end.
      if (!response.ok && response.status !== 401) throw await Refused.from(response);
      change(null);
      channel?.postMessage(0);
    },

    /** Refreshes now. Rejects if the server cannot; then the session goes on. */
    async refresh() {
      const trouble = await renew();
      if (trouble) throw await Refused.from(trouble.clone());
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
