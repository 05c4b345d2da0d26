//! What admin pages are told of sockets and rooms, in the order and the form of `@socket.io/admin-ui`.
//!
//! The admin layer has shards tell it while a page is open somewhere ([`crate::show`]). What each of these lines
//! says is bounded: names are cut, and large or binary arguments become a text.

use std::num::NonZeroU32;
use std::sync::Arc;

use protocol::Encoded;
use protocol::socketio::Arguments;

use crate::count::PacketType;
use crate::engine::node::Node;
use crate::engine::session::masked;
use crate::show::{self, Binary, Line, Reach};
use crate::socketio::reason::DisconnectReason;
use crate::socketio::socket::Socket;
use crate::trace::Sent;

impl Node {
    /// Has the shards tell what happens to sockets up to this one, so many lines a second each, or nothing more.
    pub(crate) fn tell_pages(&self, per_second: Option<NonZeroU32>, reach: Option<Reach>) {
        let lines = self.show().lines();
        let counters = Arc::clone(self.show().counters());
        self.run_everywhere(move |shard| match (&lines, per_second) {
            (Some(lines), Some(per_second)) => {
                let counters = Arc::clone(&counters);
                let reach = reach.clone();
                shard
                    .show()
                    .begin(lines.clone(), counters, per_second, reach);
            }
            _ => shard.show().end(),
        });
    }
}

impl Socket {
    fn show(&self, line: impl FnOnce() -> Option<Line>) {
        let show = self.session().shard().show();
        if show.reaches(self.namespace(), self.id().as_str()) {
            show.tell(line);
        }
    }

    /// It was let in.
    #[cold]
    pub(crate) fn show_connected(&self) {
        self.show(|| {
            let page = self.snapshot(false).to_page();
            let date = show::date();
            Some(Line::new("socket_connected", format!("{page},{date}")))
        });
    }

    /// What the application keeps with it changed.
    #[cold]
    pub(crate) fn show_data(&self) {
        if !self.is_present() {
            return;
        }
        self.show(|| {
            let data = show::data(self.data_json().as_deref());
            let (id, nsp) = (self.id().to_string(), self.namespace());
            let updated = serde_json::json!({"id": id, "nsp": nsp, "data": data});
            Some(Line::new("socket_updated", updated.to_string()))
        });
    }

    /// Its session goes on by another transport.
    #[cold]
    pub(crate) fn show_transport(&self) {
        if !self.is_present() {
            return;
        }
        self.show(|| {
            let (id, nsp) = (self.id().to_string(), self.namespace());
            let transport = self.transport().name();
            let updated = serde_json::json!({"id": id, "nsp": nsp, "transport": transport});
            Some(Line::new("socket_updated", updated.to_string()))
        });
    }

    /// It is gone, and has left its rooms but for its own.
    #[cold]
    pub(crate) fn show_disconnected(&self, reason: DisconnectReason) {
        let id = self.id();
        self.show_room("room_left", id.as_str());
        self.show(|| {
            let texts = [self.namespace(), id.as_str(), reason.as_node()];
            Some(Line::dated("socket_disconnected", &texts))
        });
    }

    /// It joins a room, or leaves one.
    #[cold]
    pub(crate) fn show_room(&self, event: &'static str, room: &str) {
        self.show(|| {
            let id = self.id();
            Some(Line::dated(event, &[self.namespace(), room, id.as_str()]))
        });
    }

    /// Its client sent an event.
    #[cold]
    pub(crate) fn show_received(&self, event: &str, arguments: Arguments<'_>) {
        if self.namespace() != show::NAMESPACE {
            let binary = || Binary::of(arguments.attachments().iter().map(bytes::Bytes::len));
            self.show(|| {
                Some(self.shown_event("event_received", event, arguments.json(), binary()))
            });
        }
    }

    /// Its client is sent something.
    #[cold]
    pub(crate) fn show_sent(&self, packet: &Encoded, kind: PacketType) {
        let is_event = matches!(kind, PacketType::Event | PacketType::BinaryEvent);
        if !is_event || self.namespace() == show::NAMESPACE {
            return;
        }
        self.show(|| {
            let sent = Sent::parse(packet)?;
            let binary = Binary::of(packet.attachments().map(<[u8]>::len));
            Some(self.shown_event("event_sent", &sent.event?, sent.arguments, binary))
        });
    }

    fn shown_event(&self, what: &'static str, event: &str, json: &str, binary: Binary) -> Line {
        let shown = masked::arguments(event, json).to_string();
        let args = show::args(event, json, binary, &shown);
        Line::about(what, self.namespace(), self.id().as_str(), &args)
    }
}
