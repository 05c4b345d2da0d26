use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION};
use hyper::{Response, StatusCode};

use super::Answer;
use crate::count::{Label, Refused, Unknown};
use crate::engine::gate::Barred;
use crate::engine::session::Denied;
use crate::forward::NotForwarded;

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Code 0.
    UnknownTransport,
    /// Code 0 for a client that polls by script tags.
    Jsonp,
    /// Code 1, and why.
    UnknownSid(Unknown),
    /// Code 2.
    BadHandshakeMethod,
    /// Code 3.
    BadRequest,
    /// Code 3 for a WebSocket of another version than 13.
    WebSocketVersion,
    /// Code 4; the application may say it in its own words.
    Forbidden(Option<String>),
    /// Code 5.
    UnsupportedVersion,
    /// A second poll or post while the first one is under way.
    Overlap,
    /// A post in the binary form of older revisions.
    OctetStream,
    /// A body above the limit.
    BodyTooLarge,
    /// A body that did not come in time.
    BodyTimeout,
    /// A method that no open session knows.
    BadMethod,
    /// The node has as many sessions as it may.
    ConnectionLimit,
    /// The client's address has as many sessions as it may.
    AddressLimit,
    /// The node opens no more sessions within this second.
    HandshakeRate,
    /// The node closes its sessions and opens no more.
    Draining,
    /// The node closes its sessions, and a WebSocket for one of them or through it would soon break.
    NoUpgradeNow,
}

impl From<Barred> for Refusal {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::Address => Self::AddressLimit,
            Barred::Rate => Self::HandshakeRate,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Overlap => Self::Overlap,
            Denied::Mismatch => Self::BadRequest,
            Denied::Closed => Self::UnknownSid(Unknown::Closed),
        }
    }
}

impl From<NotForwarded> for Refusal {
    fn from(why: NotForwarded) -> Self {
        match why {
            NotForwarded::Unknown(cause) => Self::UnknownSid(cause),
            NotForwarded::Limit => Self::ConnectionLimit,
        }
    }
}

/// Seconds after which a client may try again that was refused for want of room.
const WHEN_OTHERS_LEFT: HeaderValue = HeaderValue::from_static("5");

/// Seconds after which a client may try again that another node or the same one may serve at once.
const SOON: HeaderValue = HeaderValue::from_static("1");

impl Refusal {
    pub(crate) fn counted_as(&self) -> Refused {
        match self {
            Self::UnknownTransport => Refused::UnknownTransport,
            Self::Jsonp => Refused::Jsonp,
            Self::UnknownSid(_) => Refused::UnknownSid,
            Self::BadHandshakeMethod | Self::BadMethod => Refused::BadMethod,
            Self::BadRequest | Self::WebSocketVersion => Refused::BadRequest,
            Self::Forbidden(_) => Refused::Forbidden,
            Self::UnsupportedVersion => Refused::UnsupportedVersion,
            Self::Overlap => Refused::Overlap,
            Self::OctetStream => Refused::OctetStream,
            Self::BodyTooLarge => Refused::BodyTooLarge,
            Self::BodyTimeout => Refused::BodyTimeout,
            Self::ConnectionLimit => Refused::ConnectionLimit,
            Self::AddressLimit => Refused::AddressLimit,
            Self::HandshakeRate => Refused::HandshakeRate,
            Self::Draining => Refused::Draining,
            Self::NoUpgradeNow => Refused::UpgradeDraining,
        }
    }

    /// What there is to say beside [`counted_as`](Self::counted_as), for who looks for the reason.
    pub(crate) fn more(&self) -> Option<String> {
        if let Self::UnknownSid(cause) = self {
            return Some(cause.label().to_owned());
        }
        self.error().map(|(_, message)| message.into_owned())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::AddressLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::ConnectionLimit | Self::HandshakeRate | Self::Draining | Self::NoUpgradeNow => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UnknownTransport
            | Self::Jsonp
            | Self::UnknownSid(_)
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::WebSocketVersion
            | Self::UnsupportedVersion
            | Self::Overlap
            | Self::OctetStream => StatusCode::BAD_REQUEST,
        }
    }

    /// The code and the message that Engine.IO has for it.
    fn error(&self) -> Option<(u8, Cow<'_, str>)> {
        let (code, message) = match self {
            Self::UnknownTransport => (0, "Transport unknown"),
            Self::Jsonp => (
                0,
                "JSONP polling is not served: let the client use XHR polling or WebSocket",
            ),
            Self::UnknownSid(_) => (1, "Session ID unknown"),
            Self::BadHandshakeMethod => (2, "Bad handshake method"),
            Self::BadRequest | Self::WebSocketVersion => (3, "Bad request"),
            Self::Forbidden(None) => (4, "Forbidden"),
            Self::Forbidden(Some(message)) => (4, message.as_str()),
            Self::UnsupportedVersion => (5, "Unsupported protocol version"),
            Self::ConnectionLimit => (4, "Too many connections"),
            Self::AddressLimit => (4, "Too many connections from this address"),
            Self::HandshakeRate => (4, "Too many handshakes"),
            Self::Draining | Self::NoUpgradeNow => (4, "Draining"),
            Self::Overlap
            | Self::OctetStream
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BadMethod => return None,
        };
        Some((code, Cow::Borrowed(message)))
    }

    /// The answer to a polling request.
    pub(crate) fn answer(&self) -> Answer {
        let mut answer = match self.error() {
            Some((code, message)) => {
                let message = serde_json::Value::from(message);
                let body = format!("{{\"code\":{code},\"message\":{message}}}");
                let mut answer = Response::new(Full::new(Bytes::from(body)));
                answer
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                answer
            }
            None => Response::default(),
        };
        self.finish(&mut answer);
        if matches!(self, Self::BodyTooLarge | Self::BodyTimeout) {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// The answer to a WebSocket's handshake.
    pub(crate) fn answer_websocket(&self) -> Answer {
        let message = self
            .error()
            .map_or_else(String::new, |(_, message)| message.into_owned());
        let mut answer = Response::new(Full::new(Bytes::from(message)));
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        if *self == Self::WebSocketVersion {
            answer
                .headers_mut()
                .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        self.finish(&mut answer);
        answer
    }

    fn finish(&self, answer: &mut Answer) {
        *answer.status_mut() = self.status();
        let retry_after = match self {
            Self::ConnectionLimit | Self::AddressLimit => WHEN_OTHERS_LEFT,
            Self::HandshakeRate | Self::Draining | Self::NoUpgradeNow => SOON,
            Self::UnknownTransport
            | Self::Jsonp
            | Self::UnknownSid(_)
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::WebSocketVersion
            | Self::Forbidden(_)
            | Self::UnsupportedVersion
            | Self::Overlap
            | Self::OctetStream
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BadMethod => return,
        };
        answer.headers_mut().insert(RETRY_AFTER, retry_after);
    }
}
