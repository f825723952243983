// Made from the comments of gatekey.js by `cargo xtask js --write`.
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
export type Session = {
    /**
     * the account's id
     */
    sub: string;
    username: string;
    roles: string[];
    session_id: string;
    /**
     * when the password was entered (RFC 3339)
     */
    auth_time: string;
    /**
     * when the access token ends by the server's clock (RFC 3339)
     */
    expires_at: string;
};
export type Options = {
    /**
     * where the endpoints are, `/auth` by default; absolute outside of a browser
     */
    url?: string;
    /**
     * who keeps the tokens: the browser, in cookies that no script can read (the
     * default), or this client, in memory
     */
    transport?: "cookie" | "body";
    /**
     * where `fetch` adds credentials, beside the origin of `url`
     */
    origins?: string[];
};
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
export declare class Refused extends Error {
    /** The HTTP status. */
    status: number;
    /** Gatekey's code, such as `invalid_credentials`. @type {string | undefined} */
    code: string | undefined;
    /** The field that breaks a rule. @type {string | undefined} */
    field: string | undefined;
    /** The rule that it breaks, such as `too_short`. @type {string | undefined} */
    rule: string | undefined;
    /** Seconds to wait before another try, at most an hour. */
    retryAfter: number | undefined;
    /**
     * @param {Response} response
     * @param {any} body
     */
    constructor(response: Response, body: any);
    /**
     * Reads a refusal, also one of your own routes or of a proxy.
     *
     * @param {Response} response
     * @returns {Promise<Refused>}
     */
    static from(response: Response): Promise<Refused>;
}
/**
 * Makes a client. One is enough for a page.
 *
 * @param {Options} [options]
 */
export declare function gatekey({ url, transport, origins }?: Options): {
    /** Who is logged in: null for nobody, undefined as long as `resume` has not been asked. */
    readonly session: Session | null | undefined;
    /** Seconds until the access token ends. Undefined where that is not known. */
    readonly expiresIn: number | undefined;
    /**
     * Calls a function when somebody logs in or out, here or in another tab; at once if it is known who is logged in.
     *
     * @param {(session: Session | null) => void} listener
     * @returns {() => void} ends it
     */
    onChange(listener: (session: Session | null) => void): () => void;
    /**
     * Asks the server who is logged in: once when a page starts. Rejects if it cannot tell; then nothing has changed.
     *
     * @returns {Promise<Session | null>}
     */
    resume: () => Promise<Session | null>;
    /**
     * @param {{ username: string, password: string }} credentials
     * @returns {Promise<Session>} rejects with `Refused`, or as `fetch` does
     */
    login({ username, password }: {
        username: string;
        password: string;
    }): Promise<Session>;
    /** Ends the session on the server. Rejects if that could not be done: then it goes on. */
    logout(): Promise<void>;
    /** Refreshes now. Rejects if the server cannot; then the session goes on. */
    refresh(): Promise<void>;
    /**
     * As the global `fetch`, with the credentials. Where the access token is no longer good it is refreshed and the
     * request repeated, once. If a refresh is not to be had just now, its answer (429, 503) stands for the request's.
     *
     * @param {RequestInfo | URL} input
     * @param {RequestInit} [init]
     * @returns {Promise<Response>}
     */
    fetch: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
};
