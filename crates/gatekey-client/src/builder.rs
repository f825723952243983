//! The settings of a client, and what makes them valid.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

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
    ///
    /// One of plain `http` is on this machine. It is asked without any proxy, and if the endpoints are `https`, without the
    /// settings of [`http`](Self::http).
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
    /// Redirects are followed by nobody: a token could go where they point. A proxy is for `https`, of which it sees nothing;
    /// where the endpoints are plain `http`, on this machine, it is not taken.
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
        let default =
            || reqwest::Client::builder().user_agent(concat!("gatekey-client/", env!("CARGO_PKG_VERSION")));
        let mut http = self.http.unwrap_or_else(default).redirect(Policy::none());
        if root.scheme() == "http" {
            http = within_this_machine(http, &origins);
        }
        let http = http.build().map_err(Error::transport)?;
        let plain = if root.scheme() == "https" && origins.iter().any(|origin| origin.scheme() == "http") {
            let plain = within_this_machine(default().redirect(Policy::none()), &origins);
            plain.build().map_err(Error::transport)?
        } else {
            http.clone()
        };
        let root = root.as_str().trim_end_matches('/').to_owned();
        let inner = Inner::new(http, plain, root, origins, self.store).await?;
        Ok(Client { inner: Arc::new(inner) })
    }
}

/// What goes in the clear: through no proxy, which could read it, and to no address that a name server made up.
fn within_this_machine(mut http: ClientBuilder, origins: &[Url]) -> ClientBuilder {
    // The port is that of the URL.
    let here = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
    for name in origins.iter().filter(|origin| origin.scheme() == "http").filter_map(Url::domain) {
        http = http.resolve_to_addrs(name, &here);
    }
    http.no_proxy()
}

fn checked(text: &str) -> Result<Url, Error> {
    // The text is not repeated: it may have a password.
    let url: Url = text.parse().map_err(|error| Error::Config(format!("not an absolute URL: {error}")))?;
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
        for url in
            ["https://alice:hunter2@api.example.com/auth", "https://alice:hunter2@api.example.com:99999"]
        {
            let error = checked(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
