//! Addresses of all kinds: who may come, and where others are.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hyper::Uri;

use super::value::{Shape, Value};

/// An address, or all addresses that share its first bits (`10.0.0.0/8`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is one of it. An IPv4 address that came in IPv6 notation counts as what
    /// it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same_bits(
                ours.to_bits().into(),
                theirs.to_bits().into(),
                32 - self.bits,
            ),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                same_bits(ours.to_bits(), theirs.to_bits(), 128 - self.bits)
            }
            _ => false,
        }
    }
}

/// Whether both agree in all but the lowest `free` bits.
fn same_bits(a: u128, b: u128, free: u8) -> bool {
    (a ^ b).checked_shr(free.into()).unwrap_or(0) == 0
}

impl Value for Network {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "address or network";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is neither an IP address nor a network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(longest);
        if bits > longest {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

/// The web origins that may read our answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every origin.
    Any,
    /// These, in the form in which browsers send them; none when empty.
    Listed(Vec<Box<str>>),
}

impl Origins {
    /// Whether a page of `origin` (the value of its `Origin` header) may read our answers.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(origins) => origins.iter().any(|listed| **listed == *origin),
        }
    }
}

impl Value for Origins {
    const SHAPE: Shape = Shape::List;
    const KIND: &'static str = "list of origins";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Listed(Vec::new()));
        }
        let items: Vec<_> = text.split(',').map(str::trim).collect();
        if items == ["*"] {
            return Ok(Self::Any);
        }
        items
            .into_iter()
            .map(origin)
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }
}

/// Scheme, host and port in the form in which browsers send them.
fn origin(text: &str) -> Result<Box<str>, String> {
    if text == "*" {
        return Err("\"*\" allows every origin and stands alone".to_owned());
    }
    let wrong = || format!("{text:?} is not an origin such as https://example.com");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    if scheme.is_empty() || rest.is_empty() || rest.contains(['/', '?', '#', '@', '*']) {
        return Err(wrong());
    }
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?;
    let usual = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let port = match uri.port_u16() {
        Some(port) if Some(port) != usual => format!(":{port}"),
        _ => String::new(),
    };
    Ok(format!("{scheme}://{host}{port}")
        .to_ascii_lowercase()
        .into())
}

/// A host's name or address with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: Box<str>,
    port: u16,
}

impl HostPort {
    /// The name, or the address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ip().map_or(&*self.host == "localhost", |ip| {
            ip.to_canonical().is_loopback()
        })
    }

    /// Whether it is an address to listen on that nobody can be reached at, such as `0.0.0.0`.
    pub(super) fn is_unspecified(&self) -> bool {
        self.ip()
            .is_some_and(|ip| ip.to_canonical().is_unspecified())
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string().into(),
            port: address.port(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Value for HostPort {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "host and port";

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        let wrong = || format!("{text:?} is not a host and a port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if host.is_empty() || !host.chars().all(named) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_ascii_lowercase().into(),
            port: port.parse().map_err(|_| wrong())?,
        })
    }
}

/// An `http` or `https` address.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Uri);

impl HttpUrl {
    /// The address, with a scheme and a host.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Shows neither path nor query, where people put keys.
impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}/..", self.0.host().unwrap_or_default())
    }
}

impl Value for HttpUrl {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "not a URL with http:// or https:// and a host, without a password".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let schemed = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
        if !schemed || !plain || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self(uri))
    }
}

/// Where Redis is: `redis://` or `rediss://`, with `+sentinel` or `+cluster` before the colon and
/// several hosts with commas when it is one. May hold a password, so it is not printed whole.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Box<str>);

impl RedisUrl {
    /// The whole address, password and all.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without user, password and query.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
        write!(f, "{scheme}://{hosts}")
    }
}

impl Value for RedisUrl {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("not a URL such as redis://localhost:6379")?;
        let (base, topology) = scheme.split_once('+').unwrap_or((scheme, "standalone"));
        if !matches!(base, "redis" | "rediss")
            || !matches!(topology, "standalone" | "sentinel" | "cluster")
        {
            return Err(
                "the scheme is not redis or rediss, with nothing, +sentinel or +cluster after it"
                    .to_owned(),
            );
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let hosts = authority
            .rsplit_once('@')
            .map_or(authority, |(_, hosts)| hosts);
        if hosts.split(',').any(str::is_empty) || text.chars().any(char::is_whitespace) {
            return Err("it names no host, or has spaces".to_owned());
        }
        if topology == "standalone" && hosts.contains(',') {
            return Err("several hosts need redis+sentinel:// or redis+cluster://".to_owned());
        }
        Ok(Self(text.into()))
    }
}
