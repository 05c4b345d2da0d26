//! Where the server is, and the requests that never change.

use std::net::{SocketAddr, ToSocketAddrs};

use rustls::pki_types::ServerName;

use super::Namespace;

/// One server address with its requests ready to send.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    /// Whose certificate the server has to show, if TLS is spoken.
    pub(crate) name: Option<ServerName<'static>>,
    /// `Host` header.
    pub(crate) host: String,
    /// Path of the Engine.IO endpoint, with both slashes.
    pub(crate) path: String,
    /// Where events belong.
    pub(crate) namespace: Namespace,
    /// The WebSocket upgrade.
    pub(crate) upgrade_request: Vec<u8>,
}

impl Target {
    /// Reads `http://host:port`, or the same with `ws`, `https` or `wss`; the host is looked up at once.
    pub(crate) fn parse(url: &str, path: &str) -> Result<Self, String> {
        let (secure, rest) = match url.split_once("://") {
            Some(("http" | "ws", rest)) => (false, rest),
            Some(("https" | "wss", rest)) => (true, rest),
            _ => {
                return Err(format!(
                    "`{url}` is no address such as http://host:port or https://host"
                ));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, more) = rest.split_at(end);
        if !matches!(more, "" | "/") {
            return Err(format!(
                "`{url}`: `{more}` is not for the address; --namespace names a namespace, and --path the path of Engine.IO"
            ));
        }
        let usual = if secure { 443 } else { 80 };
        let address = resolve(host, usual).map_err(|error| format!("`{url}`: {error}"))?;
        let name = secure.then(|| server_name(host)).transpose();
        let name = name.map_err(|error| format!("`{url}`: {error}"))?;
        let upgrade_request = format!(
            "GET {path}?EIO=4&transport=websocket HTTP/1.1\r\n\
             Host: {host}\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        Ok(Self {
            address,
            name,
            host: host.to_owned(),
            path: path.to_owned(),
            namespace: Namespace::default(),
            upgrade_request: upgrade_request.into_bytes(),
        })
    }
}

fn resolve(host: &str, usual: u16) -> Result<SocketAddr, String> {
    let name = match port_of(host) {
        Some(_) => host.to_owned(),
        None => format!("{host}:{usual}"),
    };
    let mut addresses = name.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

/// The host without its port; an address of IPv6 without its brackets.
fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let name = match port_of(host) {
        Some(port) => &host[..host.len() - port.len() - 1],
        None => host,
    };
    let name = name.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(name).map_err(|_| "no certificate is for such a name".to_owned())
}

fn port_of(host: &str) -> Option<&str> {
    let (_, port) = host.rsplit_once(':')?;
    port.parse::<u16>().is_ok().then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(url, "/socket.io/")
    }

    #[test]
    fn a_slash_behind_the_host_is_nothing() {
        let target = parse("http://127.0.0.1:3000/").unwrap();
        assert_eq!(target.address, "127.0.0.1:3000".parse().unwrap());
        assert_eq!(target.host, "127.0.0.1:3000");
        assert_eq!(target.name, None);
    }

    #[test]
    fn the_default_port_is_that_of_the_scheme() {
        for (url, port) in [
            ("ws://127.0.0.1", 80),
            ("http://[::1]", 80),
            ("https://127.0.0.1", 443),
            ("wss://[::1]", 443),
            ("wss://[::1]:8443", 8443),
        ] {
            assert_eq!(parse(url).unwrap().address.port(), port, "{url}");
        }
    }

    #[test]
    fn the_certificate_is_for_the_host_without_its_port() {
        for (url, name) in [
            ("https://localhost:8443", "localhost"),
            ("wss://127.0.0.1", "127.0.0.1"),
            ("https://[::1]:3000", "::1"),
        ] {
            let name = ServerName::try_from(name).unwrap();
            assert_eq!(parse(url).unwrap().name, Some(name), "{url}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused_and_named() {
        for (url, named) in [
            ("http://127.0.0.1/chat", "`/chat`"),
            ("http://127.0.0.1:3000/socket.io/", "--path"),
            ("http://127.0.0.1?token=x", "`?token=x`"),
            ("127.0.0.1:3000", "no address"),
            ("ftp://127.0.0.1", "no address"),
        ] {
            let said = parse(url).unwrap_err();
            assert!(said.contains(named), "{said}");
        }
    }
}
