//! Revision 3: the client sends the pings, and has a deadline for whatever it sends.

use protocol::engineio::{Attach, CloseReason, Output, Poll};

use crate::pair::{PING_INTERVAL, PING_TIMEOUT, Pair};

const SILENCE: u64 = PING_INTERVAL + PING_TIMEOUT;

const TIMED_OUT: [Output; 3] = [
    Output::CloseStream,
    Output::Closed(CloseReason::PingTimeout),
    Output::Finished,
];

#[test]
fn a_ping_is_answered_and_begins_the_wait_anew() {
    for mut pair in [Pair::old_polling(), Pair::old_websocket()] {
        for _ in 0..3 {
            pair.wait(SILENCE - 1);
            match pair.session().has_poll() || pair.poll() == Poll::Parked {
                true => assert_eq!(pair.post("2"), [""; 0]),
                false => assert_eq!(pair.frame("2"), None),
            }
            pair.expect(&[Output::AnswerPing]);
        }
    }
}

#[test]
fn no_ping_is_sent() {
    let mut pair = Pair::old_websocket();
    pair.wait(PING_INTERVAL + 1);
    pair.expect(&[]);
}

#[test]
fn a_silent_client_is_closed() {
    let mut pair = Pair::old_websocket();
    pair.wait(SILENCE);
    pair.expect(&TIMED_OUT);
    pair.is_gone();

    let mut pair = Pair::old_polling();
    pair.wait(SILENCE);
    pair.expect(&[Output::Closed(CloseReason::PingTimeout), Output::Finished]);
}

#[test]
fn whatever_a_client_sends_shows_that_it_is_there() {
    let mut pair = Pair::old_websocket();
    for packet in ["4hello", "6", "5"] {
        pair.wait(SILENCE - 1);
        pair.frame(packet);
    }
    pair.wait(SILENCE);
    pair.expect(&TIMED_OUT);
}

#[test]
fn a_client_that_upgraded_has_a_deadline_still() {
    let mut pair = Pair::old_polling();
    pair.wait(SILENCE - 1);
    assert_eq!(pair.attach(), Attach::Probing);
    pair.probe("2probe");
    pair.expect(&[Output::AnswerProbe]);
    pair.probe("5");
    pair.expect(&[Output::Upgraded]);
    pair.wait(SILENCE - 1);
    assert_eq!(pair.frame("2"), None);
    pair.expect(&[Output::AnswerPing]);
    pair.wait(SILENCE);
    pair.expect(&TIMED_OUT);
}

#[test]
fn a_client_that_pongs_is_closed() {
    let mut pair = Pair::old_websocket();
    assert_eq!(pair.frame("3"), None);
    pair.expect(&[
        Output::CloseStream,
        Output::Closed(CloseReason::TransportError),
        Output::Finished,
    ]);
}

#[test]
fn a_node_that_stood_still_reads_first() {
    let mut pair = Pair::old_websocket();
    pair.stand_still(SILENCE + 1500);
    pair.expect(&[]);
    assert_eq!(pair.frame("2"), None);
    pair.expect(&[Output::AnswerPing]);
    pair.stand_still(SILENCE + 1500);
    pair.expect(&[]);
    pair.wait(PING_TIMEOUT);
    pair.expect(&TIMED_OUT);
}
