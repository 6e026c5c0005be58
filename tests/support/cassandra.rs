//! A Cassandra that asks everybody for a login and a certificate and speaks TLS only, started once
//! by a test program. It ends with the program.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use crate::certificates::Authority;

/// How long it may take until it knows anybody.
const START_MAX: Duration = Duration::from_secs(60);
/// The only one who there is at first, and may do everything.
const SUPERUSER: &str = "cassandra";

pub(crate) struct SecuredCassandra {
    /// `host:port`. Its certificate is for this address.
    pub(crate) address: String,
    /// Vouches for the server and for clients.
    pub(crate) authority: Authority,
    /// A certificate of a client and its key.
    pub(crate) identity: (PathBuf, PathBuf),
    /// Goes on while somebody has the other end of its standard input.
    _holder: Child,
}

impl SecuredCassandra {
    /// Starts it, the first time; blocks meanwhile.
    pub(crate) fn get() -> &'static Self {
        static SERVER: LazyLock<SecuredCassandra> = LazyLock::new(SecuredCassandra::start);
        &SERVER
    }

    fn start() -> Self {
        let folder = format!("cassandra-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        // All of it goes when the server ends.
        let authority = Authority::below(&folder);
        let settings = folder.join("settings.yaml");
        std::fs::write(&settings, settings_of(&authority, &folder)).unwrap();
        let mut holder = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"))
            .args(["hold", "--folder", text(&folder), "--settings", text(&settings)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("SHUNT_TEST_CQL=").expect("it starts").to_owned();
        let identity = authority.vouch_for("DNS:node.example");
        Self { address, authority, identity, _holder: holder }
    }

    /// As the superuser, who is made while the server starts.
    pub(crate) async fn session(&self) -> Session {
        let mut authorities = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.authority.certificate()).unwrap();
        authorities.add(ca).unwrap();
        let (certificate, key) = &self.identity;
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let tls = ClientConfig::builder()
            .with_root_certificates(authorities)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();
        let tls = Arc::new(tls);
        let begun = Instant::now();
        loop {
            let builder = SessionBuilder::new()
                .known_node(&self.address)
                .user(SUPERUSER, SUPERUSER)
                .tls_context(Some(Arc::clone(&tls)));
            match builder.build().await {
                Ok(session) => return session,
                Err(error) => assert!(begun.elapsed() < START_MAX, "{error}"),
            }
        }
    }
}

fn settings_of(authority: &Authority, folder: &Path) -> String {
    let (certificate, key) = authority.vouch_for("IP:127.0.0.1");
    let both = [key, certificate].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let keystore = folder.join("server.pem");
    std::fs::write(&keystore, both).unwrap();
    format!(
        "authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
credentials_validity: 0ms
permissions_validity: 0ms
roles_validity: 0ms
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  keystore: {}
  truststore: {}
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
",
        keystore.display(),
        authority.certificate().display()
    )
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
