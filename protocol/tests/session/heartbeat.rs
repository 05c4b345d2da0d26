//! Pings, pongs and the deadline between them.

use std::time::Duration;

use protocol::engineio::{Answer, Attach, CloseReason, Output};

use crate::pair::{PING, PING_INTERVAL, PING_TIMEOUT, Pair, pong};

const TIMED_OUT: [Output; 3] = [
    Output::CloseStream,
    Output::Closed(CloseReason::PingTimeout),
    Output::Finished,
];

#[test]
fn pings_are_counted_from_the_handshake_and_from_each_pong() {
    let mut pair = Pair::websocket();
    for delay in [150, 0, 199] {
        pair.wait(PING_INTERVAL);
        pair.expect(&[PING]);
        pair.wait(delay);
        assert_eq!(pair.frame("3"), None);
        pair.expect(&[pong(delay)]);
    }
}

#[test]
fn pings_are_sent_on_polling_too() {
    let mut pair = Pair::polling();
    for _ in 0..3 {
        pair.wait(PING_INTERVAL);
        pair.expect(&[PING]);
        pair.wait(150);
        assert_eq!(pair.post("3"), [""; 0]);
        pair.expect(&[pong(150)]);
    }
}

#[test]
fn unanswered_ping_closes_a_websocket() {
    let mut pair = Pair::websocket();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.wait(PING_TIMEOUT);
    pair.expect(&TIMED_OUT);
    pair.is_gone();
}

#[test]
fn unanswered_ping_closes_a_session_without_a_poll() {
    let mut pair = Pair::polling();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.wait(PING_TIMEOUT);
    pair.expect(&[Output::Closed(CloseReason::PingTimeout), Output::Finished]);
    pair.is_gone();
}

#[test]
fn a_parked_poll_does_not_count_as_a_pong() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.answer_poll();
    pair.wait(1);
    pair.poll();
    pair.wait(PING_TIMEOUT - 1);
    pair.expect(&[
        Output::AnswerPoll(Answer::Gone),
        Output::Closed(CloseReason::PingTimeout),
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn another_packet_extends_the_deadline_once() {
    let mut pair = Pair::websocket();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.wait(100);
    assert_eq!(pair.frame("4a").as_deref(), Some("a"));
    pair.wait(150);
    assert_eq!(pair.frame("4b").as_deref(), Some("b"));
    pair.wait(50);
    pair.expect(&TIMED_OUT);
}

#[test]
fn each_ping_may_be_extended_anew() {
    let mut pair = Pair::websocket();
    for _ in 0..2 {
        pair.wait(PING_INTERVAL);
        pair.expect(&[PING]);
        pair.wait(199);
        pair.frame("4a");
        pair.wait(199);
        pair.frame("3");
        pair.expect(&[pong(398)]);
    }
}

#[test]
fn messages_before_a_ping_extend_nothing() {
    let mut pair = Pair::websocket();
    pair.wait(PING_INTERVAL - 1);
    pair.frame("4a");
    pair.wait(1);
    pair.expect(&[PING]);
    pair.wait(PING_TIMEOUT);
    pair.expect(&TIMED_OUT);
}

#[test]
fn unsolicited_pongs_are_ignored() {
    let mut pair = Pair::websocket();
    for _ in 0..2 {
        pair.wait(100);
        pair.frame("3");
    }
    pair.wait(100);
    pair.expect(&[PING]);
    pair.frame("3");
    pair.expect(&[pong(0)]);
    pair.wait(PING_INTERVAL - 1);
    pair.frame("3");
    pair.wait(1);
    pair.expect(&[PING]);
}

#[test]
fn a_clients_ping_closes_the_session() {
    for ping in ["2", "2probe"] {
        let mut pair = Pair::websocket();
        assert_eq!(pair.frame(ping), None);
        pair.expect(&[
            Output::CloseStream,
            Output::Closed(CloseReason::TransportError),
            Output::Finished,
        ]);
        pair.is_gone();

        let mut pair = Pair::polling();
        pair.poll();
        pair.post_head();
        assert_eq!(pair.post_body(&format!("{ping}\x1e4behind")), [""; 0]);
        pair.expect(&[
            Output::AnswerPoll(Answer::Close),
            Output::Closed(CloseReason::TransportError),
            Output::Finished,
        ]);
        pair.is_gone();
    }
}

#[test]
fn a_ping_tells_how_late_it_is() {
    let mut pair = Pair::websocket();
    pair.stand_still(PING_INTERVAL + 7);
    pair.expect(&[Output::Ping {
        lateness: Duration::from_millis(7),
    }]);
    pair.wait(PING_TIMEOUT - 7);
    pair.expect(&TIMED_OUT);
}

#[test]
fn a_node_that_stood_still_waits_for_pongs_anew() {
    let mut pair = Pair::websocket();
    pair.stand_still(PING_INTERVAL + PING_TIMEOUT + 1);
    pair.expect(&[Output::Ping {
        lateness: Duration::from_millis(PING_TIMEOUT + 1),
    }]);
    pair.wait(PING_TIMEOUT - 1);
    pair.frame("3");
    pair.expect(&[pong(PING_TIMEOUT - 1)]);
}

/// socketioxide #487 and #575 paused the heartbeat during upgrades; #731 is what came of it.
#[test]
fn heartbeats_go_on_while_probing_and_after_the_upgrade() {
    let mut pair = Pair::polling();
    pair.wait(200);
    assert_eq!(pair.attach(), Attach::Probing);
    pair.wait(100);
    pair.expect(&[PING]);
    pair.probe("2probe");
    pair.expect(&[Output::AnswerProbe]);
    pair.wait(50);
    pair.post("3");
    pair.expect(&[pong(50)]);
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    pair.wait(PING_TIMEOUT - 1);
    pair.frame("3");
    pair.expect(&[pong(PING_TIMEOUT - 1)]);
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.wait(PING_TIMEOUT);
    pair.expect(&TIMED_OUT);
}

#[test]
fn a_node_that_stood_still_reads_before_it_closes() {
    let mut pair = Pair::websocket();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.stand_still(PING_TIMEOUT + 1001);
    assert_eq!(pair.frame("3"), None);
    pair.expect(&[pong(PING_TIMEOUT + 1001)]);
}

#[test]
fn a_node_that_stood_still_waits_only_once_more() {
    let mut pair = Pair::websocket();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    pair.stand_still(PING_TIMEOUT + 1001);
    pair.stand_still(PING_TIMEOUT + 5000);
    pair.expect(&TIMED_OUT);
}

#[test]
fn a_ping_that_the_transport_did_not_take_is_not_missed() {
    let mut pair = Pair::websocket();
    pair.wait(PING_INTERVAL);
    pair.expect(&[PING]);
    for _ in 0..3 {
        pair.wait_with_the_ping_unsent(PING_TIMEOUT);
    }
    pair.wait(PING_TIMEOUT - 1);
    assert_eq!(pair.frame("3"), None);
    pair.expect(&[pong(4 * PING_TIMEOUT - 1)]);
}
