//! Nothing secret in answers, logs or stores.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, case, failed, harness, not_applicable, run},
    host::{Host, PASSWORD},
    token::{Jws, b64, unb64},
};

/// The passwords of these cases: texts that occur nowhere by chance.
const WRONG: &str = "wrong kumquat umbrella 41";
const NEW: &str = "new kumquat umbrella 42";
const SHORT: &str = "kumq!43";

pub(crate) const CASES: &[Case] = &[
    // Logs go where more people look than into the database, and are kept longer.
    case(
        "secrets/logs-hold-none",
        "What a host prints during logins, refreshes, reuse and refusals holds no password, token, cookie or key, and \
         not what its store's driver prints of it either, at level debug.",
    )
    .spec(&["docs/contract.md 2.3", "ASVS 16.2.5", "RFC 9700 4.14.2"])
    .needs(&[Need::Processes, Need::Routes, Need::Keys])
    .config(|| json!({"rotation": "strict", "debug_log": true}))
    .run(run!(async |host| {
        let secrets = lived_through(host).await?;
        let exit = host.stop().await?;
        let printed = [exit.stdout, exit.stderr].concat().join("\n");
        for secret in &secrets {
            if printed.contains(secret.text.as_str()) {
                let line = printed.lines().find(|line| line.contains(secret.text.as_str()));
                return Err(failed(format!("no {} in what is printed", secret.what), line.unwrap_or_default()));
            }
        }
        Ok(())
    })),
    // Who reads a backup must not be able to log in with it, nor with it and the keys.
    case(
        "secrets/the-store-holds-none",
        "The database file holds no password and no token, as text or as bytes, while sessions are live.",
    )
    .spec(&["docs/contract.md 4.6", "docs/contract.md 4.7", "ASVS 7.2.3", "ASVS 11.4.2"])
    .needs(&[Need::Processes, Need::PersistentStore, Need::Routes, Need::Keys])
    .run(run!(async |host| {
        let store = host.launch()?.store;
        let path = store.strip_prefix("sqlite:").ok_or_else(|| not_applicable("the store is no file"))?;
        let secrets = lived_through(host).await?;
        let user = host.user().await?;
        // A name is no secret. Were it not found, the search would have looked in the wrong place.
        let name = [Secret { what: "name", text: user.name.clone() }];
        if no_secret_in_files(path, &name).is_ok() {
            return Err(harness(format!("{} is not in {path}", user.name)));
        }
        // As it lies there while the host runs, and after it has closed it.
        no_secret_in_files(path, &secrets)?;
        host.stop().await?.gracefully()?;
        no_secret_in_files(path, &secrets)
    })),
    // Descriptions are for programmers of clients; what we know of users is not theirs to read.
    case(
        "secrets/answers-hold-no-hash",
        "No answer about a user or a session holds a password, a hash, a refresh token or its digest.",
    )
    .spec(&["docs/contract.md 1.19", "docs/contract.md 1.20", "ASVS 15.3.1", "ASVS 14.2.6"])
    .run(run!(async |host| {
        let name = host.fresh_name();
        let body = json!({"username": name, "password": PASSWORD});
        let registered = host.post("/register").json(body).send().await?;
        registered.answered(201)?;
        let tokens = host.login(&name, PASSWORD).await?.granted()?;
        let me = host.me(&tokens.access).await?;
        let sessions = host.get("/sessions").bearer(&tokens.access).send().await?;
        for answer in [registered, me, sessions] {
            let text = answer.text();
            for word in [PASSWORD, "$argon2", "argon2id", "hash", "salt", "password", &tokens.refresh] {
                if text.contains(word) {
                    return Err(answer.not(format!("nothing like {word:?}")));
                }
            }
        }
        Ok(())
    })),
    case("secrets/a-session-id-is-no-credential", "The id of a session, which lists and tokens show, opens nothing.")
        .spec(&["docs/contract.md 3.25", "docs/contract.md 4.4", "ASVS 7.2.1"])
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            let id = &tokens.session_id;
            host.me(id).await?.invalid_token()?;
            host.get("/me").cookie(crate::cookies::ACCESS, id).send().await?.invalid_token()?;
            host.refresh(id).await?.refused(400, "invalid_grant")?;
            host.post("/revoke").form(&[("token", id)]).send().await?.status(200)?;
            host.me(&tokens.access).await?.answered(200)?;
            host.refresh(&tokens.refresh).await?.granted().map(|_| ())
        })),
];

/// Something that must not be found.
struct Secret {
    what: &'static str,
    text: String,
}

/// Goes through what happens to users, and returns every secret that was used or granted on the way.
async fn lived_through(host: &Host) -> Result<Vec<Secret>, Failure> {
    let mut secrets: Vec<Secret> = Vec::new();
    let mut keep = |what, text: &str| secrets.push(Secret { what, text: text.to_owned() });
    for password in [PASSWORD, WRONG, NEW, SHORT] {
        keep("password", password);
    }
    let user = host.user().await?;
    let short = json!({"username": host.fresh_name(), "password": SHORT});
    host.post("/register").json(short).send().await?.invalid_field("password", "too_short")?;
    host.login(&user.name, WRONG).await?.refused(401, "invalid_credentials")?;
    host.login(&host.fresh_name(), WRONG).await?.refused(401, "invalid_credentials")?;
    // A password typed into the wrong field is as secret as in the right one.
    host.login(WRONG, PASSWORD).await?.refused(401, "invalid_credentials")?;

    let first = user.login().await?;
    let second = host.refresh(&first.refresh).await?.granted()?;
    let third = host.refresh(&second.refresh).await?.granted()?;
    host.route("GET", "/whoami").bearer(&third.access).send().await?.is(200)?;
    // Reuse, or with a grace a late request. Which of the two it is makes no difference to what may be written down.
    let late = host.refresh(&first.refresh).await?;
    if late.status < 400 {
        return Err(late.not("a refusal"));
    }
    host.refresh(&third.refresh).await?;

    let browser = user.browser().await?;
    let mut cookies = vec![browser.access()?, browser.refresh_token()?];
    browser.refresh().await?.cookies_granted()?;
    cookies.extend([browser.access()?, browser.refresh_token()?]);
    browser.silent("POST", "/token").header("Sec-Fetch-Site", "cross-site").send().await?.is(403)?;
    let change = json!({"current_password": WRONG, "new_password": NEW});
    browser.post("/password").json(change).send().await?.refused(401, "invalid_credentials")?;
    let change = json!({"current_password": PASSWORD, "new_password": NEW});
    browser.post("/password").json(change).send().await?.status(204)?;

    // Refused tokens are as secret: one letter off is a typing mistake away from a good one.
    let changed = format!("{}x", third.access);
    host.me(&changed).await?.invalid_token()?;
    let forged = host.sign_access(&json!({"alg": "none", "typ": "at+jwt"}), &json!({"sub": "x"}))?;
    host.me(&forged).await?.invalid_token()?;
    host.get(&format!("/me?access_token={}", third.refresh)).send().await?.is(401)?;
    host.post("/revoke").form(&[("token", &forged)]).send().await?.status(200)?;
    host.post("/login").json_text(&format!("{{\"password\":\"{WRONG}\"")).send().await?.is(400)?;

    // One session stays live, so that a store holds what it must hold for it.
    let live = host.login(&user.name, NEW).await?.granted()?;
    let replaced = host.refresh(&live.refresh).await?.granted()?;

    for tokens in [&first, &second, &third, &live, &replaced] {
        keep("access token", &tokens.access);
        keep("refresh token", &tokens.refresh);
    }
    for value in &cookies {
        keep("cookie", value);
    }
    let refresh_tokens = [&first, &second, &third, &live, &replaced].map(|tokens| tokens.refresh.clone());
    for token in refresh_tokens.iter().chain(&cookies) {
        let token = Jws::parse(token)?;
        // A token is its signature: header and claims can be made again from what is no secret.
        keep("signature", &token.segments[2]);
        let refresh = token.header.get("typ").and_then(Value::as_str) == Some("rt+jwt");
        if let (true, Some(id)) = (refresh, token.claims.get("jti").and_then(Value::as_str)) {
            keep("jti of a refresh token", id);
        }
    }
    let keys = host.keys()?;
    keep("refresh secret", &keys.refresh_environment());
    keep("refresh secret", &b64(&keys.refresh));
    for line in keys.access.environment().lines().filter(|line| !line.starts_with('-')) {
        keep("access key", line);
    }
    Ok(secrets)
}

/// The database, its journal and whatever else begins with its name.
fn no_secret_in_files(path: &str, secrets: &[Secret]) -> Outcome {
    let path = Path::new(path);
    let folder = path.parent().ok_or_else(|| harness("a store without a folder"))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut read = 0;
    for entry in std::fs::read_dir(folder).map_err(harness)? {
        let entry = entry.map_err(harness)?;
        if !entry.file_name().to_string_lossy().starts_with(name) {
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(harness)?;
        read += bytes.len();
        for secret in secrets {
            // As text, and where it is base64url, as the bytes that it stands for.
            let decoded = unb64(&secret.text).unwrap_or_default();
            let forms = [secret.text.as_bytes(), &decoded];
            for form in forms.into_iter().filter(|form| form.len() >= 7) {
                if bytes.windows(form.len()).any(|window| window == form) {
                    return Err(failed(
                        format!("no {} in {}", secret.what, entry.path().display()),
                        format!("it is there: {}", secret.text),
                    ));
                }
            }
        }
    }
    if read == 0 { Err(harness("the database is empty")) } else { Ok(()) }
}
