//! What proxies in front say about a client's address.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

use crate::config::Proxy;

pub(crate) mod protocol;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address as far as it can be believed.
///
/// Each proxy appends the address of its caller to `X-Forwarded-For`, so the list is read from its
/// end. A trusted proxy's word counts, up to the first address that is not one of a trusted proxy.
/// The client may have made up the addresses before that. `peer` is the address that connected to
/// us.
pub(crate) fn client_address(proxy: &Proxy, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
    let mut client = peer;
    if !proxy.trusts(peer.ip()) {
        return client;
    }
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        let Some(address) = address(hop) else {
            break;
        };
        client = address;
        if !proxy.trusts(address.ip()) {
            break;
        }
    }
    client
}

/// An address with or without a port, which is zero then.
fn address(hop: &[u8]) -> Option<SocketAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop
        .strip_prefix('[')
        .and_then(|hop| hop.strip_suffix(']'))
        .unwrap_or(hop);
    let (ip, port) = match bare.parse::<IpAddr>() {
        Ok(ip) => (ip, 0),
        Err(_) => {
            let address = hop.parse::<SocketAddr>().ok()?;
            (address.ip(), address.port())
        }
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::Config;

    fn found(trusted: &str, peer: &str, lines: &[&str]) -> String {
        let toml = format!("proxy.trusted = [{trusted}]");
        let proxy = Config::from_toml(&toml).unwrap().proxy;
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        client_address(&proxy, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        for trusted in ["", "\"10.0.0.0/8\""] {
            let client = found(trusted, "192.0.2.1:5", &["203.0.113.7"]);
            assert_eq!(client, "192.0.2.1:5");
        }
    }

    #[test]
    fn the_list_is_read_from_its_end_up_to_the_first_stranger() {
        for (lines, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7:0"),
            (&["1.1.1.1, 203.0.113.7"], "203.0.113.7:0"),
            (&["203.0.113.7, 10.0.0.2 ,10.0.0.3"], "203.0.113.7:0"),
            (&["1.1.1.1,203.0.113.7", "10.0.0.2"], "203.0.113.7:0"),
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9:0"),
            (&["203.0.113.7:4711"], "203.0.113.7:4711"),
            (&["2001:db8::7"], "[2001:db8::7]:0"),
            (&["[2001:db8::7]"], "[2001:db8::7]:0"),
            (&["[2001:db8::7]:4711"], "[2001:db8::7]:4711"),
            (&["::ffff:203.0.113.7"], "203.0.113.7:0"),
            (&["::ffff:203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7:0"),
        ] {
            assert_eq!(found("\"10.0.0.0/8\"", "10.0.0.1:5", lines), expected);
        }
    }

    #[test]
    fn what_is_no_address_ends_the_list() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1:5"),
            (&[""], "10.0.0.1:5"),
            (&["unknown"], "10.0.0.1:5"),
            (&["203.0.113.7, unknown"], "10.0.0.1:5"),
            (&["203.0.113.7, _hidden, 10.0.0.2"], "10.0.0.2:0"),
            (&["203.0.113.7,"], "10.0.0.1:5"),
        ] {
            assert_eq!(found("\"10.0.0.0/8\"", "10.0.0.1:5", lines), expected);
        }
    }
}
