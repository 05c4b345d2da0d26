//! Where the server is, and the requests that never change.

use std::net::{SocketAddr, ToSocketAddrs};

/// One server address with its requests ready to send.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    /// `Host` header.
    pub(crate) host: String,
    /// Path of the Engine.IO endpoint, with both slashes.
    pub(crate) path: String,
    /// The WebSocket upgrade.
    pub(crate) upgrade_request: Vec<u8>,
}

impl Target {
    /// Reads `http://host:port`; the host is looked up at once.
    pub(crate) fn parse(url: &str, path: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("ws://"))
            .ok_or_else(|| {
                format!(
                    "`{url}`: only http:// and ws:// addresses can be loaded, TLS is not spoken"
                )
            })?;
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let address = resolve(host).map_err(|error| format!("`{url}`: {error}"))?;
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
            host: host.to_owned(),
            path: path.to_owned(),
            upgrade_request: upgrade_request.into_bytes(),
        })
    }
}

fn resolve(host: &str) -> Result<SocketAddr, String> {
    let port_given = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let name = if port_given {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut addresses = name.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_behind_the_host_is_ignored() {
        let target = Target::parse("http://127.0.0.1:3000/", "/socket.io/").unwrap();
        assert_eq!(target.address, "127.0.0.1:3000".parse().unwrap());
        assert_eq!(target.host, "127.0.0.1:3000");
    }

    #[test]
    fn the_default_port_is_80() {
        let target = Target::parse("ws://127.0.0.1", "/socket.io/").unwrap();
        assert_eq!(target.address.port(), 80);
    }

    #[test]
    fn tls_is_refused() {
        assert!(Target::parse("https://127.0.0.1", "/socket.io/").is_err());
    }
}
