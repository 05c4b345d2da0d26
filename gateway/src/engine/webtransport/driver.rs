//! Reads on demand, writes by draining the session's outbox, as the task of a WebSocket does.
//!
//! QUIC keeps what it sends until it is acknowledged. It is given the packets' own bytes, which all recipients of a
//! broadcast share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::Encoded;
use protocol::engineio::{Attach, CloseReason, Message, Packet, Revision, Transport};
use protocol::webtransport::{StreamError, StreamFrame, StreamReader};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use wtransport::SendStream;

use super::{NO_ERROR, Pipe};
use crate::count::Upgraded;
use crate::engine::attached::{Attached, Relief};
use crate::engine::mail::Mail;
use crate::engine::outbox::Outbox;
use crate::engine::session::{Drained, Order};
use crate::engine::shard::Shard;
use crate::net::ids::Sid;
use crate::net::spell::{Spell, after_the_others};

/// How often one connection is read before the others get their turn.
const READS: usize = 4;

/// How much later than the answer to `CONNECT` the first event is written, as by WebSocket.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a client may take to acknowledge the last bytes of a session that was closed in order.
const LINGER: Duration = Duration::from_secs(2);

/// How long the client may then take to close by itself. A browser whose page has not read the last packets yet
/// forgets them when the gateway closes: the page would not learn that its sockets were disconnected.
const PARTING: Duration = Duration::from_millis(100);

/// Brings a stream that probes to the shard of its session, which lives on this node.
pub(crate) async fn hand_over(shard: &Rc<Shard>, sid: Sid, pipe: Pipe, read: Vec<u8>) {
    if sid.shard() == shard.index() {
        return attach(Rc::clone(shard), sid, pipe, read).await;
    }
    let Some(owner) = shard.node().shards().get(sid.shard()) else {
        return pipe.connection.close(NO_ERROR, b"");
    };
    owner.post(Mail::Run(Box::new(move |shard| {
        tokio::task::spawn_local(attach(Rc::clone(shard), sid, pipe, read));
    })));
}

async fn attach(shard: Rc<Shard>, sid: Sid, pipe: Pipe, read: Vec<u8>) {
    let session = shard.session(&sid);
    let session = session.filter(|it| it.revision() == Revision::Four);
    let transport = Transport::WebTransport;
    let attach =
        |engine: &mut protocol::engineio::Session| engine.handle_attach(Instant::now(), transport);
    match session.map(|session| (session.drive(attach), session)) {
        Some((Attach::Probing, session)) => run(Attached::new(session), pipe, read).await,
        Some((Attach::Refused, _)) | None => {
            shard.counters().upgrades.of(Upgraded::Refused).increment();
            pipe.connection.close(NO_ERROR, b"");
        }
    }
}

/// Serves a session to its end; `read` is what came behind the first frame.
pub(crate) async fn run(attached: Attached, pipe: Pipe, read: Vec<u8>) {
    let mut driver = Driver {
        attached,
        pipe,
        reader: StreamReader::new(),
        relief: Relief::default(),
        pieces: Pieces::default(),
        pause: None,
        rest: (!read.is_empty()).then_some(read),
    };
    poll_fn(|context| driver.poll(context)).await;
    let Driver {
        attached,
        pipe,
        pieces,
        ..
    } = driver;
    drop(attached);
    Box::pin(finish(pipe, pieces.is_empty())).await;
}

struct Driver {
    attached: Attached,
    pipe: Pipe,
    reader: StreamReader,
    relief: Relief,
    pieces: Pieces,
    /// Waited for before more is written.
    pause: Option<Pin<Box<Sleep>>>,
    /// What was read and is for the next turn.
    rest: Option<Vec<u8>>,
}

impl Driver {
    /// What this call itself queues it writes as well, so that only what comes later needs to wake the task.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.attached.task.begin_turn();
        let polled = self.serve(context);
        if polled.is_pending() {
            self.attached.task.end_turn(context.waker(), false);
        }
        polled
    }

    fn serve(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.order() == Order::None && self.read(context).is_break() {
            return Poll::Ready(());
        }
        loop {
            match self.order() {
                Order::Close => return Poll::Ready(()),
                Order::AnswerProbe => {
                    if !ready!(self.answer_probe(context)) {
                        return Poll::Ready(());
                    }
                    self.attached.task.order.set(Order::None);
                    context.waker().wake_by_ref();
                }
                Order::Flush | Order::None => {}
            }
            if self.attached.is_probing() {
                return Poll::Pending;
            }
            if ready!(self.write(context)).is_err() {
                self.attached.lose(CloseReason::TransportClose);
                return Poll::Ready(());
            }
            if self.order() != Order::Flush {
                return Poll::Pending;
            }
            self.attached
                .session
                .drive(protocol::engineio::Session::handle_flushed);
        }
    }

    fn order(&self) -> Order {
        self.attached.task.order.get()
    }

    /// Whether it was answered. Nothing was written before, so that it goes out whole, or never will.
    fn answer_probe(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut answer = Vec::new();
        Encoded::engine_text("3probe").pieces(|piece| answer.push(piece));
        let (count, length) = (answer.len(), answer.iter().map(Bytes::len).sum::<usize>());
        let written = ready!(write_pieces(&mut self.pipe.send, &mut answer, context));
        Poll::Ready(written.is_ok_and(|written| written == (length, count)))
    }

    /// Reads what there is, unless the client has to wait.
    fn read(&mut self, context: &mut Context<'_>) -> ControlFlow<()> {
        let shard = Rc::clone(self.attached.session.shard());
        for _ in 0..READS {
            if self.relief.must_wait(&self.attached.session, context) {
                return ControlFlow::Continue(());
            }
            if let Some(rest) = self.rest.take() {
                shard.take_mail();
                self.consume(&rest)?;
                break;
            }
            let mut scratch = shard.take_scratch();
            let mut buffer = ReadBuf::new(&mut scratch);
            let polled = Pin::new(&mut self.pipe.receive).poll_read(context, &mut buffer);
            let count = buffer.filled().len();
            let read = match polled {
                Poll::Pending => {
                    shard.give_scratch(scratch);
                    return ControlFlow::Continue(());
                }
                Poll::Ready(Ok(())) if count > 0 => {
                    let received = &shard.counters().received_bytes;
                    received.of(Transport::WebTransport).add(count as u64);
                    shard.take_mail();
                    self.consume(&scratch[..count])
                }
                // Also if it is only the stream that ended: the session has no other.
                Poll::Ready(_) => {
                    self.attached.lose(CloseReason::TransportClose);
                    ControlFlow::Break(())
                }
            };
            shard.give_scratch(scratch);
            read?;
            if self.order() != Order::None {
                return ControlFlow::Continue(());
            }
            if self.rest.is_some() {
                break;
            }
        }
        after_the_others(context);
        ControlFlow::Continue(())
    }

    /// Handles what was read, and keeps what has to wait for its turn.
    fn consume(&mut self, mut input: &[u8]) -> ControlFlow<()> {
        let mut spell = Spell::begin();
        let node = self.attached.session.shard().node();
        let limit = node.config().engine.max_payload;
        loop {
            match self.reader.next(&mut input, limit) {
                Ok(Some(StreamFrame::Text(text))) => {
                    self.attached.handle_decoded(Packet::decode(&text));
                }
                Ok(Some(StreamFrame::Binary(data))) => {
                    let packet = Packet::Message(Message::Binary(data));
                    self.attached.handle_decoded(Ok(packet));
                }
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => {
                    self.fail(error);
                    return ControlFlow::Break(());
                }
            }
            if self.order() == Order::Close {
                return ControlFlow::Break(());
            }
            if !input.is_empty() && spell.is_over() {
                self.rest = Some(input.to_vec());
                return ControlFlow::Continue(());
            }
        }
    }

    fn fail(&self, error: StreamError) {
        let session = &self.attached.session;
        tracing::debug!(target: "gateway::webtransport", session = %session.log_name(), reason = %error, "WebTransport failed");
        if self.attached.is_probing() {
            self.attached.lose(CloseReason::TransportError);
        } else {
            session.drive(protocol::engineio::Session::handle_undecodable);
        }
    }

    /// Drains the outbox.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let Attached { session, task } = &self.attached;
            let (pieces, send) = (&mut self.pieces, &mut self.pipe.send);
            let (bytes, end) = session.drain(task, |outbox| pieces.write(outbox, send, context));
            match end {
                Drained::Empty => return Poll::Ready(Ok(())),
                Drained::Pause => self.pause = Some(Box::pin(tokio::time::sleep(PAUSE))),
                Drained::Full => {
                    session.waits(bytes > 0);
                    return Poll::Pending;
                }
                Drained::Failed(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// The first packets of an outbox, as frames.
#[derive(Default)]
struct Pieces {
    /// What QUIC has not taken.
    queue: VecDeque<Bytes>,
    /// The packets that this is of.
    packets: VecDeque<Begun>,
}

/// A packet of which QUIC has not taken all.
struct Begun {
    /// How many pieces of it are left.
    pieces: usize,
    /// By how many bytes it is shorter than in the outbox, which counts it as frames of WebSocket.
    shorter: usize,
}

impl Pieces {
    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives QUIC what it takes, and says how many bytes of the outbox that was.
    fn write(
        &mut self,
        outbox: &Outbox,
        send: &mut SendStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.packets.is_empty() {
            self.fill(outbox);
        }
        let taken = match self.queue.is_empty() {
            true => (0, 0),
            false => match ready!(write_pieces(send, self.queue.make_contiguous(), context)) {
                Ok(taken) => taken,
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        Poll::Ready(Ok(self.advance(taken)))
    }

    fn fill(&mut self, outbox: &Outbox) {
        for parcel in outbox.next_packets() {
            let packet = parcel.packet();
            let (mut pieces, mut bytes) = (0, 0);
            packet.pieces(|piece| {
                pieces += 1;
                bytes += piece.len();
                self.queue.push_back(piece);
            });
            let shorter = packet.frames().len() - bytes;
            self.packets.push_back(Begun { pieces, shorter });
        }
    }

    /// Forgets what was taken: bytes, and whole pieces. Returns how many bytes of the outbox they are.
    fn advance(&mut self, (mut bytes, mut pieces): (usize, usize)) -> usize {
        self.queue.drain(..pieces);
        while let Some(first) = self.packets.front_mut() {
            if first.pieces > pieces {
                first.pieces -= pieces;
                break;
            }
            pieces -= first.pieces;
            bytes += first.shorter;
            self.packets.pop_front();
        }
        bytes
    }
}

/// Gives QUIC as much as it takes. Returns how many bytes that was, and how many whole pieces; what it took of
/// another piece is cut off.
fn write_pieces(
    send: &mut SendStream,
    pieces: &mut [Bytes],
    context: &mut Context<'_>,
) -> Poll<io::Result<(usize, usize)>> {
    let write = pin!(send.quic_stream_mut().write_chunks(pieces));
    let written = ready!(write.poll(context));
    Poll::Ready(match written {
        Ok(written) => Ok((written.bytes, written.chunks)),
        Err(error) => Err(error.into()),
    })
}

/// Closes the connection: in order if all was written, so that the client reads it.
async fn finish(mut pipe: Pipe, in_order: bool) {
    if in_order {
        let acknowledged = tokio::time::timeout(LINGER, pipe.send.finish()).await;
        if matches!(acknowledged, Ok(Ok(()))) {
            let _closed_by_the_client =
                tokio::time::timeout(PARTING, pipe.connection.closed()).await;
        }
    }
    pipe.connection.close(NO_ERROR, b"");
}

#[cfg(test)]
mod tests {
    use protocol::socketio::Arguments;

    use super::*;
    use crate::engine::outbox::{Advanced, Parcel};

    /// Takes `bytes` at a time, as QUIC would.
    fn take(pieces: &mut Pieces, mut bytes: usize) -> (usize, usize) {
        let (mut taken, mut whole) = (0, 0);
        for piece in &mut pieces.queue {
            let part = piece.split_to(bytes.min(piece.len()));
            taken += part.len();
            bytes -= part.len();
            if !piece.is_empty() {
                break;
            }
            whole += 1;
        }
        (taken, whole)
    }

    #[test]
    fn the_outbox_hears_of_all_its_bytes_however_few_go_at_a_time() {
        let attachments = [Bytes::from_static(b"123"), Bytes::new()];
        let event = Encoded::event("/", None, "e", Arguments::from_raw("", &attachments));
        let packets = [Encoded::engine_text("4a"), event, Encoded::engine_text("2")];
        for step in 1..40 {
            let mut outbox = Outbox::default();
            for packet in &packets {
                outbox
                    .push(&Parcel::constant(packet.clone()), 1000)
                    .unwrap();
            }
            let (mut pieces, mut gone) = (Pieces::default(), 0);
            while !outbox.is_empty() {
                if pieces.packets.is_empty() {
                    pieces.fill(&outbox);
                }
                let taken = take(&mut pieces, step);
                let Advanced { packets, .. } = outbox.advance(pieces.advance(taken));
                gone += packets;
            }
            assert_eq!((gone, outbox.bytes()), (3, 0), "{step}");
            assert!(pieces.is_empty() && pieces.packets.is_empty());
        }
    }
}
