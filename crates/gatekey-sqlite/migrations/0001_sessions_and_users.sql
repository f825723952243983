-- Times are milliseconds since the Unix epoch, UTC. Digests are SHA-256. Numbers of generations are unsigned 64-bit
-- numbers kept in the same 64 bits.

-- One row a session, for life, changed in place at every refresh. A rowid table: its rows are too large for a
-- clustered index (SQLite keeps whole rows of those in inner nodes), and a new session is an append.
CREATE TABLE gatekey_session (
    id                     TEXT    NOT NULL PRIMARY KEY,
    subject                TEXT    NOT NULL,
    scope                  TEXT,
    auth_time              INTEGER NOT NULL,
    created_at             INTEGER NOT NULL,
    expires_at             INTEGER NOT NULL,
    idle_expires_at        INTEGER NOT NULL,
    last_used_at           INTEGER NOT NULL,
    ip                     TEXT,
    user_agent             TEXT,
    generation             INTEGER NOT NULL,
    live                   BLOB    NOT NULL CHECK (length(live) = 32),
    parent                 BLOB             CHECK (length(parent) = 32),
    parent_generation      INTEGER,
    rotated_at             INTEGER NOT NULL,
    replayed_at            INTEGER,
    live_used              INTEGER NOT NULL CHECK (live_used IN (0, 1)),
    this_window_oldest     INTEGER NOT NULL,
    this_window_opened_at  INTEGER NOT NULL,
    last_window_oldest     INTEGER NOT NULL,
    last_window_opened_at  INTEGER NOT NULL,
    sealed                 BLOB    NOT NULL,
    ended_at               INTEGER,
    end_reason             TEXT,
    -- Never after the time from which the row may be removed; see gatekey_session_purge.
    purge_after            INTEGER NOT NULL,
    CHECK ((parent IS NULL) = (parent_generation IS NULL)),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) STRICT;

-- No index holds a column that a refresh changes: each would cost every refresh two more pages to write and sync.

-- The sessions of a subject, in the order in which they are listed; its columns never change.
CREATE INDEX gatekey_session_subject ON gatekey_session (subject, created_at);

-- The feed of revocations; a row enters it once, when it is ended.
CREATE INDEX gatekey_session_ended ON gatekey_session (ended_at) WHERE ended_at IS NOT NULL;

-- What may be removed. A refresh moves the idle end, so this one keeps a lower bound of it instead, which only purging
-- corrects: one index write for each idle lifetime of a session, not for each refresh.
CREATE INDEX gatekey_session_purge ON gatekey_session (purge_after);

-- When all sessions of a subject were last revoked: logins that began before are out of date. One row for each
-- subject it ever happened to.
CREATE TABLE gatekey_revoked_all (
    subject TEXT    NOT NULL PRIMARY KEY,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gatekey_user (
    id            TEXT    NOT NULL PRIMARY KEY,
    -- The canonical form of the name: NFKC, lower case.
    name          TEXT    NOT NULL UNIQUE,
    -- The name as registered.
    username      TEXT    NOT NULL,
    password_hash TEXT,
    -- A JSON array of strings.
    roles         TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(roles) AND json_type(roles) = 'array'),
    scope         TEXT,
    disabled      INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created_at    INTEGER NOT NULL
) STRICT;
