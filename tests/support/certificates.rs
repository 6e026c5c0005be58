//! An authority of a test's own, and what it vouches for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Makes certificates in a folder of its own.
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// In a folder whose end is the end of everything in it.
    pub(crate) fn below(folder: &Path) -> Self {
        let authority = Self { folder: TempDir::new_in(folder).unwrap() };
        std::fs::write(authority.file("cnf"), "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
        authority.make("ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        authority
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// A certificate for one name, as in `IP:127.0.0.1`, and its key.
    pub(crate) fn vouch_for(&self, name: &str) -> (PathBuf, PathBuf) {
        let (ca, key) = (self.file("ca.pem"), self.file("ca.key"));
        let file = name.replace([':', ',', '.'], "-");
        let name = format!("subjectAltName={name}");
        let constraints = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", &name];
        let signer = ["-CA", text(&ca), "-CAkey", text(&key)];
        self.make(&file, &[signer, constraints].concat());
        (self.file(&format!("{file}.pem")), self.file(&format!("{file}.key")))
    }

    fn make(&self, name: &str, options: &[&str]) {
        let (config, key) = (self.file("cnf"), self.file(&format!("{name}.key")));
        let certificate = self.file(&format!("{name}.pem"));
        let whose = format!("/CN={}", self.folder.path().file_name().unwrap().display());
        let made = Command::new("openssl")
            .args(["req", "-x509", "-config", text(&config), "-days", "2", "-subj", &whose])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-keyout", text(&key), "-out", text(&certificate)])
            .args(options)
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "openssl made no certificate");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
