//! Fetches an issuer's JWK Set over HTTPS, for a verifier of gatekey.
//!
//! 1. The URL is `https`; `http` is taken for a loopback host alone. It names no user, and where there is a list of hosts
//!    ([`JwksUrl::allow_hosts`]) its host is on it.
//! 2. A redirect is an error, and followed by nobody: the keys come from where the application says or from nowhere.
//! 3. The certificate is verified, always, by what this machine trusts and what [`JwksUrl::trust`] adds.
//! 4. Nothing but 200 is an answer. At most 64 KiB are read, all within [`JwksUrl::timeout`].
//!
//! What is read is judged by gatekey-core, which also decides when to ask, and keeps the keys it has while this fails.
//!
//! ```no_run
//! use gatekey_core::TokenVerifier;
//! use gatekey_jwks::JwksUrl;
//! use std::sync::Arc;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = TokenVerifier::builder();
//! builder.issuer("https://login.example.com");
//! builder.audience("https://api.example.com");
//! builder.source(Arc::new(JwksUrl::new("https://login.example.com/auth/jwks.json")?));
//! let verifier = builder.build().await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Deployment.** Where the environment names a proxy (`HTTPS_PROXY`), it is asked through it. A loopback host never is.

use std::{error::Error, fmt, time::Duration};

use async_trait::async_trait;
use gatekey_core::{
    config::{ConfigError, is_loopback},
    keys::MAX_KEY_SET,
    verifier::{KeySource, KeySourceError},
};
use reqwest::{Certificate, Client, StatusCode, Url, header::ACCEPT, redirect::Policy};

/// Where an issuer publishes its JWK Set.
#[derive(Clone)]
pub struct JwksUrl {
    url: Url,
    client: Client,
    roots: Vec<Certificate>,
    timeout: Duration,
}

impl JwksUrl {
    /// Takes an absolute `https` URL; `http` for `localhost`, 127.0.0.0/8 and `[::1]` alone.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the setting `jwks_url`.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let url = checked(url)?;
        Ok(Self { client: client(&url, &[])?, url, roots: Vec::new(), timeout: Duration::from_secs(5) })
    }

    /// Refuses the URL unless its host is one of these, compared whole. For a URL that a setting or a document brought.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the setting `jwks_url`.
    pub fn allow_hosts<'a>(self, hosts: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        // The URL's own is in lower case.
        let host = self.url.host_str().unwrap_or_default();
        if !hosts.into_iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
            return Err(refused(format!("{host} is not among the allowed hosts")));
        }
        Ok(self)
    }

    /// Also trusts these certificates, PEM: for an issuer whose certificate comes from within the house.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the setting `jwks_url`.
    pub fn trust(mut self, pem: &[u8]) -> Result<Self, ConfigError> {
        let certificates = Certificate::from_pem_bundle(pem);
        let certificates = certificates.map_err(|error| refused(format!("certificates: {error}")))?;
        if certificates.is_empty() {
            return Err(refused("certificates: there is none in the PEM".to_owned()));
        }
        self.roots.extend(certificates);
        self.client = client(&self.url, &self.roots)?;
        Ok(self)
    }

    /// How long a fetch may take, from the name to the last byte: 5 s, unless set; at most 30 s.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit.min(Duration::from_secs(30));
        self
    }

    fn failed(&self, problem: impl fmt::Display) -> KeySourceError {
        // Without its query, where an API key may stand.
        let place = self.url.as_str().split(['?', '#']).next().unwrap_or_default();
        KeySourceError(format!("{place}: {problem}"))
    }

    fn broken(&self, error: reqwest::Error) -> KeySourceError {
        if error.is_timeout() {
            return self.failed(format_args!("no answer within {:?}", self.timeout));
        }
        // What went wrong is said by the causes; the error itself says that something did.
        let error = error.without_url();
        let mut first = error.source();
        while let Some(cause) = first.and_then(Error::source) {
            first = Some(cause);
        }
        match first {
            Some(cause) => self.failed(format_args!("{error}: {cause}")),
            None => self.failed(error),
        }
    }
}

fn checked(text: &str) -> Result<Url, ConfigError> {
    let url: Url = text.parse().map_err(|error| refused(format!("is not an absolute URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("must name no user".to_owned()));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(url.host_str().unwrap_or_default()) => Ok(url),
        _ => Err(refused(format!("{url} is not https; whoever is on the way could send other keys"))),
    }
}

fn refused(problem: String) -> ConfigError {
    ConfigError::setting("jwks_url", problem)
}

fn client(url: &Url, roots: &[Certificate]) -> Result<Client, ConfigError> {
    let mut builder = Client::builder()
        .user_agent(concat!("gatekey/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .tls_certs_merge(roots.iter().cloned())
        // The next fetch is minutes away: a connection kept till then would be found closed.
        .pool_max_idle_per_host(0);
    builder = if url.scheme() == "https" { builder.https_only(true) } else { builder.no_proxy() };
    builder.build().map_err(|error| refused(format!("no client can be made: {error}")))
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksUrl").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeySource for JwksUrl {
    async fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        let request = self.client.get(self.url.clone()).timeout(self.timeout);
        let request = request.header(ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(|error| self.broken(error))?;
        if response.status() != StatusCode::OK {
            return Err(self.failed(format_args!("answered {}", response.status())));
        }
        let too_long = || self.failed(format_args!("more than {MAX_KEY_SET} bytes"));
        // A length that is announced is enough to refuse by.
        if response.content_length().is_some_and(|length| length > MAX_KEY_SET as u64) {
            return Err(too_long());
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if text.len() + chunk.len() > MAX_KEY_SET {
                return Err(too_long());
            }
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
