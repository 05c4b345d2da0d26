//! The HTTP requests of a session.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use protocol::engineio::{
    Answer, CloseReason, Message, Packet, Poll, Post, Revision, Transport, old_payload, payload,
};
use tokio::sync::oneshot;

use super::Session;
use crate::engine::outbox::Payload;
use crate::net::spell::Spell;

/// What a poll gets.
#[derive(Debug)]
pub(crate) enum PollReply {
    /// Packets.
    Payload(Payload),
    /// The session is over; its client is to open another.
    Over,
    /// It may not be.
    Denied(Denied),
}

/// Why a session does not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Another of its kind is under way.
    Overlap,
    /// The session is not on polling.
    Mismatch,
    /// The session is closed.
    Closed,
}

/// The requests that wait for an answer.
#[derive(Default)]
pub(super) struct Polling {
    /// The parked poll; the number tells it from the one before.
    poll: Option<(u64, oneshot::Sender<PollReply>)>,
    /// A post that is answered later than its packets were handled.
    post: Option<oneshot::Sender<()>>,
    /// Bytes of the payload that the client got last, and when, in the shard's ticks.
    last_payload: Option<(usize, NonZeroU32)>,
}

impl Polling {
    pub(super) fn last_payload(&self) -> Option<(usize, NonZeroU32)> {
        self.last_payload
    }
}

impl Session {
    /// A poll (GET) came; it is answered when there is something to answer.
    pub(crate) fn handle_poll(self: &Rc<Self>, number: u64, reply: oneshot::Sender<PollReply>) {
        let buffered = !self.outbox.borrow().is_empty();
        let outcome = self
            .engine
            .borrow_mut()
            .handle_poll(Instant::now(), buffered);
        match outcome {
            Poll::Parked => {
                if let Some(polling) = &mut *self.polling.borrow_mut() {
                    polling.poll = Some((number, reply));
                }
            }
            Poll::Overlap => answer(reply, PollReply::Denied(Denied::Overlap)),
            Poll::Mismatch => answer(reply, PollReply::Denied(Denied::Mismatch)),
            Poll::Unknown => answer(reply, PollReply::Denied(Denied::Closed)),
        }
        self.pump();
    }

    /// The client gave a poll up.
    pub(crate) fn handle_poll_aborted(self: &Rc<Self>, number: u64) {
        let parked = {
            let mut polling = self.polling.borrow_mut();
            let poll = polling.as_mut().map(|polling| &mut polling.poll);
            poll.and_then(|poll| poll.take_if(|(parked, _)| *parked == number))
        };
        if parked.is_some() {
            self.drive(protocol::engineio::Session::handle_poll_aborted);
        }
    }

    /// The node that forwarded the parked poll stops: the client is to poll again, elsewhere.
    pub(crate) fn handle_poll_released(self: &Rc<Self>) {
        self.drive(protocol::engineio::Session::handle_poll_released);
    }

    /// The head of a post came; its body may follow, unless it is denied.
    pub(crate) fn handle_post(self: &Rc<Self>) -> Result<(), Denied> {
        match self.drive(protocol::engineio::Session::handle_post) {
            Post::Accepted => Ok(()),
            Post::Overlap => Err(Denied::Overlap),
            Post::Mismatch => Err(Denied::Mismatch),
            Post::Unknown => Err(Denied::Closed),
        }
    }

    /// The body of a post came, which is `binary` as revision 3 has it. `done` is told when all of it was handled.
    pub(crate) fn handle_post_body(
        self: &Rc<Self>,
        body: Bytes,
        binary: bool,
        done: oneshot::Sender<()>,
    ) {
        self.shard
            .counters()
            .received_bytes
            .of(Transport::Polling)
            .add(body.len() as u64);
        let rest = match (self.revision(), binary) {
            (Revision::Three, true) => self.handle_packets(Body::OldBinary(body)),
            (revision, _) => self.handle_first_packets(&body, revision),
        };
        match rest {
            None => self.handle_post_end(done),
            Some(mut rest) => {
                let session = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    loop {
                        tokio::task::yield_now().await;
                        match session.handle_packets(rest) {
                            None => break session.handle_post_end(done),
                            Some(more) => rest = more,
                        }
                    }
                });
            }
        }
    }

    /// Handles packets of a post that is text, as many as have their turn; returns what is left. Most posts are handled in
    /// one go, and need no text of their own.
    fn handle_first_packets(self: &Rc<Self>, body: &[u8], revision: Revision) -> Option<Body> {
        let text = String::from_utf8_lossy(body);
        match revision {
            Revision::Three => {
                let left = self.handle_old(old_payload::Packets::of_text(&text))?;
                let rest = text.get(text.len() - left..)?;
                Some(Body::OldText(rest.to_owned(), 0))
            }
            Revision::Four => {
                let at = self.handle_text(&text)?;
                Some(Body::Text(text.get(at..)?.to_owned(), 0))
            }
        }
    }

    /// The same of what was left.
    fn handle_packets(self: &Rc<Self>, body: Body) -> Option<Body> {
        match body {
            Body::Text(text, at) => {
                let at = at + self.handle_text(text.get(at..)?)?;
                Some(Body::Text(text, at))
            }
            Body::OldText(text, at) => {
                let packets = old_payload::Packets::of_text(text.get(at..)?);
                let at = text.len() - self.handle_old(packets)?;
                Some(Body::OldText(text, at))
            }
            Body::OldBinary(body) => {
                let left = self.handle_old(old_payload::Packets::of_binary(&body))?;
                Some(Body::OldBinary(body.slice(body.len() - left..)))
            }
        }
    }

    /// The same of a client of revision 3; returns how many bytes are left.
    fn handle_old(self: &Rc<Self>, mut packets: old_payload::Packets<'_>) -> Option<usize> {
        let mut spell = Spell::begin();
        let limit = self.shard.node().config().engine.max_payload;
        loop {
            let before = packets.remaining();
            let packet = packets.next()?;
            if !self.engine.borrow().accepts_post() {
                return None;
            }
            match packet {
                Ok(Packet::Message(message)) if size(&message) > limit => {
                    self.abort(CloseReason::TransportError);
                    return None;
                }
                Ok(packet) => self.handle_posted(packet),
                Err(_) => {
                    self.drive(protocol::engineio::Session::handle_undecodable);
                    return None;
                }
            }
            let left = packets.remaining();
            if left > 0 && left < before && spell.is_over() {
                return Some(left);
            }
        }
    }

    fn handle_posted(self: &Rc<Self>, packet: Packet<'_>) {
        let message = self.drive(|engine| engine.handle_polling_packet(Instant::now(), packet));
        if let Some(message) = message {
            self.upper_half().message(self, message);
        }
    }

    /// The same of a client of revision 4; returns how many bytes were handled, if some are left.
    fn handle_text(self: &Rc<Self>, text: &str) -> Option<usize> {
        let mut spell = Spell::begin();
        let mut at = 0;
        for part in payload::split(text) {
            if !self.engine.borrow().accepts_post() {
                return None;
            }
            if at > 0 && spell.is_over() {
                return Some(at);
            }
            at += part.len() + 1;
            match Packet::decode(part) {
                Ok(packet) => self.handle_posted(packet),
                Err(_) => {
                    self.drive(protocol::engineio::Session::handle_undecodable);
                    return None;
                }
            }
        }
        None
    }

    /// All packets of a post were handled.
    fn handle_post_end(self: &Rc<Self>, done: oneshot::Sender<()>) {
        self.drive(protocol::engineio::Session::handle_post_end);
        if self.waits_for_late_poll() || self.is_behind() {
            if let Some(polling) = &mut *self.polling.borrow_mut() {
                polling.post = Some(done);
            }
        } else {
            answer(done, ());
        }
    }

    /// A post was begun and will not be handed in: the client gave up, or may not send it.
    pub(crate) fn handle_post_aborted(self: &Rc<Self>) {
        self.drive(protocol::engineio::Session::handle_post_aborted);
    }

    /// A post was begun and its body is too large: the session goes on without it.
    pub(crate) fn handle_post_refused(self: &Rc<Self>) {
        self.drive(protocol::engineio::Session::handle_post_end);
    }

    /// The client sent by polling what polling does not carry, or stopped amid a body.
    pub(crate) fn handle_bad_post(self: &Rc<Self>) {
        self.abort(CloseReason::TransportError);
    }

    fn waits_for_late_poll(&self) -> bool {
        self.engine.borrow().waits_for_late_poll()
    }

    /// Answers the post that waited.
    pub(super) fn answer_post_late(&self) {
        let post = self
            .polling
            .borrow_mut()
            .as_mut()
            .and_then(|polling| polling.post.take());
        if let Some(done) = post {
            answer(done, ());
        }
    }

    /// Answers the parked poll with what is queued.
    pub(crate) fn flush_poll(&self) {
        let mut engine = self.engine.borrow_mut();
        if !engine.has_poll() || self.outbox.borrow().is_empty() {
            return;
        }
        let Some((_, reply)) = self.take_poll() else {
            return;
        };
        engine.handle_poll_answered();
        drop(engine);
        self.reply_queued(reply);
    }

    /// Answers the parked poll as the state machine says, or with what was queued a moment before.
    pub(super) fn answer_poll(&self, with: Answer) {
        let Some((_, reply)) = self.take_poll() else {
            return;
        };
        let buffered = !self.outbox.borrow().is_empty();
        match with {
            Answer::Noop | Answer::Close | Answer::Gone if buffered => self.reply_queued(reply),
            Answer::Noop => self.reply_engine(reply, "6", "1:6"),
            Answer::Close => self.reply_engine(reply, "1", "1:1"),
            Answer::NoopThenClose => self.reply_engine(reply, "6\x1e1", "1:61:1"),
            Answer::Mismatch => answer(reply, PollReply::Denied(Denied::Mismatch)),
            Answer::Gone => answer(reply, PollReply::Over),
        }
    }

    fn take_poll(&self) -> Option<(u64, oneshot::Sender<PollReply>)> {
        self.polling.borrow_mut().as_mut()?.poll.take()
    }

    /// Answers a poll with the next part of the outbox.
    fn reply_queued(&self, reply: oneshot::Sender<PollReply>) {
        let mut body = Vec::new();
        let most = self.shard.node().config().engine.poll_packets;
        let (packets, binary) = {
            let mut outbox = self.outbox.borrow_mut();
            match self.revision() {
                Revision::Three => {
                    let escape = self.upper_half().is_socket_io();
                    outbox.take_old_payload(&mut body, most, escape)
                }
                Revision::Four => (outbox.take_payload(&mut body, most), false),
            }
        };
        self.let_go(packets);
        if let Some(polling) = &mut *self.polling.borrow_mut() {
            polling.last_payload = Some((body.len(), self.shard.tick(Instant::now())));
        }
        if !self.outbox.borrow().is_empty() {
            self.waits(true);
        }
        self.reply_payload(reply, body, binary);
    }

    /// Answers a poll with packets of Engine.IO itself, in the form of either revision.
    fn reply_engine(&self, reply: oneshot::Sender<PollReply>, packets: &str, old: &str) {
        let body = match self.revision() {
            Revision::Three => old,
            Revision::Four => packets,
        };
        self.reply_payload(reply, body.into(), false);
    }

    fn reply_payload(&self, reply: oneshot::Sender<PollReply>, body: Vec<u8>, binary: bool) {
        let (counters, transport) = (self.shard.counters(), Transport::Polling);
        counters.sent_bytes.of(transport).add(body.len() as u64);
        counters.writes.of(transport).increment();
        let payload = Payload::new(body, binary, self.shard.node().outbox_memory());
        answer(reply, PollReply::Payload(payload));
    }
}

/// What is left of the body of a post. Text is checked but once, however many turns its packets take.
enum Body {
    /// As revision 4 has it, and how many of its bytes were handled.
    Text(String, usize),
    /// As revision 3 has it, and how many of its bytes were handled.
    OldText(String, usize),
    /// The binary form of revision 3.
    OldBinary(Bytes),
}

fn size(message: &Message<'_>) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(data) => data.len(),
    }
}

/// Answers a request; one that was given up meanwhile tells so in its own way.
fn answer<T>(reply: oneshot::Sender<T>, with: T) {
    let _given_up = reply.send(with);
}
