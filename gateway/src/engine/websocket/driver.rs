//! The task of one WebSocket: reads on demand, writes by draining the session's outbox.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use protocol::Encoded;
use protocol::engineio::{Attach, CloseReason, Message, Packet, Revision, Transport};
use protocol::websocket::frame::{CloseCode, FrameError, close_frame, pong_frame};
use protocol::websocket::reader::{Reader, Received};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use crate::count::Upgraded;
use crate::engine::attached::{Attached, Relief};
use crate::engine::held::Held;
use crate::engine::mail::Mail;
use crate::engine::outbox::BATCH;
use crate::engine::session::{Drained, Order};
use crate::net::ids::Sid;
use crate::net::spell::{Spell, after_the_others};
use crate::net::stream::Stream;

/// How often one connection is read before the others get their turn.
const READS: usize = 4;

/// How much later than the answer to `CONNECT` the first event is written, if it was emitted at
/// once. A program that awaits the one and then the other would lose the event if a single read
/// brought both; Socket.IO's own conformance suite is such a program.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a client may take to close its side after ours.
const LINGER: Duration = Duration::from_secs(2);

/// What the request of a WebSocket that probes asks for.
#[derive(Clone, Copy)]
pub(crate) struct Probe {
    /// The session that it is for.
    pub(crate) sid: Sid,
    /// It wants no binary frames.
    pub(crate) base64: bool,
}

/// Brings a WebSocket that probes to the shard of its session. Returns its task, if that is this shard.
pub(crate) fn hand_over(held: Held, probe: Probe, stream: Stream, read: Vec<u8>) -> Option<Task> {
    let (sid, shard) = (probe.sid, held.shard());
    if sid.shard() == shard.index() {
        return Some(attach(held, probe, stream, read));
    }
    let (Ok(stream), Some(owner)) = (stream.detach(), shard.node().shards().get(sid.shard()))
    else {
        return None;
    };
    owner.post(Mail::Run(Box::new(move |shard| {
        if let Ok(stream) = stream.attach() {
            tokio::task::spawn_local(attach(Held::new(shard), probe, stream, read));
        }
    })));
    None
}

fn attach(held: Held, probe: Probe, stream: Stream, read: Vec<u8>) -> Task {
    let shard = held.shard();
    let Some(session) = shard.session(&probe.sid) else {
        return Task::closing(held, stream, End::default());
    };
    match session.drive(|engine| engine.handle_attach(Instant::now(), Transport::WebSocket)) {
        Attach::Probing => {
            let attached = Attached::new(session);
            attached.task.base64.set(probe.base64);
            Task::begin(held, attached, stream, read)
        }
        Attach::Refused => {
            shard.counters().upgrades.of(Upgraded::Refused).increment();
            drop(session);
            Task::closing(held, stream, End::default())
        }
    }
}

/// Serves a WebSocket to its end.
///
/// ```text
///     Open --the end, and the connection is there--> Closing --> Over
///      +-----the end, and the connection is gone------------------^
/// ```
///
/// A future by hand: it is kept for each client, and an async function keeps room for what it was called with, too.
pub(crate) struct Task {
    stage: Stage,
    /// Given back behind the connection.
    _held: Held,
}

enum Stage {
    Open(Driver),
    Closing(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

impl Task {
    /// `read` is what came behind the handshake.
    pub(crate) fn begin(held: Held, attached: Attached, stream: Stream, mut read: Vec<u8>) -> Self {
        attached.task.stream.replace(Some(stream));
        let mut driver = Driver {
            attached,
            reader: Reader::new(),
            relief: Relief::default(),
            pause: None,
            rest: None,
        };
        let end = match read.is_empty() {
            true => None,
            false => driver.consume(&mut read),
        };
        let stage = match end {
            Some(end) => driver.end(end),
            None => Stage::Open(driver),
        };
        Self { stage, _held: held }
    }

    fn closing(held: Held, stream: Stream, end: End) -> Self {
        let stage = Stage::Closing(Box::pin(finish(stream, end)));
        Self { stage, _held: held }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Stage::Open(driver) = &mut self.stage {
            let end = ready!(driver.poll(context));
            if let Stage::Open(driver) = std::mem::replace(&mut self.stage, Stage::Over) {
                self.stage = driver.end(end);
            }
        }
        match &mut self.stage {
            Stage::Closing(closing) => closing.as_mut().poll(context),
            Stage::Open(_) | Stage::Over => Poll::Ready(()),
        }
    }
}

struct Driver {
    attached: Attached,
    reader: Reader,
    relief: Relief,
    /// Waited for before more is written.
    pause: Option<Pin<Box<Sleep>>>,
    /// What was read and is for the next turn.
    #[expect(
        clippy::box_collection,
        reason = "one word in each connection, and seldom used"
    )]
    rest: Option<Box<Vec<u8>>>,
}

/// How a WebSocket ends.
#[derive(Debug, Default)]
struct End {
    /// The code of our close frame; without one it is empty, as Node's.
    code: Option<CloseCode>,
}

impl Driver {
    /// Lets go of the session, and closes the connection in order if it is there.
    fn end(self, end: End) -> Stage {
        let task = &self.attached.task;
        let (stream, cut) = (task.stream.take(), task.cut.get());
        drop(self);
        match stream {
            Some(stream) if !cut => Stage::Closing(Box::pin(finish(stream, end))),
            Some(_) | None => Stage::Over,
        }
    }

    /// What this call itself queues it writes as well, so that only what comes later needs to wake
    /// the task, or to be written by the shard.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.attached.task.begin_turn();
        let polled = self.serve(context);
        if polled.is_pending() {
            let resting = self.may_rest();
            self.attached.task.end_turn(context.waker(), resting);
            if resting {
                self.attached.session.leave_to_shard();
            }
        }
        polled
    }

    /// Whether what is to be written can be left to the shard, which does so for all its sockets in one
    /// go.
    fn may_rest(&self) -> bool {
        self.pause.is_none()
            && self.attached.task.may_rest()
            && !self.attached.is_probing()
            && !self.attached.session.outbox().borrow().is_parted()
    }

    /// Does something with the stream, which is there until the end.
    fn with_stream<T>(
        &self,
        action: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.attached.task.stream.borrow_mut() {
            Some(stream) => action(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn serve(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if self.attached.task.order.get() == Order::None
            && let Some(end) = self.read(context)
        {
            return Poll::Ready(end);
        }
        loop {
            match self.attached.task.order.get() {
                Order::Close => return Poll::Ready(End::default()),
                Order::AnswerProbe => {
                    let answer = Encoded::engine_text("3probe");
                    let written =
                        self.with_stream(|stream| stream.poll_write(context, answer.frames()));
                    if !matches!(ready!(written), Ok(count) if count == answer.frames().len()) {
                        return Poll::Ready(End::default());
                    }
                    self.attached.task.order.set(Order::None);
                    context.waker().wake_by_ref();
                }
                Order::Flush | Order::None => {}
            }
            if self.attached.is_probing() {
                let _lost_is_seen_by_reading = self.flush(context);
                return Poll::Pending;
            }
            if self.may_rest() {
                return Poll::Pending;
            }
            if ready!(self.write(context)).is_err() {
                self.attached.lose(CloseReason::TransportClose);
                self.attached.task.cut.set(true);
                return Poll::Ready(End::default());
            }
            if self.attached.task.order.get() != Order::Flush {
                return Poll::Pending;
            }
            self.attached
                .session
                .drive(protocol::engineio::Session::handle_flushed);
        }
    }

    /// Reads what there is, unless the client has to wait.
    fn read(&mut self, context: &mut Context<'_>) -> Option<End> {
        let shard = Rc::clone(self.attached.session.shard());
        for _ in 0..READS {
            if self.relief.must_wait(&self.attached.session, context) {
                return None;
            }
            if let Some(mut rest) = self.rest.take() {
                shard.take_mail();
                let end = self.consume(&mut rest);
                if end.is_some() || self.attached.task.order.get() != Order::None {
                    return end;
                }
                break;
            }
            let mut scratch = shard.take_scratch();
            let mut buffer = ReadBuf::new(&mut scratch);
            let result = self.with_stream(|stream| stream.poll_read(context, &mut buffer));
            let count = buffer.filled().len();
            let end = match result {
                Poll::Pending => {
                    shard.give_scratch(scratch);
                    return None;
                }
                Poll::Ready(Ok(())) if count > 0 => {
                    shard
                        .counters()
                        .received_bytes
                        .of(Transport::WebSocket)
                        .add(count as u64);
                    shard.take_mail();
                    self.consume(&mut scratch[..count])
                }
                Poll::Ready(_) => {
                    self.attached.lose(CloseReason::TransportClose);
                    Some(End::default())
                }
            };
            shard.give_scratch(scratch);
            if end.is_some() || self.attached.task.order.get() != Order::None {
                return end;
            }
            if self.rest.is_some() {
                break;
            }
        }
        after_the_others(context);
        None
    }

    /// Handles what was read, and keeps what has to wait for its turn.
    fn consume(&mut self, mut input: &mut [u8]) -> Option<End> {
        let mut spell = Spell::begin();
        let limit = self
            .attached
            .session
            .shard()
            .node()
            .config()
            .engine
            .max_payload;
        loop {
            match self.reader.next(&mut input, limit) {
                Ok(Some(received)) => {
                    if let Some(end) = self.attached.handle(received) {
                        return Some(end);
                    }
                    if self.attached.task.order.get() == Order::Close {
                        return Some(End::default());
                    }
                    if !input.is_empty() && spell.is_over() {
                        self.rest = Some(Box::new(input.to_vec()));
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(self.attached.fail(error)),
            }
        }
    }

    /// Waits until a pause between two writes is over.
    fn rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Drains the outbox.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.rest(context));
            let Attached { session, task } = &self.attached;
            let (bytes, end) = session.drain(task, |outbox| {
                let mut slices = [IoSlice::new(&[]); BATCH];
                let count = outbox.slices(&mut slices);
                self.with_stream(|stream| match &slices[..count] {
                    [only] => stream.poll_write(context, only),
                    several => stream.poll_write_vectored(context, several),
                })
            });
            match end {
                Drained::Empty => break,
                Drained::Pause => self.pause = Some(Box::pin(tokio::time::sleep(PAUSE))),
                Drained::Full => {
                    session.waits(bytes > 0);
                    return Poll::Pending;
                }
                Drained::Failed(error) => return Poll::Ready(Err(error)),
            }
        }
        self.attached.task.catch_up();
        self.flush(context)
    }

    /// Writes what TLS took in; nothing else keeps anything.
    fn flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(|stream| stream.poll_flush(context))
    }
}

impl Attached {
    /// Writes a few bytes beside the outbox, of which nothing goes this way yet.
    fn write_small(&self, bytes: &[u8]) -> bool {
        let mut stream = self.task.stream.borrow_mut();
        stream.as_mut().is_some_and(|it| it.write_small(bytes))
    }

    fn handle(&self, received: Received<'_>) -> Option<End> {
        match received {
            Received::Text(text) => self.handle_decoded(match self.session.revision() {
                Revision::Three => Packet::decode_old(&text),
                Revision::Four => Packet::decode(&text),
            }),
            Received::Binary(data) => self.handle_decoded(match self.session.revision() {
                Revision::Three => Packet::decode_old_binary(data),
                Revision::Four => Ok(Packet::Message(Message::Binary(data))),
            }),
            Received::Ping(payload) => {
                let pong = pong_frame(&payload);
                if !self.is_probing() {
                    self.session
                        .push_uncounted(&self.session.parcel(Encoded::control_frame(pong)));
                } else if !self.write_small(&pong) {
                    self.lose(CloseReason::TransportError);
                }
            }
            Received::Pong => {}
            Received::Close(code) => {
                if self.session.is_leaving() {
                    // Our close frame went out before.
                    self.task.cut.set(true);
                }
                self.lose(CloseReason::TransportClose);
                return Some(End { code });
            }
        }
        None
    }

    fn fail(&self, error: FrameError) -> End {
        tracing::debug!(target: "gateway::websocket::driver", session = %self.session.log_name(), reason = %error, "WebSocket failed");
        self.lose(CloseReason::TransportError);
        End {
            code: Some(error.close_code()),
        }
    }
}

/// Closes in order: our close frame, then the client's, so that it reads all that was sent.
async fn finish(mut stream: Stream, end: End) {
    let close = async {
        stream.write_all(&close_frame(end.code)).await?;
        stream.shutdown().await?;
        let mut rest = [0; 256];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _gone_either_way = tokio::time::timeout(LINGER, close).await;
}
