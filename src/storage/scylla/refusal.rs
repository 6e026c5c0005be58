//! Why the database lets nobody in, told by the settings that may be wrong.

use scylla::errors::{
    BrokenConnectionError, BrokenConnectionErrorKind, ConnectionError, ConnectionPoolError,
    ConnectionSetupRequestErrorKind, DbError, MetadataError, NewSessionError,
};

use super::tls::CqlTls;

/// See above; of several contact points, the last one that was tried.
pub(super) fn refusal(error: &NewSessionError, tls: Option<&CqlTls>) -> String {
    let told = match error {
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
            ConnectionPoolError::Broken { last_connection_error: error },
        )) => of_connection(error, tls),
        _ => None,
    };
    told.unwrap_or_else(|| format!("no contact point of `storage.cql` answers as CQL: {error}"))
}

fn of_connection(error: &ConnectionError, tls: Option<&CqlTls>) -> Option<String> {
    match error {
        ConnectionError::IoError(error) => of_handshake(error),
        ConnectionError::ConnectionSetupRequestError(error) => match error.get_error() {
            ConnectionSetupRequestErrorKind::BrokenConnection(error) => Some(of_end(error, tls)),
            ConnectionSetupRequestErrorKind::MissingAuthentication => {
                Some("the database asks for a login, and `storage.cql_user` is unset".to_owned())
            }
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, said) => {
                Some(format!(
                    "the database does not accept `storage.cql_user` and `storage.cql_password`: \
                     {said}"
                ))
            }
            _ => None,
        },
        _ => None,
    }
}

/// What TLS says while it begins.
fn of_handshake(error: &std::io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let told = match error {
        rustls::Error::InvalidCertificate(_) => {
            "the certificate of the database does not pass; `storage.cql_ca_file` says who may \
             vouch for it, and it must be for the IP address"
        }
        rustls::Error::InvalidMessage(_) => {
            "what answers does not speak TLS, and `storage.cql_tls` is on"
        }
        _ => return None,
    };
    Some(format!("{told}: {error}"))
}

/// A server that wants something else hangs up, and may not say why: that a certificate of this
/// node is missing or bad, TLS tells after it began, if at all.
fn of_end(error: &BrokenConnectionError, tls: Option<&CqlTls>) -> String {
    let told = match tls {
        None => "speaks TLS does so while `storage.cql_tls` is off",
        Some(CqlTls { identity: None, .. }) => {
            "wants certificates of clients does so while `storage.cql_certificate_file` is unset"
        }
        Some(_) => "does not accept `storage.cql_certificate_file` does so",
    };
    let told = format!("the database hangs up; one that {told}");
    match error.downcast_ref() {
        // Only that the cause was lost on the way here.
        Some(BrokenConnectionErrorKind::ChannelError) => told,
        _ => format!("{told}: {error}"),
    }
}
