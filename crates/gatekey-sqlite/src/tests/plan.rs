//! What statements cost: which index they read, and that a refresh writes none.

use crate::sessions::{CORRECT_BOUNDS, LIST, PURGE, REVOKED_SINCE, ROTATE};

use super::*;

fn explained(explain: &str, column: &str, sql: &str) -> Vec<String> {
    let mut db = rusqlite::Connection::open_in_memory().unwrap();
    schema::migrate(&mut db).unwrap();
    let mut statement = db.prepare(&format!("{explain} {sql}")).unwrap();
    let column = statement.column_index(column).unwrap();
    let rows = statement.raw_query().mapped(|row| row.get::<_, String>(column));
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn statements_over_many_rows_read_the_index_made_for_them() {
    for (sql, index) in [
        (LIST, "gatekey_session_subject (subject=?)"),
        (REVOKED_SINCE, "gatekey_session_ended (ended_at>?)"),
        (CORRECT_BOUNDS, "gatekey_session_purge (purge_after<?)"),
        (PURGE, "gatekey_session_purge (purge_after<?)"),
    ] {
        let plan = explained("EXPLAIN QUERY PLAN", "detail", sql);
        assert!(plan.iter().any(|step| step.contains(index)), "{plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
    }
}

#[test]
fn a_refresh_writes_the_row_and_no_index() {
    let opened = |sql| {
        let codes = explained("EXPLAIN", "opcode", sql);
        codes.iter().filter(|code| *code == "OpenWrite").count()
    };
    assert_eq!(opened(ROTATE), 1);
    // The same question sees an index where one is written.
    assert_eq!(opened(CORRECT_BOUNDS), 2);
}

#[tokio::test]
async fn a_purge_corrects_every_bound_that_it_meets() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("over", "alice")).await;
    // More than one step looks at, all of them refreshed since their bounds were written.
    let db = folder.other();
    let mut columns: Vec<String> = {
        let mut statement = db.prepare("SELECT name FROM pragma_table_info('gatekey_session')").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for column in &mut columns {
        match column.as_str() {
            "id" => *column = "'live-' || value".to_owned(),
            "idle_expires_at" => *column = "idle_expires_at + 1000".to_owned(),
            _ => {}
        }
    }
    let copied = format!(
        "INSERT INTO gatekey_session
         WITH RECURSIVE counted (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM counted LIMIT 2500)
         SELECT {} FROM gatekey_session, counted",
        columns.join(", ")
    );
    assert_eq!(db.execute(&copied, []).unwrap(), 2500);

    let before = NOW + IDLE + Duration::from_secs(1);
    assert_eq!(store.purge_expired(before, 10).await.unwrap(), 1);
    let count = |sql| db.query_row(sql, [before.as_millis()], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM gatekey_session WHERE purge_after < ?1"), 0);
    assert_eq!(count("SELECT count(*) FROM gatekey_session WHERE purge_after = ?1"), 2500);
}
