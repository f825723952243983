-- `@name` stands for a table or index of ours, with the schema and prefix that were chosen.
--
-- Times are milliseconds since the Unix epoch, UTC. Digests are SHA-256. Numbers of generations are unsigned 64-bit
-- numbers kept in the same 64 bits. Text is compared byte for byte (COLLATE "C"): faster, and an index on it does not
-- break when the operating system's locales change.

-- One row a session, for life, changed in place at every refresh. No index holds a column that a refresh changes, and
-- every page has room for new versions of its rows: so a refresh is a heap-only update, which touches one page. There
-- are no CHECKs: the server parses each of them anew for each UPDATE, a tenth of a refresh; a row that does not hold
-- together is refused by whoever reads it.
CREATE TABLE @session (
    generation             bigint  NOT NULL,
    parent_generation      bigint,
    auth_time              bigint  NOT NULL,
    created_at             bigint  NOT NULL,
    expires_at             bigint  NOT NULL,
    idle_expires_at        bigint  NOT NULL,
    last_used_at           bigint  NOT NULL,
    rotated_at             bigint  NOT NULL,
    replayed_at            bigint,
    this_window_oldest     bigint  NOT NULL,
    this_window_opened_at  bigint  NOT NULL,
    last_window_oldest     bigint  NOT NULL,
    last_window_opened_at  bigint  NOT NULL,
    ended_at               bigint,
    -- Never after the time from which the row may be removed; see @session_purge.
    purge_after            bigint  NOT NULL,
    live_used              boolean NOT NULL,
    id                     text COLLATE "C" NOT NULL,
    subject                text COLLATE "C" NOT NULL,
    live                   bytea   NOT NULL,
    parent                 bytea,
    sealed                 bytea   NOT NULL,
    ip                     inet,
    user_agent             text,
    scope                  text,
    end_reason             text,
    CONSTRAINT @session_key PRIMARY KEY (id)
) WITH (fillfactor = 70);

-- The sessions of a subject; its columns never change.
CREATE INDEX @session_subject ON @session (subject, created_at);

-- The feed of revocations; a row enters it once, when it is ended.
CREATE INDEX @session_ended ON @session (ended_at) WHERE ended_at IS NOT NULL;

-- What may be removed. A refresh moves the idle end, so this one keeps a lower bound of it instead, which only purging
-- corrects: one index write for each idle lifetime of a session, not for each refresh.
CREATE INDEX @session_purge ON @session (purge_after);

-- When all sessions of a subject were last revoked: logins that began before are out of date. One row for each
-- subject it ever happened to.
CREATE TABLE @revoked_all (
    subject text COLLATE "C" NOT NULL,
    at      bigint NOT NULL,
    CONSTRAINT @revoked_all_key PRIMARY KEY (subject)
);

CREATE TABLE @user (
    id            text COLLATE "C" NOT NULL,
    -- The canonical form of the name: NFKC, lower case.
    name          text COLLATE "C" NOT NULL,
    -- The name as registered.
    username      text    NOT NULL,
    password_hash text,
    roles         text[]  NOT NULL DEFAULT '{}' CHECK (array_position(roles, NULL) IS NULL),
    scope         text,
    disabled      boolean NOT NULL DEFAULT false,
    created_at    bigint  NOT NULL,
    CONSTRAINT @user_key PRIMARY KEY (id),
    CONSTRAINT @user_name UNIQUE (name)
);

-- Counters of attempts. Not logged: a crash of the server empties the table, which lets nobody in and saves two disk
-- writes an attempt. Counters of other kinds than a level above 0 mean nothing.
CREATE UNLOGGED TABLE @throttle (
    level      bigint NOT NULL,
    at         bigint NOT NULL,
    -- From when on the counter means nothing, rounded up to an hour, so that its index is not written at each attempt.
    kept_until bigint NOT NULL,
    key        bytea  NOT NULL,
    CONSTRAINT @throttle_key PRIMARY KEY (key)
) WITH (fillfactor = 70);

CREATE INDEX @throttle_purge ON @throttle (kept_until);
