//! Strict JSON bodies.
//!
//! Two parsers that read one body differently are how checks are walked around: the proxy sees one member, the
//! application the other. So every difference that RFC 8259 leaves open is closed by refusing.

use serde_json::{Value, json};

use crate::{
    case::{Case, Row, case, run},
    host::PASSWORD,
};

pub(crate) const CASES: &[Case] = &[
    case("json/a-plain-body-is-read", "White space, the order of members and escapes in names and values make no difference.")
        .spec(&["docs/contract.md 8.4", "docs/contract.md 8.5", "RFC 8259 2", "RFC 8259 7"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let (name, password) = (json!(user.name), json!(user.password));
            let escaped: String =
                user.password.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            for text in [
                format!("{{\"username\":{name},\"password\":{password}}}"),
                format!("{{\"password\":{password},\"username\":{name}}}"),
                format!(" \t\r\n{{ \"username\" :\n{name}\t,\r\"password\": {password} }} \n\t "),
                format!("{{\"user\\u006eame\":{name},\"\\u0070assword\":{password}}}"),
                format!("{{\"username\":{name},\"password\":\"{escaped}\"}}"),
                format!("{{\"username\":{name},\"password\":{password},\"transport\":\"bod\\u0079\"}}"),
            ] {
                host.post("/login").json_text(&text).send().await?.granted().row(&text)?;
            }
            Ok(())
        })),
    case("json/escapes-are-read-as-rfc-8259-says", "Every escape stands for its character, surrogate pairs included.")
        .spec(&["docs/contract.md 8.4", "RFC 8259 7"])
        .run(run!(async |host| {
            let name = host.fresh_name();
            let password = "tab\t quote\" back\\slash /slash é 😀 \u{1}\u{7f}";
            let body = json!({"username": name, "password": password});
            host.post("/register").json(body).send().await?.answered(201)?;
            let written = r#""tab\t quote\" back\\slash \/slash \u00e9 \uD83D\ude00 \u0001\u007F""#;
            let text = format!("{{\"username\":\"{name}\",\"password\":{written}}}");
            host.post("/login").json_text(&text).send().await?.granted()?;
            let other = text.replace("\\u0001", "\\u0002");
            host.post("/login").json_text(&other).send().await?.refused(401, "invalid_credentials")
        })),
    case("json/what-is-not-json-is-malformed", "A body that RFC 8259 does not allow is 400 `invalid_request`.")
        .spec(&["docs/contract.md 8.4", "docs/contract.md 2.4", "RFC 8259 2"])
        .run(run!(async |host| {
            for text in [
                "",
                " ",
                "{",
                "}",
                "{}}",
                "{\"username\"}",
                "{\"username\":}",
                "{\"username\":\"a\"",
                "{\"username\":\"a\",}",
                "{,\"username\":\"a\"}",
                "{\"username\":\"a\" \"password\":\"b\"}",
                "{\"username\":\"a\",,\"password\":\"b\"}",
                "{\"username\":\"a\";\"password\":\"b\"}",
                "{\"username\"=\"a\"}",
                "{username:\"a\",password:\"b\"}",
                "{'username':'a','password':'b'}",
                "{\"username\":\"a\",\"password\":\"b\"} // note",
                "{/* note */\"username\":\"a\",\"password\":\"b\"}",
                "{\"username\":\"a\",\"password\":\"b\"}{}",
                "{\"username\":\"a\",\"password\":\"b\"},",
                "{\"username\":\"a\",\"password\":\"b\"}\u{0}",
                "\u{b}{\"username\":\"a\",\"password\":\"b\"}",
                "\u{a0}{\"username\":\"a\",\"password\":\"b\"}",
                "{\"username\":\"a\",\"password\":\"line\nbreak\"}",
                "{\"username\":\"a\",\"password\":\"tab\tinside\"}",
                "{\"username\":\"a\",\"password\":\"nul\u{0}inside\"}",
                "{\"username\":\"a\",\"password\":\"\\x41\"}",
                "{\"username\":\"a\",\"password\":\"\\u12g4\"}",
                "{\"username\":\"a\",\"password\":\"\\u123\"}",
                "{\"username\":\"a\",\"password\":\"\\U0041\"}",
                "{\"username\":\"a\",\"password\":\"\\\"}",
                "{\"username\":\"a\",\"password\":\"b}",
                "{\"username\":01,\"password\":\"b\"}",
                "{\"username\":+1,\"password\":\"b\"}",
                "{\"username\":.5,\"password\":\"b\"}",
                "{\"username\":1.,\"password\":\"b\"}",
                "{\"username\":1e,\"password\":\"b\"}",
                "{\"username\":-,\"password\":\"b\"}",
                "{\"username\":0x10,\"password\":\"b\"}",
                "{\"username\":NaN,\"password\":\"b\"}",
                "{\"username\":Infinity,\"password\":\"b\"}",
                "{\"username\":undefined,\"password\":\"b\"}",
                "{\"username\":True,\"password\":\"b\"}",
                "{\"username\":nul,\"password\":\"b\"}",
                "{\"username\":[1,],\"password\":\"b\"}",
                "{\"username\":[1,\"password\":\"b\"}",
                "username=a&password=b",
                "<login/>",
            ] {
                let answer = host.post("/login").json_text(text).send().await?;
                answer.refused(400, "invalid_request").row(format!("{text:?}"))?;
            }
            Ok(())
        })),
    case("json/utf-8-is-the-only-encoding", "A byte order mark, UTF-16, UTF-32 or invalid UTF-8 is 400 `invalid_request`.")
        .spec(&["docs/contract.md 8.4", "RFC 8259 8.1", "RFC 8725 3.7"])
        .run(run!(async |host| {
            let text = login("alice", "pass");
            let wide = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
            let wider: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
            let inside = |bytes: &[u8]| {
                let (before, after) = (b"{\"username\":\"a\",\"password\":\"".as_slice(), b"\"}".as_slice());
                [before, bytes, after].concat()
            };
            for (what, bytes) in [
                ("a byte order mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
                ("UTF-16, big end first", wide(u16::to_be_bytes)),
                ("UTF-16, little end first", wide(u16::to_le_bytes)),
                ("UTF-16 with its mark", [&b"\xfe\xff"[..], &wide(u16::to_be_bytes)].concat()),
                ("UTF-32", wider),
                ("a lone continuation byte", inside(b"\x80")),
                ("a cut-off sequence", inside(b"\xc3")),
                ("an overlong slash", inside(b"\xc0\xaf")),
                ("an overlong NUL", inside(b"\xc0\x80")),
                ("a surrogate in UTF-8", inside(b"\xed\xa0\x80")),
                ("CESU-8", inside(b"\xed\xa0\xbd\xed\xb8\x80")),
                ("beyond U+10FFFF", inside(b"\xf4\x90\x80\x80")),
                ("a byte that UTF-8 never has", inside(b"\xff")),
                ("Latin-1", inside(b"caf\xe9")),
                ("invalid UTF-8 in a name", b"{\"username\":\"a\",\"password\":\"b\",\"\xff\":1}".to_vec()),
                ("invalid UTF-8 after the value", [text.as_bytes(), b"\xff"].concat()),
            ] {
                let request = host.post("/login").header("Content-Type", "application/json");
                let answer = request.raw_body(&bytes).send().await?;
                answer.refused(400, "invalid_request").row(what)?;
            }
            Ok(())
        })),
    case("json/a-lone-surrogate-is-malformed", "An escaped surrogate without its other half is 400 `invalid_request`.")
        .spec(&["docs/contract.md 8.4", "RFC 8259 8.2"])
        .run(run!(async |host| {
            for escape in [
                "\\ud800",
                "\\uDFFF",
                "\\ud83d x",
                "\\ude00\\ud83d",
                "\\ud83d\\ud83d\\ude00",
                "\\ud83d\\u0041",
                "\\ud83d\\n",
            ] {
                for text in [
                    format!("{{\"username\":\"a\",\"password\":\"{escape}\"}}"),
                    format!("{{\"username\":\"{escape}\",\"password\":\"b\"}}"),
                    format!("{{\"username\":\"a\",\"password\":\"b\",\"{escape}\":1}}"),
                ] {
                    let answer = host.post("/login").json_text(&text).send().await?;
                    answer.refused(400, "invalid_request").row(&text)?;
                }
            }
            Ok(())
        })),
    case(
        "json/a-member-twice-is-malformed",
        "A member that stands twice, in any spelling, with any value and at any depth, is 400 `invalid_request`.",
    )
    .spec(&["docs/contract.md 8.5", "docs/contract.md 2.4", "RFC 8259 4", "ASVS 1.5.3", "ASVS 15.3.7"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (name, password) = (json!(user.name), json!(user.password));
        let good = format!("\"username\":{name},\"password\":{password}");
        for text in [
            format!("{{{good},\"username\":{name}}}"),
            format!("{{{good},\"password\":{password}}}"),
            format!("{{\"username\":\"other\",{good}}}"),
            format!("{{{good},\"us\\u0065rname\":\"other\"}}"),
            format!("{{\"\\u0070\\u0061ssword\":\"other\",{good}}}"),
            format!("{{{good},\"password\":null}}"),
            format!("{{{good},\"transport\":\"body\",\"transport\":\"body\"}}"),
            format!("{{{good},\"transport\":\"body\",\"transpor\\u0074\":\"cookie\"}}"),
            format!("{{{good},\"x\":1,\"x\":1}}"),
            format!("{{{good},\"x\":1,\"\\u0078\":1}}"),
            format!("{{{good},\"\":1,\"\":1}}"),
            format!("{{{good},\"é\":1,\"\\u00e9\":1}}"),
            format!("{{{good},\"x\":{{\"y\":1,\"y\":1}}}}"),
            format!("{{{good},\"x\":[[{{\"y\":1,\"\\u0079\":1}}]]}}"),
        ] {
            let answer = host.post("/login").json_text(&text).send().await?;
            answer.refused(400, "invalid_request").row(&text)?;
        }
        host.post("/login").json_text(&format!("{{{good}}}")).send().await?.granted().map(|_| ())
    })),
    case("json/sixteen-levels-are-the-limit", "Arrays and objects 16 deep are read, 17 deep are 400 `invalid_request`.")
        .spec(&["docs/contract.md 8.6", "ASVS 1.5.3"])
        .run(run!(async |host| {
            // The body itself is the first level, so 15 more fit into it.
            let arrays = |deep: usize| format!("{}{}", "[".repeat(deep), "]".repeat(deep));
            let objects = |deep: usize| format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep));
            let with = |value: String| format!("{{\"username\":{value},\"password\":\"b\"}}");
            let send = |text: String| host.post("/login").json_text(&text).send();
            for nested in [arrays(15), objects(15)] {
                send(with(nested)).await?.invalid_field("username", "wrong_type").row("16 levels")?;
            }
            for nested in [arrays(16), objects(16), arrays(4000), format!("{}{}", arrays(8), arrays(8))] {
                send(with(nested)).await?.refused(400, "invalid_request").row("17 levels or more")?;
            }
            let unknown = |value: String| format!("{{\"x\":{value},\"username\":\"a\",\"password\":\"b\"}}");
            send(unknown(arrays(15))).await?.invalid_field("body", "unknown_member").row("16 levels, unknown")?;
            send(unknown(arrays(16))).await?.refused(400, "invalid_request").row("17 levels, unknown")?;
            // Broad is not deep.
            let broad = format!("[{}[]]", "[],".repeat(2000));
            send(with(broad)).await?.invalid_field("username", "wrong_type").row("2001 siblings")?;
            send("[".repeat(16_000)).await?.refused(400, "invalid_request").row("16,000 open brackets")
        })),
    case("json/the-value-is-an-object", "A body that is any other JSON value is 400 `invalid_request`.")
        .spec(&["docs/contract.md 8.7", "docs/contract.md 2.4"])
        .run(run!(async |host| {
            for path in ["/login", "/register", "/password", "/token", "/logout"] {
                for text in ["[]", "[{}]", "null", "true", "1", "\"text\"", "\"{}\"", "[[[]]]"] {
                    let answer = host.post(path).json_text(text).send().await?;
                    answer.refused(400, "invalid_request").row(format!("{text} at {path}"))?;
                }
            }
            Ok(())
        })),
    // Mass assignment: a member that is silently ignored today is one that binds tomorrow (ASVS 15.3.3).
    case(
        "json/an-unknown-member-is-told",
        "A member that the endpoint does not know is 422, field `body`, rule `unknown_member`, and nothing happens.",
    )
    .spec(&["docs/contract.md 8.8", "docs/contract.md 2.21", "ASVS 15.3.3"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let name = host.fresh_name();
        for (member, value) in [
            ("is_admin", json!(true)),
            ("roles", json!(["admin"])),
            ("id", json!("1")),
            ("disabled", json!(null)),
            ("Username", json!("x")),
            ("username ", json!("x")),
            ("", json!("")),
            ("__proto__", json!({"roles": ["admin"]})),
            ("_method", json!("DELETE")),
        ] {
            for (path, body) in [
                ("/register", json!({"username": name, "password": PASSWORD, member: value})),
                ("/login", json!({"username": user.name, "password": PASSWORD, member: value})),
                ("/token", json!({"grant_type": "refresh_token", "refresh_token": tokens.refresh, member: value})),
                ("/logout", json!({"refresh_token": tokens.refresh, member: value})),
            ] {
                let answer = host.post(path).json(body).send().await?;
                answer.invalid_field("body", "unknown_member").row(format!("{member:?} at {path}"))?;
            }
        }
        let body = json!({"current_password": PASSWORD, "new_password": "eleven calm rivers run", "username": "x"});
        let answer = host.post("/password").bearer(&tokens.access).json(body).send().await?;
        answer.invalid_field("body", "unknown_member").row("username at /password")?;

        // Not registered, not logged out, not rotated, not changed.
        let fresh = json!({"username": name, "password": PASSWORD});
        host.post("/register").json(fresh).send().await?.answered(201)?;
        user.login().await?;
        host.me(&tokens.access).await?.answered(200)?;
        host.refresh(&tokens.refresh).await?.granted().map(|_| ())
    })),
    case(
        "json/nothing-is-coerced",
        "A member of another JSON type than the endpoint's is 422 with its own name and the rule `wrong_type`.",
    )
    .spec(&["docs/contract.md 8.9", "docs/contract.md 2.21", "ASVS 15.3.5"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        for (path, body, members) in [
            (
                "/login",
                json!({"username": "a", "password": "b", "transport": "body"}),
                &["username", "password", "transport"][..],
            ),
            ("/register", json!({"username": "a", "password": "b"}), &["username", "password"]),
            (
                "/password",
                json!({"current_password": "a", "new_password": "b"}),
                &["current_password", "new_password"],
            ),
            (
                "/token",
                json!({"grant_type": "refresh_token", "refresh_token": "x", "client_id": "c", "scope": "s"}),
                &["grant_type", "refresh_token", "client_id", "scope"],
            ),
            ("/logout", json!({"refresh_token": "x"}), &["refresh_token"]),
        ] {
            for member in members {
                for value in ["null", "true", "0", "1.5", "1e400", "-0", "[]", "[\"a\"]", "{}"] {
                    let text = replaced(&body, member, value);
                    let request = host.post(path).json_text(&text);
                    let request = if path == "/password" { request.bearer(&access) } else { request };
                    let answer = request.send().await?;
                    answer.invalid_field(member, "wrong_type").row(format!("{text} at {path}"))?;
                }
            }
        }
        Ok(())
    })),
    case("json/a-missing-member-is-told-as-malformed", "A member that is needed and absent is 400 `invalid_request`.")
        .spec(&["docs/contract.md 8.10", "docs/contract.md 2.4"])
        .run(run!(async |host| {
            let access = host.user().await?.login().await?.access;
            for (path, body) in [
                ("/login", json!({})),
                ("/login", json!({"username": "a"})),
                ("/login", json!({"password": "b"})),
                ("/login", json!({"transport": "body"})),
                ("/register", json!({})),
                ("/register", json!({"username": "a"})),
                ("/register", json!({"password": "b"})),
                ("/password", json!({})),
                ("/password", json!({"current_password": "a"})),
                ("/password", json!({"new_password": "b"})),
                ("/token", json!({})),
                ("/token", json!({"grant_type": "refresh_token"})),
                ("/token", json!({"refresh_token": "x"})),
            ] {
                let request = host.post(path).json(body.clone());
                let request = if path == "/password" { request.bearer(&access) } else { request };
                request.send().await?.refused(400, "invalid_request").row(format!("{body} at {path}"))?;
            }
            Ok(())
        })),
    case(
        "json/every-endpoint-reads-alike",
        "What one endpoint refuses as malformed, every other that takes JSON refuses too.",
    )
    .spec(&["docs/contract.md 8.4", "docs/contract.md 8.5", "docs/contract.md 8.6", "ASVS 1.5.3"])
    .run(run!(async |host| {
        for path in ["/login", "/register", "/password", "/token", "/logout"] {
            let deep = format!("{{\"x\":{}{}}}", "[".repeat(16), "]".repeat(16));
            for text in
                ["{", "{}{}", "{\"x\":1,\"x\":2}", "{\"x\":\"\\ud800\"}", "\u{feff}{}", "{'x':1}", "{\"x\":1,}", &deep]
            {
                let answer = host.post(path).json_text(text).send().await?;
                answer.refused(400, "invalid_request").row(format!("{text:?} at {path}"))?;
            }
        }
        Ok(())
    })),
    // A store that does not take NUL, quotes or wild cards must not become a 500, nor a query of another meaning.
    case(
        "json/text-is-only-text",
        "Names, passwords and ids that mean something to a store or a shell are data like any other.",
    )
    .spec(&["docs/contract.md 2.3", "docs/contract.md 8.4", "ASVS 1.2.4"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let access = user.login().await?.access;
        for text in [
            "' OR '1'='1",
            "x'; DROP TABLE users; --",
            "\" OR \"\"=\"",
            "%",
            "_",
            "*",
            "\u{0}",
            "a\u{0}b",
            "\r\nDEL *\r\n",
            "{\"$ne\":null}",
            "${jndi:ldap://127.0.0.1/x}",
            "../../etc/passwd",
            "\u{202e}evil",
            "😀",
        ] {
            let body = json!({"username": text, "password": PASSWORD});
            let answer = host.post("/login").json(body).send().await?;
            answer.refused(401, "invalid_credentials").row(format!("username {text:?}"))?;
            let body = json!({"username": user.name, "password": text});
            host.post("/login").json(body).send().await?.refused(401, "invalid_credentials")?;
            let answer = host.delete(&format!("/sessions/{}", percent_all(text))).bearer(&access).send().await?;
            answer.refused(404, "not_found").row(format!("session id {text:?}"))?;
        }
        host.me(&access).await?.answered(200).map(|_| ())
    })),
    case(
        "json/a-form-and-json-are-told-apart",
        "A JSON body under a form's type, and a form under JSON's, is malformed at `/token`.",
    )
    .spec(&["docs/contract.md 8.2", "docs/contract.md 8.4", "docs/contract.md 8.10"])
    .run(run!(async |host| {
        let refresh = host.user().await?.login().await?.refresh;
        let form = format!("grant_type=refresh_token&refresh_token={refresh}");
        let body = json!({"grant_type": "refresh_token", "refresh_token": refresh}).to_string();
        host.post("/token").json_text(&form).send().await?.refused(400, "invalid_request")?;
        host.post("/token").form_text(&body).send().await?.refused(400, "invalid_request")?;
        host.post("/token").form_text(&form).send().await?.granted().map(|_| ())
    })),
];

fn login(name: &str, password: &str) -> String {
    json!({"username": name, "password": password}).to_string()
}

/// The object with one member's value written exactly so.
fn replaced(object: &Value, name: &str, value: &str) -> String {
    let members: Vec<String> = object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(other, old)| {
            let old = old.to_string();
            format!("{}:{}", json!(other), if other == name { value } else { &old })
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

fn percent_all(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
