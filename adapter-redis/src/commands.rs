use std::collections::HashMap;
use std::time::Duration;

use deadpool_redis::{PoolConfig, Runtime, Timeouts, cluster, sentinel};
use redis::aio::ConnectionLike;
use redis::{FromRedisValue, Pipeline, RedisResult};

use crate::servers::{Endpoint, Kind, Login, Servers};

/// A pool of connections for plain commands: membership and counts. A connection on which something
/// went wrong is thrown away.
pub(crate) struct Commands {
    pool: Pool,
    timeout: Duration,
}

enum Pool {
    Single(deadpool_redis::Pool),
    Sentinel(sentinel::Pool),
    Cluster(cluster::Pool),
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("no connection: {0}")]
    Connect(String),
    #[error("timed out")]
    Timeout,
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
}

/// Connections of a pool.
const CONNECTIONS: usize = 4;

impl Commands {
    /// Connects when the first command is sent.
    pub(crate) fn new(servers: &Servers, timeout: Duration) -> Result<Self, CommandError> {
        let url = |endpoint: &Endpoint, login| url(endpoint, login, servers.tls, servers.database);
        let mut config = PoolConfig::new(CONNECTIONS);
        config.timeouts = Timeouts {
            wait: Some(timeout),
            create: Some(timeout),
            recycle: Some(timeout),
        };
        let build = |error: &dyn std::fmt::Display| CommandError::Connect(error.to_string());
        let pool = match &servers.kind {
            Kind::Single(endpoint) => {
                let manager = deadpool_redis::Manager::new(url(endpoint, &servers.login))?;
                let pool = deadpool_redis::Pool::builder(manager);
                let pool = pool.config(config).runtime(Runtime::Tokio1).build();
                Pool::Single(pool.map_err(|error| build(&error))?)
            }
            Kind::Sentinel {
                sentinels,
                master,
                login,
            } => {
                let urls: Vec<_> = sentinels.iter().map(|it| url(it, login)).collect();
                let manager = sentinel::Manager::new(
                    urls,
                    master.clone(),
                    Some(node_login(servers)),
                    sentinel::SentinelServerType::Master,
                )?;
                let pool = sentinel::Pool::builder(manager);
                let pool = pool.config(config).runtime(Runtime::Tokio1).build();
                Pool::Sentinel(pool.map_err(|error| build(&error))?)
            }
            Kind::Cluster(seeds) => {
                let urls: Vec<_> = seeds.iter().map(|it| url(it, &servers.login)).collect();
                let manager = cluster::Manager::new(urls, false)?;
                let pool = cluster::Pool::builder(manager);
                let pool = pool.config(config).runtime(Runtime::Tokio1).build();
                Pool::Cluster(pool.map_err(|error| build(&error))?)
            }
        };
        Ok(Self { pool, timeout })
    }

    /// Runs `commands` on one connection.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
    ) -> Result<T, CommandError> {
        let none = |error: &dyn std::fmt::Display| CommandError::Connect(error.to_string());
        match &self.pool {
            Pool::Single(pool) => {
                let mut connection = pool.get().await.map_err(|error| none(&error))?;
                // Of its own accord it waits for half a second.
                connection.set_response_timeout(self.timeout);
                let result = self.query(commands, &mut connection).await;
                if result.is_err() {
                    drop(deadpool_redis::Connection::take(connection));
                }
                result
            }
            Pool::Sentinel(pool) => {
                let mut connection = pool.get().await.map_err(|error| none(&error))?;
                connection.set_response_timeout(self.timeout);
                let result = self.query(commands, &mut connection).await;
                if result.is_err() {
                    drop(sentinel::Connection::take(connection));
                }
                result
            }
            Pool::Cluster(pool) => {
                let mut connection = pool.get().await.map_err(|error| none(&error))?;
                let result = self.query(commands, &mut connection).await;
                if result.is_err() {
                    drop(cluster::Connection::take(connection));
                }
                result
            }
        }
    }

    /// How many subscribers each channel has, on all servers together.
    pub(crate) async fn subscribers(
        &self,
        sharded: bool,
        channels: &[String],
    ) -> Result<Vec<u64>, CommandError> {
        let question = if sharded { "SHARDNUMSUB" } else { "NUMSUB" };
        let mut command = redis::cmd("PUBSUB");
        command.arg(question).arg(channels);
        let counts: Counts = match &self.pool {
            Pool::Single(_) | Pool::Sentinel(_) => {
                let mut pipeline = redis::pipe();
                pipeline.add_command(command);
                let (counts,) = self.run(&pipeline).await?;
                counts
            }
            Pool::Cluster(pool) => {
                let connection = pool.get().await;
                let mut connection =
                    connection.map_err(|error| CommandError::Connect(error.to_string()))?;
                let counts = self.limit(command.query_async(&mut connection)).await;
                if counts.is_err() {
                    drop(cluster::Connection::take(connection));
                }
                counts?
            }
        };
        let count = |channel: &String| counts.0.get(channel).copied().unwrap_or(0);
        Ok(channels.iter().map(count).collect())
    }

    async fn query<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
        connection: &mut impl ConnectionLike,
    ) -> Result<T, CommandError> {
        self.limit(commands.query_async(connection)).await
    }

    async fn limit<T>(
        &self,
        command: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, CommandError> {
        let result = tokio::time::timeout(self.timeout, command).await;
        Ok(result.map_err(|_| CommandError::Timeout)??)
    }
}

/// What `PUBSUB NUMSUB` answers.
struct Counts(HashMap<String, u64>);

impl FromRedisValue for Counts {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        HashMap::from_redis_value(value).map(Self)
    }
}

fn node_login(servers: &Servers) -> sentinel::SentinelNodeConnectionInfo {
    let Login { username, password } = servers.login.clone();
    sentinel::SentinelNodeConnectionInfo {
        tls_mode: servers.tls.then_some(sentinel::TlsMode::Secure),
        redis_connection_info: Some(deadpool_redis::RedisConnectionInfo {
            db: servers.database,
            username,
            password,
            ..Default::default()
        }),
    }
}

/// The URL of one server, as redis-rs reads it.
fn url(endpoint: &Endpoint, login: &Login, tls: bool, database: i64) -> String {
    let scheme = if tls { "rediss" } else { "redis" };
    let login = match (&login.username, &login.password) {
        (None, None) => String::new(),
        (username, password) => format!(
            "{}:{}@",
            escape(username.as_deref().unwrap_or_default()),
            escape(password.as_deref().unwrap_or_default()),
        ),
    };
    format!("{scheme}://{login}{endpoint}/{database}")
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
