//! Addresses of all kinds: who may come, and where others are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::Uri;

use super::value::{Shape, Value};

/// An address, or all addresses that share its first bits (`10.0.0.0/8`).
///
/// `unix` is the address of connections by a socket in the file system, which is all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is one of it. An IPv4 address in IPv6 notation counts as IPv4.
    ///
    /// ```
    /// use gateway::Config;
    ///
    /// let config = Config::from_toml("proxy.trusted = [\"10.0.0.0/8\"]")?;
    /// let network = config.proxy.trusted[0];
    /// assert!(network.contains([10, 1, 2, 3].into()));
    /// assert!(!network.contains([11, 1, 2, 3].into()));
    /// # Ok::<(), gateway::config::Errors>(())
    /// ```
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

impl Value for SocketAddr {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "address";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!("{text:?} is no address with a port, such as 0.0.0.0:3000 or [::]:3000")
        })
    }
}

impl Value for Network {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "address or network";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is neither an IP address nor a network such as 10.0.0.0/8, nor `unix`"
            )
        };
        if text == "unix" {
            return Ok(Self {
                address: Ipv4Addr::UNSPECIFIED.into(),
                bits: 32,
            });
        }
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
#[expect(clippy::exhaustive_enums, reason = "a setting has these values")]
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
            Self::Listed(origins) => {
                let origin = origin.to_ascii_lowercase();
                origins.iter().any(|listed| covers(listed, &origin))
            }
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

/// Whether an origin is the one that is listed, or one of those that are: `https://*.example.com`
/// lists all hosts below it, `capacitor://` all origins of its scheme.
fn covers(listed: &str, origin: &str) -> bool {
    if listed.ends_with("://") {
        return origin.starts_with(listed);
    }
    let Some((scheme, domain)) = listed.split_once("://*.") else {
        return listed == origin;
    };
    let host = origin
        .strip_prefix(scheme)
        .and_then(|it| it.strip_prefix("://"));
    let below = host.and_then(|host| host.strip_suffix(domain)?.strip_suffix('.'));
    below.is_some_and(|labels| !labels.is_empty() && !labels.contains(['/', ':', '@', '?', '#']))
}

/// Scheme, host and port in the form in which browsers send them.
fn origin(text: &str) -> Result<Box<str>, String> {
    if text == "*" {
        return Err("\"*\" allows every origin and stands alone".to_owned());
    }
    // What browsers send for a page without an origin: of a file, of a sandbox.
    if text == "null" {
        return Ok(text.into());
    }
    let wrong = || {
        format!(
            "{text:?} is not an origin such as https://example.com, https://*.example.com, capacitor:// or null"
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(is_scheme) {
        return Err(wrong());
    }
    let of_web = matches!(&*scheme.to_ascii_lowercase(), "http" | "https");
    if rest.is_empty() && !of_web {
        return Ok(text.to_ascii_lowercase().into());
    }
    let (star, host) = match rest.strip_prefix("*.") {
        Some(domain) => ("*.", domain),
        None => ("", rest),
    };
    if host.is_empty() || host.contains(['/', '?', '#', '@', '*']) {
        return Err(wrong());
    }
    let uri: Uri = format!("{scheme}://{host}").parse().map_err(|_| wrong())?;
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
    Ok(format!("{scheme}://{star}{host}{port}")
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

    /// The same host with another port.
    pub(crate) fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port,
        }
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ip()
            .map_or(self.is_localhost(), |ip| ip.to_canonical().is_loopback())
    }

    /// What stands for no address.
    pub(super) fn nowhere() -> Self {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()
    }

    /// Whether it is an address to listen on that nobody can be reached at, such as `0.0.0.0`.
    pub(super) fn is_unspecified(&self) -> bool {
        self.ip()
            .is_some_and(|ip| ip.to_canonical().is_unspecified())
    }

    /// Whether it is the name of the machine itself.
    pub(crate) fn is_localhost(&self) -> bool {
        &*self.host == "localhost"
    }

    /// Whether it is a name, and nothing that only looks like an address.
    pub(super) fn is_name(&self) -> bool {
        let is_digit = |c: char| c.is_ascii_digit() || c == '.';
        self.ip().is_none() && !self.host.chars().all(is_digit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_shares_its_first_bits() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("unix", "0.0.0.0", true),
            ("unix", "127.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            let parsed = Network::parse(network).unwrap();
            let address = address.parse().unwrap();
            assert_eq!(parsed.contains(address), expected, "{network} {address}");
        }
        for text in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "a.example"] {
            assert!(Network::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_origin_is_compared_in_the_form_of_browsers() {
        let origins = Origins::parse("HTTPS://Example.com:443, http://localhost:8080").unwrap();
        assert!(origins.allows("https://example.com"));
        assert!(origins.allows("http://localhost:8080"));
        assert!(!origins.allows("http://localhost"));
        assert!(!origins.allows("https://example.com.evil.example"));
        assert!(Origins::parse("*").unwrap().allows("https://a.example"));
        assert!(!Origins::parse("").unwrap().allows("https://a.example"));
    }

    #[test]
    fn an_origin_may_be_listed_with_all_below_it_by_its_scheme_or_as_none() {
        let origins = Origins::parse(
            "https://*.example.com,capacitor://,file://,null,http://*.a.example:8080",
        )
        .unwrap();
        for origin in [
            "https://chat.example.com",
            "https://A.B.example.com",
            "capacitor://localhost",
            "file://",
            "null",
            "http://x.a.example:8080",
        ] {
            assert!(origins.allows(origin), "{origin}");
        }
        for origin in [
            "https://example.com",
            "http://chat.example.com",
            "https://chat.example.com:444",
            "https://evilexample.com",
            "https://evil.example/.example.com",
            "https://chat.example.com.evil.example",
            "ionic://localhost",
            "http://x.a.example",
        ] {
            assert!(!origins.allows(origin), "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "example.com",
            "https://example.com/",
            "https://*",
            "https://*.",
            "https://a.*.example.com",
            "://example.com",
            "https://a@example.com",
            "https://",
            "*,https://example.com",
            "https://example.com,",
        ] {
            assert!(Origins::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_and_port_knows_whom_it_can_be_reached_by() {
        for (text, loopback, unspecified) in [
            ("127.0.0.1:3001", true, false),
            ("[::1]:3001", true, false),
            ("localhost:3001", true, false),
            ("0.0.0.0:3001", false, true),
            ("[::]:3001", false, true),
            ("10.0.0.7:3001", false, false),
            ("gateway-0.gateway:3001", false, false),
        ] {
            let address = HostPort::parse(text).unwrap();
            assert_eq!(address.is_loopback(), loopback, "{text}");
            assert_eq!(address.is_unspecified(), unspecified, "{text}");
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "3001",
            ":3001",
            "host:",
            "host:65536",
            "::1:3001",
            "a b:1",
        ] {
            assert!(HostPort::parse(text).is_err(), "{text:?}");
        }
    }
}
