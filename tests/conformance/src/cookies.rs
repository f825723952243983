//! Cookies as a strict, small client sees them: by exact name, no folding, no decoding.

use crate::case::{Failure, failed};

/// The access cookie's name.
pub(crate) const ACCESS: &str = "__Host-gatekey_access";
/// The refresh cookie's name.
pub(crate) const REFRESH: &str = "__Host-gatekey_refresh";
/// Both names under the development switch `insecure_loopback_cookies`.
pub(crate) const INSECURE: [&str; 2] = ["gatekey_access", "gatekey_refresh"];

/// One Set-Cookie field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetCookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Names in lower case, in the order sent; `None` where there is no `=`.
    pub(crate) attributes: Vec<(String, Option<String>)>,
}

impl SetCookie {
    /// Parses a field as RFC 6265bis s4.1.1 lets a server write it, which is stricter than what browsers take.
    pub(crate) fn parse(field: &[u8]) -> Result<Self, Failure> {
        let wrong =
            || failed("a Set-Cookie field as RFC 6265bis s4.1.1 writes it", String::from_utf8_lossy(field));
        let text = std::str::from_utf8(field).map_err(|_| wrong())?;
        let mut parts = text.split("; ");
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).ok_or_else(wrong)?;
        let mut attributes = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (part, None),
            };
            let name = name.to_ascii_lowercase();
            if name.is_empty() || attributes.iter().any(|(other, _)| *other == name) {
                return Err(wrong());
            }
            attributes.push((name, value));
        }
        if name.is_empty() || text.contains(|c: char| c.is_ascii_control()) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned(), attributes })
    }

    /// The value of an attribute (name in lower case); `Some("")` for one without a value.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(other, _)| other == name)?;
        Some(value.as_deref().unwrap_or(""))
    }

    /// Whether the cookie is taken away again.
    pub(crate) fn clears(&self) -> bool {
        self.attribute("max-age") == Some("0")
    }

    /// The attributes, sorted, for a comparison that leaves their order free.
    pub(crate) fn sorted_attributes(&self) -> Vec<String> {
        let mut sorted: Vec<String> = self
            .attributes
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            })
            .collect();
        sorted.sort();
        sorted
    }
}

/// The cookies that a client holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jar {
    cookies: Vec<(String, String)>,
}

impl Jar {
    /// Takes what an answer set.
    pub(crate) fn absorb(&mut self, cookie: &SetCookie) {
        self.cookies.retain(|(name, _)| *name != cookie.name);
        if !cookie.clears() {
            self.set(&cookie.name, &cookie.value);
        }
    }

    /// Puts a cookie, as a case that rewinds or forges one does.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.cookies.retain(|(other, _)| other != name);
        self.cookies.push((name.to_owned(), value.to_owned()));
    }

    /// Drops a cookie.
    pub(crate) fn remove(&mut self, name: &str) {
        self.cookies.retain(|(other, _)| other != name);
    }

    /// The value of a cookie.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.cookies.iter().find(|(other, _)| other == name)?;
        Some(value)
    }

    /// The Cookie field to send; none when the jar is empty.
    pub(crate) fn field(&self) -> Option<String> {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jar_takes_replaces_and_clears_by_exact_name() {
        let mut jar = Jar::default();
        for field in ["a=1; Path=/", "A=2; Secure", "a=3; Max-Age=60"] {
            jar.absorb(&SetCookie::parse(field.as_bytes()).unwrap());
        }
        assert_eq!(jar.field().unwrap(), "A=2; a=3");
        jar.absorb(&SetCookie::parse(b"a=; Max-Age=0").unwrap());
        assert_eq!(jar.field().unwrap(), "A=2");
    }

    #[test]
    fn an_attribute_that_stands_twice_is_refused() {
        assert!(SetCookie::parse(b"a=1; Path=/; path=/x").is_err());
        assert!(SetCookie::parse(b"a").is_err());
    }
}
