//! Where a node listens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::address::HostPort;
use super::value::{Shape, Value};

/// What the address of a unix socket begins with.
const UNIX: &str = "unix:";

/// Who may connect to a unix socket if nothing is said: its owner and its group.
const USUAL_MODE: u32 = 0o660;

/// The longest path that the kernels of all systems take for a unix socket.
const MAX_PATH: usize = 103;

/// Where a node listens: at one place or at several.
///
/// ```
/// use gateway::Config;
///
/// let config = Config::from_toml("listen = [\"localhost:3000\", \"unix:/run/gateway.sock\"]")?;
/// assert_eq!(config.listen.iter().count(), 2);
/// assert_eq!(config.listen.to_string(), "localhost:3000,unix:/run/gateway.sock");
/// # Ok::<(), gateway::config::Errors>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(Vec<Endpoint>);

/// A place where a node listens.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A port of every address of the machine, of IPv6 too where the system has it.
    Port(u16),
    /// A port of an address.
    Address(SocketAddr),
    /// A port of every address that the system knows by a name.
    Name(HostPort),
    /// A socket in the file system.
    Unix(UnixSocket),
}

/// A socket in the file system, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    path: PathBuf,
    mode: u32,
}

impl UnixSocket {
    /// One that somebody else made.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            mode: USUAL_MODE,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The permissions of its file.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Reads what stands behind `unix:`, a path and perhaps a colon with the mode.
    fn parse(text: &str) -> Result<Self, String> {
        let is_mode = |mode: &&str| {
            (3..=4).contains(&mode.len()) && mode.bytes().all(|it| (b'0'..=b'7').contains(&it))
        };
        let with_mode = text.rsplit_once(':').filter(|(_, mode)| is_mode(mode));
        let mode = with_mode.and_then(|(_, mode)| u32::from_str_radix(mode, 8).ok());
        let mode = mode.unwrap_or(USUAL_MODE);
        let path = with_mode.map_or(text, |(path, _)| path);
        // What is written as a URL has two slashes more.
        let path = match path.strip_prefix("//") {
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) | None => path,
        };
        let problem = if mode > 0o777 {
            "has a mode above 0777"
        } else if path.is_empty() || path.ends_with('/') {
            "names no file"
        } else if path.starts_with('@') {
            "is an abstract socket, which every program of the machine may use; name a file"
        } else if path.contains([':', '\0']) {
            "has a colon in its path, or a mode that is not octal, such as 0660"
        } else if path.len() > MAX_PATH {
            "has a path that is longer than 103 bytes, which is all that kernels take"
        } else {
            let path = path.into();
            return Ok(Self { path, mode });
        };
        Err(format!("{UNIX}{text} {problem}"))
    }
}

impl Listen {
    /// The places, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.iter()
    }

    /// Reads places with commas between them. A number alone is a port, of `alone`.
    fn read(text: &str, alone: impl Fn(u16) -> Endpoint) -> Result<Self, String> {
        let places: Vec<_> = text
            .split(',')
            .map(|item| Endpoint::parse(item.trim(), &alone))
            .collect::<Result<_, _>>()?;
        for (index, place) in places.iter().enumerate() {
            let mut others = places.iter().enumerate();
            let other = others.find(|(other, whole)| {
                *other != index && whole.covers(place) && (!place.covers(whole) || *other < index)
            });
            if let Some((_, whole)) = other {
                return Err(if place == whole {
                    format!("{place} is there twice")
                } else {
                    format!("{place} is a part of {whole}; name one of them")
                });
            }
        }
        Ok(Self(places))
    }

    /// Whether two of the places are the same.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.meets(b)))
    }

    /// Where other nodes reach this one if nothing else is said: a place that other machines reach,
    /// if there is one. None if there are sockets in the file system alone.
    pub(super) fn advertised(&self) -> Option<HostPort> {
        let all = || self.0.iter().filter_map(Endpoint::host_port);
        let far = |it: &HostPort| !it.is_loopback() && !it.is_unspecified();
        all()
            .find(far)
            .or_else(|| all().find(|it| !it.is_loopback()))
            .or_else(|| all().next())
    }
}

/// One place of TCP: an address, or what becomes one.
impl<T: Into<SocketAddr>> From<T> for Listen {
    fn from(address: T) -> Self {
        Self(vec![Endpoint::Address(address.into())])
    }
}

/// Reads it as the setting `listen` has it.
impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// Of at least one place; of none the result is where the setting `listen` is at its default.
impl FromIterator<Endpoint> for Listen {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(places: I) -> Self {
        let mut places: Vec<_> = places.into_iter().collect();
        if places.is_empty() {
            places.push(Endpoint::Port(3000));
        }
        Self(places)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{place}")?;
        }
        Ok(())
    }
}

impl Endpoint {
    fn parse(text: &str, alone: impl Fn(u16) -> Self) -> Result<Self, String> {
        if let Some(socket) = text.strip_prefix(UNIX) {
            return UnixSocket::parse(socket).map(Self::Unix);
        }
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let digits = text.strip_prefix(':').unwrap_or(text);
        if is_number(digits) {
            let port = digits.parse();
            let port = port.map_err(|_| format!("{digits} is no port, which are 0 to 65535"))?;
            let everywhere = digits.len() < text.len();
            return Ok(if everywhere {
                Self::Port(port)
            } else {
                alone(port)
            });
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = HostPort::parse(text).ok().filter(HostPort::is_name);
        name.map(Self::Name).ok_or_else(|| {
            format!(
                "{text:?} is no place to listen at, such as 127.0.0.1:3000, [::1]:3000, \
                 localhost:3000, :3000, 3000 or unix:/run/gateway.sock"
            )
        })
    }

    /// The address and the port; all zeros for every address.
    fn host_port(&self) -> Option<HostPort> {
        match self {
            Self::Port(port) => Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)).into()),
            Self::Address(address) => Some((*address).into()),
            Self::Name(name) => Some(name.clone()),
            Self::Unix(_) => None,
        }
    }

    /// Whether a connection to `part` always comes to this place, so that both cannot be had.
    fn covers(&self, part: &Self) -> bool {
        match (self, part) {
            (Self::Unix(a), Self::Unix(b)) => a.path == b.path,
            (Self::Unix(_), _) | (_, Self::Unix(_)) => false,
            (Self::Address(a), Self::Address(b)) if a.port() == b.port() && a.port() != 0 => {
                // What is [::] leaves IPv4 to those that name it.
                a == b || a.ip().is_unspecified() && a.is_ipv4() == b.is_ipv4()
            }
            (Self::Port(a), Self::Port(b)) => a == b && *a != 0,
            // What is one port of all leaves [::] to those that name it.
            (Self::Port(a), Self::Address(b)) => {
                *a == b.port() && *a != 0 && b.ip() != IpAddr::from([0_u16; 8])
            }
            (Self::Port(a), Self::Name(b)) => *a == b.port() && *a != 0,
            (Self::Name(a), Self::Name(b)) => a == b && a.port() != 0,
            _ => false,
        }
    }

    /// Whether some connections could come to both.
    fn meets(&self, other: &Self) -> bool {
        let (a, b) = match (self, other) {
            (Self::Unix(a), Self::Unix(b)) => return a.path == b.path,
            (a, b) => match (a.host_port(), b.host_port()) {
                (Some(a), Some(b)) => (a, b),
                _ => return false,
            },
        };
        let overlapping = a.is_unspecified()
            || b.is_unspecified()
            || a.host() == b.host()
            || (a.is_localhost() && b.is_loopback())
            || (b.is_localhost() && a.is_loopback());
        overlapping && a.port() == b.port() && a.port() != 0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, ":{port}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Unix(UnixSocket { path, mode }) => {
                write!(f, "{UNIX}{}", path.display())?;
                match *mode {
                    USUAL_MODE => Ok(()),
                    mode => write!(f, ":{mode:04o}"),
                }
            }
        }
    }
}

/// The places of clients: a port alone is one of every address.
impl Value for Listen {
    const SHAPE: Shape = Shape::Places;
    const KIND: &'static str = "address, or list of addresses";

    fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, Endpoint::Port)
    }
}

/// Where the internal port is: a port alone is one of this machine alone, as the default is.
pub(super) struct InternalListen(pub(super) Listen);

impl Value for InternalListen {
    const SHAPE: Shape = Shape::Places;
    const KIND: &'static str = Listen::KIND;

    fn parse(text: &str) -> Result<Self, String> {
        let alone = |port| Endpoint::Address((Ipv4Addr::LOCALHOST, port).into());
        Listen::read(text, alone).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<Endpoint> {
        Listen::parse(text).unwrap().0
    }

    fn problem(text: &str) -> String {
        Listen::parse(text).unwrap_err()
    }

    #[test]
    fn a_place_is_an_address_a_name_a_port_or_a_file() {
        let name = HostPort::parse("localhost:3000").unwrap();
        for (text, place) in [
            (
                "127.0.0.1:3000",
                Endpoint::Address(([127, 0, 0, 1], 3000).into()),
            ),
            ("[::]:3000", Endpoint::Address(([0_u16; 8], 3000).into())),
            ("LocalHost:3000", Endpoint::Name(name)),
            (":3000", Endpoint::Port(3000)),
            ("3000", Endpoint::Port(3000)),
        ] {
            assert_eq!(parsed(text), [place], "{text}");
        }
        let InternalListen(alone) = InternalListen::parse("9100").unwrap();
        assert_eq!(alone, ([127, 0, 0, 1], 9100).into());
        let InternalListen(all) = InternalListen::parse(":9100").unwrap();
        assert_eq!(all.0, [Endpoint::Port(9100)]);
    }

    #[test]
    fn a_socket_in_the_file_system_has_a_mode() {
        for (text, path, mode, shown) in [
            ("unix:/run/a.sock", "/run/a.sock", 0o660, "unix:/run/a.sock"),
            (
                "unix:///run/a.sock",
                "/run/a.sock",
                0o660,
                "unix:/run/a.sock",
            ),
            ("unix:a.sock:0666", "a.sock", 0o666, "unix:a.sock:0666"),
            ("unix:/a:600", "/a", 0o600, "unix:/a:0600"),
        ] {
            let [Endpoint::Unix(socket)] = &parsed(text)[..] else {
                panic!("{text}");
            };
            assert_eq!((socket.path(), socket.mode()), (Path::new(path), mode));
            assert_eq!(Endpoint::Unix(socket.clone()).to_string(), shown);
        }
        let long = format!("unix:/{}", "a".repeat(MAX_PATH));
        for (text, expected) in [
            ("unix:", "names no file"),
            ("unix:/run/", "names no file"),
            ("unix:@a", "is an abstract socket"),
            ("unix:/a:888", "has a colon in its path"),
            ("unix:/a:1777", "has a mode above 0777"),
            (&*long, "longer than 103 bytes"),
        ] {
            assert!(problem(text).contains(expected), "{}", problem(text));
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "",
            ":",
            "nowhere",
            "127.0.0.1",
            "::1:3000",
            "http://a:1",
            "a:b",
            "a:70000",
            ",",
            "1,",
            "-1",
            "1.2.3:80",
            "1.2.3.4.5:80",
        ] {
            assert!(problem(text).contains("is no place to listen at"), "{text}");
        }
        assert_eq!(problem("70000"), "70000 is no port, which are 0 to 65535");
    }

    #[test]
    fn what_cannot_be_had_together_is_refused() {
        for (text, expected) in [
            ("3000,:3000", ":3000 is there twice"),
            (
                "unix:/a,unix:/a:600",
                "unix:/a:0600 is a part of unix:/a; name one of them",
            ),
            (
                "127.0.0.1:1,0.0.0.0:1",
                "127.0.0.1:1 is a part of 0.0.0.0:1; name one of them",
            ),
            (
                "3000,localhost:3000",
                "localhost:3000 is a part of :3000; name one of them",
            ),
        ] {
            assert_eq!(problem(text), expected, "{text}");
        }
        for text in [
            "0.0.0.0:1,[::]:1",
            "127.0.0.1:1,[::]:1",
            "127.0.0.1:0,127.0.0.1:0",
            "0.0.0.0:1,[::1]:1",
            "1,2",
            "127.0.0.1:1,unix:/a,unix:/b",
        ] {
            assert!(Listen::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn two_ports_are_the_same_if_a_connection_may_come_to_both() {
        for (a, b, expected) in [
            ("3000", "127.0.0.1:3000", true),
            ("localhost:3000", "127.0.0.1:3000", true),
            ("localhost:3000", "[::1]:3000", true),
            ("localhost:3000", "10.0.0.1:3000", false),
            ("localhost:3000", "localhost:3000", true),
            ("1,unix:/a", "2,unix:/a", true),
            ("1,unix:/a", "2,unix:/b", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (Listen::parse(a).unwrap(), Listen::parse(b).unwrap());
            assert_eq!(one.meets(&other), expected, "{a} {b}");
        }
    }

    #[test]
    fn others_are_told_the_place_that_they_reach() {
        for (text, expected) in [
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("127.0.0.1:1,10.0.0.5:2,:3", Some("10.0.0.5:2")),
            ("127.0.0.1:1,:3", Some("0.0.0.0:3")),
            ("unix:/a,127.0.0.1:1", Some("127.0.0.1:1")),
            ("unix:/a", None),
        ] {
            let told = Listen::parse(text).unwrap().advertised();
            assert_eq!(told.map(|it| it.to_string()).as_deref(), expected, "{text}");
        }
    }
}
