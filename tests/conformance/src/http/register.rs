//! `POST /register`: what an account needs and what a client cannot choose. Passwords are in `password.rs`.

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, case, harness, run},
    client::Response,
    host::{Host, PASSWORD},
    token::random_bytes,
    verdict::equal,
};

pub(crate) const CASES: &[Case] = &[
    case(
        "register/answers-the-user",
        "A registration is answered 201 with exactly id, username, roles and created_at.",
    )
    .spec(&["docs/contract.md 1.4", "docs/contract.md 1.19", "ASVS 15.3.1"])
    .run(run!(async |host| {
        let name = host.fresh_name();
        let answer = register(host, &name).await?;
        let body = answer.answered(201)?;
        answer.members(&body, &["user"])?;
        let user = body.get("user").cloned().unwrap_or_default();
        answer.members(&user, &["created_at", "id", "roles", "username"])?;
        answer.member(&user, "username", &name.as_str().into())?;
        answer.member(&user, "roles", &json!([]))?;
        answer.time(&user, "created_at")?;
        let id = answer.string(&user, "id")?;
        // The id is the subject of its tokens.
        let tokens = host.login(&name, PASSWORD).await?.granted()?;
        let me = host.me(&tokens.access).await?.answered(200)?;
        equal("sub", &me.get("sub"), &Some(&json!(id)))
    })),
    case("register/opens-no-session", "A registration sets no cookie, grants no token and opens no session.")
        .spec(&["docs/contract.md 1.4", "ASVS 7.2.4"])
        .run(run!(async |host| {
            let name = host.fresh_name();
            let answer = register(host, &name).await?;
            answer.is(201)?;
            answer.sets_no_cookie()?;
            let tokens = host.login(&name, PASSWORD).await?.granted()?;
            let list = host.get("/sessions").bearer(&tokens.access).send().await?;
            let body = list.answered(200)?;
            let sessions = body.get("sessions").and_then(Value::as_array).map(Vec::len);
            equal("sessions after one login", &sessions, &Some(1))
        })),
    case(
        "register/taken-name-is-refused",
        "A name that is taken is refused as username_taken, and its owner's password stays.",
    )
    .spec(&["docs/contract.md 2.17"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let other = "nine paper boats in the rain";
        let again = post(host, json!({"username": user.name, "password": other}));
        again.await?.refused(409, "username_taken")?;
        host.login(&user.name, other).await?.refused(401, "invalid_credentials")?;
        host.login(&user.name, user.password).await?.granted()?;
        Ok(())
    })),
    // Two accounts whose names read alike would let one pass for the other.
    case(
        "register/spellings-of-a-name-are-one",
        "Names that differ in case or in compatibility form only are the same name; others are not.",
    )
    .spec(&["docs/contract.md 7.16", "docs/contract.md 2.17"])
    .run(run!(async |host| {
        let base = host.fresh_name();
        let name = format!("{base}-e\u{301}-\u{fb01}");
        register(host, &name).await?.answered(201)?;
        for spelling in [
            name.to_uppercase(),
            format!("{base}-\u{e9}-fi"),
            format!("{base}-\u{c9}-FI"),
            format!("{base}-\u{e9}-\u{ff46}\u{ff49}"),
        ] {
            register(host, &spelling).await?.refused(409, "username_taken")?;
        }
        register(host, &format!("{base}-e-fi")).await?.answered(201)?;
        Ok(())
    })),
    case(
        "register/name-is-shown-as-typed",
        "A name is shown in the form in which it was registered, in the answer and to the one who logs in.",
    )
    .spec(&["docs/contract.md 7.16"])
    .run(run!(async |host| {
        let name = format!("\u{ff21}LICE e\u{301} {}", host.fresh_name());
        let answer = register(host, &name).await?;
        let body = answer.answered(201)?;
        equal("user.username", &body.pointer("/user/username"), &Some(&json!(name)))?;
        let tokens = host.login(&name.to_lowercase(), PASSWORD).await?.granted()?;
        let me = host.me(&tokens.access).await?.answered(200)?;
        equal("username", &me.get("username"), &Some(&json!(name)))
    })),
    case(
        "register/name-has-1-to-128-code-points",
        "A name of one and of 128 code points is taken, an empty one is too_short and one of 129 too_long.",
    )
    .spec(&["docs/contract.md 7.15", "docs/contract.md 2.21", "ASVS 2.2.1"])
    .run(run!(async |host| {
        register(host, "").await?.invalid_field("username", "too_short")?;
        // A private-use character: names are never given back, and other runs may share the store.
        let [a, b, c, _] = random_bytes::<4>()?;
        let code = 0xF_0000 + u32::from_be_bytes([0, 0, a, b]).min(0xFFFD);
        let one = char::from_u32(code).ok_or_else(|| harness("no such character"))?;
        register(host, &one.to_string()).await?.answered(201)?;
        let mut longest = format!("{}{c}", host.fresh_name());
        while longest.chars().count() < 128 {
            longest.push('\u{1f511}');
        }
        register(host, &longest).await?.answered(201)?;
        register(host, &format!("{longest}\u{1f511}")).await?.invalid_field("username", "too_long")
    })),
    case(
        "register/control-characters-in-a-name-are-refused",
        "A name with a control character is refused with the rule characters, NUL among them.",
    )
    .spec(&["docs/contract.md 7.15", "docs/contract.md 2.21", "ASVS 16.4.1"])
    .run(run!(async |host| {
        for control in ['\u{0}', '\u{1}', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}'] {
            let name = host.fresh_name();
            register(host, &format!("a{control}{name}")).await?.invalid_field("username", "characters")?;
        }
        Ok(())
    })),
    case(
        "register/white-space-at-an-end-of-a-name-is-refused",
        "A name with white space at either end is refused with the rule characters; inside it is a \
         character like others.",
    )
    .spec(&["docs/contract.md 7.15", "docs/contract.md 2.21"])
    .run(run!(async |host| {
        let name = host.fresh_name();
        for wrong in [
            format!(" {name}"),
            format!("{name} "),
            format!("{name}\u{3000}"),
            format!("\u{a0}{name}"),
            " ".to_owned(),
        ] {
            register(host, &wrong).await?.invalid_field("username", "characters")?;
        }
        register(host, &format!("a {name}")).await?.answered(201)?;
        Ok(())
    })),
    case(
        "register/hostile-names-are-ordinary-names",
        "Names that look like SQL, paths, markup or key patterns are stored and found as they are, and \
         match nobody else.",
    )
    .spec(&["docs/contract.md 7.15", "ASVS 1.2.4"])
    .run(run!(async |host| {
        let user = host.user().await?;
        for hostile in [
            "' OR '1'='1",
            "\"; DROP TABLE users; --",
            "../../etc/passwd",
            "<script>",
            "*",
            "%",
            "{a}:b\\",
            "$1 ?1 :a",
        ] {
            let name = format!("{hostile}{}", host.fresh_name());
            register(host, &name).await?.answered(201)?;
            let tokens = host.login(&name, PASSWORD).await?.granted()?;
            let me = host.me(&tokens.access).await?.answered(200)?;
            equal("username", &me.get("username"), &Some(&json!(name)))?;
        }
        let wild = format!("{}' OR '1'='1", user.name);
        host.login(&wild, user.password).await?.refused(401, "invalid_credentials")
    })),
    case(
        "register/nothing-else-can-be-chosen",
        "A registration that names roles, an id or anything else is refused, and no account is made.",
    )
    .spec(&["docs/contract.md 8.8", "docs/contract.md 2.21", "ASVS 15.3.3"])
    .run(run!(async |host| {
        for (member, value) in [
            ("roles", json!(["admin"])),
            ("id", json!("1")),
            ("is_admin", json!(true)),
            ("transport", json!("body")),
        ] {
            let name = host.fresh_name();
            let body = json!({"username": name, "password": PASSWORD, member: value});
            post(host, body).await?.invalid_field("body", "unknown_member")?;
            host.login(&name, PASSWORD).await?.refused(401, "invalid_credentials")?;
        }
        Ok(())
    })),
    case(
        "register/missing-members-are-refused",
        "A registration without a name or without a password is invalid_request.",
    )
    .spec(&["docs/contract.md 1.4", "docs/contract.md 2.4"])
    .run(run!(async |host| {
        let name = host.fresh_name();
        for body in [json!({}), json!({"username": name}), json!({"password": PASSWORD})] {
            post(host, body).await?.refused(400, "invalid_request")?;
        }
        register(host, &name).await?.answered(201)?;
        Ok(())
    })),
    case(
        "register/accounts-have-different-ids",
        "Ids are opaque: two accounts have two, and none tells how many there are.",
    )
    .spec(&["docs/contract.md 1.19", "ASVS 10.3.3"])
    .needs(&[Need::OwnHost])
    .run(run!(async |host| {
        let (one, other) = (host.user().await?, host.user().await?);
        crate::verdict::differ("id", &one.id, &other.id)?;
        for user in [&one, &other] {
            if user.id.len() < 16 {
                return Err(crate::case::failed("an id that cannot be counted", &user.id));
            }
        }
        Ok(())
    })),
];

async fn post(host: &Host, body: Value) -> Result<Response, Failure> {
    host.post("/register").json(body).send().await
}

/// Registers a name with [`PASSWORD`].
async fn register(host: &Host, name: &str) -> Result<Response, Failure> {
    post(host, json!({"username": name, "password": PASSWORD})).await
}
