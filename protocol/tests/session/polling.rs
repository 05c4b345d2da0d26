//! Polls and posts (GET and POST) of a session on polling.

use protocol::engineio::{Answer, CloseReason, Output, Poll, Post, Session, Transport};

use crate::pair::Pair;

#[test]
fn a_poll_waits_until_the_driver_answers_it() {
    let mut pair = Pair::polling();
    assert_eq!(pair.poll(), Poll::Parked);
    assert!(pair.session().has_poll());
    pair.answer_poll();
    assert!(!pair.session().has_poll());
    assert_eq!(pair.poll(), Poll::Parked);
}

#[test]
fn second_poll_closes_the_session() {
    let mut pair = Pair::polling();
    pair.poll();
    assert_eq!(pair.poll(), Poll::Overlap);
    pair.expect(&[
        Output::AnswerPoll(Answer::Close),
        Output::Closed(CloseReason::TransportError),
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn second_post_closes_the_session() {
    let mut pair = Pair::polling();
    assert_eq!(pair.post_head(), Post::Accepted);
    assert_eq!(pair.post_head(), Post::Overlap);
    pair.expect(&[
        Output::Closed(CloseReason::TransportError),
        Output::Finished,
    ]);
    assert_eq!(pair.post_body("4too late"), [""; 0]);
    pair.is_gone();
}

#[test]
fn second_post_answers_the_parked_poll_with_a_close_packet() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.post_head();
    assert_eq!(pair.post_head(), Post::Overlap);
    pair.expect(&[
        Output::AnswerPoll(Answer::Close),
        Output::Closed(CloseReason::TransportError),
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn a_post_passes_while_a_poll_is_parked() {
    let mut pair = Pair::polling();
    pair.poll();
    assert_eq!(pair.post("4a\x1e4b\x1ebAQI="), ["a", "b", "[1, 2]"]);
    assert_eq!(pair.post("4c"), ["c"]);
    assert!(pair.session().has_poll());
}

#[test]
fn a_released_poll_is_answered_and_the_session_goes_on() {
    let mut pair = Pair::polling();
    pair.input(Session::handle_poll_released);
    pair.poll();
    pair.input(Session::handle_poll_released);
    pair.expect(&[Output::AnswerPoll(Answer::Noop)]);
    assert!(!pair.session().has_poll());
    assert_eq!(pair.poll(), Poll::Parked);
}

#[test]
fn aborted_poll_closes_the_session() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.input(Session::handle_poll_aborted);
    pair.expect(&[
        Output::Closed(CloseReason::TransportError),
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn abort_of_a_poll_that_was_answered_is_nothing() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.answer_poll();
    pair.input(Session::handle_poll_aborted);
    assert_eq!(pair.poll(), Poll::Parked);
}

#[test]
fn aborted_post_closes_the_session() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.post_head();
    pair.input(Session::handle_post_aborted);
    pair.expect(&[
        Output::AnswerPoll(Answer::Close),
        Output::Closed(CloseReason::TransportError),
        Output::Finished,
    ]);
    pair.is_gone();
}

#[test]
fn abort_of_a_post_that_ended_is_nothing() {
    let mut pair = Pair::polling();
    pair.post("4a");
    pair.input(Session::handle_post_aborted);
    assert_eq!(pair.post("4b"), ["b"]);
}

#[test]
fn a_refused_post_leaves_room_for_the_next() {
    let mut pair = Pair::polling();
    pair.post_head();
    pair.post_end();
    assert_eq!(pair.post("4a"), ["a"]);
}

#[test]
fn undecodable_packet_closes_the_session() {
    let mut pair = Pair::polling();
    pair.poll();
    pair.post_head();
    pair.input(Session::handle_undecodable);
    pair.expect(&[
        Output::AnswerPoll(Answer::Close),
        Output::Closed(CloseReason::ParseError),
        Output::Finished,
    ]);
    pair.input(Session::handle_undecodable);
    pair.is_gone();
}

#[test]
fn packets_that_only_a_server_sends_are_ignored() {
    let mut pair = Pair::polling();
    assert_eq!(pair.post("0{}\x1e5\x1e6\x1e4a"), ["a"]);
    assert_eq!(pair.session().transport(), Transport::Polling);
}

#[test]
fn frames_are_nothing_to_a_session_on_polling() {
    let mut pair = Pair::polling();
    assert_eq!(pair.frame("4a"), None);
    assert_eq!(pair.frame("1"), None);
    pair.probe("5");
    pair.input(|session| session.handle_stream_lost(CloseReason::TransportClose));
    pair.input(Session::handle_probe_lost);
    pair.input(Session::handle_flushed);
    assert_eq!(pair.session().transport(), Transport::Polling);
    assert_eq!(pair.post("4b"), ["b"]);
}
