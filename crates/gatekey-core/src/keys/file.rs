//! The file in which an application keeps the keys it made for itself.
//!
//! JSON, readable by its owner alone. It is created whole or not at all: two processes that start at once end up with
//! the same keys, and a reader never sees half a file.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Algorithm, KeyError, KeyState, Keys, SigningKey};
use crate::{secret::Secret, time::Timestamp};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    access: Vec<AccessEntry>,
    refresh: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessEntry {
    alg: String,
    key: String,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

impl Keys {
    /// Reads the keys from a file, or makes an Ed25519 key and a refresh secret and writes them there, mode 0600. Two
    /// processes that start at once get the same keys.
    ///
    /// # Errors
    ///
    /// [`KeyError::File`] if it cannot be read or written, holds something else, or may be read by others.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(KeyError::File { problem, .. }) if problem == ABSENT => {}
            settled => return settled,
        }
        let keys = Self::generate(Algorithm::EdDSA)?;
        let written = write_beside(path, &keys.to_json()?).and_then(|temporary| {
            // A link, unlike a rename, fails where another process was first.
            let linked = fs::hard_link(&temporary, path);
            fs::remove_file(&temporary)?;
            linked
        });
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(trouble(path, error)),
        }
        Self::load(path)
    }

    fn load(path: &Path) -> Result<Self, KeyError> {
        let text = fs::read_to_string(path).map(Secret::new).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound { trouble(path, ABSENT) } else { trouble(path, error) }
        })?;
        check_mode(path)?;
        let file: KeyFile = serde_json::from_str(text.expose())
            .map_err(|_| trouble(path, "not a key file of gatekey (JSON, version 1)"))?;
        if file.version != 1 {
            return Err(trouble(path, format!("version {} is not known; 1 is", file.version)));
        }
        let decode = |text: &str| {
            STANDARD.decode_to_vec(text).map(Secret::new).map_err(|_| trouble(path, "a key is not base64"))
        };
        let in_file = |error: KeyError| trouble(path, error);
        let mut access = Vec::new();
        for entry in &file.access {
            let bytes = decode(&entry.key)?;
            let key = match Algorithm::from_name(&entry.alg) {
                Some(Algorithm::HS256) => SigningKey::hs256(bytes.expose()).map_err(in_file)?,
                Some(algorithm) => SigningKey::from_pkcs8(algorithm, bytes.expose()).map_err(in_file)?,
                None => {
                    return Err(trouble(path, format!("algorithm {:?} is not known", entry.alg)));
                }
            };
            let state = match entry.state.as_str() {
                "published" => KeyState::Published,
                "active" => KeyState::Active,
                "retiring" => KeyState::Retiring { until: entry.until.map(Timestamp::from_secs) },
                other => return Err(trouble(path, format!("state {other:?} is not known"))),
            };
            access.push((Arc::new(key), state));
        }
        let refresh = file
            .refresh
            .iter()
            .map(|text| SigningKey::hs256(decode(text)?.expose()).map(Arc::new).map_err(in_file))
            .collect::<Result<Vec<_>, KeyError>>()?;
        if access.iter().filter(|(_, state)| *state == KeyState::Active).count() != 1 || refresh.is_empty() {
            return Err(trouble(path, "needs exactly one active access key and a refresh secret"));
        }
        Self { access, refresh, file: Some(path.to_owned()) }.checked().map_err(in_file)
    }

    fn to_json(&self) -> Result<Secret<String>, KeyError> {
        let access = self
            .access
            .iter()
            .map(|(key, state)| {
                let (state, until) = match state {
                    KeyState::Published => ("published", None),
                    KeyState::Active => ("active", None),
                    KeyState::Retiring { until } => ("retiring", until.map(Timestamp::as_secs)),
                };
                AccessEntry {
                    alg: key.algorithm().name().to_owned(),
                    key: STANDARD.encode_to_string(key.material.expose()),
                    state: state.to_owned(),
                    until,
                }
            })
            .collect();
        let refresh =
            self.refresh.iter().map(|key| STANDARD.encode_to_string(key.material.expose())).collect();
        serde_json::to_string_pretty(&KeyFile { version: 1, access, refresh })
            .map(Secret::new)
            .map_err(|_| KeyError::Failed)
    }

    pub(super) fn replace_file(&self, path: &Path) -> Result<(), KeyError> {
        write_beside(path, &self.to_json()?)
            .and_then(|temporary| {
                fs::rename(&temporary, path).or_else(|error| {
                    // It holds keys, and nobody would look for it.
                    fs::remove_file(&temporary)?;
                    Err(error)
                })
            })
            .map_err(|error| trouble(path, error))
    }
}

const ABSENT: &str = "does not exist";

fn trouble(path: &Path, problem: impl ToString) -> KeyError {
    KeyError::File { path: path.to_owned(), problem: problem.to_string() }
}

/// Writes a file of its own beside `path`, durable and readable by the owner alone.
fn write_beside(path: &Path, text: &Secret<String>) -> io::Result<std::path::PathBuf> {
    let mut suffix = [0; 8];
    aws_lc_rs::rand::fill(&mut suffix).map_err(|_| io::Error::other("the random generator failed"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}", u64::from_ne_bytes(suffix)));
    let temporary = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    let written = file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        fs::remove_file(&temporary)?;
        return Err(error);
    }
    Ok(temporary)
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), KeyError> {
    let metadata = fs::metadata(path).map_err(|error| trouble(path, error))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(trouble(path, format!("may be read by others (mode {mode:04o}); `chmod 600` it")))
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), KeyError> {
    Ok(())
}
