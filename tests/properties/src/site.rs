//! What all properties are asked of: a site for each kind of key, with the keys that everybody knows, a clock that
//! stands still, an empty memory store, and a throttle that never lets a password be hashed.

use std::{collections::BTreeMap, sync::LazyLock};

use async_trait::async_trait;
use gatekey_core::{
    TokenVerifier,
    config::ConfigError,
    keys::{Keys, SigningKey},
    limit::{Charge, Key, Limits, ThrottleStore, Verdict},
    store::{StoreError, memory::MemoryStore},
    time::{Clock, Timestamp},
};
use gatekey_http::Gatekey;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// When everything happens.
pub(crate) const NOW: i64 = 1_800_000_000;
/// The proxy that is believed, and the network it is in.
pub(crate) const PROXY: &str = "10.0.0.0/8";

/// Issuer, audience and keys of the vectors.
pub(crate) static KEYS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../vectors/keys.json")).unwrap());

/// A text of [`KEYS`].
pub(crate) fn known(pointer: &str) -> &'static str {
    KEYS.pointer(pointer).unwrap().as_str().unwrap()
}

/// The sites, by the `alg` of their access key.
pub(crate) static SITES: LazyLock<BTreeMap<&'static str, Gatekey>> = LazyLock::new(|| {
    ["EdDSA", "ES256", "PS256", "HS256"].into_iter().map(|alg| (alg, RUNTIME.block_on(site(alg)))).collect()
});

/// A verifier for each key pair, as a service that only verifies has: it agrees with the site.
pub(crate) static VERIFIERS: LazyLock<BTreeMap<&'static str, TokenVerifier>> = LazyLock::new(|| {
    ["EdDSA", "ES256", "PS256"]
        .into_iter()
        .map(|alg| {
            (alg, verifier(&SITES[alg].keys().jwk_set(Timestamp::from_secs(NOW)).to_string()).unwrap())
        })
        .collect()
});

/// A verifier with the keys of a set.
pub(crate) fn verifier(key_set: &str) -> Result<TokenVerifier, ConfigError> {
    let mut builder = TokenVerifier::builder();
    builder.issuer(known("/issuer"));
    builder.audience(known("/audience"));
    builder.clock(std::sync::Arc::new(Still));
    builder.key_set(key_set);
    RUNTIME.block_on(builder.build())
}

/// Where futures are run to their end.
pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap());

async fn site(alg: &str) -> Gatekey {
    let access = SigningKey::from_setting(known(&format!("/access_keys/{alg}/environment"))).unwrap();
    let refresh = base64_simd::STANDARD.decode_to_vec(known("/refresh_secret")).unwrap();
    Gatekey::builder()
        .issuer(known("/issuer"))
        .audience(known("/audience"))
        .keys(Keys::new(access, SigningKey::hs256(&refresh).unwrap()).unwrap())
        .store(MemoryStore::new())
        .clock(std::sync::Arc::new(Still))
        .limits(Limits { account_failures_per_hour: 1, ..Limits::OFF })
        .throttle(std::sync::Arc::new(Closed))
        .registration(false)
        .trusted_proxy(PROXY)
        .trusted_origin("https://admin.test")
        .build()
        .await
        .unwrap()
}

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
}

/// Refuses every attempt. Only those at an account's password are asked for: hashing one takes longer than all the rest
/// together, and is not what is looked at here.
#[derive(Debug)]
struct Closed;

#[async_trait]
impl ThrottleStore for Closed {
    async fn take(&self, _: &[Charge], _: Timestamp) -> Result<Verdict, StoreError> {
        Ok(Verdict::Throttled { retry_after: std::time::Duration::from_secs(1) })
    }

    async fn give_back(&self, _: &[Charge], _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn clear(&self, _: &Key) -> Result<(), StoreError> {
        Ok(())
    }
}
