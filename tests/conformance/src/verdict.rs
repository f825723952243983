//! The verdicts: a small, closed set of what an answer can be. They hold the comparison and return Expected and
//! Actual, so that a case says only what must happen. Every one also checks what section 2 of the contract says
//! of all answers.

use std::fmt::Debug;

use serde_json::Value;

use crate::{
    case::{Failure, Outcome, failed},
    client::{Response, Surface},
    cookies::{self, SetCookie},
};

/// What a login or a refresh granted. In cookie transport the two tokens come from the cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in: u64,
    pub(crate) refresh_expires_in: u64,
    pub(crate) session_id: String,
}

/// How a WWW-Authenticate field must look.
enum Challenge {
    /// No field at all.
    Absent,
    /// `Bearer realm="…"` and nothing else (RFC 6750 s3.1).
    Plain,
    /// `Basic realm="…"` and nothing else (RFC 6749 s5.2).
    Basic,
    /// With `error` equal to the code, and these members beside it.
    Error(&'static [&'static str]),
}

impl Response {
    /// `200` TOKENS in the body; no cookie is set.
    pub(crate) fn granted(&self) -> Result<Tokens, Failure> {
        let body = self.answered(200)?;
        let members =
            ["access_token", "expires_in", "refresh_expires_in", "refresh_token", "session_id", "token_type"];
        self.members(&body, &members)?;
        self.member(&body, "token_type", &"Bearer".into())?;
        self.sets_no_cookie()?;
        Ok(Tokens {
            access: self.string(&body, "access_token")?,
            refresh: self.string(&body, "refresh_token")?,
            expires_in: self.positive(&body, "expires_in")?,
            refresh_expires_in: self.positive(&body, "refresh_expires_in")?,
            session_id: self.string(&body, "session_id")?,
        })
    }

    /// `200` TOKENS in two cookies with exactly the contract's attributes; no token in the body.
    pub(crate) fn cookies_granted(&self) -> Result<Tokens, Failure> {
        let (expires_in, refresh_expires_in, session_id) = self.cookie_body()?;
        let [access, refresh] = self.cookie_names();
        let access = self.granted_cookie(access, "Lax", expires_in)?;
        let refresh = self.granted_cookie(refresh, "Strict", refresh_expires_in)?;
        self.cookie_count(2)?;
        Ok(Tokens {
            access: access.value,
            refresh: refresh.value,
            expires_in,
            refresh_expires_in,
            session_id,
        })
    }

    /// `200` with a new access cookie and no refresh cookie at all, as HOLD answers (contract section 4). Returns
    /// the access token.
    pub(crate) fn cookies_held(&self) -> Result<String, Failure> {
        let (expires_in, _, _) = self.cookie_body()?;
        let [access, _] = self.cookie_names();
        let access = self.granted_cookie(access, "Lax", expires_in)?;
        self.cookie_count(1)?;
        Ok(access.value)
    }

    /// A refusal of the contract's section 2: status, exact body, challenge, `Retry-After`.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Outcome {
        self.refusal(status, code, &[]).map(|_| ())
    }

    /// A refusal whose description is known word for word.
    pub(crate) fn refused_saying(&self, status: u16, code: &str, description: &str) -> Outcome {
        let body = self.refusal(status, code, &[])?;
        self.member(&body, "error_description", &description.into())?;
        if let Some(challenge) = self.challenge()? {
            let said = challenge.iter().find(|(name, _)| name == "error_description");
            if said.is_some_and(|(_, said)| said != description) {
                return Err(self.not(format!("{description:?} in the challenge too")));
            }
        }
        Ok(())
    }

    /// `401 invalid_token` because the token's time is over.
    pub(crate) fn expired_token(&self) -> Outcome {
        self.refused_saying(401, "invalid_token", "The access token expired")
    }

    /// `401 invalid_token` for any other cause: which one is nobody's business.
    pub(crate) fn invalid_token(&self) -> Outcome {
        self.refused_saying(401, "invalid_token", "The access token is invalid")
    }

    /// `422 validation_failed` that names the field and the rule.
    pub(crate) fn invalid_field(&self, field: &str, rule: &str) -> Outcome {
        let body = self.refusal(422, "validation_failed", &["field", "rule"])?;
        self.member(&body, "field", &field.into())?;
        self.member(&body, "rule", &rule.into())
    }

    /// `405` whose Allow field names exactly these methods, in any order.
    pub(crate) fn method_not_allowed(&self, methods: &[&str]) -> Outcome {
        self.refused(405, "method_not_allowed")?;
        let mut expected = methods.to_vec();
        expected.sort_unstable();
        let allow = self.header("allow").unwrap_or("");
        let mut actual: Vec<&str> = allow.split(',').map(str::trim).collect();
        actual.sort_unstable();
        if actual == expected {
            return Ok(());
        }
        Err(self.not(format!("Allow: {}", methods.join(", "))))
    }

    /// A success without a body: 204, or RFC 7009's empty 200.
    pub(crate) fn status(&self, status: u16) -> Outcome {
        self.is(status)?;
        self.standard()?;
        if !self.body.is_empty() {
            return Err(self.not(format!("{status} with an empty body")));
        }
        if status == 204 {
            for name in ["content-type", "content-length", "transfer-encoding"] {
                // RFC 9110 s8.6 forbids a length here; a type of nothing is noise.
                if !self.headers(name).is_empty() {
                    return Err(self.not(format!("204 without {name}")));
                }
            }
        }
        Ok(())
    }

    /// A success with a JSON body, which it returns.
    pub(crate) fn answered(&self, status: u16) -> Result<Value, Failure> {
        self.is(status)?;
        self.standard()?;
        if self.header("content-type") != Some("application/json") {
            return Err(self.not("Content-Type: application/json"));
        }
        self.json()
    }

    /// No cookie is set or cleared.
    pub(crate) fn sets_no_cookie(&self) -> Outcome {
        self.cookie_count(0)
    }

    /// Both cookies are cleared, with their own attributes.
    pub(crate) fn clears_cookies(&self) -> Outcome {
        let [access, refresh] = self.cookie_names();
        for (name, same_site) in [(access, "Lax"), (refresh, "Strict")] {
            let cookie = self.granted_cookie(name, same_site, 0)?;
            if !cookie.value.is_empty() {
                return Err(self.not(format!("{name} cleared with an empty value")));
            }
        }
        self.cookie_count(2)
    }

    /// The answer depended on the CSRF rule and says so to caches.
    pub(crate) fn varies_by_origin(&self) -> Outcome {
        let named: Vec<String> = self
            .headers("vary")
            .iter()
            .flat_map(|value| {
                let value = String::from_utf8_lossy(value).to_ascii_lowercase();
                let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
                names
            })
            .collect();
        let both = ["sec-fetch-site", "origin"].iter().all(|name| named.iter().any(|other| other == name));
        if both {
            return Ok(());
        }
        Err(self.not("Vary: Sec-Fetch-Site, Origin"))
    }

    /// The parameters of the one `Bearer` challenge; `None` when there is no WWW-Authenticate.
    pub(crate) fn challenge(&self) -> Result<Option<Vec<(String, String)>>, Failure> {
        match self.headers("www-authenticate").as_slice() {
            [] => Ok(None),
            [value] => std::str::from_utf8(value)
                .ok()
                .and_then(parse_challenge)
                .map(Some)
                .ok_or_else(|| self.not("a Bearer challenge as RFC 6750 s3 writes it")),
            _ => Err(self.not("one WWW-Authenticate field")),
        }
    }

    /// The status alone, for cases that judge the rest themselves.
    pub(crate) fn is(&self, status: u16) -> Outcome {
        if self.status == status {
            return Ok(());
        }
        Err(self.not(format!("{status}")))
    }

    /// What section 2 says of every answer: the standard fields, no redirect, no CORS.
    pub(crate) fn standard(&self) -> Outcome {
        let unchanged = self.surface == Surface::Script && self.status == 304;
        if (300..400).contains(&self.status) && !unchanged {
            return Err(self.not("no redirect"));
        }
        let error = self.status >= 400;
        if self.surface == Surface::Route && !error {
            return Ok(());
        }
        let public = self.surface == Surface::Public;
        let caching = match self.surface {
            _ if error => "no-store",
            Surface::Public => "public, max-age=300",
            Surface::Script => "no-cache",
            Surface::Endpoint | Surface::Route => "no-store",
        };
        let mut fields = vec![
            ("Cache-Control", caching),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
            ("Referrer-Policy", "no-referrer"),
        ];
        if !public {
            fields.push(("Cross-Origin-Resource-Policy", "same-origin"));
        } else if !error && !self.headers("cross-origin-resource-policy").is_empty() {
            return Err(self.not("no Cross-Origin-Resource-Policy, since other services read this"));
        }
        for (name, value) in fields {
            if self.header(name) != Some(value) {
                return Err(self.not(format!("one field {name}: {value}")));
            }
        }
        let cors = |name: &String| name.to_ascii_lowercase().starts_with("access-control-");
        if self.headers.iter().any(|(name, _)| cors(name)) {
            return Err(self.not("no CORS field"));
        }
        Ok(())
    }

    /// A failure: what was expected, and this answer.
    pub(crate) fn not(&self, expected: impl Into<String>) -> Failure {
        failed(expected.into(), self.describe())
    }

    /// The body is an object of exactly these members.
    pub(crate) fn members(&self, body: &Value, names: &[&str]) -> Outcome {
        let mut expected = names.to_vec();
        expected.sort_unstable();
        let mut actual: Vec<&str> =
            body.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default();
        actual.sort_unstable();
        if actual == expected {
            return Ok(());
        }
        Err(self.not(format!("exactly the members {}", expected.join(", "))))
    }

    /// A member has this value.
    pub(crate) fn member(&self, body: &Value, name: &str, value: &Value) -> Outcome {
        if body.get(name) == Some(value) {
            return Ok(());
        }
        Err(self.not(format!("{name}: {value}")))
    }

    /// A member that is a string with something in it.
    pub(crate) fn string(&self, body: &Value, name: &str) -> Result<String, Failure> {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| self.not(format!("{name}: a string that is not empty")))
    }

    /// A member that is a positive integer.
    pub(crate) fn positive(&self, body: &Value, name: &str) -> Result<u64, Failure> {
        body.get(name)
            .and_then(Value::as_u64)
            .filter(|number| *number > 0)
            .ok_or_else(|| self.not(format!("{name}: a positive integer")))
    }

    /// A member that is an RFC 3339 UTC time with whole seconds; returns Unix seconds.
    pub(crate) fn time(&self, body: &Value, name: &str) -> Result<i64, Failure> {
        body.get(name)
            .and_then(Value::as_str)
            .and_then(unix_seconds)
            .ok_or_else(|| self.not(format!("{name}: a time such as 2026-01-31T23:59:59Z")))
    }

    fn refusal(&self, status: u16, code: &str, more: &[&str]) -> Result<Value, Failure> {
        if self.head_only {
            // HEAD answers as GET without the body: the code cannot be seen.
            self.is(status)?;
            self.standard()?;
            if !self.body.is_empty() {
                return Err(self.not("no body after HEAD"));
            }
            return Ok(Value::Null);
        }
        let said = self.json().ok();
        let code_is = said.as_ref().and_then(|body| body.get("error")?.as_str()) == Some(code);
        let body = match said {
            Some(body) if self.status == status && code_is => body,
            _ => return Err(self.not(format!("{status} {code}"))),
        };
        let mut members = vec!["error", "error_description"];
        members.extend(more);
        self.members(&body, &members)?;
        let description = self.string(&body, "error_description")?;
        if self.header("content-type") != Some("application/json") {
            return Err(self.not("Content-Type: application/json"));
        }
        self.standard()?;
        self.challenged(code, &description)?;
        if matches!(status, 429 | 503) {
            let seconds = self.header("retry-after").map(str::parse::<u64>);
            if !matches!(seconds, Some(Ok(seconds)) if seconds > 0) {
                return Err(self.not("Retry-After: a positive integer of seconds"));
            }
        }
        if status == 405 && self.header("allow").is_none_or(str::is_empty) {
            return Err(self.not("a field Allow (RFC 9110 s15.5.6)"));
        }
        Ok(body)
    }

    fn challenged(&self, code: &str, description: &str) -> Outcome {
        let expected = match code {
            "unauthenticated" | "invalid_credentials" => Challenge::Plain,
            "invalid_client" => Challenge::Basic,
            "invalid_token" => Challenge::Error(&["error_description"]),
            "insufficient_user_authentication" => Challenge::Error(&["max_age"]),
            "insufficient_scope" => Challenge::Error(&[]),
            _ => Challenge::Absent,
        };
        if matches!(expected, Challenge::Basic) {
            let basic =
                self.header("www-authenticate").and_then(|field| field.strip_prefix("Basic realm=\""));
            let realm = basic.and_then(|rest| rest.strip_suffix('"'));
            if realm.is_none_or(|realm| realm.is_empty() || realm.contains('"')) {
                return Err(self.not("one field WWW-Authenticate: Basic realm=\"…\" and nothing else"));
            }
            return Ok(());
        }
        let challenge = self.challenge()?;
        let (needed, challenge) = match (expected, challenge) {
            (Challenge::Absent, None) => return Ok(()),
            (Challenge::Absent, Some(_)) => {
                return Err(self.not(format!("no WWW-Authenticate with {code}")));
            }
            (Challenge::Plain | Challenge::Basic | Challenge::Error(_), None) => {
                return Err(self.not(format!("a WWW-Authenticate field with {code}")));
            }
            (Challenge::Plain | Challenge::Basic, Some(challenge)) => {
                if challenge.iter().any(|(name, _)| name != "realm") || challenge.is_empty() {
                    return Err(self.not("WWW-Authenticate: Bearer realm=\"…\" and nothing else"));
                }
                return Ok(());
            }
            (Challenge::Error(needed), Some(challenge)) => (needed, challenge),
        };
        let parameter = |wanted: &str| {
            let found = challenge.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        if parameter("realm").is_none() || parameter("error") != Some(code) {
            return Err(self.not(format!("WWW-Authenticate: Bearer realm=\"…\", error=\"{code}\"")));
        }
        for name in needed {
            if parameter(name).is_none_or(str::is_empty) {
                return Err(self.not(format!("{name} in the WWW-Authenticate field")));
            }
        }
        if code == "invalid_token" {
            // One word for expiry, one for everything else: a finer answer would help who forges.
            let known = ["The access token expired", "The access token is invalid"];
            if !known.contains(&description) || parameter("error_description") != Some(description) {
                return Err(self.not(format!("the same one of {known:?} in the body and in the challenge")));
            }
        }
        if parameter("max_age").is_some_and(|age| age.parse::<u64>().is_err()) {
            return Err(self.not("max_age: an integer of seconds (RFC 9470 s3)"));
        }
        Ok(())
    }

    fn cookie_names(&self) -> [&'static str; 2] {
        if self.insecure_cookies { cookies::INSECURE } else { [cookies::ACCESS, cookies::REFRESH] }
    }

    fn cookie_body(&self) -> Result<(u64, u64, String), Failure> {
        let body = self.answered(200)?;
        let members = ["expires_in", "refresh_expires_in", "session_id", "token_type"];
        self.members(&body, &members)?;
        self.member(&body, "token_type", &"Cookie".into())?;
        Ok((
            self.positive(&body, "expires_in")?,
            self.positive(&body, "refresh_expires_in")?,
            self.string(&body, "session_id")?,
        ))
    }

    pub(crate) fn granted_cookie(
        &self,
        name: &str,
        same_site: &str,
        max_age: u64,
    ) -> Result<SetCookie, Failure> {
        let mut expected = vec![
            "httponly".to_owned(),
            format!("max-age={max_age}"),
            "path=/".to_owned(),
            format!("samesite={same_site}"),
        ];
        if !self.insecure_cookies {
            expected.push("secure".to_owned());
        }
        match self.set_cookie(name)? {
            Some(cookie) if cookie.sorted_attributes() == expected => Ok(cookie),
            _ => Err(self.not(format!("a Set-Cookie of {name} with exactly: {}", expected.join("; ")))),
        }
    }

    fn cookie_count(&self, count: usize) -> Outcome {
        if self.headers("set-cookie").len() == count {
            return Ok(());
        }
        Err(self.not(format!("exactly {count} Set-Cookie")))
    }
}

/// Two values are the same; for facts that are no answer's own verdict.
pub(crate) fn equal<T: Debug + PartialEq>(what: &str, actual: &T, expected: &T) -> Outcome {
    if actual == expected {
        return Ok(());
    }
    Err(failed(format!("{what}: {expected:?}"), format!("{actual:?}")))
}

/// Two values are not the same.
pub(crate) fn differ<T: Debug + PartialEq>(what: &str, one: &T, other: &T) -> Outcome {
    if one != other {
        return Ok(());
    }
    Err(failed(format!("{what}: two different values"), format!("twice {one:?}")))
}

/// Two answers are the same to the byte: status, fields and body, `Date` aside.
pub(crate) fn identical(one: &Response, other: &Response) -> Outcome {
    identical_but_for(&[], one, other)
}

/// The same, whatever stands in these fields, by their lower-case names.
pub(crate) fn identical_but_for(ignored: &[&str], one: &Response, other: &Response) -> Outcome {
    let fields = |response: &Response| -> Vec<(String, Vec<u8>)> {
        let mut fields: Vec<_> = response
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .filter(|(name, _)| name != "date" && !ignored.contains(&name.as_str()))
            .collect();
        fields.sort();
        fields
    };
    if one.status == other.status && one.body == other.body && fields(one) == fields(other) {
        return Ok(());
    }
    Err(failed(format!("the same bytes as in: {}", one.describe()), other.describe()))
}

/// `Bearer name="value", name="value"`; a value without quotes may be a token.
fn parse_challenge(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.strip_prefix("Bearer ")?;
    let mut parameters: Vec<(String, String)> = Vec::new();
    loop {
        let (name, after) = rest.split_once('=')?;
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let twice = parameters.iter().any(|(other, _)| other == name);
        if name.is_empty() || !name.chars().all(valid) || twice {
            return None;
        }
        let value;
        if let Some(quoted) = after.strip_prefix('"') {
            // No backslash occurs: RFC 6750 s3 keeps it out of every parameter.
            (value, rest) = quoted.split_once('"')?;
        } else {
            let end = after.find(',').unwrap_or(after.len());
            (value, rest) = after.split_at(end);
        }
        parameters.push((name.to_owned(), value.to_owned()));
        if rest.is_empty() {
            return Some(parameters);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// `2026-01-31T23:59:59Z` as Unix seconds; any other form is refused.
pub(crate) fn unix_seconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let form = b"0000-00-00T00:00:00Z";
    let fits = bytes.len() == form.len()
        && bytes.iter().zip(form).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Days from the civil date, the year beginning in March so that the leap day is its last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let era_day = (shifted % 400) * 365 + (shifted % 400) / 4 - (shifted % 400) / 100 + day_of_year;
    let days = (shifted / 400) * 146_097 + era_day - 719_468;
    Some(days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_only_in_the_contracts_form() {
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_seconds("2024-02-29T12:34:56Z"), Some(1_709_210_096));
        assert_eq!(unix_seconds("2024-02-29T12:34:56.0Z"), None);
        assert_eq!(unix_seconds("2024-02-29T12:34:56+00:00"), None);
    }

    #[test]
    fn a_challenge_is_read_parameter_by_parameter() {
        let challenge = parse_challenge(r#"Bearer realm="a, b", error="x", max_age=300"#).unwrap();
        let names: Vec<&str> = challenge.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["realm", "error", "max_age"]);
        assert!(parse_challenge(r#"Bearer realm="a" error="x""#).is_none());
        assert!(parse_challenge(r#"Basic realm="a""#).is_none());
    }
}
