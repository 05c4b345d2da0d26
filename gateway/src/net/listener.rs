//! Where connections come from: ports, and sockets in the file system.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::config::UnixSocket;

/// How often a start asks for its turn at the directory of a socket, and how long it waits in between.
const TURNS: u32 = 50;
const TURN_PAUSE: Duration = Duration::from_millis(20);

/// The address of connections by a socket in the file system, where nobody has an address. No
/// connection of TCP comes from it.
pub(crate) const UNIX_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Where a node listens, since it does.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At an address and a port.
    Tcp(SocketAddr),
    /// At a socket in the file system.
    Unix(PathBuf),
}

impl Address {
    /// The address and the port, of TCP.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One of the sockets that a node listens at; it does not block.
pub(crate) struct Listening {
    pub(crate) address: Address,
    pub(crate) socket: Listener,
    /// Its file, if this node made it.
    pub(crate) placed: Option<Placed>,
}

/// A socket that listens, which somebody else made.
#[non_exhaustive]
#[derive(Debug)]
pub enum Listener {
    /// At an address and a port.
    Tcp(TcpListener),
    /// At a socket in the file system.
    Unix(UnixListener),
}

impl Listening {
    /// One that somebody else made. Its file, if it has one, is not this node's.
    pub(crate) fn given(socket: Listener) -> io::Result<Self> {
        let address = match &socket {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                SockRef::from(listener).set_tcp_nodelay(true)?;
                Address::Tcp(listener.local_addr()?)
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let path = address
                    .as_pathname()
                    .unwrap_or(Path::new("(without a name)"));
                Address::Unix(path.to_owned())
            }
        };
        Ok(Self {
            address,
            socket,
            placed: None,
        })
    }
}

/// Makes a connection of a socket in the file system one that the node serves as all others: what
/// reads and writes is the same for the kernel. What only TCP has, such as a peer's address, fails.
pub(crate) fn like_tcp(stream: impl Into<OwnedFd>) -> TcpStream {
    stream.into().into()
}

/// The file of a socket that this node made. Dropped, it is taken away, if it is still the same.
///
/// It has to go before the socket does: until then nobody else takes the file for a dead one.
pub(crate) struct Placed {
    path: PathBuf,
    /// Which file it is: its device and its number there.
    identity: (u64, u64),
}

impl Drop for Placed {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(target: "gateway::server", %path, %error, "cannot take the socket's file away");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Listens at a socket in the file system.
///
/// A file of a process that has died is replaced, one of a process that lives is not, nor is anything
/// else than a socket.
pub(crate) async fn place(socket: &UnixSocket, backlog: i32) -> io::Result<Listening> {
    let path = socket.path();
    let turn = turn(path).await;
    clear(path)?;
    let raw = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    raw.set_nonblocking(true)?;
    raw.bind(&SockAddr::unix(path)?)?;
    let placed = Placed {
        path: path.to_owned(),
        identity: identity(path)?,
    };
    // Nobody can connect before it listens, so nobody does with other permissions.
    fs::set_permissions(path, Permissions::from_mode(socket.mode()))?;
    raw.listen(backlog)?;
    drop(turn);
    Ok(Listening {
        address: Address::Unix(path.to_owned()),
        socket: Listener::Unix(raw.into()),
        placed: Some(placed),
    })
}

/// Waits for others that look at the same directory, so that no two take the same dead file away.
/// Where that cannot be had, none is needed to start.
async fn turn(path: &Path) -> Option<File> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..TURNS {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(TURN_PAUSE).await,
            Err(fs::TryLockError::Error(_)) => return None,
        }
    }
    None
}

/// Takes away what a process left there that has died.
fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let problem = "there is a file that is no socket, which stays";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Who listens and has no time lets nobody wait here.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.raw_os_error() == Some(Errno::CONNREFUSED.raw_os_error()) => {
            fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => {
            let problem = "another process listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, problem))
        }
    }
}
