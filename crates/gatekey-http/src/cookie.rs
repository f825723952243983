//! The two cookies: their names, how they are set, how they are cleared (RFC 6265bis).
//!
//! `__Host-` names bind a cookie to this host over https: no sibling subdomain can plant one, and neither can a page
//! fetched without TLS. Both are `HttpOnly`: a script cannot read them.

use std::time::Duration;

use gatekey_core::{Tokens, error::AuthError};
use http::HeaderValue;

/// What the cookies are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieNames {
    pub(crate) access: &'static str,
    pub(crate) refresh: &'static str,
    /// `SameSite` of the refresh cookie.
    refresh_same_site: &'static str,
    secure: bool,
}

/// A name and value together, in bytes; what every browser keeps.
const MAX_LENGTH: usize = 4096;
/// The longest a cookie may ask to live.
const MAX_AGE: u64 = 400 * 24 * 3600;

impl CookieNames {
    pub(crate) const fn secure() -> Self {
        Self {
            access: "__Host-gatekey_access",
            refresh: "__Host-gatekey_refresh",
            refresh_same_site: "Strict",
            secure: true,
        }
    }

    /// For development on a loopback host without TLS: such a prefix needs `Secure`, so both go.
    pub(crate) const fn insecure() -> Self {
        Self {
            access: "gatekey_access",
            refresh: "gatekey_refresh",
            refresh_same_site: "Strict",
            secure: false,
        }
    }

    /// For pages without script: a navigation that another site's link began brings the refresh cookie along.
    pub(crate) const fn lax(self) -> Self {
        Self { refresh_same_site: "Lax", ..self }
    }

    /// The cookies that carry freshly granted tokens. A refresh token left in place is not set again: a slow answer
    /// would overwrite a newer one.
    pub(crate) fn grant(&self, tokens: &Tokens) -> Result<Vec<HeaderValue>, AuthError> {
        let mut cookies =
            vec![self.set(self.access, "Lax", tokens.access.expose(), tokens.access_expires_in)?];
        if !tokens.held {
            cookies.push(self.set(
                self.refresh,
                self.refresh_same_site,
                tokens.refresh.expose(),
                tokens.refresh_expires_in,
            )?);
        }
        Ok(cookies)
    }

    /// The cookies that remove both.
    pub(crate) fn clear(&self) -> Result<Vec<HeaderValue>, AuthError> {
        Ok(vec![self.set(self.access, "Lax", "", 0)?, self.set(self.refresh, self.refresh_same_site, "", 0)?])
    }

    fn set(&self, name: &str, same_site: &str, value: &str, max_age: u64) -> Result<HeaderValue, AuthError> {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = max_age.min(MAX_AGE);
        let cookie = format!("{name}={value}{secure}; HttpOnly; SameSite={same_site}; Path=/; Max-Age={age}");
        let fits = name.len() + value.len() <= MAX_LENGTH;
        HeaderValue::try_from(cookie).ok().filter(|_| fits).ok_or_else(|| {
            let problem =
                "a token is too long for a cookie (4096 bytes): the host's own claims are too large";
            AuthError::Internal(std::sync::Arc::new(std::io::Error::other(problem)))
        })
    }
}

/// A duration in whole seconds, rounded up: whoever waits so long has waited long enough.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use gatekey_core::{secret::Secret, session::SessionId};

    use super::*;

    fn tokens(access: &str, held: bool) -> Tokens {
        Tokens {
            access: Secret::new(access.to_owned()),
            access_expires_in: 900,
            refresh: Secret::new("r".to_owned()),
            refresh_expires_in: 604_800,
            held,
            session: SessionId::new("s"),
        }
    }

    #[test]
    fn cookies_carry_every_attribute_of_the_contract() {
        let set = CookieNames::secure().grant(&tokens("a", false)).unwrap();
        assert_eq!(
            set,
            [
                "__Host-gatekey_access=a; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=900",
                "__Host-gatekey_refresh=r; Secure; HttpOnly; SameSite=Strict; Path=/; Max-Age=604800",
            ]
        );
        assert_eq!(
            CookieNames::insecure().clear().unwrap(),
            [
                "gatekey_access=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0",
                "gatekey_refresh=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0",
            ]
        );
    }

    #[test]
    fn the_refresh_cookie_is_lax_for_pages_and_only_then() {
        let same_site = |names: CookieNames| {
            let cookies = [names.grant(&tokens("a", false)).unwrap(), names.clear().unwrap()].concat();
            cookies.iter().map(|cookie| cookie.to_str().unwrap().contains("SameSite=Lax")).collect::<Vec<_>>()
        };
        assert_eq!(same_site(CookieNames::secure()), [true, false, true, false]);
        assert_eq!(same_site(CookieNames::secure().lax()), [true; 4]);
        assert_eq!(same_site(CookieNames::insecure().lax()), [true; 4]);
    }

    #[test]
    fn a_held_refresh_token_is_not_set_again() {
        assert_eq!(CookieNames::secure().grant(&tokens("a", true)).unwrap().len(), 1);
    }

    #[test]
    fn name_and_value_fit_into_4096_bytes_or_nothing_is_set() {
        let room = 4096 - "__Host-gatekey_access".len();
        assert!(CookieNames::secure().grant(&tokens(&"a".repeat(room), false)).is_ok());
        assert!(CookieNames::secure().grant(&tokens(&"a".repeat(room + 1), false)).is_err());
    }

    #[test]
    fn nobody_is_told_to_come_back_too_early() {
        for (millis, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_999, 60), (60_000, 60)]
        {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis}");
        }
        assert_eq!(whole_seconds(Duration::from_nanos(1)), 1);
    }
}
