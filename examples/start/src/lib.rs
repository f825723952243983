//! What the example programs do before they serve, the same in every framework.
//!
//! Settings are read from the environment and from `.env` in the current folder:
//!
//! - `LISTEN`: the address to listen on, `127.0.0.1:3000` unless set;
//! - `ISSUER`: the URL under which people reach it, `http://` and the address unless set; behind TLS, the `https` one;
//! - `GATEKEY_ACCESS_KEY` and `GATEKEY_REFRESH_SECRET`: the keys. Without them they are in `gatekey.keys` in the current
//!   folder, made when the program is run for the first time.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "for programs for people at a terminal")]

use std::{
    error::Error,
    io::{self, IsTerminal},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
};

use gatekey::{Gatekey, GatekeyBuilder, KeyError, Keys};

/// What a program does, or why it does not: one line for whoever started it.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Where a program listens, and what it is called.
#[derive(Debug)]
pub struct Start {
    /// Takes connections already; it does not block.
    pub listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
    /// The URL under which people reach the program.
    pub issuer: String,
    folder: PathBuf,
}

impl Start {
    /// Reads the settings, begins to write a log and takes the address.
    ///
    /// # Errors
    ///
    /// One line for whoever started the program.
    pub fn from_env() -> Outcome<Self> {
        // Without a file there is nothing to read; a file that cannot be read is worth knowing about. Of this folder alone:
        // the keys of another program, some folders up, are not ours.
        if let Err(error) = dotenvy::from_path(".env")
            && !error.not_found()
        {
            return Err(format!(".env: {error}").into());
        }
        tracing_subscriber::fmt().with_target(false).with_ansi(io::stdout().is_terminal()).init();
        let listen = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
        let mut start = Self::at(&listen, Path::new(""))?;
        if let Ok(issuer) = std::env::var("ISSUER") {
            start.issuer = issuer;
        }
        Ok(start)
    }

    /// Takes an address, and keeps files in a folder.
    ///
    /// # Errors
    ///
    /// One line for whoever started the program.
    pub fn at(listen: &str, folder: &Path) -> Outcome<Self> {
        let listener = TcpListener::bind(listen).map_err(|error| busy(listen, &error))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let issuer = format!("http://{address}");
        Ok(Self { listener, address, issuer, folder: folder.to_owned() })
    }

    /// For a program that people reach by https: its issuer says so, unless `ISSUER` did.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        if self.issuer == format!("http://{}", self.address) {
            self.issuer = format!("https://{}", self.address);
        }
        self
    }

    /// A certificate for this machine and its key, as PEM, kept in `localhost.pem` and `localhost.key`, made when the program
    /// is run for the first time. It is for development: browsers warn of it, and clients have to be told to trust it.
    ///
    /// # Errors
    ///
    /// What kept it from being made or read.
    #[cfg(feature = "certificate")]
    pub fn certificate(&self) -> Outcome<(PathBuf, PathBuf)> {
        let (certificate, key) = (self.file("localhost.pem"), self.file("localhost.key"));
        if !(certificate.is_file() && key.is_file()) {
            let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            let made = rcgen::generate_simple_self_signed(names)?;
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            io::Write::write_all(&mut options.open(&key)?, made.signing_key.serialize_pem().as_bytes())?;
            std::fs::write(&certificate, made.cert.pem())?;
        }
        Ok((certificate, key))
    }

    /// A file of the program's own.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A [`GatekeyBuilder`] that knows the issuer and the keys.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for keys that cannot be read or made.
    pub fn builder(&self) -> Result<GatekeyBuilder, KeyError> {
        // One of the two is a mistake, which is told: keys that nobody asked for would be made instead.
        let given = ["GATEKEY_ACCESS_KEY", "GATEKEY_REFRESH_SECRET"].map(std::env::var_os);
        let keys = match given {
            [None, None] => Keys::load_or_create(self.file("gatekey.keys"))?,
            _ => Keys::from_env()?,
        };
        let builder = Gatekey::builder().issuer(&self.issuer).keys(keys);
        if self.address.ip().is_loopback() {
            // The same page under the machine's name.
            let scheme = if self.issuer.starts_with("https:") { "https" } else { "http" };
            return Ok(builder.trusted_origin(format!("{scheme}://localhost:{}", self.address.port())));
        }
        Ok(builder)
    }
}

/// Tells people that they may begin.
pub fn ready(issuer: &str) {
    println!("{issuer} is ready: register, log in, look around. Ctrl-C stops it.");
}

/// Waits for Ctrl-C.
pub async fn stopped() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be caught here; the program then ends as the system ends it.
        std::future::pending::<()>().await;
    }
}

/// Ends a program, with one line if it could not do its work.
#[must_use]
pub fn exit(served: Outcome) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
            eprintln!("{}: {error}", program.file_stem().unwrap_or_default().display());
            ExitCode::FAILURE
        }
    }
}

fn busy(address: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AddrInUse {
        format!("{address} is in use by another program; choose another with LISTEN=127.0.0.1:3001")
    } else if address.parse::<SocketAddr>().is_err() {
        format!("LISTEN={address} is no address and port, such as 127.0.0.1:3000")
    } else {
        format!("cannot listen on {address}: {error}")
    }
}
