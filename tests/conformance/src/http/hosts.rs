//! Starting a host: the protocol, and configurations it must refuse.
//!
//! A setting that is taken although it cannot mean anything safe is found out by an attacker, not by the operator. So
//! each is refused before the host listens, with exit code 2 and one line that names it.

use std::time::Duration;

use aws_lc_rs::{encoding::AsDer, rsa};
use base64_simd::STANDARD;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, case, failed, harness, run},
    client::PATIENCE,
    host::Host,
    token::{AccessKey, KeyKind, pem, random_bytes},
    verdict::equal,
};

const ACCESS: &str = "GATEKEY_ACCESS_KEY";
const REFRESH: &str = "GATEKEY_REFRESH_SECRET";

pub(crate) const CASES: &[Case] = &[
    case(
        "hosts/says-where-it-serves",
        "A host prints its address once, as soon as it serves, and nothing else on standard output.",
    )
    .spec(&["tests/README.md, the protocol of host programs"])
    .needs(&[Need::Processes, Need::Routes])
    .run(run!(async |host| {
        host.route("GET", "/open").send().await?.is(200)?;
        let exit = host.stop().await?;
        exit.gracefully()?;
        equal("standard output", &exit.stdout, &vec![format!("ready http://{}", host.target().authority)])
    })),
    case(
        "hosts/finishes-what-is-under-way",
        "After SIGTERM a request in flight is answered, and the host exits with 0.",
    )
    .spec(&["tests/README.md, the protocol of host programs"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        let user = host.user().await?;
        let body = json!({"username": user.name, "password": user.password}).to_string();
        let target = host.target();
        let mut stream = TcpStream::connect(target.address).await.map_err(harness)?;
        // The interim answer says that the handler has begun and waits for the body.
        let head = format!(
            "POST {}/login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Expect: 100-continue\r\nConnection: close\r\n\r\n",
            target.prefix,
            target.authority,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.map_err(harness)?;
        let mut interim = vec![0; 256];
        let read = timeout(PATIENCE, stream.read(&mut interim)).await;
        let interim = match read {
            Ok(Ok(read)) => String::from_utf8_lossy(interim.get(..read).unwrap_or(&[])).into_owned(),
            _ => String::new(),
        };
        if !interim.starts_with("HTTP/1.1 100") {
            return Err(harness(format!("no interim answer to wait for: {interim:?}")));
        }
        let (exit, answer) = tokio::join!(host.stop(), async {
            // Once the host takes no new connections, it knows that it is to end.
            for _ in 0..500 {
                if TcpStream::connect(target.address).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let mut answer = Vec::new();
            stream.write_all(body.as_bytes()).await.map_err(harness)?;
            stream.read_to_end(&mut answer).await.map_err(harness)?;
            Ok::<_, Failure>(String::from_utf8_lossy(&answer).into_owned())
        });
        let answer = answer?;
        if !answer.starts_with("HTTP/1.1 200") || !answer.contains("access_token") {
            return Err(failed("the login that was under way is answered 200", answer));
        }
        exit?.gracefully()
    })),
    case("hosts/starts-with-every-kind-of-key", "Each kind of key that the protocol has is taken.")
        .spec(&["docs/contract.md 3.5"])
        .needs(&[Need::Processes])
        .run(run!(async |host| {
            for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::Rsa, KeyKind::Hs256] {
                let key = AccessKey::generate(kind)?;
                let mut process = host
                    .launch()?
                    .access_key(Some(key.environment()))
                    .start()
                    .await
                    .row(format!("{kind:?}"))?;
                process.kill().await;
            }
            Ok(())
        })),
    case("hosts/keys-are-required", "Without one of its keys a host does not start.")
        .spec(&["docs/contract.md 3.5", "docs/contract.md 4.1", "ASVS 13.3.1"])
        .needs(&[Need::Processes])
        .run(run!(async |host| {
            for value in [None, Some(""), Some(" ")] {
                let exit = host.launch()?.access_key(value).exit().await?;
                exit.refused_configuration(ACCESS).row(format!("{ACCESS} = {value:?}"))?;
                let exit = host.launch()?.refresh_secret(value).exit().await?;
                exit.refused_configuration(REFRESH).row(format!("{REFRESH} = {value:?}"))?;
            }
            Ok(())
        })),
    case(
        "hosts/keys-are-readable",
        "A key that is no key of a known kind is refused, and nothing of it is printed.",
    )
    .spec(&["docs/contract.md 3.5"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        let good = AccessKey::generate(KeyKind::Ed25519)?;
        let cut: String = good.environment().lines().take(1).collect();
        let public = good.public_pem()?;
        for text in [
            "hunter2-hunter2-hunter2-hunter2-hunter2",
            "hs256:",
            "hs256:not base64 at all!",
            "none",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            &cut,
            &public,
        ] {
            let exit = host.launch()?.access_key(Some(text)).exit().await?;
            exit.refused_configuration(ACCESS).row(format!("{ACCESS} = {text:?}"))?;
            says_nothing_of(&exit.stderr, text)?;
        }
        for text in ["hunter2-hunter2-hunter2-hunter2-hunter2!", "%%%"] {
            let exit = host.launch()?.refresh_secret(Some(text)).exit().await?;
            exit.refused_configuration(REFRESH).row(format!("{REFRESH} = {text:?}"))?;
            says_nothing_of(&exit.stderr, text)?;
        }
        Ok(())
    })),
    case(
        "hosts/short-secrets-are-refused",
        "A secret of fewer than 32 bytes is refused, one of 32 is taken.",
    )
    .spec(&["docs/contract.md 3.5", "ASVS 11.2.3", "RFC 7518 3.2"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        for length in [1, 16, 31] {
            let secret = random_bytes::<32>()?;
            let secret = STANDARD.encode_to_string(secret.get(..length).unwrap_or(&[]));
            let exit = host.launch()?.access_key(Some(&format!("hs256:{secret}"))).exit().await?;
            exit.refused_configuration(ACCESS).row(format!("an access secret of {length} bytes"))?;
            says_nothing_of(&exit.stderr, &secret)?;
            let exit = host.launch()?.refresh_secret(Some(&secret)).exit().await?;
            exit.refused_configuration(REFRESH).row(format!("a refresh secret of {length} bytes"))?;
            says_nothing_of(&exit.stderr, &secret)?;
        }
        let secret = STANDARD.encode_to_string(random_bytes::<32>()?);
        host.launch()?.refresh_secret(Some(&secret)).start().await?.kill().await;
        Ok(())
    })),
    // One key for both kinds of token would let each be taken for the other.
    case("hosts/equal-secrets-are-refused", "Access key and refresh secret must differ.")
        .spec(&["docs/contract.md 4.1", "docs/contract.md 3.5"])
        .needs(&[Need::Processes])
        .run(run!(async |host| {
            let secret = STANDARD.encode_to_string(random_bytes::<32>()?);
            let launch =
                host.launch()?.access_key(Some(&format!("hs256:{secret}"))).refresh_secret(Some(&secret));
            let exit = launch.exit().await?;
            exit.refused_configuration("GATEKEY_")?;
            says_nothing_of(&exit.stderr, &secret)
        })),
    case("hosts/small-rsa-keys-are-refused", "An RSA key of 2048 bits is refused.")
        .spec(&["docs/contract.md 3.5", "ASVS 11.2.3"])
        .needs(&[Need::Processes])
        .run(run!(async |host| {
            let made = |_| harness("cannot make an RSA key");
            let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(made)?;
            let der = pair.as_der().map_err(made)?;
            let exit = host.launch()?.access_key(Some(&pem("PRIVATE KEY", der.as_ref()))).exit().await?;
            exit.refused_configuration(ACCESS)
        })),
    case(
        "hosts/issuers-are-absolute-urls",
        "An issuer that is no absolute https URL without query and fragment is refused.",
    )
    .spec(&["docs/contract.md 1.15", "RFC 8414 2"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        for issuer in [
            "",
            "/auth",
            "auth.test",
            "//auth.test",
            "http://auth.test",
            "https://auth.test?x=1",
            "https://auth.test#x",
            "https://",
            "javascript:alert(1)",
        ] {
            refused(host, json!({"issuer": issuer}), "issuer").await?;
        }
        starts(host, json!({"issuer": "https://auth.test/tenant"})).await
    })),
    case(
        "hosts/times-and-policies-are-bounded",
        "An access lifetime of nothing, a leeway without bound and an unknown policy are refused.",
    )
    .spec(&["docs/contract.md 3.3", "docs/contract.md 3.24", "docs/contract.md 4.21"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        refused(host, json!({"access_ttl": 0}), "access_ttl").await?;
        refused(host, json!({"leeway": 86_400}), "leeway").await?;
        refused(host, json!({"rotation": "lenient"}), "rotation").await?;
        starts(host, json!({"access_ttl": 60, "leeway": 0, "rotation": "resilient"})).await
    })),
    case(
        "hosts/insecure-cookies-stay-on-loopback",
        "The development switch is refused where the host listens on anything but a loopback address.",
    )
    .spec(&["docs/contract.md 5.7", "ASVS 3.3.1"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        let switch = json!({"insecure_loopback_cookies": true});
        for listen in ["0.0.0.0:0", "[::]:0"] {
            let exit = host.launch()?.config(switch.clone()).listen(listen).exit().await?;
            exit.refused_configuration("insecure_loopback_cookies").row(listen)?;
        }
        starts(host, switch).await
    })),
    case(
        "hosts/origins-and-proxies-are-what-they-say",
        "An origin that is none, and a proxy that is no address, is refused.",
    )
    .spec(&["docs/contract.md 5.10", "docs/contract.md 7.32"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        for origin in ["app.test", "https://app.test/", "https://app.test/page", "https://", "*", "null", ""]
        {
            refused(host, json!({"origin": origin}), "origin").await?;
            refused(host, json!({"trusted_origins": [origin]}), "trusted_origins").await?;
        }
        for proxy in ["proxy.test", "10.0.0.0/33", "10.0.0", "*", ""] {
            refused(host, json!({"trusted_proxies": [proxy]}), "trusted_proxies").await?;
        }
        starts(
            host,
            json!({
                "origin": "https://app.test:8443",
                "trusted_origins": ["https://partner.test"],
                "trusted_proxies": ["10.0.0.0/8", "127.0.0.1", "::1"],
            }),
        )
        .await
    })),
    case("hosts/prefixes-are-paths", "A prefix that is no path of plain segments is refused.")
        .spec(&["docs/contract.md 1.1", "docs/contract.md 1.25"])
        .needs(&[Need::Processes])
        .run(run!(async |host| {
            for prefix in ["auth", "/auth/", "/", "/a b", "/%61uth", "/auth?x", "//auth", "/auth/{id}", "/.."]
            {
                refused(host, json!({"prefix": prefix}), "prefix").await?;
            }
            starts(host, json!({"prefix": "/api/v1/auth"})).await
        })),
    case(
        "hosts/realms-fit-into-a-challenge",
        "A realm that would break out of its quotes or its line is refused.",
    )
    .spec(&["docs/contract.md 2.26", "RFC 6750 3"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        for realm in ["a\"b", "a\\b", "a\r\nSet-Cookie: x=y", "é", "", "a\tb"] {
            refused(host, json!({"realm": realm}), "realm").await?;
        }
        starts(host, json!({"realm": "Kite School 7"})).await
    })),
    // A name with a slip of the pen would else leave the default in force, and its author believing otherwise.
    case("hosts/unknown-settings-are-refused", "A setting that does not exist is refused.")
        .spec(&["tests/README.md, the protocol of host programs"])
        .needs(&[Need::Processes])
        .run(run!(async |host| {
            refused(host, json!({"acces_ttl": 60}), "acces_ttl").await?;
            refused(host, json!({"limits": {"login_network_per_minut": 3}}), "login_network_per_minut")
                .await?;
            refused(host, json!({"limits": "none"}), "limits").await
        })),
];

async fn refused(host: &Host, config: Value, named: &str) -> Outcome {
    let exit = host.launch()?.config(config.clone()).exit().await.row(&config)?;
    exit.refused_configuration(named).row(config)
}

/// The nearest configuration that is good.
async fn starts(host: &Host, config: Value) -> Outcome {
    match host.launch()?.config(config.clone()).start().await {
        Ok(mut process) => {
            process.kill().await;
            Ok(())
        }
        Err(Failure::Harness(problem)) => Err(failed(format!("a host that starts with {config}"), problem)),
        Err(other) => Err(other),
    }
}

/// A line about a key is read by many; the key is not for them.
fn says_nothing_of(lines: &[String], secret: &str) -> Outcome {
    let told = secret.split_whitespace().filter(|word| word.len() > 8 && !word.starts_with('-'));
    for word in told {
        if let Some(line) = lines.iter().find(|line| line.contains(word)) {
            return Err(failed("nothing of the key in what is printed", line));
        }
    }
    Ok(())
}
