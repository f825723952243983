//! What can only be seen in a process of its own: what is global to it, and what others see of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    env, fs,
    process::{Command, Stdio},
    sync::Arc,
};

use gatekey_core::{
    Authority,
    keys::{Algorithm, Keys, SigningKey},
    secret::Secret,
    session::Client,
    store::memory::MemoryStore,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

// Guards the claim that a host's own use of jsonwebtoken is untouched: signing and verifying here must not pin the
// provider that `jsonwebtoken::encode` and `decode` use, or the host could no longer choose one. No other test of this
// file may call either.
#[tokio::test]
async fn the_host_can_still_choose_its_provider_of_jsonwebtoken() {
    for algorithm in
        [Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256, Algorithm::RS256, Algorithm::HS256]
    {
        let store = Arc::new(MemoryStore::new());
        let mut builder = Authority::builder();
        builder.config_mut().issuer = "https://app.example.com".to_owned();
        builder.config_mut().hashing.threads = 1;
        builder.keys(keys(algorithm));
        builder.sessions(store.clone());
        builder.users(store);
        let authority = builder.build().await.unwrap();
        let (nobody, password) = (Client::default(), || Secret::new("nobody else types this".to_owned()));
        authority.register("Alice", password(), &nobody).await.unwrap();
        let tokens = authority.login("Alice", password(), &nobody, None).await.unwrap();
        assert_eq!(authority.authenticate(tokens.access.expose()).unwrap().username(), "Alice");
        assert!(authority.authenticate(&format!("{}x", tokens.access.expose())).is_err());
        authority.refresh(tokens.refresh.expose(), None, &nobody).await.unwrap();
        let set = authority.keys().jwk_set(authority.now());
        assert_eq!(set["keys"].as_array().unwrap().is_empty(), algorithm == Algorithm::HS256);
    }
    assert!(DEFAULT_PROVIDER.install_default().is_ok());
    // It can be chosen once: had we chosen, this is what the host would see.
    assert!(DEFAULT_PROVIDER.install_default().is_err());
}

/// Fresh keys; the one of RS256 was made before, since those of RSA take their time.
fn keys(algorithm: Algorithm) -> Keys {
    if algorithm != Algorithm::RS256 {
        return Keys::generate(algorithm).unwrap();
    }
    let pem = include_str!("keys/rsa3072.pem");
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64_simd::STANDARD.decode_to_vec(base64).unwrap();
    let access = SigningKey::from_pkcs8(algorithm, &der).unwrap();
    Keys::new(access, SigningKey::generate(Algorithm::HS256).unwrap()).unwrap()
}

const FILE: &str = "GATEKEY_TEST_KEY_FILE";

#[test]
fn processes_that_start_at_once_get_the_same_keys() {
    if let Some(path) = env::var_os(FILE) {
        // One of the processes that are started below.
        let keys = Keys::load_or_create(path).unwrap();
        println!("keys: {keys:?}");
        return;
    }
    let folder = env::temp_dir().join(format!("gatekey-core-processes-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("gatekey.keys");
    let children: Vec<_> = (0..8)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "processes_that_start_at_once_get_the_same_keys", "--nocapture"])
                .env(FILE, &path)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let keys: Vec<_> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            let output = String::from_utf8(output.stdout).unwrap();
            // The name of each key is its thumbprint, so keys of one name are one key.
            output.lines().find(|line| line.starts_with("keys: ")).unwrap().to_owned()
        })
        .collect();
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    fs::remove_dir_all(&folder).unwrap();
    assert!(keys.iter().all(|other| *other == keys[0]), "{keys:#?}");
    assert!(keys[0].contains("EdDSA") && keys[0].contains("HS256"), "{}", keys[0]);
    assert_eq!(names, ["gatekey.keys"]);
}
