//! What a copy of the store tells whoever has it: names and hashes, and nothing to go on in somebody's session with.

use std::sync::Arc;

use gatekey::{SessionStore, ThrottleStore, UserStore};
use redis::Value;

use super::support::*;

const NAME: &str = "name-in-the-dump";

/// Uses a session as clients do, lost answers among it, and returns all that must be found nowhere, and a live token.
async fn story<S: SessionStore + UserStore + ThrottleStore + Clone>(store: S) -> (Vec<Vec<u8>>, String) {
    let gatekey = builder(&keys()).store(store.clone()).throttle(Arc::new(store)).build().await.unwrap();
    register(&gatekey, NAME).await;
    try_login(&gatekey, NAME, "a wrong pass phrase").await.is(401);
    let mut held = login(&gatekey, NAME).await;
    let mut tokens = vec![held.access.clone(), held.refresh.clone()];
    for _ in 0..3 {
        let next = refresh(&gatekey, &held).await;
        let repeated = refresh(&gatekey, &held).await;
        assert_eq!(repeated.refresh, next.refresh);
        tokens.extend([next.access.clone(), next.refresh.clone(), repeated.access]);
        // What is in the store now, sealed; the burst is over with the session of another login.
        held = login(&gatekey, NAME).await;
        tokens.extend([held.access.clone(), held.refresh.clone()]);
    }
    let mut secrets = vec![PASSWORD.as_bytes().to_vec(), b"a wrong pass phrase".to_vec()];
    for token in tokens {
        // The parts as well: a signature is as good as the token to who can rebuild the rest.
        for part in token.split('.').skip(1) {
            secrets.push(base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).unwrap());
            secrets.push(part.as_bytes().to_vec());
        }
    }
    (secrets, held.refresh)
}

fn holds(dump: &[u8], bytes: &[u8]) -> bool {
    dump.windows(bytes.len()).any(|window| window == bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_password_is_in_a_dump_of_postgresql() {
    let Some(url) = postgres("no_token_and_no_password_is_in_a_dump_of_postgresql") else { return };
    let (schema, admin) = (fresh(), sql(&url).await);
    let (secrets, live) = story(postgres_store(&url, &schema).await).await;
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1";
    let mut dump = String::new();
    for table in admin.query(tables, &[&schema]).await.unwrap() {
        let rows = format!("SELECT t::text FROM {schema}.{} AS t", table.get::<_, String>(0));
        for row in admin.query(&rows, &[]).await.unwrap() {
            dump += row.get(0);
            dump.push('\n');
        }
    }
    // The dump is the right one: what is meant to be there is, bytes as well as text.
    let digest = "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')";
    let digest: String = admin.query_one(digest, &[&live]).await.unwrap().get(0);
    for meant in [NAME, "$argon2id$", &digest] {
        assert!(dump.contains(meant), "{meant}");
    }
    for secret in secrets {
        // Bytes are written as hexadecimal there.
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [secret.as_slice(), hex.as_bytes()] {
            assert!(!holds(dump.as_bytes(), form), "{}", String::from_utf8_lossy(form));
        }
    }
    admin.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_password_is_in_a_dump_of_redis() {
    let Some(redis) = Redis::start("no_token_and_no_password_is_in_a_dump_of_redis").await else { return };
    let (secrets, _) = story(redis.store().await).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut dump = Vec::new();
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.unwrap();
        let mut read = match kind.as_str() {
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "zset" => redis::cmd("ZRANGE"),
            other => panic!("a key of another type: {other}"),
        };
        read.arg(&key);
        if kind == "zset" {
            read.arg(0).arg(-1).arg("WITHSCORES");
        }
        let value: Value = read.query_async(&mut connection).await.unwrap();
        dump.extend(key);
        write_out(&value, &mut dump);
    }
    for meant in [NAME, "$argon2id$", "}s:"] {
        assert!(holds(&dump, meant.as_bytes()), "{meant}");
    }
    for secret in secrets {
        assert!(!holds(&dump, &secret), "{}", String::from_utf8_lossy(&secret));
    }
}

/// Every byte of an answer.
fn write_out(value: &Value, to: &mut Vec<u8>) {
    if let Value::BulkString(bytes) = value {
        to.extend(bytes);
    } else if let Value::Array(values) = value {
        values.iter().for_each(|value| write_out(value, to));
    } else if let Value::Map(pairs) = value {
        for (name, value) in pairs {
            write_out(name, to);
            write_out(value, to);
        }
    } else {
        to.extend(format!("{value:?}").bytes());
    }
}
