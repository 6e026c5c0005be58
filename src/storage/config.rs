//! Where the store is, and how large it may be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::problems::Problems;
use crate::domain::secret::Secret;
use crate::domain::units::Size;
use crate::storage::embedded::EmbeddedConfig;
use crate::storage::scylla::{CqlConfig, CqlTls, FILL_TIMEOUT};

/// `[storage]`: where links and counts are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Folder of the embedded store, the click journal and the keys of this node. Made if absent.
    pub path: PathBuf,
    /// Contact points of a CQL database (Apache Cassandra or ScyllaDB) as `host:port`, used instead
    /// of the embedded store: for several nodes. `storage.path` then holds the click journal only.
    pub cql: Vec<String>,
    /// Keyspace of the CQL database: 1 to 48 of `a-z 0-9 _`, a letter first. Of no effect while
    /// `storage.cql` is empty, like the seven that follow.
    pub keyspace: String,
    /// Who logs in to the CQL database. Unset: nobody has to.
    pub cql_user: Option<String>,
    /// The password of `storage.cql_user`. A secret.
    pub cql_password: Option<Secret>,
    /// Speaks TLS to the CQL database. The certificate of each of its nodes must be for the IP
    /// address that clients connect to.
    pub cql_tls: bool,
    /// The authorities that may vouch for the nodes of the CQL database, in place of those of the
    /// system; a file in PEM, read at the start like the two that follow.
    pub cql_ca_file: Option<PathBuf>,
    /// The certificate that this node shows to a CQL database that asks clients for one, and those
    /// that lead from it to an authority; a file in PEM.
    pub cql_certificate_file: Option<PathBuf>,
    /// The key of `storage.cql_certificate_file`; a file in PEM, not encrypted.
    pub cql_key_file: Option<PathBuf>,
    /// Copies of every row in the CQL database, 1 to 99, or one number per data centre as in
    /// `{ dc1 = 3, dc2 = 2 }`.
    pub replication: Replication,
    /// Threads for short reads, 1 to 32. Loads of links that are not in memory wait for these.
    pub short_readers: usize,
    /// Threads for lists, searches and scans, 1 to 32.
    pub long_readers: usize,
    /// Bound of the database file, at least 1MiB; `0B` is none. When it is reached, writes fail
    /// and reads go on.
    pub size_max: Size,
}

/// `storage.replication`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a number of copies, or one per data centre")]
pub enum Replication {
    Factor(u8),
    PerDataCentre(BTreeMap<String, u8>),
}

impl Replication {
    fn factors(&self) -> Vec<u8> {
        match self {
            Self::Factor(factor) => vec![*factor],
            Self::PerDataCentre(factors) => factors.values().copied().collect(),
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        let EmbeddedConfig { short_readers, long_readers, size_max } = EmbeddedConfig::default();
        Self {
            path: PathBuf::from("./data"),
            cql: Vec::new(),
            keyspace: "shunt".to_owned(),
            cql_user: None,
            cql_password: None,
            cql_tls: false,
            cql_ca_file: None,
            cql_certificate_file: None,
            cql_key_file: None,
            replication: Replication::Factor(3),
            short_readers,
            long_readers,
            size_max,
        }
    }
}

impl StorageConfig {
    /// Adds a line to `problems` for every value that the store could not honour.
    pub fn check(&self, problems: &mut Problems) {
        if self.path.as_os_str().is_empty() {
            problems.add("`storage.path` is empty; it must name a folder");
        }
        for point in &self.cql {
            let port = point.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(1..))) if !host.is_empty()) {
                problems.add(format!("`storage.cql` has {point:?}; write it as host:port"));
            }
        }
        if self.cql_password.is_some() && self.cql_user.is_none() {
            problems.add("`storage.cql_password` is set, `storage.cql_user` is not");
        }
        self.check_tls(problems);
        if !is_keyspace(&self.keyspace) {
            problems
                .add("`storage.keyspace` must be 1 to 48 of `a-z 0-9 _` and begin with a letter");
        }
        let factors = self.replication.factors();
        if factors.is_empty() || factors.iter().any(|factor| !(1..=99).contains(factor)) {
            problems.add("`storage.replication` must be from 1 to 99, for each data centre");
        }
        problems.range("storage.short_readers", self.short_readers, 1..=32);
        problems.range("storage.long_readers", self.long_readers, 1..=32);
        if self.size_max.0 != 0 && self.size_max < Size::mib(1) {
            problems.add("`storage.size_max` must be 0B (no bound) or at least 1MiB");
        }
    }

    /// The files are read here too, so that whoever starts is told of all mistakes at once.
    fn check_tls(&self, problems: &mut Problems) {
        let (certificate, key) = ("cql_certificate_file", "cql_key_file");
        let has = |file: &Option<PathBuf>| file.is_some();
        let files = [
            ("cql_ca_file", has(&self.cql_ca_file)),
            (certificate, has(&self.cql_certificate_file)),
            (key, has(&self.cql_key_file)),
        ];
        let Some(tls) = self.tls() else {
            for (name, _) in files.iter().filter(|(_, is_set)| *is_set) {
                problems.add(format!("`storage.{name}` is of use with `storage.cql_tls` only"));
            }
            return;
        };
        let [_, (_, has_certificate), (_, has_key)] = files;
        if has_certificate != has_key {
            let (set, unset) = if has_key { (key, certificate) } else { (certificate, key) };
            problems.add(format!("`storage.{set}` is set, `storage.{unset}` is not"));
        }
        if let Err(error) = tls.read() {
            problems.add(error.to_string());
        }
    }

    fn tls(&self) -> Option<CqlTls> {
        let identity = self.cql_certificate_file.clone().zip(self.cql_key_file.clone());
        self.cql_tls.then(|| CqlTls { ca_file: self.cql_ca_file.clone(), identity })
    }

    /// The part that the CQL back end takes. `None`: the embedded store is used.
    pub fn database(&self) -> Option<CqlConfig> {
        (!self.cql.is_empty()).then(|| CqlConfig {
            nodes: self.cql.clone(),
            keyspace: self.keyspace.clone(),
            user: self.cql_user.clone(),
            password: self.cql_password.clone(),
            tls: self.tls(),
            replication: self.replication.clone(),
            fill_timeout: FILL_TIMEOUT,
        })
    }

    /// The part that the embedded store takes.
    pub fn embedded(&self) -> EmbeddedConfig {
        EmbeddedConfig {
            short_readers: self.short_readers,
            long_readers: self.long_readers,
            size_max: self.size_max,
        }
    }
}

fn is_keyspace(name: &str) -> bool {
    let word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    name.len() <= 48
        && name.bytes().all(word)
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;

    const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mail/certificate.pem");
    const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mail/key.pem");
    /// A file without either.
    const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

    /// What is wrong with TLS, files by the names of their settings.
    fn problems(is_on: bool, files: &[(&str, &str)]) -> Vec<String> {
        let lines = files.iter().map(|(name, file)| format!("cql_{name}_file = {file:?}\n"));
        let text = lines.collect::<String>() + &format!("cql_tls = {is_on}");
        let mut problems = Problems::default();
        toml::from_str::<StorageConfig>(&text).unwrap().check(&mut problems);
        problems.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn files_of_tls_are_read_and_whatever_is_wrong_is_named() {
        let (ca, both) = (("ca", CERTIFICATE), [("certificate", CERTIFICATE), ("key", KEY)]);
        let all = [[ca].as_slice(), &both].concat();
        let folder = tempfile::tempdir().unwrap();
        let garbage = folder.path().join("garbage.pem").display().to_string();
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&garbage, pem).unwrap();
        assert_eq!(problems(true, &all), [""; 0]);
        assert_eq!(problems(false, &[]), [""; 0]);
        assert_eq!(problems(false, &all).len(), 3, "without TLS none is of use");
        for (wrong, said) in [
            (("ca", "/no/such/file"), "`storage.cql_ca_file`: /no/such/file: No such file"),
            (("ca", OTHER), "no certificate in PEM"),
            (("ca", garbage.as_str()), "`storage.cql_ca_file`: "),
            (("certificate", OTHER), "`storage.cql_certificate_file`: "),
            (("key", OTHER), "no private key in PEM"),
        ] {
            let files = all.iter().map(|file| if file.0 == wrong.0 { wrong } else { *file });
            let found = problems(true, &files.collect::<Vec<_>>());
            assert!(found.len() == 1 && found[0].contains(said), "{wrong:?}: {found:?}");
        }
        for (set, unset) in [(both[0], "key"), (both[1], "certificate")] {
            let found = problems(true, &[ca, set]);
            let said = format!("`storage.cql_{unset}_file` is not");
            assert!(found.len() == 1 && found[0].contains(&said), "{found:?}");
        }
    }

    #[test]
    fn the_key_of_another_certificate_is_refused() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der = BASE64.encode(key.to_pkcs8v1().unwrap().as_ref());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        std::fs::write(&file, pem).unwrap();
        let key = ("key", file.to_str().unwrap());
        let found = problems(true, &[("ca", CERTIFICATE), ("certificate", CERTIFICATE), key]);
        let said = "`storage.cql_key_file` is no key of `storage.cql_certificate_file`";
        assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
    }
}
