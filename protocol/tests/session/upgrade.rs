//! From polling to WebSocket.

use protocol::engineio::{
    Answer, Attach, CloseReason, Output, Poll, Post, ProbeFailure, Session, Transport,
};

use crate::pair::{PING, PING_INTERVAL, PING_TIMEOUT, Pair, UPGRADE_TIMEOUT, pong};

const NOOP_INTERVAL: u64 = 100;

#[test]
fn upgrade_packet_makes_the_websocket_the_transport() {
    let mut pair = Pair::polling();
    assert_eq!(pair.attach(), Attach::Probing);
    pair.probe("2probe");
    pair.expect(&[Output::AnswerProbe]);
    assert_eq!(pair.session().transport(), Transport::Polling);
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    assert_eq!(pair.session().transport(), Transport::WebSocket);
    assert_eq!(pair.frame("4a").as_deref(), Some("a"));
    assert_eq!(pair.poll(), Poll::Mismatch);
    assert_eq!(pair.post_head(), Post::Mismatch);
}

#[test]
fn until_the_upgrade_packet_the_session_lives_on_polling() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.attach();
    assert_eq!(pair.post("4a"), ["a"]);
    pair.probe("2probe");
    pair.expect(&[Output::AnswerProbe]);
    assert_eq!(pair.post("4b"), ["b"]);
    pair.answer_poll();
    assert_eq!(pair.poll_buffered(), Poll::Parked);
    assert_eq!(pair.frame("4not yet"), None);
}

/// socketioxide #487 and #554: one noop for the whole upgrade left the second poll of a client
/// parked until the next ping, 25 seconds later.
#[test]
fn every_parked_poll_is_let_go_once_in_each_cycle_while_probing() {
    let mut pair = Pair::polling();
    pair.attach();
    pair.poll();
    pair.wait(NOOP_INTERVAL / 2);
    pair.probe("2probe");
    pair.expect(&[Output::AnswerProbe]);
    pair.wait(NOOP_INTERVAL);
    pair.expect(&[Output::AnswerPoll(Answer::Noop)]);
    assert!(!pair.session().has_poll());
    assert_eq!(pair.poll(), Poll::Parked);
    pair.wait(NOOP_INTERVAL);
    pair.expect(&[Output::AnswerPoll(Answer::Noop)]);
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
}

#[test]
fn without_a_parked_poll_the_noop_cycle_is_silent() {
    let mut pair = Pair::probing();
    pair.wait(NOOP_INTERVAL + 50);
    pair.poll();
    pair.wait(50);
    pair.expect(&[Output::AnswerPoll(Answer::Noop)]);
    pair.wait(50);
}

#[test]
fn polls_are_let_go_only_when_the_websocket_has_asked_for_it() {
    let mut pair = Pair::polling();
    pair.attach();
    pair.poll();
    pair.wait(PING_INTERVAL - 1);
    assert!(pair.session().has_poll());
}

#[test]
fn the_noop_cycle_ends_with_the_probe() {
    let mut pair = Pair::probing();
    pair.input(Session::handle_probe_lost);
    pair.expect(&[Output::DropProbe(ProbeFailure::Disconnected)]);
    pair.poll();
    pair.wait(PING_INTERVAL - 1);
    assert!(pair.session().has_poll());
}

#[test]
fn upgrade_packet_closes_a_poll_that_was_parked_for_long() {
    let mut pair = Pair::probing();
    pair.poll();
    pair.wait(40);
    pair.probe("5");
    pair.expect(&[Output::AnswerPoll(Answer::Close), Output::Upgraded]);
    assert_eq!(pair.poll(), Poll::Mismatch);
}

#[test]
fn a_poll_that_was_sent_behind_the_upgrade_packet_is_a_mismatch() {
    let mut pair = Pair::probing();
    pair.poll();
    pair.wait(39);
    pair.probe("5");
    pair.expect(&[Output::AnswerPoll(Answer::Mismatch), Output::Upgraded]);
}

#[test]
fn upgrade_packet_is_accepted_without_a_probe() {
    let mut pair = Pair::polling();
    pair.attach();
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    assert_eq!(pair.frame("4a").as_deref(), Some("a"));
}

#[test]
fn a_post_that_did_not_end_before_the_upgrade_hands_in_nothing() {
    let mut pair = Pair::probing();
    assert_eq!(pair.post_head(), Post::Accepted);
    assert!(pair.session().accepts_post());
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    assert!(!pair.session().accepts_post());
    assert_eq!(pair.post_body("4late\x1e1"), [""; 0]);
    pair.post_end();
    pair.input(Session::handle_post_aborted);
    pair.input(Session::handle_poll_aborted);
    assert!(pair.session().is_open());
}

#[test]
fn any_other_packet_drops_the_probe_and_leaves_the_session_on_polling() {
    for packet in ["0{}", "1", "2", "2hello", "3probe", "4hi", "6"] {
        for probed in [false, true] {
            let mut pair = Pair::polling();
            pair.attach();
            if probed {
                pair.probe("2probe");
                pair.expect(&[Output::AnswerProbe]);
            }
            pair.probe(packet);
            pair.expect(&[Output::DropProbe(ProbeFailure::UnexpectedPacket)]);
            assert_eq!(pair.session().transport(), Transport::Polling);
            assert_eq!(pair.post("4a"), ["a"]);
            pair.probe("5");
            assert_eq!(pair.session().transport(), Transport::Polling);
        }
    }
}

#[test]
fn a_lost_probe_leaves_the_session_on_polling_with_its_poll() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.attach();
    pair.input(Session::handle_probe_lost);
    pair.expect(&[Output::DropProbe(ProbeFailure::Disconnected)]);
    assert!(pair.session().has_poll());
    assert_eq!(pair.attach(), Attach::Probing);
}

#[test]
fn an_upgrade_that_takes_too_long_is_given_up() {
    let mut pair = Pair::polling();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.post("3");
    pair.expect(&[pong(0)]);
    pair.attach();
    for _ in 0..3 {
        pair.wait(PING_INTERVAL);
        pair.expect(&[PING]);
        pair.post("3");
        pair.expect(&[pong(0)]);
    }
    pair.wait(UPGRADE_TIMEOUT - 3 * PING_INTERVAL);
    pair.expect(&[Output::DropProbe(ProbeFailure::Timeout)]);
    assert_eq!(pair.session().transport(), Transport::Polling);
    assert_eq!(pair.post("4a"), ["a"]);
    assert_eq!(pair.attach(), Attach::Probing);
}

#[test]
fn a_completed_upgrade_does_not_time_out() {
    let mut pair = Pair::probing();
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    for _ in 0..2 * UPGRADE_TIMEOUT / PING_INTERVAL {
        pair.wait(PING_INTERVAL);
        pair.expect(&[PING]);
        pair.frame("3");
        pair.expect(&[pong(0)]);
    }
}

#[test]
fn a_second_websocket_is_refused_and_changes_nothing() {
    let mut pair = Pair::probing();
    assert_eq!(pair.attach(), Attach::Refused);
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    assert_eq!(pair.attach(), Attach::Refused);
    assert_eq!(pair.frame("4a").as_deref(), Some("a"));
}

#[test]
fn a_session_that_began_on_a_websocket_cannot_be_taken_over() {
    let mut pair = Pair::websocket();
    assert_eq!(pair.attach(), Attach::Refused);
    pair.probe("5");
    assert_eq!(pair.frame("4a").as_deref(), Some("a"));
}

/// socketioxide #731: upgrades that were begun and never completed, by clients that kept the
/// connection open, stopped the heartbeat for ever and were never reclaimed: 19 GiB in 20 days.
#[test]
fn an_abandoned_upgrade_is_reclaimed_by_the_heartbeat() {
    for probed in [false, true] {
        let mut pair = Pair::polling();
        pair.attach();
        if probed {
            pair.probe("2probe");
            pair.expect(&[Output::AnswerProbe]);
        }
        pair.wait(PING_INTERVAL);
        pair.expect(&[PING]);
        pair.wait(PING_TIMEOUT);
        pair.expect(&[
            Output::DropProbe(ProbeFailure::SessionClosed),
            Output::Closed(CloseReason::PingTimeout),
            Output::Finished,
        ]);
        pair.is_gone();
    }
}

#[test]
fn a_probing_webtransport_becomes_the_transport() {
    let mut pair = Pair::polling();
    assert_eq!(pair.attach_as(Transport::WebTransport), Attach::Probing);
    assert_eq!(pair.attach(), Attach::Refused);
    pair.probe("2probe");
    pair.expect(&[Output::AnswerProbe]);
    assert_eq!(pair.session().transport(), Transport::Polling);
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    assert_eq!(pair.session().transport(), Transport::WebTransport);
    assert_eq!(pair.frame("4a").as_deref(), Some("a"));
    pair.close(false);
    pair.expect(&[
        Output::Closed(CloseReason::ForcedClose),
        Output::FlushStream,
    ]);
}

#[test]
fn after_a_webtransport_was_lost_a_websocket_may_probe() {
    let mut pair = Pair::polling();
    pair.attach_as(Transport::WebTransport);
    pair.input(Session::handle_probe_lost);
    pair.expect(&[Output::DropProbe(ProbeFailure::Disconnected)]);
    assert_eq!(pair.attach(), Attach::Probing);
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    assert_eq!(pair.session().transport(), Transport::WebSocket);
}
