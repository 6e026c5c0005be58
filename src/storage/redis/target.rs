//! `redis.url`: where Redis is, in its three forms.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisFuture,
    TlsMode, Value,
};
use tokio::sync::Mutex;
use url::Url;

use super::{COMMAND_TIMEOUT, CONNECT_TIMEOUT};
use crate::domain::secret::Secret;

/// Port of a sentinel that names none.
const SENTINEL_PORT: u16 = 26_379;
/// Port of a server that names none.
const SERVER_PORT: u16 = 6_379;

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
}

/// Where to connect to.
pub(super) enum Target {
    One(Client),
    Sentinels(Mutex<SentinelClient>),
    Cluster(redis::cluster::ClusterClient),
}

/// What a URL of several servers says.
struct Several {
    tls: Option<TlsMode>,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, u16)>,
    path: String,
}

impl Target {
    pub(super) fn parse(url: &Secret) -> Result<Self, TargetError> {
        let url = url.0.as_str();
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::Scheme)?;
        let driver = |error: redis::RedisError| TargetError::Driver(error.to_string());
        match scheme {
            "redis" | "rediss" => {
                let info = url.into_connection_info().map_err(driver)?;
                Ok(Self::One(Client::open(info).map_err(driver)?))
            }
            "redis-sentinel" | "rediss-sentinel" => {
                let several = Several::parse(scheme, rest, SENTINEL_PORT)?;
                sentinels(several).map(|client| Self::Sentinels(Mutex::new(client)))
            }
            "redis-cluster" | "rediss-cluster" => {
                cluster(Several::parse(scheme, rest, SERVER_PORT)?).map(Self::Cluster)
            }
            _ => Err(TargetError::Scheme),
        }
    }

    /// Makes a connection. Asks sentinels anew who the master is.
    pub(super) async fn connect(&self) -> redis::RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            // A command that takes longer than that is given up by whoever sent it.
            .set_response_timeout(None);
        match self {
            Self::One(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            Self::Sentinels(client) => {
                let mut client = client.lock().await;
                client.get_async_connection_with_config(&config).await
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
            user: user.transpose()?,
            password: login.password().map(decoded).transpose()?,
            hosts: hosts.collect::<Result<_, _>>()?,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    fn addresses(&self) -> Vec<ConnectionAddr> {
        let address = |(host, port): &(String, u16)| match self.tls {
            None => ConnectionAddr::Tcp(host.clone(), *port),
            Some(_) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        };
        self.hosts.iter().map(address).collect()
    }
}

fn sentinels(several: Several) -> Result<SentinelClient, TargetError> {
    if several.path.is_empty() || several.path.contains('/') {
        return Err(TargetError::Master);
    }
    let driver = |error: redis::RedisError| TargetError::Driver(error.to_string());
    let (addresses, master) = (several.addresses(), several.path.clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)
        .map_err(driver)?;
    if let Some(tls) = several.tls {
        builder = builder.set_client_to_redis_tls_mode(tls);
    }
    if let Some(user) = several.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = several.password {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build().map_err(driver)
}

fn cluster(several: Several) -> Result<redis::cluster::ClusterClient, TargetError> {
    let driver = |error: redis::RedisError| TargetError::Driver(error.to_string());
    let mut builder = ClusterClientBuilder::new(several.addresses())
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(COMMAND_TIMEOUT)
        .retries(1);
    if let Some(tls) = several.tls {
        builder = builder.tls(tls);
    }
    if let Some(user) = several.user {
        builder = builder.username(user);
    }
    if let Some(password) = several.password {
        builder = builder.password(password);
    }
    builder.build().map_err(driver)
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
        Target::parse(&Secret(url.to_owned()))
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
