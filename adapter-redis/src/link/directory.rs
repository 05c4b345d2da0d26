use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::link::backoff::random;
use crate::link::connection::{Connector, Link, LinkError};
use crate::link::lock::lock;
use crate::link::resp::Reply;
use crate::link::role::Role;
use crate::link::route::SLOTS;
use crate::link::servers::{Endpoint, Kind, Login, Servers};
use crate::link::watchdog::within;

/// Finds the servers: asks sentinels for the master and clusters for their slots.
pub(crate) struct Directory {
    servers: Servers,
    connector: Connector,
    /// The name that connections get.
    name: String,
    /// Sentinels or cluster nodes, the one that answered last in front.
    known: Mutex<Vec<Endpoint>>,
    /// In a cluster: the slot whose master all connections go to, in place of any master.
    home: OnceLock<usize>,
}

/// The masters of a cluster and the slots that they serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) masters: Vec<Endpoint>,
    /// For each slot the index of its master.
    pub(crate) slots: Vec<Option<usize>>,
}

/// Most servers that are remembered.
const MAX_KNOWN: usize = 1000;
/// Bytes that a reply here may take.
const REPLY: usize = 4 << 20;
/// How long an answer may take here.
const ANSWER: Duration = Duration::from_secs(2);

impl Directory {
    pub(crate) fn new(servers: Servers, connector: Connector, name: String) -> Self {
        let known = match &servers.kind {
            Kind::Single(_) => Vec::new(),
            Kind::Sentinel { sentinels, .. } => sentinels.clone(),
            Kind::Cluster(seeds) => seeds.clone(),
        };
        Self {
            servers,
            connector,
            name,
            known: Mutex::new(known),
            home: OnceLock::new(),
        }
    }

    /// Connects to `endpoint`, or, without one, to a server that may publish and subscribe: the
    /// only one, the master that the sentinels name, or any master of a cluster.
    pub(crate) async fn connect(
        &self,
        endpoint: Option<&Endpoint>,
        role: &str,
        limit: usize,
    ) -> Result<(Link, Endpoint), LinkError> {
        let endpoint = match endpoint {
            Some(endpoint) => endpoint.clone(),
            None => self.locate().await?,
        };
        let name = format!("{}-{role}", self.name);
        let login = &self.servers.login;
        let mut link = self
            .connector
            .connect(&endpoint, login, &name, limit)
            .await?;
        if self.has_one_master() {
            let asked = within(ANSWER, link.call(&[b"ROLE"], Role::read)).await;
            match asked.unwrap_or(Err(LinkError::Timeout)) {
                Ok(Role::Replica(of)) => return Err(LinkError::NotMaster(of)),
                // Who may not ask, or asks what is not known, learns it otherwise.
                Ok(Role::Master | Role::Unknown) | Err(LinkError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((link, endpoint))
    }

    /// From now on connections go to the server of this slot, in a cluster. It is the same at each call.
    pub(crate) fn set_home(&self, slot: usize) {
        self.home.get_or_init(|| slot);
    }

    /// Whether all connections have to be to one server, the master, whichever that is by now.
    pub(crate) fn has_one_master(&self) -> bool {
        match self.servers.kind {
            Kind::Single(_) | Kind::Sentinel { .. } => true,
            Kind::Cluster(_) => false,
        }
    }

    /// Whether `endpoint` should still be used, as far as can be found out.
    pub(crate) async fn is_current(&self, endpoint: &Endpoint) -> bool {
        match &self.servers.kind {
            Kind::Single(_) => true,
            Kind::Sentinel { .. } => {
                let master = self.master().await;
                master.map_or(true, |master| master == *endpoint)
            }
            Kind::Cluster(_) => {
                let topology = self.topology().await;
                topology.map_or(true, |topology| match self.home.get() {
                    Some(slot) => topology.master(*slot).is_none_or(|it| it == endpoint),
                    None => topology.masters.contains(endpoint),
                })
            }
        }
    }

    /// A server that may publish and subscribe.
    pub(crate) async fn locate(&self) -> Result<Endpoint, LinkError> {
        match &self.servers.kind {
            Kind::Single(endpoint) => Ok(endpoint.clone()),
            Kind::Sentinel { .. } => self.master().await,
            Kind::Cluster(_) => {
                let topology = self.topology().await?;
                let index = random() as usize % topology.masters.len().max(1);
                let master = match self.home.get() {
                    Some(slot) => topology.master(*slot),
                    None => topology.masters.get(index),
                };
                master.cloned().ok_or(LinkError::NoServer)
            }
        }
    }

    /// The master, as the first sentinel that answers names it.
    async fn master(&self) -> Result<Endpoint, LinkError> {
        let Kind::Sentinel { master, login, .. } = &self.servers.kind else {
            return Err(LinkError::NoServer);
        };
        let command: [&[u8]; 3] = [b"SENTINEL", b"get-master-addr-by-name", master.as_bytes()];
        self.ask(login, &command, |reply, _| match reply.items()? {
            [Reply::Bulk(host), Reply::Bulk(port)] => endpoint(host, port),
            _ => None,
        })
        .await
    }

    /// The slots, as the first node that answers tells them.
    pub(crate) async fn topology(&self) -> Result<Topology, LinkError> {
        let login = &self.servers.login;
        let topology = self
            .ask(login, &[b"CLUSTER", b"SLOTS"], |reply, asked| {
                Topology::read(reply, asked).filter(|it| !it.masters.is_empty())
            })
            .await?;
        let mut known = lock(&self.known);
        for master in &topology.masters {
            if !known.contains(master) && known.len() < MAX_KNOWN {
                known.push(master.clone());
            }
        }
        Ok(topology)
    }

    /// Asks the known servers one after the other until `read` makes something of an answer.
    async fn ask<T>(
        &self,
        login: &Login,
        command: &[&[u8]],
        read: impl Fn(&Reply<'_>, &Endpoint) -> Option<T>,
    ) -> Result<T, LinkError> {
        let known = lock(&self.known).clone();
        let mut last = LinkError::NoServer;
        for server in &known {
            let mut asked = Asked {
                known: &self.known,
                server,
                has_answered: false,
            };
            let answer = self.ask_one(server, login, command, |reply| read(reply, server));
            match answer.await {
                Ok(Some(answer)) => {
                    asked.has_answered = true;
                    return Ok(answer);
                }
                Ok(None) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_one<T>(
        &self,
        server: &Endpoint,
        login: &Login,
        command: &[&[u8]],
        read: impl FnOnce(&Reply<'_>) -> T,
    ) -> Result<T, LinkError> {
        let name = format!("{}-directory", self.name);
        let connector = &self.connector;
        let mut link = connector.connect(server, login, &name, REPLY).await?;
        let answer = within(ANSWER, link.call(command, read)).await;
        answer.unwrap_or(Err(LinkError::Timeout))
    }
}

/// A server that is being asked. Dropped, it comes to the front if it has answered, and else to the end:
/// who had no time to ask the next one does so next time.
struct Asked<'a> {
    known: &'a Mutex<Vec<Endpoint>>,
    server: &'a Endpoint,
    has_answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut known = lock(self.known);
        match known.iter().position(|it| it == self.server) {
            Some(index) if self.has_answered => known[..=index].rotate_right(1),
            Some(index) => known[index..].rotate_left(1),
            None => {}
        }
    }
}

impl Topology {
    /// Who serves a slot.
    fn master(&self, slot: usize) -> Option<&Endpoint> {
        let index = self.slots.get(slot).copied().flatten()?;
        self.masters.get(index)
    }

    /// Reads the reply to `CLUSTER SLOTS` of the node `asked`, which may leave out its own address.
    fn read(reply: &Reply<'_>, asked: &Endpoint) -> Option<Self> {
        let Reply::Array(ranges) = reply else {
            return None;
        };
        let mut topology = Self {
            masters: Vec::new(),
            slots: vec![None; SLOTS],
        };
        for range in ranges {
            let Reply::Array(range) = range else {
                return None;
            };
            let [
                Reply::Integer(first),
                Reply::Integer(last),
                Reply::Array(master),
                ..,
            ] = range.as_slice()
            else {
                return None;
            };
            let master = match master.as_slice() {
                [Reply::Bulk(host), Reply::Integer(port), ..] => Endpoint {
                    host: Some(String::from_utf8_lossy(host).into_owned())
                        .filter(|it| !it.is_empty() && it != "?")
                        .unwrap_or_else(|| asked.host.clone()),
                    port: u16::try_from(*port).ok()?,
                },
                [Reply::Nil, Reply::Integer(port), ..] => Endpoint {
                    host: asked.host.clone(),
                    port: u16::try_from(*port).ok()?,
                },
                _ => return None,
            };
            let index = topology.index(master);
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            topology.slots.get_mut(first..=last)?.fill(Some(index));
        }
        Some(topology)
    }

    fn index(&mut self, master: Endpoint) -> usize {
        let known = self.masters.iter().position(|it| *it == master);
        known.unwrap_or_else(|| {
            self.masters.push(master);
            self.masters.len() - 1
        })
    }
}

fn endpoint(host: &[u8], port: &[u8]) -> Option<Endpoint> {
    Some(Endpoint {
        host: String::from_utf8(host.to_vec()).ok()?,
        port: std::str::from_utf8(port).ok()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::resp::parse_reply;

    #[test]
    fn slots_are_read() {
        let text = b"*3\r\n\
            *4\r\n:0\r\n:8000\r\n*3\r\n$1\r\na\r\n:7000\r\n$2\r\nid\r\n*3\r\n$1\r\nr\r\n:7003\r\n$2\r\nid\r\n\
            *3\r\n:8001\r\n:8001\r\n*3\r\n$0\r\n\r\n:7001\r\n$2\r\nid\r\n\
            *3\r\n:9000\r\n:16383\r\n*3\r\n$1\r\na\r\n:7000\r\n$2\r\nid\r\n";
        let asked = Endpoint {
            host: "h".to_owned(),
            port: 1,
        };
        let (reply, _) = parse_reply(text).unwrap();
        let topology = Topology::read(&reply, &asked).unwrap();
        assert_eq!(topology.masters.len(), 2);
        assert_eq!(topology.masters[1].to_string(), "h:7001");
        assert_eq!(topology.slots[0], Some(0));
        assert_eq!(topology.slots[8001], Some(1));
        assert_eq!(topology.slots[8002], None);
        assert_eq!(topology.slots[16_383], Some(0));
    }

    #[test]
    fn odd_slots_are_refused() {
        let asked = Endpoint {
            host: "h".to_owned(),
            port: 1,
        };
        for text in [
            &b":1\r\n"[..],
            b"*1\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
            b"*1\r\n*3\r\n:5\r\n:-1\r\n*2\r\n$1\r\na\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:70000\r\n",
        ] {
            let (reply, _) = parse_reply(text).unwrap();
            assert_eq!(Topology::read(&reply, &asked), None);
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_asked_last_next_time() {
        use std::time::Duration;
        use tokio::io::AsyncWriteExt;
        use tokio::net::TcpListener;

        // It takes connections and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let speaking = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [first, second] = [&silent, &speaking].map(|it| it.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = speaking.accept().await.unwrap();
            let answers = b"+OK\r\n*2\r\n$1\r\nh\r\n$1\r\n7\r\n";
            stream.write_all(answers).await.unwrap();
            std::future::pending::<()>().await;
        });
        let url = format!("redis+sentinel://{first},{second}/m");
        let servers: Servers = url.parse().unwrap();
        let limit = Duration::from_secs(60);
        let connector = Connector::new(&servers, limit, limit).unwrap();
        let directory = Directory::new(servers, connector, "test".to_owned());
        let short = tokio::time::timeout(Duration::from_millis(100), directory.locate());
        assert!(short.await.is_err());
        let master = directory.locate().await.unwrap();
        assert_eq!(master.to_string(), "h:7");
        assert_eq!(lock(&directory.known)[0].port, second.port());
    }
}
