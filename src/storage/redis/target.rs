//! `redis.url`: where Redis is, in its three forms.

use std::path::Path;

use futures_util::future::select_ok;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Pipeline, RedisFuture, TlsCertificates,
    TlsMode, Value,
};
use tokio::sync::Mutex;
use url::Url;

use super::CONNECT_TIMEOUT;
use crate::domain::secret::Secret;

/// Port of a sentinel that names none.
const SENTINEL_PORT: u16 = 26_379;
/// Port of a server that names none.
const SERVER_PORT: u16 = 6_379;
/// What a certificate in a PEM file begins with.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Why `redis.url` names no Redis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(
        "`redis.url` must begin with redis://, rediss://, redis-sentinel://, rediss-sentinel://, \
         redis-cluster:// or rediss-cluster://"
    )]
    Scheme,
    #[error("`redis.url` is not a URL")]
    Url,
    #[error("`redis.url` of sentinels must end with the name of the master, as in /mymaster")]
    Master,
    #[error("`redis.url`: {0}")]
    Driver(String),
    #[error("`redis.ca_file` is of use with a `redis.url` that begins with rediss only")]
    NoTls,
    #[error("`redis.ca_file`: {0}")]
    CaFile(String),
}

/// Where to connect to.
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub(super) enum Target {
    One(Client),
    /// Each sentinel by itself, so that none waits for another that is silent.
    Sentinels(Vec<Mutex<SentinelClient>>),
    Cluster(redis::cluster::ClusterClient),
}

/// What a URL of several servers says.
struct Several {
    tls: Option<TlsMode>,
    authorities: Option<TlsCertificates>,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, u16)>,
    path: String,
}

impl Target {
    /// The authorities of `ca_file` vouch for servers in place of those of the system.
    pub(super) fn parse(url: &Secret, ca_file: Option<&Path>) -> Result<Self, TargetError> {
        let url = url.0.as_str();
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::Scheme)?;
        if ca_file.is_some() && !scheme.starts_with("rediss") {
            return Err(TargetError::NoTls);
        }
        let authorities = ca_file.map(authorities).transpose()?;
        let several = |port| Several::parse(scheme, rest, port);
        match scheme {
            "redis" | "rediss" => {
                let client = match authorities {
                    Some(authorities) => Client::build_with_tls(url, authorities),
                    None => Client::open(url),
                };
                Ok(Self::One(client?))
            }
            "redis-sentinel" | "rediss-sentinel" => {
                let several = Several { authorities, ..several(SENTINEL_PORT)? };
                sentinels(&several).map(Self::Sentinels)
            }
            "redis-cluster" | "rediss-cluster" => {
                cluster(Several { authorities, ..several(SERVER_PORT)? }).map(Self::Cluster)
            }
            _ => Err(TargetError::Scheme),
        }
    }

    /// Makes a connection. Asks sentinels anew who the master is, all at once, and goes with the
    /// first that names one which says the same of itself.
    pub(super) async fn connect(&self) -> redis::RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            // A command that takes longer than that is given up by whoever sent it.
            .set_response_timeout(None);
        match self {
            Self::One(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            Self::Sentinels(clients) => {
                let config = &config;
                let asked = clients.iter().map(|client| {
                    Box::pin(async move {
                        client.lock().await.get_async_connection_with_config(config).await
                    })
                });
                select_ok(asked).await.map(|(connection, _slower)| connection)
            }
            Self::Cluster(client) => {
                return client.get_async_connection().await.map(Connection::Cluster);
            }
        }
        .map(Connection::One)
    }
}

impl Several {
    /// `user:password@host:port,host:port/path`.
    fn parse(scheme: &str, rest: &str, port: u16) -> Result<Self, TargetError> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        // The URL parser knows how names and passwords are written.
        let login = Url::parse(&format!("redis://{}@host/", login.unwrap_or_default()));
        let login = login.map_err(|_| TargetError::Url)?;
        let decoded = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| TargetError::Url)
        };
        let user = Some(login.username()).filter(|user| !user.is_empty()).map(decoded);
        let hosts = hosts.split(',').map(|host| {
            let url = Url::parse(&format!("redis://{host}/")).map_err(|_| TargetError::Url)?;
            let name = url.host_str().filter(|name| !name.is_empty()).ok_or(TargetError::Url)?;
            let name = name.trim_matches(['[', ']']).to_owned();
            Ok((name, url.port().unwrap_or(port)))
        });
        Ok(Self {
            tls: scheme.starts_with("rediss").then_some(TlsMode::Secure),
            authorities: None,
            user: user.transpose()?,
            password: login.password().map(decoded).transpose()?,
            hosts: hosts.collect::<Result<_, TargetError>>()?,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> {
        let address = |(host, port): &(String, u16)| match self.tls {
            None => ConnectionAddr::Tcp(host.clone(), *port),
            Some(_) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        };
        self.hosts.iter().map(address)
    }
}

impl From<redis::RedisError> for TargetError {
    fn from(error: redis::RedisError) -> Self {
        Self::Driver(error.to_string())
    }
}

/// Read once, at the start: what is in the file later is of no account.
fn authorities(file: &Path) -> Result<TlsCertificates, TargetError> {
    let failed = |why: String| TargetError::CaFile(format!("{}: {why}", file.display()));
    let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    // Without one the driver would trust nobody and say so at every connection only.
    if !pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE) {
        return Err(failed("no certificate in PEM".to_owned()));
    }
    Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
}

fn sentinels(several: &Several) -> Result<Vec<Mutex<SentinelClient>>, TargetError> {
    if several.path.is_empty() || several.path.contains('/') {
        return Err(TargetError::Master);
    }
    several.addresses().map(|address| sentinel(several, address).map(Mutex::new)).collect()
}

/// The login is that of the servers; sentinels are asked without one.
fn sentinel(several: &Several, address: ConnectionAddr) -> Result<SentinelClient, TargetError> {
    let mut builder =
        SentinelClientBuilder::new([address], &several.path, SentinelServerType::Master)?;
    if let Some(tls) = several.tls {
        builder = builder.set_client_to_redis_tls_mode(tls);
    }
    if let Some(authorities) = &several.authorities {
        builder = builder
            .set_client_to_redis_certificates(authorities.clone())
            .set_client_to_sentinel_certificates(authorities.clone());
    }
    if let Some(user) = &several.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &several.password {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build().map_err(TargetError::from)
}

fn cluster(several: Several) -> Result<redis::cluster::ClusterClient, TargetError> {
    // No limit for answers here either: a read of the feed waits longer than any command may.
    let mut builder = ClusterClientBuilder::new(several.addresses())
        .connection_timeout(CONNECT_TIMEOUT)
        .retries(1);
    if let Some(tls) = several.tls {
        builder = builder.tls(tls);
    }
    if let Some(authorities) = several.authorities {
        builder = builder.certs(authorities);
    }
    if let Some(user) = several.user {
        builder = builder.username(user);
    }
    if let Some(password) = several.password {
        builder = builder.password(password);
    }
    builder.build().map_err(TargetError::from)
}

/// A connection to one server, or to those of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(&Secret(url.to_owned()), None)
    }

    #[test]
    fn every_form_of_redis_has_a_url() {
        for url in ["redis://127.0.0.1:6379", "redis://:secret@host/2", "rediss://user:pw@host"] {
            assert!(matches!(parse(url), Ok(Target::One(_))), "{url}");
        }
        for url in ["redis-sentinel://a,b:1/mymaster", "rediss-sentinel://u:p%40@a/m"] {
            assert!(matches!(parse(url), Ok(Target::Sentinels(_))), "{url}");
        }
        for url in ["redis-cluster://a:1,b:2", "rediss-cluster://:pw@a,[::1]:7"] {
            assert!(matches!(parse(url), Ok(Target::Cluster(_))), "{url}");
        }
    }

    #[test]
    fn what_names_no_redis_is_refused() {
        let error = |url| parse(url).err().unwrap();
        assert_eq!(error("127.0.0.1:6379"), TargetError::Scheme);
        assert_eq!(error("http://host"), TargetError::Scheme);
        assert_eq!(error("redis-sentinel://a,b"), TargetError::Master);
        assert_eq!(error("redis-cluster://"), TargetError::Url);
        assert_eq!(error("redis-cluster://a,,b"), TargetError::Url);
        assert!(matches!(error("redis://"), TargetError::Driver(_)));
    }

    #[test]
    fn authorities_are_certificates_and_go_with_tls_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let parse = |url: &str| Target::parse(&Secret(url.to_owned()), Some(&file)).err();
        assert!(matches!(parse("rediss://host"), Some(TargetError::CaFile(_))), "no file");
        std::fs::write(&file, "no certificate").unwrap();
        assert!(matches!(parse("rediss://host"), Some(TargetError::CaFile(_))));
        assert_eq!(parse("redis://host"), Some(TargetError::NoTls));
        assert_eq!(parse("redis-cluster://host"), Some(TargetError::NoTls));
    }

    #[test]
    fn names_and_passwords_of_several_servers_are_decoded() {
        let several = Several::parse("rediss-cluster", "us%40er:p%3Aw@[::1],b:7", 9).unwrap();
        assert_eq!(
            (several.user.as_deref(), several.password.as_deref()),
            (Some("us@er"), Some("p:w"))
        );
        assert_eq!(several.hosts, [("::1".to_owned(), 9), ("b".to_owned(), 7)]);
        assert!(several.tls.is_some());
    }
}
