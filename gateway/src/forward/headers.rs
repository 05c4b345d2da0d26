//! What a forwarded request says beside what the client said.

use adapter::TraceContext;
use http_body_util::{Either, Empty};
use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Uri, Version};

use crate::count::Kind;
use crate::peers::{Client, ForwardBody};

/// The client's address and port. Only connections of other nodes may say it.
const CLIENT: HeaderName = HeaderName::from_static("gateway-client");

/// `1` if the client came by TLS.
const SECURE: HeaderName = HeaderName::from_static("gateway-secure");

/// Asks for no packets, but that a poll which is parked be answered. Only connections of other nodes
/// may say it.
const RELEASE: HeaderName = HeaderName::from_static("gateway-release");

/// What a request is a part of, as W3C has it.
pub(crate) const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// Headers that concern one connection and not the request.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
];

/// Makes the client's request one for the owner.
pub(super) fn address_to_owner<B>(request: &mut Request<B>, kind: Kind, client: Client) {
    *request.version_mut() = Version::HTTP_11;
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or(PathAndQuery::from_static("/")));
    let headers = request.headers_mut();
    for name in HOP_BY_HOP.iter().chain([&RELEASE]) {
        headers.remove(name);
    }
    if kind == Kind::Upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    headers
        .entry(HOST)
        .or_insert(HeaderValue::from_static("gateway"));
    let address = client.address.to_string();
    if let Ok(address) = HeaderValue::from_str(&address) {
        headers.insert(CLIENT, address);
    }
    let secure = if client.secure { "1" } else { "0" };
    headers.insert(SECURE, HeaderValue::from_static(secure));
}

/// The request is a part of that.
pub(super) fn set_trace(headers: &mut HeaderMap, context: TraceContext) {
    if let Ok(value) = HeaderValue::try_from(context.to_string()) {
        headers.insert(TRACE, value);
    }
}

/// What another node says that a request is a part of.
pub(crate) fn told_by_node(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::parse(headers.get(TRACE)?.as_bytes())
}

/// What the span of a forwarded request is called, at both nodes.
pub(crate) fn span_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Poll => "forward poll",
        Kind::Post => "forward post",
        Kind::Upgrade => "forward upgrade",
    }
}

/// A request to the owner that the poll of this target be answered, whatever there is for it.
pub(super) fn release(target: &Uri, client: Client) -> Request<ForwardBody> {
    let mut request = Request::new(Either::Right(Empty::new()));
    *request.uri_mut() = target.clone();
    address_to_owner(&mut request, Kind::Poll, client);
    request
        .headers_mut()
        .insert(RELEASE, HeaderValue::from_static("1"));
    request
}

/// Whether a request of another node asks for that.
pub(crate) fn is_release(headers: &HeaderMap) -> bool {
    headers.contains_key(RELEASE)
}

/// Takes what the node that forwards says of the client.
pub(crate) fn take_client(headers: &mut HeaderMap) -> Option<Client> {
    let address = headers.remove(CLIENT)?;
    let secure = headers.remove(SECURE)?;
    Some(Client {
        address: address.to_str().ok()?.parse().ok()?,
        secure: secure == "1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_comes_back_and_cannot_be_forged() {
        let client = Client {
            address: "[2001:db8::1]:5".parse().unwrap(),
            secure: true,
        };
        let mut request = Request::get("http://example.com/socket.io/?sid=x")
            .version(Version::HTTP_10)
            .header(CLIENT, "6.6.6.6:6")
            .header(CLIENT, "6.6.6.6:7")
            .header(CONNECTION, "close")
            .header(EXPECT, "100-continue")
            .header(RELEASE, "1")
            .header("x-kept", "1")
            .body(())
            .unwrap();
        address_to_owner(&mut request, Kind::Poll, client);
        assert_eq!(request.uri(), "/socket.io/?sid=x");
        assert_eq!(request.version(), Version::HTTP_11);
        let headers = request.headers_mut();
        assert_eq!(take_client(headers), Some(client));
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-kept"]);
        assert_eq!(take_client(headers), None);
    }

    #[test]
    fn an_upgrade_stays_one() {
        let client = Client {
            address: "127.0.0.1:5".parse().unwrap(),
            secure: false,
        };
        let mut request = Request::get("/")
            .header(CONNECTION, "keep-alive, Upgrade")
            .header(UPGRADE, "WebSocket")
            .body(())
            .unwrap();
        address_to_owner(&mut request, Kind::Upgrade, client);
        assert_eq!(request.headers()[CONNECTION], "Upgrade");
        assert_eq!(request.headers()[UPGRADE], "websocket");
    }
}
