//! TLS to the database: who may vouch for its servers, and what this node shows of itself.
//!
//! The driver wants the certificate of a server to be for the address that it connects to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The files that go with `storage.cql_tls`. Read at the start: what is in them later is of no
/// account.
#[derive(Clone, Debug, Default)]
pub struct CqlTls {
    /// Authorities, in place of those of the system.
    pub ca_file: Option<PathBuf>,
    /// A certificate of this node and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`storage.{setting}`: {}: {why}", file.display())]
    File { setting: &'static str, file: PathBuf, why: String },
    #[error("`storage.cql_tls`: this system knows no authority; `storage.cql_ca_file` names some")]
    NoAuthority,
    #[error("`storage.cql_key_file` is no key of `storage.cql_certificate_file`: {0}")]
    Identity(rustls::Error),
}

impl CqlTls {
    /// What the driver takes.
    pub(in crate::storage) fn read(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder().with_root_certificates(self.authorities()?);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates("cql_certificate_file", certificate)?, {
                    let read = PrivateKeyDer::from_pem_file(key);
                    read.map_err(|error| bad("cql_key_file", key, "private key", error))?
                })
                .map_err(TlsError::Identity)?,
        };
        Ok(Arc::new(config))
    }

    fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut authorities = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                const SETTING: &str = "cql_ca_file";
                for certificate in certificates(SETTING, file)? {
                    let added = authorities.add(certificate);
                    added.map_err(|error| refused(SETTING, file, error.to_string()))?;
                }
            }
            // Systems have some that nobody can read.
            None => {
                let known = rustls_native_certs::load_native_certs().certs;
                authorities.add_parsable_certificates(known);
            }
        }
        if authorities.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        Ok(authorities)
    }
}

/// All of a file, at least one.
fn certificates(
    setting: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |error| bad(setting, file, "certificate", error);
    let all = CertificateDer::pem_file_iter(file).map_err(bad)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if all.is_empty() {
        return Err(bad(pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn bad(setting: &'static str, file: &Path, what: &str, error: pem::Error) -> TlsError {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("no {what} in PEM that can be read as it is"),
        error => error.to_string(),
    };
    refused(setting, file, why)
}

fn refused(setting: &'static str, file: &Path, why: String) -> TlsError {
    TlsError::File { setting, file: file.to_owned(), why }
}
