//! A socket as others see it.

use std::sync::Arc;

use adapter::SocketDetails;
use protocol::engineio::Transport;
use serde::{Deserialize, Serialize};

use crate::engine::handshake::Handshake;
use crate::net::ids::SocketId;
use crate::show;

/// Most rooms of a socket that admin pages are told.
const MAX_SHOWN_ROOMS: usize = 100;

/// A socket of this node or another as it was when somebody asked for it.
#[derive(Debug, Clone)]
pub struct SocketInfo {
    /// Its id.
    pub id: String,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its rooms, its own first if a gateway node tells them.
    pub rooms: Vec<String>,
    /// What the application keeps with it: JSON.
    pub data: Option<String>,
    /// The transport that it used; `None` if its node does not tell.
    pub transport: Option<Transport>,
    /// The gateway node that it is connected to; `None` if that is a Node server, or if there is no
    /// cluster.
    pub node: Option<String>,
    /// What its sockets in all namespaces have in common: a name without a meaning, and no secret.
    pub(crate) client: Option<String>,
    handshake: Request,
}

/// What its request told.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Here {
        handshake: Arc<Handshake>,
        auth: Option<Box<str>>,
    },
    Elsewhere(Box<str>),
}

/// What gateway nodes tell each other of a socket, beside what Node servers understand.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Extra {
    node: Option<String>,
    transport: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

/// The parts of a handshake that are asked for by name.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Parts {
    address: Option<String>,
    issued: Option<u64>,
    secure: Option<bool>,
    time: Option<String>,
    xdomain: Option<bool>,
    url: Option<String>,
}

/// What Node's servers keep with a socket for admin pages.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct OfAdmin {
    client_id: Option<String>,
    transport: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DataOfAdmin {
    #[serde(rename = "_admin")]
    admin: OfAdmin,
}

impl SocketInfo {
    pub(super) fn of_this_node(
        id: String,
        namespace: &str,
        rooms: Vec<String>,
        data: Option<String>,
        transport: Transport,
        handshake: Request,
        client: String,
    ) -> Self {
        Self {
            id,
            namespace: namespace.into(),
            rooms,
            data,
            transport: Some(transport),
            node: None,
            client: Some(client),
            handshake,
        }
    }

    /// One of which only the id is known any more.
    pub(crate) fn gone(id: &SocketId, namespace: &str) -> Self {
        Self {
            id: id.to_string(),
            namespace: namespace.into(),
            rooms: Vec::new(),
            data: None,
            transport: None,
            node: None,
            client: None,
            handshake: Request::Elsewhere("{}".into()),
        }
    }

    /// Bytes that it holds, about.
    pub(crate) fn bytes(&self) -> usize {
        let request = match &self.handshake {
            // Escapes and names make it longer on the wire.
            Request::Here { handshake, auth } => {
                handshake.bytes() * 2 + auth.as_ref().map_or(0, |auth| auth.len()) + 256
            }
            Request::Elsewhere(json) => json.len(),
        };
        let rooms = self.rooms.iter().map(|room| room.len() + 8);
        let data = self.data.as_ref().map_or(0, String::len);
        256 + self.id.len() + rooms.sum::<usize>() + data + request
    }

    /// Leaves out what is too much; whether something was.
    pub(crate) fn cut_to(&mut self, most: usize) -> bool {
        let excess = self.bytes().saturating_sub(most);
        if excess == 0 {
            return false;
        }
        let mut freed = 0;
        while freed < excess
            && let Some(room) = self.rooms.pop()
        {
            freed += room.len() + 8;
        }
        if freed < excess {
            self.data = None;
        }
        true
    }

    /// What another node told.
    pub(crate) fn from_details(namespace: &str, details: SocketDetails) -> Self {
        let extra = details.extra.as_deref().map(serde_json::from_str);
        let Extra {
            node,
            transport,
            client,
        } = extra.and_then(Result::ok).unwrap_or_default();
        let mut known = Transport::ALL.into_iter();
        Self {
            id: details.id,
            namespace: namespace.into(),
            rooms: details.rooms,
            data: Some(details.data),
            transport: transport.and_then(|name| known.find(|it| it.name() == name)),
            node,
            client,
            handshake: Request::Elsewhere(details.handshake.into()),
        }
    }

    /// The same for other nodes.
    pub(crate) fn to_details(&self) -> SocketDetails {
        let extra = Extra {
            node: self.node.clone(),
            transport: self.transport.map(|it| it.name().to_owned()),
            client: self.client.clone(),
        };
        SocketDetails {
            id: self.id.clone(),
            handshake: self.handshake_json(),
            rooms: self.rooms.clone(),
            data: self.data.clone().unwrap_or_else(|| "{}".to_owned()),
            extra: serde_json::to_string(&extra).ok(),
        }
    }

    /// The same for Node's servers, whose admin pages find what they want to know in the data.
    pub(crate) fn to_details_for_pages(&self) -> SocketDetails {
        let mut details = self.to_details();
        let of_admin = OfAdmin {
            client_id: self.client.clone(),
            transport: self.transport.map(|it| it.name().to_owned()),
        };
        let data = serde_json::from_str::<serde_json::Map<_, _>>(&details.data);
        if let (Ok(mut data), Ok(of_admin)) = (data, serde_json::to_value(of_admin)) {
            data.insert("_admin".to_owned(), of_admin);
            details.data = serde_json::Value::Object(data).to_string();
        }
        details
    }

    /// As admin pages take it. Of its request only what tells no secret: neither headers, nor query, nor `auth`.
    pub(crate) fn to_page(&self) -> serde_json::Value {
        let data = self.data.as_deref();
        let known: DataOfAdmin = data
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        let transport = self.transport.map(|it| it.name().to_owned());
        let rooms = self.rooms.iter().take(MAX_SHOWN_ROOMS);
        let parts = match &self.handshake {
            Request::Here { handshake, .. } => parts(&handshake.to_short_json()),
            Request::Elsewhere(json) => parts(json),
        };
        let url = parts.url.unwrap_or_default();
        let path = url.split_once('?').map_or(&*url, |(path, _)| path);
        serde_json::json!({
            "id": self.id,
            "clientId": self.client.clone().or(known.admin.client_id).unwrap_or_else(|| self.id.clone()),
            "transport": transport.or(known.admin.transport).unwrap_or_else(|| "unknown".to_owned()),
            "nsp": self.namespace,
            "data": show::data(data),
            "handshake": {
                "address": parts.address.unwrap_or_default(),
                "headers": {},
                "query": {},
                "issued": parts.issued.unwrap_or_default(),
                "secure": parts.secure.unwrap_or_default(),
                "time": parts.time.unwrap_or_default(),
                "url": path,
                "xdomain": parts.xdomain.unwrap_or_default(),
            },
            "rooms": rooms.collect::<Vec<_>>(),
        })
    }

    /// Its handshake as Node's `socket.handshake` shows it: a JSON object. What the client sent
    /// (`headers`, `url`, `query`, `auth`) is only in it if it was asked for, by
    /// [`Emitter::with_handshakes`](crate::socketio::emitter::Emitter::with_handshakes).
    pub fn handshake_json(&self) -> String {
        match &self.handshake {
            Request::Here { handshake, auth } => handshake.to_json(auth.as_deref()).to_string(),
            Request::Elsewhere(json) => json.to_string(),
        }
    }

    /// The client's address, as its node tells it.
    pub fn address(&self) -> Option<String> {
        match &self.handshake {
            Request::Here { handshake, .. } => Some(handshake.address().ip().to_string()),
            Request::Elsewhere(json) => parts(json).address,
        }
    }

    /// When its session was opened, in milliseconds since 1970.
    pub fn issued(&self) -> Option<u64> {
        match &self.handshake {
            Request::Here { handshake, .. } => Some(handshake.issued()),
            Request::Elsewhere(json) => parts(json).issued,
        }
    }
}

fn parts(json: &str) -> Parts {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_gateway_node_tells_comes_back() {
        let details = SocketDetails {
            id: "a".into(),
            handshake: r#"{"address":"::1","issued":7}"#.into(),
            rooms: vec!["a".into(), "r".into()],
            data: "{\"x\":1}".into(),
            extra: Some(r#"{"node":"gw-2","transport":"websocket"}"#.into()),
        };
        let socket = SocketInfo::from_details("/", details.clone());
        assert_eq!(socket.node.as_deref(), Some("gw-2"));
        assert_eq!(socket.transport, Some(Transport::WebSocket));
        assert_eq!(socket.address().as_deref(), Some("::1"));
        assert_eq!(socket.issued(), Some(7));
        assert_eq!(socket.to_details(), details);
    }

    #[test]
    fn what_a_node_server_does_not_tell_is_missing() {
        let details = SocketDetails {
            id: "a".into(),
            handshake: r#"{"address":7}"#.into(),
            data: "{}".into(),
            ..SocketDetails::default()
        };
        let socket = SocketInfo::from_details("/", details);
        assert_eq!(socket.node, None);
        assert_eq!(socket.transport, None);
        assert_eq!(socket.address(), None);
    }
}
