//! The settings of a client, and what makes them valid.

use std::{fmt, net::IpAddr, sync::Arc};

use reqwest::{ClientBuilder, Url, redirect::Policy};

use crate::{Client, Error, MemoryStore, TokenStore, renew::Inner};

/// Makes a [`Client`]; from [`Client::builder`].
#[must_use]
pub struct Builder {
    url: String,
    origins: Vec<String>,
    store: Arc<dyn TokenStore>,
    http: Option<ClientBuilder>,
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        Self { url, origins: Vec::new(), store: Arc::new(MemoryStore::default()), http: None }
    }

    /// Another origin that tokens are sent to, such as `https://notes.example.com`; once for each. That of the endpoints is
    /// one always.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Where the tokens are kept: in memory, unless set.
    pub fn store(mut self, store: impl TokenStore + 'static) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// Settings of reqwest: certificates to trust, a proxy, a user agent (which people see in their list of sessions).
    /// Redirects are followed by nobody: a token could go where they point.
    pub fn http(mut self, http: ClientBuilder) -> Self {
        self.http = Some(http);
        self
    }

    /// Makes the client, with the login that the store remembers.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a URL that is neither `https` nor of a loopback host, or that names a user;
    /// [`Error::Store`] if the store cannot say what it has.
    pub async fn build(self) -> Result<Client, Error> {
        let root = checked(&self.url)?;
        let mut origins = vec![root.clone()];
        for origin in &self.origins {
            origins.push(checked(origin)?);
        }
        let http = self.http.unwrap_or_else(|| {
            reqwest::Client::builder().user_agent(concat!("gatekey-client/", env!("CARGO_PKG_VERSION")))
        });
        let mut http = http.redirect(Policy::none());
        // What is on this machine is asked for without the proxy that the environment names.
        if root.scheme() == "http" {
            http = http.no_proxy();
        }
        let http = http.build().map_err(Error::transport)?;
        let root = root.as_str().trim_end_matches('/').to_owned();
        let inner = Inner::new(http, root, origins, self.store).await?;
        Ok(Client { inner: Arc::new(inner) })
    }
}

fn checked(text: &str) -> Result<Url, Error> {
    let url: Url =
        text.parse().map_err(|error| Error::Config(format!("{text:?} is not an absolute URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Config("a URL must name no user".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::Config(format!("{url} must have no query")));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(url.host_str().unwrap_or_default()) => Ok(url),
        _ => Err(Error::Config(format!("{url} is not https; whoever is on the way could read the tokens"))),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("origins", &self.origins).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_over_https_or_within_this_machine() {
        for (url, taken) in [
            ("https://api.example.com/auth", true),
            ("https://api.example.com:8443/auth/", true),
            ("http://localhost:3000/auth", true),
            ("http://app.localhost:3000/auth", true),
            ("http://127.0.0.1/auth", true),
            ("http://[::1]:3000/auth", true),
            ("http://api.example.com/auth", false),
            ("http://127.0.0.1.example.com/auth", false),
            ("http://localhost.example.com/auth", false),
            ("http://0.0.0.0/auth", false),
            ("https://alice@api.example.com/auth", false),
            ("https://alice:secret@api.example.com/auth", false),
            ("https://api.example.com/auth?x", false),
            ("ftp://api.example.com/auth", false),
            ("api.example.com/auth", false),
            ("/auth", false),
            ("", false),
        ] {
            assert_eq!(checked(url).is_ok(), taken, "{url}");
        }
        let error = checked("https://alice:hunter2@api.example.com/auth").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
