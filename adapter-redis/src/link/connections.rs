use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Arg, AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value};
use tokio::sync::Mutex;

use crate::link::commands::{CommandError, Counts, MAX_AGE, NO_LIMIT};
use crate::link::connection::{Connector, LinkError};
use crate::link::directory::{Directory, Topology};
use crate::link::refusal::Meaning;
use crate::link::route::slot;
use crate::link::servers::{Endpoint, Kind, Servers};
use crate::link::watchdog::within;

/// Connections for plain commands, one to each server that is needed: to masters that Sentinels or the
/// cluster name, and over TLS. The pools of deadpool-redis cannot be told what a server's certificate
/// is checked against.
pub(crate) struct Connections {
    servers: Servers,
    connector: Connector,
    directory: Directory,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    masters: Option<(Instant, Masters)>,
    connections: HashMap<Endpoint, (Instant, MultiplexedConnection)>,
}

/// Where commands go.
#[derive(Clone)]
enum Masters {
    One(Endpoint),
    Slots(Topology),
}

impl Connections {
    pub(crate) fn new(servers: &Servers, timeout: Duration) -> Result<Self, std::io::Error> {
        let connector = Connector::new(servers, timeout, timeout)?;
        let name = "gateway-commands".to_owned();
        Ok(Self {
            servers: servers.clone(),
            directory: Directory::new(servers.clone(), connector.clone(), name),
            connector,
            timeout,
            state: Mutex::default(),
        })
    }

    /// Runs `commands`, whose keys are all in one slot. If the slot has moved, they go to where it is now.
    pub(crate) async fn run(
        &self,
        limit: Duration,
        commands: &Pipeline,
    ) -> Result<Value, CommandError> {
        let answer = self.run_once(limit, commands).await;
        if let Err(error) = &answer
            && error.meaning() == Some(Meaning::Elsewhere)
        {
            return self.run_once(limit, commands).await;
        }
        answer
    }

    async fn run_once(&self, limit: Duration, commands: &Pipeline) -> Result<Value, CommandError> {
        let connected = self.limit(async {
            let endpoint = match self.masters().await? {
                Masters::One(endpoint) => endpoint,
                Masters::Slots(topology) => {
                    let key = commands.cmd_iter().next().and_then(key_of).unwrap_or(b"");
                    let master = topology.slots.get(slot(key)).copied().flatten();
                    let master = master.and_then(|index| topology.masters.get(index));
                    master.cloned().ok_or(LinkError::NoServer).map_err(away)?
                }
            };
            let connection = self.connection(&endpoint).await?;
            Ok((endpoint, connection))
        });
        let (endpoint, mut connection) = match connected.await {
            Ok(connected) => connected,
            Err(error) => return Err(self.forget(None, error).await),
        };
        let answer = async { Ok(commands.query_async(&mut connection).await?) };
        let answer = within(limit, answer).await;
        match answer.unwrap_or(Err(CommandError::Timeout)) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.forget(Some(&endpoint), error).await),
        }
    }

    /// Asks all masters how many subscribers channels have, and adds it up.
    pub(crate) async fn subscribers(
        &self,
        question: &Cmd,
    ) -> Result<HashMap<String, u64>, CommandError> {
        let mut sum = HashMap::new();
        let masters = match self.limit(self.masters()).await? {
            Masters::One(endpoint) => vec![endpoint],
            Masters::Slots(topology) => topology.masters,
        };
        for endpoint in masters {
            let asked = self.limit(async {
                let mut connection = self.connection(&endpoint).await?;
                Ok(question.query_async::<Counts>(&mut connection).await?)
            });
            match asked.await {
                Ok(Counts(counts)) => {
                    for (channel, count) in counts {
                        *sum.entry(channel).or_default() += count;
                    }
                }
                Err(error) => return Err(self.forget(Some(&endpoint), error).await),
            }
        }
        Ok(sum)
    }

    /// Forgets all connections, since they may be to a server that is the master no more.
    pub(crate) fn forget_all(&self) {
        // Whoever holds it asks anew soon.
        if let Ok(mut state) = self.state.try_lock() {
            *state = State::default();
        }
    }

    async fn masters(&self) -> Result<Masters, CommandError> {
        if let Some((at, masters)) = &self.state.lock().await.masters
            && at.elapsed() < MAX_AGE
        {
            return Ok(masters.clone());
        }
        let masters = match &self.servers.kind {
            Kind::Cluster(_) => self.directory.topology().await.map(Masters::Slots),
            Kind::Single(_) | Kind::Sentinel { .. } => {
                self.directory.locate().await.map(Masters::One)
            }
        };
        let masters = masters.map_err(away)?;
        let mut state = self.state.lock().await;
        state.masters = Some((Instant::now(), masters.clone()));
        let is_used = |endpoint: &Endpoint| match &masters {
            Masters::One(one) => one == endpoint,
            Masters::Slots(topology) => topology.masters.contains(endpoint),
        };
        state.connections.retain(|endpoint, _| is_used(endpoint));
        Ok(masters)
    }

    async fn connection(&self, endpoint: &Endpoint) -> Result<MultiplexedConnection, CommandError> {
        if let Some((at, connection)) = self.state.lock().await.connections.get(endpoint)
            && at.elapsed() < MAX_AGE
        {
            return Ok(connection.clone());
        }
        let stream = self
            .connector
            .stream(endpoint, &AtomicBool::default())
            .await
            .map_err(away)?;
        let login = &self.servers.login;
        let mut info = RedisConnectionInfo::default();
        if let Some(username) = &login.username {
            info = info.set_username(username);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password);
        }
        // Of its own accord it waits for half a second; limits are kept here.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(NO_LIMIT));
        let connected = MultiplexedConnection::new_with_config(&info, stream, config);
        let (connection, driver) = connected.await?;
        // It ends with the connection.
        tokio::spawn(driver);
        let mut state = self.state.lock().await;
        let made = (Instant::now(), connection.clone());
        state.connections.insert(endpoint.clone(), made);
        Ok(connection)
    }

    /// After an error nothing is taken for granted any more.
    async fn forget(&self, endpoint: Option<&Endpoint>, error: CommandError) -> CommandError {
        let mut state = self.state.lock().await;
        state.masters = None;
        if let Some(endpoint) = endpoint {
            state.connections.remove(endpoint);
        }
        error
    }

    async fn limit<T>(
        &self,
        step: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let ended = within(self.timeout, step).await;
        ended.unwrap_or(Err(CommandError::Timeout))
    }
}

/// The first key that a command names.
fn key_of(command: &Cmd) -> Option<&[u8]> {
    let key = command.args_iter().nth(1)?;
    if let Arg::Simple(key) = key {
        Some(key)
    } else {
        None
    }
}

fn away(error: LinkError) -> CommandError {
    CommandError::Connect(error.to_string())
}
