use serde_json::{Value as Json, json};

use super::*;
use crate::{
    access::{Expected, Principal},
    fixtures::{NOW, secs},
    time::Timestamp,
};

const ISSUER: &str = "https://issuer.example.com";

/// What becomes of claims in a token of that shape.
fn judged(shape: &TokenShape, claims: &Json) -> Result<Principal, TokenError> {
    let mut payload = claims.to_string();
    let expected = Expected { issuer: ISSUER, audience: "notes-api", leeway: secs(30) };
    expected.accept(&shape.read(&mut payload)?, shape.needs(), payload, NOW)
}

/// An object with some members set, or taken away by `null`.
fn with(claims: &Json, changes: Json) -> Json {
    let mut claims = claims.clone();
    let (members, Json::Object(changes)) = (claims.as_object_mut().unwrap(), changes) else { panic!() };
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    claims
}

fn gatekey() -> Json {
    json!({
        "iss": ISSUER, "sub": "alice-id", "aud": "notes-api", "exp": 1_800_000_900, "iat": 1_800_000_000, "jti": "j",
        "client_id": "gatekey", "sid": "s", "auth_time": 1_799_999_998, "preferred_username": "alice",
        "roles": ["editor"], "scope": "read write",
    })
}

/// As Keycloak 26 issues them.
fn keycloak() -> Json {
    json!({
        "exp": 1_800_000_300, "iat": 1_800_000_000, "auth_time": 1_799_999_990, "jti": "onrtac:6f1d", "iss": ISSUER,
        "aud": ["notes-api", "account"], "sub": "f4f8-11", "typ": "Bearer", "azp": "notes-web", "sid": "c9a2", "acr": "1",
        "allowed-origins": ["https://notes.example.com"],
        "realm_access": {"roles": ["offline_access", "editor"]},
        "resource_access": {"notes-api": {"roles": ["publisher"]}, "account": {"roles": ["view-profile"]}},
        "scope": "openid email profile", "email_verified": false, "name": "Alice Liddell", "preferred_username": "alice",
    })
}

/// As Auth0 issues them for an API.
fn auth0() -> Json {
    json!({
        "https://notes.example.com/roles": ["editor"], "iss": ISSUER, "sub": "auth0|64f0",
        "aud": ["notes-api", "https://tenant.auth0.example/userinfo"], "iat": 1_800_000_000, "exp": 1_800_086_400,
        "azp": "Kq3", "scope": "openid profile read:notes", "permissions": ["read:notes"],
    })
}

/// As Supabase issues them.
fn supabase() -> Json {
    json!({
        "iss": ISSUER, "sub": "5be2-uuid", "aud": "notes-api", "exp": 1_800_003_600, "iat": 1_800_000_000,
        "email": "alice@example.com", "phone": "", "role": "authenticated", "aal": "aal1",
        "app_metadata": {"provider": "email", "roles": ["editor"]}, "user_metadata": {"roles": ["admin"]},
        "amr": [{"method": "password", "timestamp": 1_800_000_000}], "session_id": "8d1e", "is_anonymous": false,
    })
}

#[test]
fn tokens_of_others_are_read_where_their_shape_says() {
    let principal = judged(&TokenShape::keycloak(), &keycloak()).unwrap();
    assert_eq!(principal.subject().as_str(), "f4f8-11");
    assert_eq!((principal.username(), principal.client_id()), ("alice", "notes-web"));
    assert_eq!((principal.session().as_str(), principal.token_id()), ("c9a2", "onrtac:6f1d"));
    assert_eq!(principal.roles(), ["offline_access", "editor"]);
    assert!(principal.has_scope("email openid") && !principal.has_scope("write"));
    assert_eq!(principal.auth_time(), NOW - secs(10));
    let of_client = TokenShape::keycloak().roles_at(["resource_access", "notes-api", "roles"]);
    assert_eq!(judged(&of_client, &keycloak()).unwrap().roles(), ["publisher"]);

    let principal = judged(&TokenShape::auth0(), &auth0()).unwrap();
    assert_eq!(principal.roles(), ["read:notes"]);
    assert_eq!((principal.client_id(), principal.session().as_str(), principal.token_id()), ("Kq3", "", ""));
    // No name: the subject is told instead.
    assert_eq!(principal.username(), "auth0|64f0");
    let namespaced = TokenShape::auth0().roles_at(["https://notes.example.com/roles"]);
    assert_eq!(judged(&namespaced, &auth0()).unwrap().roles(), ["editor"]);

    let principal = judged(&TokenShape::supabase(), &supabase()).unwrap();
    assert_eq!(principal.roles(), ["authenticated"]);
    assert_eq!((principal.username(), principal.session().as_str()), ("alice@example.com", "8d1e"));
    let of_app = TokenShape::supabase().roles_at(["app_metadata", "roles"]);
    assert_eq!(judged(&of_app, &supabase()).unwrap().roles(), ["editor"]);

    let principal = judged(&TokenShape::gatekey(), &gatekey()).unwrap();
    assert_eq!((principal.roles(), principal.scope()), (&["editor".to_owned()][..], Some("read write")));
    #[derive(serde::Deserialize)]
    struct Tenant {
        aal: String,
    }
    let tenant: Tenant = judged(&TokenShape::supabase(), &supabase()).unwrap().claims().unwrap();
    assert_eq!(tenant.aal, "aal1");
}

#[test]
fn what_may_be_missing_is_chosen_by_the_shape_and_never_by_the_token() {
    let never = ["iss", "sub", "aud", "exp"];
    let standard = ["client_id", "iat", "jti"];
    let ours = ["sid", "auth_time", "preferred_username", "roles"];
    for (shape, needed, optional) in [
        (TokenShape::gatekey(), [&never[..], &standard, &ours].concat(), vec!["scope"]),
        (TokenShape::rfc9068(), [&never[..], &standard].concat(), [&ours[..], &["scope"]].concat()),
        (TokenShape::jwt(), never.to_vec(), [&standard[..], &ours, &["scope"]].concat()),
    ] {
        for name in &needed {
            let refused = judged(&shape, &with(&gatekey(), json!({ *name: null })));
            let expected = if *name == "aud" { TokenError::WrongAudience } else { TokenError::Claims };
            assert_eq!(refused.unwrap_err(), expected, "{name} in {:?}", shape.needs);
        }
        for name in &optional {
            assert!(judged(&shape, &with(&gatekey(), json!({ *name: null }))).is_ok(), "{name}");
        }
        // Missing is not empty.
        for name in ["sub", "sid", "jti", "client_id"] {
            assert!(judged(&shape, &with(&gatekey(), json!({ name: "" }))).is_err(), "{name} empty");
        }
    }
}

#[test]
fn what_a_token_does_not_say_grants_nothing() {
    let bare = json!({"iss": ISSUER, "sub": "alice-id", "aud": "notes-api", "exp": 1_800_000_900});
    let principal = judged(&TokenShape::jwt(), &bare).unwrap();
    assert!(!principal.has_role("") && principal.roles().is_empty());
    assert!(principal.require_scope("read").is_err());
    // A login of unknown age is never a fresh one.
    assert_eq!(principal.auth_time(), Timestamp::EPOCH);
    assert!(principal.require_fresh(secs(1_799_999_999), NOW).is_err());
}

#[test]
fn a_claim_of_another_type_refuses_the_token() {
    for (shape, claims) in [
        (TokenShape::keycloak(), keycloak()),
        (TokenShape::auth0(), auth0()),
        (TokenShape::supabase(), supabase()),
    ] {
        assert!(judged(&shape, &claims).is_ok());
        for change in [
            json!({"exp": "1800000900"}),
            json!({"exp": 1_800_000_900.0}),
            json!({"exp": 1e300}),
            json!({"iat": "x"}),
            json!({"nbf": {}}),
            json!({"auth_time": false}),
            json!({"sub": 7}),
            json!({"aud": {"notes-api": true}}),
            json!({"aud": [["notes-api"]]}),
            json!({"jti": []}),
            json!({"scope": 7}),
            json!({"scope": ["read", 7]}),
            json!({"azp": ["a"], "session_id": ["a"]}),
            json!({"realm_access": {"roles": {"admin": true}}, "permissions": 7, "role": false}),
            json!({"realm_access": {"roles": ["a", 7]}, "permissions": ["a", 7], "role": ["a", 7]}),
        ] {
            let refused = judged(&shape, &with(&claims, change.clone()));
            assert_eq!(refused.unwrap_err(), TokenError::Claims, "{change}");
        }
    }
    for text in
        ["[]", "\"x\"", "{\"iss\":\"a\",\"iss\":\"a\"}", "{\"iss\":\"a\",\"\\u0069ss\":\"a\"}", "{}x", ""]
    {
        assert!(TokenShape::jwt().read(&mut text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn a_scope_is_a_text_or_an_array_that_hides_no_second_scope() {
    let shape = TokenShape::jwt().scope_at(["scp"]);
    let scope = |scp: Json| {
        let principal = judged(&shape, &with(&gatekey(), json!({ "scp": scp }))).ok()?;
        principal.scope().map(str::to_owned)
    };
    assert_eq!(scope(json!("read write")).as_deref(), Some("read write"));
    assert_eq!(scope(json!(["read", "write"])).as_deref(), Some("read write"));
    assert_eq!(scope(json!([])).as_deref(), Some(""));
    for hidden in [json!(["read admin"]), json!(["read", ""]), json!([" "])] {
        assert_eq!(scope(hidden.clone()), None, "{hidden}");
    }
    // Where the shape reads it is where it is: the usual place says nothing then.
    assert_eq!(scope(Json::Null), None);
    // Ours have one form each.
    for change in [json!({"scope": ["read"]}), json!({"roles": "editor"})] {
        assert!(judged(&TokenShape::gatekey(), &with(&gatekey(), change.clone())).is_err(), "{change}");
        assert!(judged(&TokenShape::rfc9068(), &with(&gatekey(), change)).is_ok());
    }
}

#[test]
fn tokens_that_are_not_access_tokens_for_a_bearer_are_refused() {
    // An ID token of Keycloak differs from an access token in its claim `typ`.
    for typ in [json!("ID"), json!("Refresh"), json!("DPoP"), json!(["Bearer"]), json!(null)] {
        let id_token = with(&keycloak(), json!({ "typ": typ }));
        assert_eq!(judged(&TokenShape::keycloak(), &id_token).unwrap_err(), TokenError::Claims, "{typ}");
    }
    let bound = with(&gatekey(), json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}));
    for shape in [TokenShape::gatekey(), TokenShape::rfc9068(), TokenShape::jwt()] {
        assert_eq!(judged(&shape, &bound).unwrap_err(), TokenError::Claims);
    }
    let cognito = TokenShape::jwt().with(["token_use"], "access");
    assert!(judged(&cognito, &with(&gatekey(), json!({"token_use": "access"}))).is_ok());
    assert!(judged(&cognito, &with(&gatekey(), json!({"token_use": "id"}))).is_err());
    assert!(judged(&cognito, &gatekey()).is_err());
}

#[test]
fn a_type_is_taken_by_explicit_choice() {
    let (jwt, at_jwt, none) = (Some("JWT"), Some("at+jwt"), None);
    let full = Some("application/at+jwt");
    for (shape, takes) in [
        (TokenShape::gatekey(), [at_jwt, full].as_slice()),
        (TokenShape::rfc9068(), &[at_jwt, full]),
        (TokenShape::jwt(), &[jwt]),
        (TokenShape::keycloak(), &[jwt]),
        (TokenShape::auth0(), &[jwt]),
        (TokenShape::supabase(), &[jwt]),
        (TokenShape::jwt().typ("at+jwt"), &[jwt, at_jwt, full]),
        (TokenShape::jwt().untyped(), &[jwt, none]),
    ] {
        for typ in
            [jwt, at_jwt, full, none, Some("jwt"), Some(""), Some("rt+jwt"), Some("JWT "), Some("JOSE")]
        {
            assert_eq!(shape.takes_type(typ), takes.contains(&typ), "{typ:?} {shape:?}");
        }
    }
}
