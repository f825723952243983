//! TLS against a server that has it. Private servers of `cargo xtask services` do, where `openssl` is installed.

use std::path::PathBuf;

use super::*;

/// The server's own certificate in a file, or `None` and a line that says so.
async fn certificate(place: &Place) -> Option<PathBuf> {
    let ssl: String = place.admin.query_one("SHOW ssl", &[]).await.unwrap().get(0);
    let asked = "SELECT pg_read_file(current_setting('ssl_cert_file'))";
    let read = place.admin.query_one(asked, &[]).await;
    let Some(row) = read.ok().filter(|_| ssl == "on") else {
        let _ = writeln!(
            std::io::stderr(),
            "not run: tls: the server has no TLS, or does not show its certificate"
        );
        return None;
    };
    let file = std::env::temp_dir().join(format!("gatekey-postgres-{}.pem", place.schema));
    std::fs::write(&file, row.get::<_, String>(0)).unwrap();
    Some(file)
}

#[tokio::test]
async fn a_certificate_is_always_verified() {
    let Some(place) = Place::find().await else { return };
    let Some(file) = certificate(&place).await else { return };
    let url = place.url_with("sslmode=require");

    let error = place.options().connect(&url).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    // Trusted, under the name that it has.
    let store = place.options().root_certificates(&file).connect(&url).await.unwrap();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let client = store.database.pool.get().await.unwrap();
    assert!(client.query_one(encrypted, &[]).await.unwrap().get::<_, bool>(0));
    drop(client);
    insert(&store, &session("one", "alice")).await;
    let mut subscription = store.subscribe().await.unwrap().unwrap();
    assert!(store.revoke(&SessionId::new("one"), None, EndReason::Logout, NOW).await.unwrap());
    assert!(subscription.next().await.is_some());
    let encrypted = "SELECT count(*) FROM pg_stat_ssl AS tls JOIN pg_stat_activity AS session USING (pid)
         WHERE tls.ssl AND session.query LIKE 'LISTEN%'";
    assert!(place.number(encrypted).await >= 1);
    drop((store, subscription));

    // Trusted, under another name.
    let other = url.replace("@127.0.0.1:", "@elsewhere:") + "&hostaddr=127.0.0.1";
    if other.contains("@elsewhere:") {
        let error = place.options().root_certificates(&file).connect(&other).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    place.leave().await;
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_refused() {
    let empty = std::env::temp_dir().join(format!("gatekey-postgres-{}-empty.pem", std::process::id()));
    std::fs::write(&empty, "").unwrap();
    for file in [PathBuf::from("/nowhere/roots.pem"), empty.clone()] {
        let options = PostgresOptions::default().root_certificates(file);
        let error = options.connect("postgres://app@localhost/app?sslmode=require").await.unwrap_err();
        assert!(matches!(error, ConnectError::Settings(_)), "{error}");
    }
    std::fs::remove_file(empty).unwrap();
}
