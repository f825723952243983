//! Every statement that is sent while serving, in one place. `@session` and the like are filled in by
//! [`Names`](crate::names::Names), once.

use crate::names::Names;

/// The columns of a session, in the order in which `sessions::session` reads them.
macro_rules! columns {
    () => {
        "id, subject, scope, auth_time, created_at, expires_at, idle_expires_at, last_used_at, \
         ip, user_agent, generation, live, parent, parent_generation, rotated_at, replayed_at, \
         live_used, this_window_oldest, this_window_opened_at, last_window_oldest, \
         last_window_opened_at, sealed, ended_at, end_reason"
    };
}

macro_rules! user_columns {
    () => {
        "id, username, password_hash, roles, scope, disabled, created_at"
    };
}

/// From when a row may be removed. Reuse is evidence: kept until the session would have ended anyway.
macro_rules! removable_at {
    () => {
        "CASE WHEN end_reason = 'reuse' THEN expires_at ELSE least(idle_expires_at, expires_at) END"
    };
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $text:expr,)*) => {
        /// The statements, with the names of our tables.
        pub(crate) struct Statements {
            $($(#[$doc])* pub(crate) $name: String,)*
        }

        impl Statements {
            /// `announced` says whether ends of sessions are notified.
            pub(crate) fn new(names: &Names, announced: bool) -> Self {
                // Inside the statement that ends a session, so it is sent if and only if that is committed.
                let notify = if announced { "pg_notify('@channel', ended_at || ' ' || id)" } else { "NULL" };
                Self { $($name: names.fill(&$text.replace("@notify", notify)),)* }
            }
        }
    };
}

statements! {
    /// The happy path of a refresh: one statement, one round trip. It writes what core made of the row that was seen, if
    /// that is still the row: the live token, and with it all that only a swap changes; a replay of its parent; the last
    /// use, which everything else but an end writes. A bound that would have to move too (`purge_after`) is left to the
    /// slow path, since that column has an index.
    swap: "UPDATE @session SET
             idle_expires_at = $2, last_used_at = $3, ip = $4, user_agent = $5, generation = $6, live = $7,
             parent = $8, parent_generation = $9, rotated_at = $3, replayed_at = NULL, live_used = false,
             this_window_oldest = $10, this_window_opened_at = $11, last_window_oldest = $12,
             last_window_opened_at = $13, sealed = $14
         WHERE id = $1 AND live = $8 AND ended_at IS NULL AND replayed_at IS NOT DISTINCT FROM $15
             AND last_used_at = $16 AND purge_after <= $17",
    find_for_update: concat!("SELECT ", columns!(), ", purge_after FROM @session WHERE id = $1 FOR UPDATE"),
    write_rotated: "UPDATE @session SET
             idle_expires_at = $2, last_used_at = $3, ip = $4, user_agent = $5, generation = $6, live = $7,
             parent = $8, parent_generation = $9, rotated_at = $10, replayed_at = $11, live_used = $12,
             this_window_oldest = $13, this_window_opened_at = $14, last_window_oldest = $15,
             last_window_opened_at = $16, sealed = $17, ended_at = $18, end_reason = $19, purge_after = $20
         WHERE id = $1",
    notify: "SELECT @notify FROM (VALUES ($1::bigint, $2::text)) AS ended (ended_at, id)",

    /// Logins and `revoke_all` of one subject come one after the other, also where the subject has no row yet. A
    /// statement of its own: the next one's snapshot is taken after the wait.
    lock_subject: "SELECT pg_advisory_xact_lock(hashtextextended('@channel ' || $1, 0))",
    /// Opens a session unless its login is out of date, and ends the least recently used of the others where there are
    /// too many. Its first column says whether it did, each row names one that it ended.
    insert: concat!(
        "WITH opened AS (
             INSERT INTO @session (", columns!(), ", purge_after)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                 $22, $23, $24, $25
             WHERE NOT EXISTS (SELECT FROM @revoked_all WHERE subject = $2 AND at >= $4)
             RETURNING 1
         ), evicted AS (
             UPDATE @session SET ended_at = $5, end_reason = 'evicted'
             WHERE ended_at IS NULL AND EXISTS (SELECT FROM opened) AND id IN (
                 SELECT id FROM @session
                 WHERE subject = $2 AND ended_at IS NULL AND $5 < idle_expires_at AND $5 < expires_at
                 ORDER BY last_used_at DESC, created_at DESC, id DESC
                 OFFSET $26
             )
             RETURNING id, ended_at
         )
         SELECT EXISTS (SELECT FROM opened), id, CASE WHEN id IS NOT NULL THEN @notify END
         FROM (VALUES (1)) AS always LEFT JOIN evicted ON true"
    ),
    find: concat!("SELECT ", columns!(), " FROM @session WHERE id = $1"),
    /// The same and the account of its subject, whose columns are NULL where there is none.
    find_with_account: concat!(
        "SELECT kept.*, account.* FROM (SELECT ", columns!(), " FROM @session WHERE id = $1) AS kept
         LEFT JOIN (SELECT ", user_columns!(), " FROM @user) AS account ON account.id = kept.subject"
    ),
    list: concat!(
        "SELECT ",
        columns!(),
        " FROM @session
         WHERE subject = $1 AND ended_at IS NULL AND $2 < idle_expires_at AND $2 < expires_at
         ORDER BY created_at DESC, id DESC"
    ),
    revoke: "WITH ended AS (
             UPDATE @session SET ended_at = $3, end_reason = $4
             WHERE id = $1 AND ended_at IS NULL AND ($2::text IS NULL OR subject = $2)
             RETURNING id, ended_at
         )
         SELECT id, @notify FROM ended",
    /// The later of two marks stays: a clock that stepped back must not let a login in that was refused before.
    mark_revoked_all: "INSERT INTO @revoked_all AS mark (subject, at) VALUES ($1, $2)
         ON CONFLICT (subject) DO UPDATE SET at = greatest(mark.at, excluded.at)",
    revoke_all: "WITH ended AS (
             UPDATE @session SET ended_at = $3, end_reason = $4
             WHERE subject = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $2
             RETURNING id, ended_at
         )
         SELECT id, @notify FROM ended",
    revoked_since: "SELECT id, ended_at FROM @session WHERE ended_at >= $1",
    /// One step of a purge: of the first $2 rows that look removable by their bounds, removes at most $3 that are, and
    /// corrects the bounds of those that are not. Rows that somebody is changing are left to the next time.
    purge: concat!(
        "WITH due AS (
             SELECT id, ", removable_at!(), " AS removable_at FROM @session
             WHERE purge_after < $1 ORDER BY purge_after LIMIT $2 FOR UPDATE SKIP LOCKED
         ), removed AS (
             DELETE FROM @session AS row USING (SELECT id FROM due WHERE removable_at < $1 LIMIT $3) AS over
             WHERE row.id = over.id RETURNING 1
         ), corrected AS (
             UPDATE @session AS row SET purge_after = due.removable_at FROM due
             WHERE row.id = due.id AND due.removable_at >= $1 RETURNING 1
         )
         SELECT (SELECT count(*) FROM removed), (SELECT count(*) FROM corrected)"
    ),

    find_user_by_name: concat!("SELECT ", user_columns!(), " FROM @user WHERE name = $1"),
    find_user_by_id: concat!("SELECT ", user_columns!(), " FROM @user WHERE id = $1"),
    set_password_hash: "UPDATE @user SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
    /// Roles, scope and `disabled` begin as the table says.
    create_user: concat!(
        "INSERT INTO @user (id, name, username, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO NOTHING RETURNING ",
        user_columns!()
    ),
    update_user: "UPDATE @user SET
             disabled = coalesce($2, disabled),
             roles = coalesce($3, roles),
             scope = CASE WHEN $4 THEN $5 ELSE scope END
         WHERE id = $1",

    /// Locks the counters of these keys, in the order of keys, and reads them. Those that are missing are made, with a
    /// level that means nothing, so that two takes of a new key wait for each other too.
    lock_counters: "INSERT INTO @throttle AS counter (key, level, at, kept_until)
         SELECT key, 0, $2, $2 FROM unnest($1::bytea[]) AS key ORDER BY key
         ON CONFLICT (key) DO UPDATE SET level = counter.level
         RETURNING key, level, at",
    lock_present_counters: "SELECT key, level, at FROM @throttle WHERE key = ANY ($1) ORDER BY key FOR UPDATE",
    write_counters: "UPDATE @throttle AS counter SET level = new.level, at = new.at, kept_until = new.kept_until
         FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) AS new (key, level, at, kept_until)
         WHERE counter.key = new.key",
    clear_counter: "DELETE FROM @throttle WHERE key = $1",
    purge_counters: "DELETE FROM @throttle AS counter USING (
             SELECT key FROM @throttle WHERE kept_until < $1 ORDER BY kept_until LIMIT $2 FOR UPDATE SKIP LOCKED
         ) AS over
         WHERE counter.key = over.key",
}
