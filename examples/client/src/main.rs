//! A command line that stays logged in: start a server, `cargo run -p quickstart`, register on its page, and then
//!
//! ```sh
//! echo "a long enough pass phrase" | cargo run -p client -- login alice
//! cargo run -p client -- get /hello
//! cargo run -p client -- logout
//! ```
//!
//! The password is read from the standard input, so that it is in no list of processes. Between two runs the tokens are in
//! `client.tokens` in the current folder. Settings are read from the environment:
//!
//! - `SERVER`: the server's URL, `http://127.0.0.1:3000` unless set; `https` off this machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

use std::{
    env,
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use async_trait::async_trait;
use gatekey_client::{Client, Code, StoreError, TokenStore, Tokens};

#[tokio::main]
async fn main() -> ExitCode {
    let server = env::var("SERVER").unwrap_or_else(|_| "http://127.0.0.1:3000".to_owned());
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let password = || {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line.trim_end_matches(['\r', '\n']).to_owned())
    };
    match run(&server, Path::new("client.tokens"), &arguments, password).await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the arguments say.
///
/// # Errors
///
/// One line for whoever started the program.
pub async fn run(
    server: &str,
    tokens: &Path,
    arguments: &[&str],
    password: impl FnOnce() -> io::Result<String>,
) -> Result<String, Box<dyn Error>> {
    let store = FileStore(tokens.to_owned());
    let client = Client::builder(format!("{server}/auth")).store(store).build().await?;
    match arguments {
        ["login", name] => match client.login(name, &password()?).await {
            Ok(()) => Ok(format!("logged in as {name}")),
            Err(error) if error.code() == Some(&Code::InvalidCredentials) => {
                Err("the name or the password is wrong".into())
            }
            Err(error) => Err(error.into()),
        },
        ["get", path] => match client.get(format!("{server}{path}")).await {
            Ok(answer) if answer.status().is_success() => Ok(answer.text().await?.trim_end().to_owned()),
            Ok(answer) if answer.status() == 401 => Err("nobody is logged in: client login NAME".into()),
            Ok(answer) => Err(format!("the server answered {}", answer.status()).into()),
            // The one error that means it. After any other the next run goes on.
            Err(error) if error.session_ended() => {
                Err("the session has ended: log in again with client login NAME".into())
            }
            Err(error) => Err(error.into()),
        },
        ["logout"] => client.logout().await.map(|()| "logged out".to_owned()).map_err(Into::into),
        _ => Err("usage: client login NAME | client get PATH | client logout".into()),
    }
}

/// Tokens in a file that only its owner can read. Who has a keychain takes that.
#[derive(Debug)]
pub struct FileStore(pub PathBuf);

#[async_trait]
impl TokenStore for FileStore {
    async fn load(&self) -> Result<Option<Tokens>, StoreError> {
        match fs::read(&self.0) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn save(&self, tokens: Option<&Tokens>) -> Result<(), StoreError> {
        let Some(tokens) = tokens else {
            removed(&self.0)?;
            return Ok(kept(&self.0)?);
        };
        // Whole or not at all: a new file, on the disk, in the place of the old one. Each process has its own new one.
        let new = self.0.with_extension(format!("{}.new", std::process::id()));
        let mut file = create(&new)?;
        file.write_all(&serde_json::to_vec(tokens)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        Ok(kept(&self.0)?)
    }
}

/// A file that was not there before: one that somebody else has made could be read by them.
fn create(path: &Path) -> io::Result<File> {
    removed(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits until the folder is on the disk, too: else a crash could bring the former tokens back.
fn kept(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
