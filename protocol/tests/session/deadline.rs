//! A session never outlives its deadline, whatever comes.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::engineio::{
    Attach, CloseReason, Output, Packet, Poll, Post, Revision, Session, Timing, Transport,
};

use crate::pair::{PING_INTERVAL, PING_TIMEOUT, UPGRADE_TIMEOUT};

/// After this long without input a session is over: a ping, its pong's deadline, one extension,
/// and the grace of a close.
const SILENCE: Duration = Duration::from_millis(PING_INTERVAL + 2 * PING_TIMEOUT + 30_000);

#[derive(Debug, Clone)]
enum Input {
    Wait(u64),
    StandStill(u64),
    Poll { buffered: bool },
    PollAnswered,
    PollAborted,
    Post,
    PostEnd,
    PostAborted,
    PollingPacket(&'static str),
    Frame(&'static str),
    Attach,
    Probe(&'static str),
    ProbeLost,
    WebSocketLost,
    Undecodable,
    Flushed,
    Close { buffered: bool },
    Abort,
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let packet = || prop::sample::select(vec!["0", "2", "2probe", "3", "4a", "5", "6", "1"]);
    let harmless = || prop::sample::select(vec!["3", "3", "4a", "4a", "6"]);
    let often = prop_oneof![
        (0..400u64).prop_map(Input::Wait),
        any::<bool>().prop_map(|buffered| Input::Poll { buffered }),
        Just(Input::PollAnswered),
        Just(Input::Post),
        Just(Input::PostEnd),
        harmless().prop_map(Input::PollingPacket),
        harmless().prop_map(Input::Frame),
        Just(Input::Attach),
        prop::sample::select(vec!["2probe", "5"]).prop_map(Input::Probe),
        Just(Input::ProbeLost),
    ];
    let seldom = prop_oneof![
        (0..2000u64).prop_map(Input::StandStill),
        Just(Input::PollAborted),
        Just(Input::PostAborted),
        packet().prop_map(Input::PollingPacket),
        packet().prop_map(Input::Frame),
        packet().prop_map(Input::Probe),
        Just(Input::WebSocketLost),
        Just(Input::Undecodable),
        Just(Input::Flushed),
        any::<bool>().prop_map(|buffered| Input::Close { buffered }),
        Just(Input::Abort),
    ];
    vec(prop_oneof![8 => often, 1 => seldom], 0..60)
}

/// A session whose outputs are checked as they come.
struct Watched {
    session: Session,
    now: Instant,
    outputs: Vec<Output>,
}

impl Watched {
    #[allow(
        clippy::disallowed_methods,
        reason = "an instant to count from; nothing depends on which"
    )]
    fn open(transport: Transport, revision: Revision) -> Self {
        let now = Instant::now();
        let timing = Timing {
            ping_interval: Duration::from_millis(PING_INTERVAL),
            ping_timeout: Duration::from_millis(PING_TIMEOUT),
            upgrade_timeout: Duration::from_millis(UPGRADE_TIMEOUT),
        };
        Self {
            session: Session::open_as(now, transport, timing, revision),
            now,
            outputs: Vec::new(),
        }
    }

    fn closed(&self) -> bool {
        self.outputs
            .iter()
            .any(|output| matches!(output, Output::Closed(_)))
    }

    fn finished(&self) -> bool {
        self.outputs.contains(&Output::Finished)
    }

    fn apply(&mut self, input: &Input) {
        let now = self.now;
        let session = &mut self.session;
        match input {
            Input::Wait(millis) => self.wait(Duration::from_millis(*millis)),
            Input::StandStill(millis) => {
                self.now += Duration::from_millis(*millis);
                session.handle_timeout(self.now);
            }
            Input::Poll { buffered } => {
                let known = session.handle_poll(now, *buffered) != Poll::Unknown;
                self.known(known);
            }
            Input::PollAnswered => session.handle_poll_answered(),
            Input::PollAborted => session.handle_poll_aborted(),
            Input::Post => {
                let accepted = session.handle_post() == Post::Accepted;
                self.known(accepted);
            }
            Input::PostEnd => session.handle_post_end(),
            Input::PostAborted => session.handle_post_aborted(),
            Input::PollingPacket(packet) => {
                let packet = Packet::decode(packet).unwrap();
                let message = session.handle_polling_packet(now, packet);
                let heard = message.is_some();
                self.heard(heard);
            }
            Input::Frame(packet) => {
                let packet = Packet::decode(packet).unwrap();
                let message = session.handle_stream_packet(now, packet);
                let heard = message.is_some();
                self.heard(heard);
            }
            Input::Attach => {
                let probing = session.handle_attach(now, Transport::WebSocket) == Attach::Probing;
                self.heard(probing);
            }
            Input::Probe(packet) => {
                session.handle_probe_packet(now, &Packet::decode(packet).unwrap());
            }
            Input::ProbeLost => session.handle_probe_lost(),
            Input::WebSocketLost => session.handle_stream_lost(CloseReason::TransportClose),
            Input::Undecodable => session.handle_undecodable(),
            Input::Flushed => session.handle_flushed(),
            Input::Close { buffered } => session.close(now, CloseReason::ForcedClose, *buffered),
            Input::Abort => session.abort(CloseReason::SlowConsumer),
        }
        self.drain();
    }

    /// Whoever is known belongs to a session that is not over.
    fn known(&self, known: bool) {
        assert!(
            !known || !self.finished(),
            "a finished session knows a request"
        );
    }

    /// What is heard is heard by an open session.
    fn heard(&self, heard: bool) {
        assert!(!heard || !self.closed(), "a closed session hears");
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert!(!self.finished(), "{output:?} after the end");
            match output {
                Output::Closed(_) => assert!(!self.closed(), "closed twice"),
                Output::Finished => assert!(self.closed(), "finished without being closed"),
                Output::Ping { .. }
                | Output::Pong { .. }
                | Output::AnswerPing
                | Output::Upgraded => {
                    assert!(!self.closed(), "{output:?} of a closed session");
                }
                Output::AnswerPoll(_)
                | Output::AnswerProbe
                | Output::DropProbe(_)
                | Output::FlushStream
                | Output::CloseStream => {}
            }
            self.outputs.push(output);
        }
        assert_eq!(self.session.is_open(), !self.closed());
        assert_eq!(
            self.session.poll_timeout().is_some(),
            !self.finished(),
            "a session has a deadline exactly until it is over"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_session_never_outlives_its_deadline(
        transport in prop::sample::select(Transport::ALL.to_vec()),
        revision in prop::sample::select(Revision::ALL.to_vec()),
        inputs in inputs(),
    ) {
        let mut session = Watched::open(transport, revision);
        inputs.iter().for_each(|input| session.apply(input));
        session.wait(SILENCE);
        prop_assert!(session.finished(), "after silence: {:?}", session.session);
        prop_assert!(session.closed());
        inputs.iter().for_each(|input| session.apply(input));
    }
}
