//! The secrets of an installation, beside the store: without them API keys cannot be checked and
//! sealed codes cannot be opened. Made once, never replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::private;
use crate::domain::seal::SealKey;

/// Name of the file in the store's folder.
pub const FILE_NAME: &str = "keys.toml";

const HEADER: &str = "# Secrets of this installation. Keep a copy in a safe place: without\n\
     # this file API keys stop working and sealed codes cannot be opened. Do not edit.\n\n";

/// Never printed: no `Debug`.
#[derive(Clone)]
pub struct Secrets {
    /// Key of the digests that are stored of API keys.
    pub api_keys: [u8; 32],
    /// Key of the tags that make list cursors tamper-proof.
    pub cursors: [u8; 32],
    /// Keys of sealed codes, at least one.
    pub seal: Vec<SealKey>,
}

/// Why there are no secrets to work with.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error(
        "{} is readable by others (mode {mode:o}); run `chmod 600 {}`",
        path.display(),
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is malformed ({reason}); bring it back from a backup", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error(
        "{} is missing although a store is there; API keys and sealed codes depend on it, so it \
         is not made anew. Bring it back from a backup, or restore the whole store with \
         `shunt restore`",
        path.display()
    )]
    Lost { path: PathBuf },
    #[error("the system gives no random bytes: {0}")]
    Entropy(String),
}

/// The file as it is written: hexadecimal.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    api_keys: String,
    cursors: String,
    seal: Vec<WrittenSeal>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenSeal {
    version: u32,
    secret: String,
}

impl Secrets {
    /// Reads the secrets in the folder `path`, or makes them: for a store that nothing was kept in
    /// yet.
    pub fn open_or_create(path: &Path) -> Result<Self, SecretsError> {
        match Self::open(path) {
            Err(SecretsError::Lost { .. }) => (),
            opened => return opened,
        }
        let file = path.join(FILE_NAME);
        let secrets = Self::generate()?;
        match secrets.create(path) {
            Ok(()) => Ok(secrets),
            // Another process was faster; its secrets count.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Self::read(&file),
            Err(cause) => Err(SecretsError::Io { path: file, cause }),
        }
    }

    /// Reads the secrets of a store that is in use.
    pub fn open(path: &Path) -> Result<Self, SecretsError> {
        match Self::read(&path.join(FILE_NAME)) {
            Err(SecretsError::Io { path, cause }) if cause.kind() == io::ErrorKind::NotFound => {
                Err(SecretsError::Lost { path })
            }
            read => read,
        }
    }

    fn read(file: &Path) -> Result<Self, SecretsError> {
        let failed = |cause| SecretsError::Io { path: file.to_owned(), cause };
        let malformed = |reason: &str| SecretsError::Malformed {
            path: file.to_owned(),
            reason: reason.to_owned(),
        };
        let mode = std::fs::metadata(file).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretsError::Exposed { path: file.to_owned(), mode });
        }
        let text = std::fs::read_to_string(file).map_err(failed)?;
        Self::from_text(&text).map_err(|reason| malformed(&reason))
    }

    /// Secrets as [`Secrets::to_text`] writes them. The error is why they are none, in words that
    /// show nothing of them.
    pub fn from_text(text: &str) -> Result<Self, String> {
        // The parser's own message would show the line, which is secret.
        let written: Written = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let key = |hex: &str| from_hex(hex).ok_or("a key is not 32 bytes of hex");
        if written.seal.is_empty() {
            return Err("there is no sealing key".to_owned());
        }
        let seal = written
            .seal
            .iter()
            .map(|seal| Ok(SealKey { version: seal.version, secret: key(&seal.secret)? }))
            .collect::<Result<_, String>>()?;
        Ok(Self { api_keys: key(&written.api_keys)?, cursors: key(&written.cursors)?, seal })
    }

    /// New secrets. Errors: `Entropy`.
    pub fn generate() -> Result<Self, SecretsError> {
        let random = || -> Result<[u8; 32], SecretsError> {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|e| SecretsError::Entropy(e.to_string()))?;
            Ok(bytes)
        };
        let seal = vec![SealKey { version: 1, secret: random()? }];
        Ok(Self { api_keys: random()?, cursors: random()?, seal })
    }

    /// As they are kept.
    pub fn to_text(&self) -> String {
        let written = Written {
            api_keys: to_hex(&self.api_keys),
            cursors: to_hex(&self.cursors),
            seal: self
                .seal
                .iter()
                .map(|key| WrittenSeal { version: key.version, secret: to_hex(&key.secret) })
                .collect(),
        };
        toml::to_string(&written).expect("texts and numbers are TOML")
    }

    /// Writes them into the folder `path`, in place of those that are there.
    pub fn replace(&self, path: &Path) -> io::Result<()> {
        private::create_folder(path)?;
        let draft = path.join(format!("{FILE_NAME}.{}", std::process::id()));
        write_private(&draft, format!("{HEADER}{}", self.to_text()).as_bytes())?;
        std::fs::rename(&draft, path.join(FILE_NAME))?;
        File::open(path)?.sync_all()
    }

    /// Writes the file so that it is there whole or not at all, and never over another.
    fn create(&self, folder: &Path) -> io::Result<()> {
        private::create_folder(folder)?;
        let text = self.to_text();
        let draft = folder.join(format!("{FILE_NAME}.{}", std::process::id()));
        write_private(&draft, format!("{HEADER}{text}").as_bytes())?;
        // A link, unlike a rename, fails when the name is taken.
        let linked = std::fs::hard_link(&draft, folder.join(FILE_NAME));
        std::fs::remove_file(&draft)?;
        linked?;
        File::open(folder)?.sync_all()
    }
}

/// Writes a file that only its owner may read, durably.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(private::FILE_MODE)
        .open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(private::FILE_MODE))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        Secrets::open_or_create(path).err().unwrap().to_string()
    }

    #[test]
    fn secrets_are_made_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let made = Secrets::open_or_create(folder.path()).unwrap();
        let read = Secrets::open_or_create(folder.path()).unwrap();
        assert_eq!((made.api_keys, made.cursors), (read.api_keys, read.cursors));
        assert_eq!(made.seal[0].secret, read.seal[0].secret);
        assert_ne!(made.api_keys, made.cursors);
        let mode = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a draft was left behind");
    }

    #[test]
    fn lost_secrets_are_named_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let text = Secrets::open(folder.path()).err().unwrap().to_string();
        assert!(text.contains("keys.toml is missing although a store is there"), "{text}");
        assert!(!folder.path().join(FILE_NAME).exists());
    }

    #[test]
    fn secrets_that_others_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        Secrets::open_or_create(folder.path()).unwrap();
        let file = folder.path().join(FILE_NAME);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refusal(folder.path()).contains("readable by others (mode 644)"));
    }

    #[test]
    fn malformed_secrets_are_refused_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join(FILE_NAME), b"api_keys = \"f00d\"\ncursors = 7").unwrap();
        let text = refusal(folder.path());
        assert!(text.contains("malformed") && !text.contains("f00d"), "{text}");
    }
}
