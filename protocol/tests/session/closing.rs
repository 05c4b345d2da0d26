//! The end of a session, from either side.

use protocol::engineio::{
    Answer, Attach, CloseReason, Output, Poll, Post, ProbeFailure, Session, Transport,
};

use crate::pair::{PING, PING_INTERVAL, Pair};

const CLOSED: Output = Output::Closed(CloseReason::ForcedClose);
const CLOSED_BY_CLIENT: Output = Output::Closed(CloseReason::TransportClose);
const DROP_PROBE: Output = Output::DropProbe(ProbeFailure::SessionClosed);
const GRACE: u64 = 30_000;

#[test]
fn close_packet_answers_the_parked_poll() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.post_head();
    assert_eq!(pair.post_body("4a\x1e1\x1e4behind"), ["a"]);
    pair.expect(&[
        Output::AnswerPoll(Answer::Noop),
        CLOSED_BY_CLIENT,
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn a_poll_may_come_behind_the_close_packet_that_overtook_it() {
    let mut pair = Pair::polling();
    pair.post_head();
    pair.post_body("1");
    pair.expect(&[CLOSED_BY_CLIENT]);
    assert!(pair.session().waits_for_late_poll());
    assert!(!pair.session().is_open());
    assert_eq!(pair.post_head(), Post::Unknown);
    assert_eq!(pair.attach(), Attach::Refused);
    pair.wait(199);
    assert_eq!(pair.poll(), Poll::Parked);
    pair.expect(&[Output::AnswerPoll(Answer::Noop), Output::Finished]);
    pair.is_gone();
}

#[test]
fn a_late_poll_is_not_waited_for_long() {
    let mut pair = Pair::polling();
    pair.post_head();
    pair.post_body("1");
    pair.expect(&[CLOSED_BY_CLIENT]);
    pair.wait(200);
    pair.expect(&[Output::Finished]);
    pair.is_gone();
}

#[test]
fn close_packet_drops_the_probe() {
    let mut pair = Pair::probing();
    pair.poll();
    pair.post_head();
    pair.post_body("1");
    pair.expect(&[
        Output::AnswerPoll(Answer::Noop),
        DROP_PROBE,
        CLOSED_BY_CLIENT,
        Output::Finished,
    ]);
    pair.probe("5");
    pair.is_gone();
}

#[test]
fn close_answers_a_parked_poll_when_nothing_waits() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.close(false);
    pair.expect(&[CLOSED, Output::AnswerPoll(Answer::Close), Output::Finished]);
    pair.is_gone();
}

#[test]
fn close_lets_a_parked_poll_take_the_payload_first() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.close(true);
    pair.expect(&[CLOSED]);
    pair.answer_poll();
    assert_eq!(pair.poll(), Poll::Parked);
    pair.expect(&[Output::AnswerPoll(Answer::NoopThenClose), Output::Finished]);
    pair.is_gone();
}

#[test]
fn close_waits_for_the_next_poll() {
    let mut pair = Pair::polling();
    pair.close(false);
    pair.expect(&[CLOSED]);
    pair.wait(GRACE - 1);
    assert_eq!(pair.poll(), Poll::Parked);
    pair.expect(&[Output::AnswerPoll(Answer::NoopThenClose), Output::Finished]);
    pair.is_gone();
}

#[test]
fn close_hands_out_the_payload_and_then_itself() {
    let mut pair = Pair::polling();
    pair.close(true);
    pair.expect(&[CLOSED]);
    assert_eq!(pair.poll_buffered(), Poll::Parked);
    assert_eq!(pair.poll(), Poll::Parked);
    pair.expect(&[Output::AnswerPoll(Answer::NoopThenClose), Output::Finished]);
    pair.is_gone();
}

/// The close packet is the end for some client libraries; an unknown session is not.
#[test]
fn a_close_that_invites_back_never_sends_the_close_packet() {
    for reason in CloseReason::ALL {
        let invites = matches!(
            reason,
            CloseReason::PingTimeout
                | CloseReason::SlowConsumer
                | CloseReason::ServerShuttingDown
                | CloseReason::TokenExpired
                | CloseReason::Rebalanced
        );
        assert_eq!(reason.invites_back(), invites, "{reason:?}");
        let (at_once, later) = match invites {
            true => (Answer::Gone, Answer::Gone),
            false => (Answer::Close, Answer::NoopThenClose),
        };
        let closed = Output::Closed(reason);

        let mut pair = Pair::polling();
        pair.poll();
        pair.close_because(reason, false);
        pair.expect(&[closed, Output::AnswerPoll(at_once), Output::Finished]);
        pair.is_gone();

        let mut pair = Pair::polling();
        pair.poll();
        pair.close_because(reason, true);
        pair.expect(&[closed]);
        pair.answer_poll();
        assert_eq!(pair.poll(), Poll::Parked);
        pair.expect(&[Output::AnswerPoll(later), Output::Finished]);
        pair.is_gone();

        let mut pair = Pair::polling();
        pair.poll();
        pair.input(|session| session.abort(reason));
        pair.expect(&[Output::AnswerPoll(at_once), closed, Output::Finished]);
        pair.is_gone();
    }
}

#[test]
fn a_closed_session_is_gone_after_its_grace() {
    for buffered in [false, true] {
        let mut pair = Pair::polling();
        pair.close(buffered);
        pair.expect(&[CLOSED]);
        pair.wait(GRACE);
        pair.expect(&[Output::Finished]);
        pair.is_gone();
    }
}

#[test]
fn a_closing_session_hears_nothing() {
    let mut pair = Pair::polling();
    pair.close(true);
    pair.expect(&[CLOSED]);
    assert!(!pair.session().is_open());
    assert_eq!(pair.post("4a\x1e2\x1e1"), [""; 0]);
    assert!(!pair.session().accepts_post());
    pair.input(Session::handle_undecodable);
    pair.input(Session::handle_post_aborted);
    pair.close(true);
    assert_eq!(pair.attach(), Attach::Refused);
}

#[test]
fn abort_ends_a_closing_session() {
    let mut pair = Pair::polling();
    pair.close(true);
    pair.expect(&[CLOSED]);
    pair.input(|session| session.abort(CloseReason::SlowConsumer));
    pair.expect(&[Output::Finished]);
    pair.is_gone();

    let mut pair = Pair::polling();
    pair.poll();
    pair.close(true);
    pair.expect(&[CLOSED]);
    pair.input(Session::handle_poll_aborted);
    pair.expect(&[Output::Finished]);
    pair.is_gone();
}

#[test]
fn close_drops_the_probe() {
    let mut pair = Pair::probing();
    pair.close(false);
    pair.expect(&[DROP_PROBE, CLOSED]);
    pair.probe("5");
    assert_eq!(pair.session().transport(), Transport::Polling);
    pair.wait(GRACE);
    pair.expect(&[Output::Finished]);
}

#[test]
fn abort_drops_the_probe() {
    let mut pair = Pair::probing();
    pair.poll();
    pair.input(|session| session.abort(CloseReason::SlowConsumer));
    pair.expect(&[
        Output::AnswerPoll(Answer::Gone),
        DROP_PROBE,
        Output::Closed(CloseReason::SlowConsumer),
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn abort_closes_a_websocket_at_once() {
    let mut pair = Pair::websocket();
    pair.input(|session| session.abort(CloseReason::SlowConsumer));
    pair.expect(&[
        Output::CloseStream,
        Output::Closed(CloseReason::SlowConsumer),
        Output::Finished,
    ]);
    pair.input(|session| session.abort(CloseReason::SlowConsumer));
    pair.is_gone();
}

#[test]
fn close_flushes_the_websocket() {
    for buffered in [false, true] {
        let mut pair = Pair::websocket();
        pair.close(buffered);
        pair.expect(&[CLOSED, Output::FlushStream]);
        assert_eq!(pair.frame("4a"), None);
        assert_eq!(pair.poll(), Poll::Mismatch);
        assert_eq!(pair.post_head(), Post::Mismatch);
        pair.close(buffered);
        pair.wait(PING_INTERVAL);
        pair.input(Session::handle_flushed);
        pair.expect(&[Output::CloseStream, Output::Finished]);
        pair.is_gone();
    }
}

#[test]
fn a_websocket_that_does_not_take_its_last_packets_is_closed() {
    let mut pair = Pair::websocket();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.close(true);
    pair.expect(&[CLOSED, Output::FlushStream]);
    pair.wait(GRACE);
    pair.expect(&[Output::CloseStream, Output::Finished]);
    pair.is_gone();
}

#[test]
fn a_flushing_websocket_may_go_away() {
    let mut pair = Pair::websocket();
    pair.close(true);
    pair.expect(&[CLOSED, Output::FlushStream]);
    pair.input(|session| session.handle_stream_lost(CloseReason::TransportClose));
    pair.expect(&[Output::Finished]);
    pair.is_gone();
}

#[test]
fn abort_ends_a_flushing_websocket() {
    let mut pair = Pair::websocket();
    pair.close(true);
    pair.expect(&[CLOSED, Output::FlushStream]);
    pair.input(|session| session.abort(CloseReason::SlowConsumer));
    pair.expect(&[Output::CloseStream, Output::Finished]);
    pair.is_gone();
}

#[test]
fn close_packet_on_a_websocket_closes_the_session() {
    let mut pair = Pair::websocket();
    assert_eq!(pair.frame("1"), None);
    pair.expect(&[Output::CloseStream, CLOSED_BY_CLIENT, Output::Finished]);
    pair.is_gone();
}

#[test]
fn a_lost_websocket_closes_the_session() {
    for reason in [CloseReason::TransportClose, CloseReason::TransportError] {
        let mut pair = Pair::websocket();
        pair.input(|session| session.handle_stream_lost(reason));
        pair.expect(&[
            Output::CloseStream,
            Output::Closed(reason),
            Output::Finished,
        ]);
        pair.is_gone();
    }
}

#[test]
fn undecodable_frame_closes_the_session() {
    let mut pair = Pair::websocket();
    pair.input(Session::handle_undecodable);
    pair.expect(&[
        Output::CloseStream,
        Output::Closed(CloseReason::ParseError),
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn frames_that_only_a_server_or_a_probe_sends_are_ignored() {
    let mut pair = Pair::websocket();
    for packet in ["0{}", "5", "6"] {
        assert_eq!(pair.frame(packet), None);
    }
    assert_eq!(pair.frame("4a").as_deref(), Some("a"));
}

#[test]
fn a_session_that_is_over_tells_its_last_transport() {
    let mut upgraded = Pair::probing();
    upgraded.probe("5");
    upgraded.expect(&[Output::Upgraded]);
    for (mut pair, transport) in [
        (Pair::polling(), Transport::Polling),
        (Pair::probing(), Transport::Polling),
        (Pair::websocket(), Transport::WebSocket),
        (upgraded, Transport::WebSocket),
    ] {
        pair.input(|session| {
            session.abort(CloseReason::SlowConsumer);
            while session.poll_output().is_some() {}
        });
        assert_eq!(pair.session().transport(), transport);
    }
}
