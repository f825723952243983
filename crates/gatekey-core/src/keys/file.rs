//! The file in which an application keeps the keys it made for itself.
//!
//! JSON, readable by its owner alone. It is created and replaced whole or not at all: two processes that start at once end
//! up with the same keys, two that change it one after the other, and a reader never sees half a file. What is no file, is
//! larger than any such file, or does not become free to be changed is an error: nobody waits for it without an end.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Algorithm, Dated, KeyError, Keys, SigningKey};
use crate::{secret::Secret, time::Timestamp};

/// In bytes: room for 300 RSA keys.
const MOST: u64 = 1024 * 1024;

/// How long an edit waits for another, which takes a few milliseconds.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    access: Vec<Entry>,
    refresh: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    alg: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signs_from: Option<i64>,
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
        match Self::create(path, SigningKey::generate(Algorithm::EdDSA)?) {
            Err(KeyError::File { problem, .. }) if problem == PRESENT => Self::load(path),
            settled => settled,
        }
    }

    /// Writes a file with this access key and a fresh refresh secret, mode 0600. Where there is a file it is left alone.
    ///
    /// # Errors
    ///
    /// [`KeyError::File`] if it exists or cannot be written.
    pub fn create(path: impl AsRef<Path>, access: SigningKey) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let keys = Self::new(access, SigningKey::generate(Algorithm::HS256)?)?;
        let written = write_beside(path, &keys.to_json()?).and_then(|temporary| {
            // A link, unlike a rename, fails where another process was first.
            let linked = fs::hard_link(&temporary, path);
            fs::remove_file(&temporary)?;
            linked?;
            sync_folder(path)
        });
        match written {
            Ok(()) => Ok(Self { file: Some(path.to_owned()), ..keys }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(trouble(path, PRESENT)),
            Err(error) => Err(trouble(path, error)),
        }
    }

    /// Reads the keys from a file.
    ///
    /// # Errors
    ///
    /// [`KeyError::File`] if it cannot be read, holds something else (more than 1 MiB among it), or may be read by others.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let text = read(path)?;
        let file: KeyFile = serde_json::from_str(text.expose()).map_err(|_| trouble(path, NO_KEYS))?;
        if file.version != 1 {
            return Err(trouble(path, format!("version {} is not known; 1 is", file.version)));
        }
        let read =
            |entries: &[Entry]| entries.iter().map(|entry| entry.read(path)).collect::<Result<Vec<_>, _>>();
        let (access, refresh) = (read(&file.access)?, read(&file.refresh)?);
        let signs = |keys: &[Dated]| keys.iter().any(|dated| dated.signs_from.is_some());
        if !signs(&access) || !signs(&refresh) {
            return Err(trouble(path, "needs an access key and a refresh secret that sign"));
        }
        Self { access, refresh, file: Some(path.to_owned()) }.checked().map_err(|error| trouble(path, error))
    }

    /// Changes the keys in a file: reads them, edits them, writes them back, and returns what `edit` did. Whoever edits the
    /// same file at the same time waits; whoever reads it sees the keys before or after, and never half of them. The file
    /// keeps its owner. An edit that fails leaves it as it was.
    ///
    /// A running application follows its file ([`Config::keys_poll`](crate::config::Config::keys_poll)).
    ///
    /// # Errors
    ///
    /// [`KeyError::File`] if it cannot be read or written, would be larger than 1 MiB, or another program keeps it from being
    /// changed for 10 seconds; and the errors of `edit`.
    pub fn edit<T>(
        path: impl AsRef<Path>,
        edit: impl FnOnce(&mut Self) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let path = path.as_ref();
        let in_file = |error: io::Error| trouble(path, error);
        // A link to the file stays a link.
        let target = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(trouble(path, ABSENT)),
            target => target.map_err(in_file)?,
        };
        let _one_at_a_time = lock_folder(&target, WAIT).map_err(in_file)?;
        let mut keys = Self::load(path)?;
        let before = keys.clone();
        let done = edit(&mut keys)?;
        if !keys.same_as(&before) {
            let owner = fs::metadata(&target).map_err(in_file)?;
            let text = keys.to_json()?;
            // What is written can be read again.
            if text.expose().len() as u64 > MOST {
                return Err(trouble(path, "too many keys; retire some"));
            }
            write_beside(&target, &text)
                .and_then(|temporary| {
                    let replaced =
                        keep_owner(&temporary, &owner).and_then(|()| fs::rename(&temporary, &target));
                    replaced.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
                    sync_folder(&target)
                })
                .map_err(in_file)?;
        }
        Ok(done)
    }

    fn to_json(&self) -> Result<Secret<String>, KeyError> {
        let entry = |dated: &Dated| Entry {
            alg: dated.key.algorithm().name().to_owned(),
            key: STANDARD.encode_to_string(dated.key.material.expose()),
            signs_from: dated.signs_from.map(Timestamp::as_secs),
        };
        let file = KeyFile {
            version: 1,
            access: self.access.iter().map(entry).collect(),
            refresh: self.refresh.iter().map(entry).collect(),
        };
        serde_json::to_string_pretty(&file).map(Secret::new).map_err(|_| KeyError::Failed)
    }
}

impl Entry {
    fn read(&self, path: &Path) -> Result<Dated, KeyError> {
        let bytes = STANDARD.decode_to_vec(&self.key).map(Secret::new);
        let bytes = bytes.map_err(|_| trouble(path, "a key is not base64"))?;
        let key = match Algorithm::from_name(&self.alg) {
            Some(Algorithm::HS256) => SigningKey::hs256(bytes.expose()),
            Some(algorithm) => SigningKey::from_pkcs8(algorithm, bytes.expose()),
            None => {
                return Err(trouble(
                    path,
                    "an algorithm is not known; EdDSA, ES256, PS256, RS256 and HS256 are",
                ));
            }
        };
        let key = key.map_err(|error| trouble(path, error))?;
        Ok(Dated::new(key, self.signs_from.map(Timestamp::from_secs)))
    }
}

const ABSENT: &str = "does not exist";
const PRESENT: &str = "exists already";
const NO_KEYS: &str = "not a key file of gatekey (JSON, version 1)";

fn trouble(path: &Path, problem: impl ToString) -> KeyError {
    KeyError::File { path: path.to_owned(), problem: problem.to_string() }
}

/// The text of a file that others may not read.
fn read(path: &Path) -> Result<Secret<String>, KeyError> {
    let in_file = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound { trouble(path, ABSENT) } else { trouble(path, error) }
    };
    // To open a pipe is to wait for whoever writes into it.
    if !fs::metadata(path).map_err(in_file)?.is_file() {
        return Err(trouble(path, "not a file"));
    }
    let file = fs::File::open(path).map_err(in_file)?;
    check_mode(path, &file.metadata().map_err(in_file)?)?;
    let mut bytes = Vec::new();
    let read = file.take(MOST + 1).read_to_end(&mut bytes);
    let bytes = Secret::new(bytes);
    read.map_err(in_file)?;
    match str::from_utf8(bytes.expose()) {
        Ok(text) if text.len() as u64 <= MOST => Ok(Secret::new(text.to_owned())),
        _ => Err(trouble(path, NO_KEYS)),
    }
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
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(trouble(path, format!("may be read by others (mode {mode:04o}); `chmod 600` it")))
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

/// The folder's lock is held until the file is dropped. It is the folder's, since the file itself is replaced. Whoever may
/// read the folder may take the lock, so it is not waited for without an end.
#[cfg(unix)]
pub(super) fn lock_folder(path: &Path, wait: Duration) -> io::Result<fs::File> {
    let folder = fs::File::open(folder_of(path))?;
    let begun = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() < wait => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "another program keeps its folder locked",
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(not(unix))]
pub(super) fn lock_folder(_: &Path, _: Duration) -> io::Result<()> {
    // A folder cannot be opened as a file here: who changes keys does it in one process.
    Ok(())
}

/// A rename or a link is durable once its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(folder_of(path))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An administrator's change must not lock the application out of its own file.
#[cfg(unix)]
fn keep_owner(new: &Path, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};

    let made = fs::metadata(new)?;
    if (made.uid(), made.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    chown(new, Some(old.uid()), Some(old.gid()))
        .map_err(|error| io::Error::new(error.kind(), format!("its owner cannot be kept: {error}")))
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}
