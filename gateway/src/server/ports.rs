//! What a node listens on: the clients' port and the internal one, each at one place or several.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tracing::{debug, info, warn};

use super::StartError;
use crate::config::{Config, Endpoint, HostPort, Listen, UnixSocket};
use crate::net::listener::{self, Address, Listener, Listening};

/// Bytes that the kernel keeps for a client beside those that are on their way. A client that takes
/// less than half of it within `limits.outbox_patience` counts as one that takes nothing.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// Connections that the kernel keeps until they are accepted; it may keep fewer.
const BACKLOG: i32 = 4096;

/// The same for connections to the internal port, of which other nodes make many at a time.
const INTERNAL_BACKLOG: i32 = 1024;

/// What `listen` is if nothing is set. It hears IPv6 too.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3000);

/// What a node listens on.
pub(super) struct Ports {
    pub(super) clients: Vec<Listening>,
    pub(super) internal: Vec<Listening>,
}

impl Ports {
    /// Listens on both, where no sockets are given. To be called in a Tokio runtime.
    pub(super) async fn open(
        config: &Config,
        clients: Vec<Listening>,
        internal: Vec<Listening>,
    ) -> Result<Self, StartError> {
        let given = (clients, internal);
        let clients = Opening {
            setting: "listen",
            all: &config.listen,
            backlog: BACKLOG,
            everywhere: Some(DEFAULT_LISTEN),
        };
        let clients = clients.open_unless(given.0).await?;
        clients.iter().for_each(leave_unsent_to_outboxes);
        let internal = Opening {
            setting: "internal_listen",
            all: &config.internal_listen,
            backlog: INTERNAL_BACKLOG,
            everywhere: None,
        };
        let internal = internal.open_unless(given.1).await?;
        Ok(Self { clients, internal })
    }
}

/// Where the places are, in the order of the setting.
pub(super) fn addresses(of: &[Listening]) -> Vec<Address> {
    of.iter().map(|it| it.address.clone()).collect()
}

/// The same as a setting would have them; none if there are none.
pub(super) fn places(of: &[Listening]) -> Option<Listen> {
    let places = of.iter().map(|it| match &it.address {
        Address::Tcp(address) => Endpoint::Address(*address),
        Address::Unix(path) => Endpoint::Unix(UnixSocket::at(path)),
    });
    (!of.is_empty()).then(|| places.collect())
}

/// All of them, for a line of the log.
pub(super) fn list(addresses: &[Address]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

/// The first address of TCP; all zeros if there is none.
pub(super) fn first_tcp(addresses: &[Address]) -> SocketAddr {
    let none = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    addresses.iter().find_map(Address::tcp).unwrap_or(none)
}

/// What is advertised, with the port that the system chose if it names none.
pub(super) fn advertised(advertise: &HostPort, internal: &[Address]) -> String {
    if advertise.port() != 0 {
        return advertise.to_string();
    }
    let same = |it: &SocketAddr| HostPort::from(*it).host() == advertise.host();
    let bound = internal.iter().filter_map(Address::tcp).find(same);
    let bound = bound.unwrap_or_else(|| first_tcp(internal));
    advertise.with_port(bound.port()).to_string()
}

/// Has the kernel take no more for a client than it can send soon. It copies what it takes, for each
/// client anew, and nobody sees how much of it the client took. Accepted connections inherit it.
fn leave_unsent_to_outboxes(listening: &Listening) {
    #[cfg(target_os = "linux")]
    if let Listener::Tcp(listener) = &listening.socket
        && let Err(error) = SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES)
    {
        debug!(target: "gateway::server", %error, "cannot bound the unsent bytes of a connection; the kernel buffers more");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listening;
}

/// The way from a setting to the sockets that it asks for.
struct Opening<'a> {
    setting: &'static str,
    all: &'a Listen,
    backlog: i32,
    /// The address that stands for all, of IPv6 too.
    everywhere: Option<SocketAddr>,
}

impl Opening<'_> {
    async fn open_unless(&self, given: Vec<Listening>) -> Result<Vec<Listening>, StartError> {
        if !given.is_empty() {
            let (setting, addresses) = (self.setting, list(&addresses(&given)));
            info!(target: "gateway::server", setting, addresses, "listening at the sockets that were passed, and not where the setting says");
            return Ok(given);
        }
        self.open().await
    }

    async fn open(&self) -> Result<Vec<Listening>, StartError> {
        let mut opened = Vec::new();
        for endpoint in self.all.iter() {
            let listening = self.open_one(endpoint).await;
            opened.extend(listening.map_err(|error| StartError::Listen {
                setting: self.setting,
                address: endpoint.to_string().into(),
                error,
            })?);
        }
        Ok(opened)
    }

    async fn open_one(&self, endpoint: &Endpoint) -> io::Result<Vec<Listening>> {
        match endpoint {
            Endpoint::Port(port) => self.everywhere(*port).map(|it| vec![it]),
            Endpoint::Address(address) if Some(*address) == self.everywhere => {
                self.everywhere(address.port()).map(|it| vec![it])
            }
            Endpoint::Address(address) => self.bind(*address).map(|it| vec![it]),
            Endpoint::Name(name) => self.named(name).await,
            Endpoint::Unix(socket) => {
                let listening = listener::place(socket, self.backlog).await?;
                Ok(vec![listening])
            }
        }
    }

    /// Whether another place has an address of this kind with this port.
    fn names(&self, port: u16, kind: fn(&IpAddr) -> bool) -> bool {
        self.all.iter().any(|endpoint| match endpoint {
            Endpoint::Address(address) => {
                Some(*address) != self.everywhere && address.port() == port && kind(&address.ip())
            }
            Endpoint::Port(_) | Endpoint::Name(_) | Endpoint::Unix(_) => false,
        })
    }

    /// Listens at every address: with one socket for IPv4 and IPv6, where the system has both.
    fn everywhere(&self, port: u16) -> io::Result<Listening> {
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        if self.names(port, IpAddr::is_ipv6) {
            return self.bind(all);
        }
        match self.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(listening) => Ok(Listening {
                address: match listening.address {
                    // It is said as it is written.
                    Address::Tcp(both) => Address::Tcp((Ipv4Addr::UNSPECIFIED, both.port()).into()),
                    other @ Address::Unix(_) => other,
                },
                ..listening
            }),
            Err(error) if is_missing(&error) => {
                debug!(target: "gateway::server", %error, "cannot listen on IPv6; the node listens on IPv4 alone");
                self.bind(all)
            }
            Err(error) => Err(error),
        }
    }

    /// Listens at all addresses of a name, of which this machine may not have all.
    async fn named(&self, name: &HostPort) -> io::Result<Vec<Listening>> {
        let mut addresses: Vec<SocketAddr> = if name.is_localhost() {
            let loopbacks: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            loopbacks.map(|ip| (ip, name.port()).into()).into()
        } else {
            let found = tokio::net::lookup_host((name.host(), name.port())).await?;
            found.collect()
        };
        addresses.sort_unstable();
        addresses.dedup();
        let mut opened: Vec<Listening> = Vec::new();
        let mut missing = None;
        for mut address in addresses {
            // All of them have the port that the system chose for the first.
            if let Some(first) = opened.first().and_then(|it| it.address.tcp()) {
                address.set_port(first.port());
            }
            match self.bind(address) {
                Ok(listening) => opened.push(listening),
                Err(error) if is_missing(&error) => {
                    warn!(target: "gateway::server", %name, %address, %error, "this machine does not have an address of the name; the node listens at the others");
                    missing = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if opened.is_empty() => Err(error),
            _ => Ok(opened),
        }
    }

    /// What connections are accepted from. They inherit that small packets are not delayed.
    fn bind(&self, address: SocketAddr) -> io::Result<Listening> {
        let domain = Domain::for_address(address);
        let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if address.ip() == Ipv6Addr::UNSPECIFIED {
            // Whatever the system's default is. Who names an address of IPv4 as well gets both.
            socket.set_only_v6(self.names(address.port(), IpAddr::is_ipv4))?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(self.backlog)?;
        let listener = std::net::TcpListener::from(socket);
        Ok(Listening {
            address: Address::Tcp(listener.local_addr()?),
            socket: Listener::Tcp(listener),
            placed: None,
        })
    }
}

/// Whether the machine does not have such an address, or none of its family.
fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT]
        .iter()
        .any(|missing| code == Some(missing.raw_os_error()))
}
