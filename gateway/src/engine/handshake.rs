//! What is known of a client from the request that opened its session.

use std::fmt;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;

use crate::net::time::civil_from_days;

/// The request that opened a session, kept in one allocation since every connection has one.
///
/// ```
/// use gateway::handshake::Handshake;
///
/// /// The version of its program that a client tells, in the query or in a header.
/// fn version(handshake: &Handshake) -> Option<String> {
///     let header = || handshake.header("x-version");
///     let named = handshake.query_value("version");
///     named.or_else(|| String::from_utf8(header()?.to_vec()).ok())
/// }
/// ```
#[derive(Clone)]
pub struct Handshake {
    /// The request's target, then for each header name and value, each text closed by a zero byte
    /// (that no part of a request can hold).
    text: Box<[u8]>,
    address: SocketAddr,
    secure: bool,
    issued: u64,
}

/// Query and headers are left out: they may hold tokens.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url().split('?').next().unwrap_or_default();
        f.debug_struct("Handshake")
            .field("path", &path)
            .field("address", &self.address)
            .field("secure", &self.secure)
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

impl Handshake {
    pub(crate) fn new(
        target: &str,
        headers: &HeaderMap,
        address: SocketAddr,
        secure: bool,
    ) -> Self {
        let mut text = Vec::with_capacity(512);
        let mut push = |part: &[u8]| {
            text.extend_from_slice(part);
            text.push(0);
        };
        push(target.as_bytes());
        for (name, value) in headers {
            if !name.as_str().starts_with("sec-websocket-") {
                push(name.as_str().as_bytes());
                push(value.as_bytes());
            }
        }
        let issued = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        Self {
            text: text.into_boxed_slice(),
            address,
            secure,
            issued,
        }
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == 0)
    }

    /// The request's path and query.
    pub fn url(&self) -> &str {
        self.parts()
            .next()
            .and_then(|target| std::str::from_utf8(target).ok())
            .unwrap_or_default()
    }

    /// The query's parameters, decoded; of a repeated one the last counts.
    pub fn query(&self) -> impl Iterator<Item = (String, String)> {
        let query = self.url().split_once('?').map_or("", |(_, query)| query);
        crate::net::query::pairs(query)
    }

    /// A parameter of the query, decoded; the last one of a repeated name.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query()
            .filter(|(key, _)| key == name)
            .last()
            .map(|(_, value)| value)
    }

    /// The request's headers, their names in lower case. Those of the WebSocket handshake itself
    /// (`sec-websocket-*`) are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut parts = self.parts().skip(1);
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(parts.next()?).ok()?;
            Some((name, parts.next()?))
        })
    }

    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(candidate, _)| *candidate == name)
            .map(|(_, value)| value)
    }

    /// The program that the client says it is, for the log.
    pub(crate) fn agent(&self) -> &str {
        const SHOWN: usize = 120;
        let agent = self.header("user-agent").map(std::str::from_utf8);
        let agent = agent.and_then(Result::ok).unwrap_or_default();
        let end = agent.char_indices().nth(SHOWN);
        &agent[..end.map_or(agent.len(), |(index, _)| index)]
    }

    /// The client's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the request came by TLS.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Whether the request came from a page of another origin: it carries an `Origin` header.
    pub fn cross_domain(&self) -> bool {
        self.header("origin").is_some()
    }

    /// When the session was opened, in milliseconds since 1970.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Bytes of the request that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The handshake without what the client sent, which may hold cookies and tokens.
    pub(crate) fn to_short_json(&self) -> String {
        serde_json::json!({
            "time": time_text(self.issued),
            "address": self.address.ip().to_string(),
            "xdomain": self.cross_domain(),
            "secure": self.secure,
            "issued": self.issued,
        })
        .to_string()
    }

    /// The handshake as Node's `socket.handshake` shows it, with `auth` (JSON) in it.
    pub fn to_json(&self, auth: Option<&str>) -> serde_json::Value {
        let headers: serde_json::Map<_, _> = self
            .headers()
            .map(|(name, value)| {
                (
                    name.to_owned(),
                    String::from_utf8_lossy(value).into_owned().into(),
                )
            })
            .collect();
        let query: serde_json::Map<_, _> = self
            .query()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let auth: serde_json::Value = auth
            .and_then(|auth| serde_json::from_str(auth).ok())
            .unwrap_or_else(|| serde_json::json!({}));
        serde_json::json!({
            "headers": headers,
            "time": time_text(self.issued),
            "address": self.address.ip().to_string(),
            "xdomain": self.cross_domain(),
            "secure": self.secure,
            "issued": self.issued,
            "url": self.url(),
            "query": query,
            "auth": auth,
        })
    }
}

/// A time as JavaScript's `Date.toString()` writes it, in UTC.
fn time_text(millis: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = millis / 1000;
    let days = seconds / 86_400;
    let (year, month, day) = civil_from_days(days as i64);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!(
        "{} {} {day:02} {year} {hour:02}:{minute:02}:{second:02} GMT+0000 (Coordinated Universal Time)",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize - 1],
    )
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::net::time::timestamp;

    fn handshake() -> Handshake {
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static("http://example.com"));
        headers.insert("sec-websocket-key", HeaderValue::from_static("secret"));
        headers.append(
            HeaderName::from_static("x-two"),
            HeaderValue::from_static("1"),
        );
        headers.append(
            HeaderName::from_static("x-two"),
            HeaderValue::from_static("2"),
        );
        Handshake::new(
            "/socket.io/?a=1&b=%20x&a=2",
            &headers,
            ([127, 0, 0, 1], 5).into(),
            false,
        )
    }

    #[test]
    fn headers_and_query_come_back() {
        let handshake = handshake();
        assert_eq!(handshake.url(), "/socket.io/?a=1&b=%20x&a=2");
        assert_eq!(handshake.query_value("a").as_deref(), Some("2"));
        assert_eq!(handshake.query_value("b").as_deref(), Some(" x"));
        assert_eq!(handshake.query_value("c"), None);
        assert_eq!(
            handshake.header("origin"),
            Some(b"http://example.com".as_slice())
        );
        assert_eq!(handshake.header("sec-websocket-key"), None);
        assert_eq!(
            handshake
                .headers()
                .filter(|(name, _)| *name == "x-two")
                .count(),
            2
        );
        assert!(handshake.cross_domain());
    }

    #[test]
    fn what_is_printed_for_debugging_holds_neither_query_nor_headers() {
        let text = format!("{:?}", handshake());
        assert!(text.contains("/socket.io/"), "{text}");
        assert!(!text.contains("a=1") && !text.contains("origin"), "{text}");
        assert!(!text.contains("97, 61"), "{text}");
    }

    #[test]
    fn a_timestamp_is_iso_8601() {
        assert_eq!(timestamp(1_709_210_096_789), "2024-02-29T12:34:56.789Z");
    }

    #[test]
    fn time_is_written_as_javascript_does() {
        assert_eq!(
            time_text(0),
            "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)"
        );
        assert_eq!(
            time_text(1_709_210_096_789),
            "Thu Feb 29 2024 12:34:56 GMT+0000 (Coordinated Universal Time)"
        );
    }
}
