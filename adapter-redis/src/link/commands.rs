use std::collections::HashMap;
use std::time::Duration;

use deadpool_redis::{Hook, HookError, Metrics, PoolConfig, Runtime, Timeouts};
use redis::{FromRedisValue, Pipeline, RedisError, Value};

use crate::link::connections::Connections;
use crate::link::refusal::{Meaning, words};
use crate::link::servers::{Endpoint, Kind, Login, Servers};
use crate::link::watchdog::within;

/// A pool of connections for plain commands: membership and counts. A connection on which something
/// went wrong is thrown away.
pub(crate) struct Commands {
    pool: Pool,
    timeout: Duration,
}

enum Pool {
    /// To one server that is known.
    Single(deadpool_redis::Pool),
    /// To servers that others name, or over TLS.
    Found(Box<Connections>),
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("no connection: {0}")]
    Connect(String),
    #[error("timed out")]
    Timeout,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Redis(RedisError),
}

/// Connections of a pool.
const CONNECTIONS: usize = 4;
/// How old a connection gets. The master behind an address may change while connections to the old
/// one stay open; a new one goes to the server that is there now.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(15);
/// Longer than any limit here: these are kept by [`Commands`] itself.
pub(crate) const NO_LIMIT: Duration = Duration::from_secs(600);

impl From<RedisError> for CommandError {
    fn from(error: RedisError) -> Self {
        let errors = error.clone().into_server_errors().unwrap_or_default();
        let texts = errors.iter().map(|(_, error)| {
            let details = error.details().unwrap_or_default();
            words(format!("{} {details}", error.code()).as_bytes())
        });
        // What made a transaction fail says more than that it did.
        let mut texts: Vec<String> = texts.collect();
        texts.sort_by_key(|text| text.starts_with("EXECABORT"));
        match texts.into_iter().next() {
            Some(text) => Self::Refused(text),
            None => Self::Redis(error),
        }
    }
}

impl CommandError {
    /// What it means, if Redis answered with an error.
    pub(crate) fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Refused(text) => Some(Meaning::of(text)),
            Self::Connect(_) | Self::Timeout | Self::Redis(_) => None,
        }
    }
}

/// Why a pool has no connection.
fn no_connection(error: deadpool_redis::PoolError) -> CommandError {
    if let deadpool_redis::PoolError::Backend(error) = error {
        return error.into();
    }
    CommandError::Connect(error.to_string())
}

impl Commands {
    /// Connects when the first command is sent.
    pub(crate) fn new(servers: &Servers, timeout: Duration) -> Result<Self, CommandError> {
        let pool = match &servers.kind {
            Kind::Single(endpoint) if !servers.tls => {
                let mut config = PoolConfig::new(CONNECTIONS);
                config.timeouts = Timeouts {
                    wait: Some(timeout),
                    create: Some(timeout),
                    recycle: Some(timeout),
                };
                let manager = deadpool_redis::Manager::new(url(endpoint, &servers.login))?;
                let pool = deadpool_redis::Pool::builder(manager)
                    .pre_recycle(Hook::sync_fn(check_age))
                    .config(config)
                    .runtime(Runtime::Tokio1)
                    .build();
                Pool::Single(pool.map_err(|error| CommandError::Connect(error.to_string()))?)
            }
            Kind::Single(_) | Kind::Sentinel { .. } | Kind::Cluster(_) => {
                let found = Connections::new(servers, timeout);
                let found = found.map_err(|error| CommandError::Connect(error.to_string()))?;
                Pool::Found(Box::new(found))
            }
        };
        Ok(Self { pool, timeout })
    }

    /// Forgets all connections, since they may be to a server that is the master no more. Those in use
    /// last until they are not.
    pub(crate) fn forget(&self) {
        match &self.pool {
            Pool::Single(pool) => drop(pool.retain(|_, _| false)),
            Pool::Found(found) => found.forget_all(),
        }
    }

    /// Runs `commands` on one connection.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
    ) -> Result<T, CommandError> {
        self.run_within(self.timeout, commands).await
    }

    /// The same with a limit of its own.
    pub(crate) async fn run_within<T: FromRedisValue>(
        &self,
        limit: Duration,
        commands: &Pipeline,
    ) -> Result<T, CommandError> {
        let answer = self.ask(limit, commands).await?;
        Ok(redis::from_redis_value(answer).map_err(RedisError::from)?)
    }

    /// The answer as it came, so that what waits for it is compiled once, not for each type.
    async fn ask(&self, limit: Duration, commands: &Pipeline) -> Result<Value, CommandError> {
        match &self.pool {
            Pool::Single(pool) => {
                let mut connection = pool.get().await.map_err(no_connection)?;
                // Of its own accord it waits for half a second.
                connection.set_response_timeout(NO_LIMIT);
                let answer = within(limit, commands.query_async(&mut connection)).await;
                let answer = match answer {
                    Ok(answer) => answer.map_err(CommandError::from),
                    Err(_) => Err(CommandError::Timeout),
                };
                if answer.is_err() {
                    drop(deadpool_redis::Connection::take(connection));
                }
                answer
            }
            Pool::Found(found) => found.run(limit, commands).await,
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
            Pool::Single(_) => {
                let mut pipeline = redis::pipe();
                pipeline.add_command(command);
                let (counts,) = self.run(&pipeline).await?;
                counts
            }
            Pool::Found(found) => Counts(found.subscribers(&command).await?),
        };
        let count = |channel: &String| counts.0.get(channel).copied().unwrap_or(0);
        Ok(channels.iter().map(count).collect())
    }
}

fn check_age<T>(_: &mut T, metrics: &Metrics) -> Result<(), HookError> {
    if metrics.age() < MAX_AGE {
        Ok(())
    } else {
        Err(HookError::message("too old"))
    }
}

/// What `PUBSUB NUMSUB` answers.
pub(crate) struct Counts(pub(crate) HashMap<String, u64>);

impl FromRedisValue for Counts {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        HashMap::from_redis_value(value).map(Self)
    }
}

/// The URL of one server, as redis-rs reads it.
fn url(endpoint: &Endpoint, login: &Login) -> String {
    let login = match (&login.username, &login.password) {
        (None, None) => String::new(),
        (username, password) => format!(
            "{}:{}@",
            escape(username.as_deref().unwrap_or_default()),
            escape(password.as_deref().unwrap_or_default()),
        ),
    };
    format!("redis://{login}{endpoint}")
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
