//! TLS, with certificates that `openssl` makes.

use std::{io::Write as _, path::Path, process::Command};

use gatekey_core::{rotation::Outcome, session::EndReason};

use super::{
    server::{Server, free_port, patient},
    *,
};
use crate::{ConnectError, RedisOptions};

/// Makes an authority and a certificate of it for `localhost`; whether that can be done here.
fn certificates(folder: &Path) -> bool {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let made = openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=roots"))
        && openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"))
        && openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem",
        );
    if !made {
        assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "openssl makes no certificates");
        let _ = writeln!(
            std::io::stderr(),
            "not run: a_certificate_is_always_verified: openssl makes no certificates"
        );
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_always_verified() {
    let folder = std::env::temp_dir().join(format!("gatekey-redis-tls-{}", std::process::id()));
    if !certificates(&folder) {
        return;
    }
    let file = |name: &str| folder.join(name).display().to_string();
    let (certificate, key, roots) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let port = free_port().to_string();
    let tls = [
        ["--tls-port", &port],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-ca-cert-file", &roots],
        ["--tls-auth-clients", "no"],
    ];
    let Some(_server) = Server::start("a_certificate_is_always_verified", &tls.concat()).await else {
        return;
    };
    let url = format!("rediss://localhost:{port}/");

    let stranger = patient().connect(&url).await.unwrap_err();
    assert!(matches!(&stranger, ConnectError::Unreachable { .. }), "{stranger}");
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
    let options = || patient().root_certificates(&roots);
    // Trusted, under another name.
    let other = options().connect(&url.replace("localhost", "127.0.0.1")).await.unwrap_err();
    assert!(other.to_string().contains("certificate"), "{other}");

    let store = options().connect(&url).await.unwrap();
    let row = tagged("alice");
    open(&store, &row).await;
    let mut subscription = store.subscribe().await.unwrap().unwrap();
    assert_eq!(store.rotate(&attempt(&row, 0)).await.unwrap().unwrap().outcome, Outcome::Rotated);
    assert!(store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap());
    assert_eq!(subscription.next().await.unwrap().session, row.id);

    // There is no way around it, and none that is taken by mistake.
    for refused in [
        RedisStore::connect(&format!("{url}#insecure")).await,
        options().connect(&url.replace("rediss", "redis")).await,
        RedisOptions::default().root_certificates(&key).connect(&url).await,
        RedisOptions::default().root_certificates("/nowhere/roots.pem").connect(&url).await,
    ] {
        assert!(matches!(refused, Err(ConnectError::Invalid(_))), "{refused:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
