//! How it ends.

use crate::support::{Process, post, request};

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1";

/// A session, so that there is something to drain.
fn open(gateway: &Process) {
    let opened = request(gateway.clients, HANDSHAKE);
    assert!(opened.starts_with("HTTP/1.1 200 "), "{opened}");
}

#[test]
fn sigterm_ends_an_idle_node_at_once_with_status_0() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn sigterm_goes_on_serving_and_a_second_one_ends_at_once() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    gateway.signal("TERM");
    gateway.until_not_ready();
    let handshake = request(gateway.clients, HANDSHAKE);
    assert!(handshake.starts_with("HTTP/1.1 200 "), "{handshake}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn sigint_does_not_wait_for_the_drain() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    gateway.signal("TERM");
    gateway.until_not_ready();
    gateway.signal("INT");
    assert_eq!(gateway.ended().code(), Some(0));

    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    gateway.signal("INT");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn signals_that_mean_nothing_here_are_ignored_with_a_warning() {
    let mut gateway = Process::start(&[]);
    for name in ["HUP", "USR1", "USR2"] {
        gateway.signal(name);
        gateway.until(|gateway| gateway.said(&format!("signal=\"SIG{name}\"")));
    }
    assert!(gateway.is_running());
    let live = request(gateway.internal, "GET /live HTTP/1.1");
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_drained_node_stays_up_until_it_is_told_to_end() {
    let mut gateway = Process::start(&["--shutdown-drain", "100ms"]);
    let drain = post(gateway.internal, "/drain", "");
    assert!(drain.starts_with("HTTP/1.1 202 "), "{drain}");
    gateway.until(|gateway| request(gateway.clients, HANDSHAKE).starts_with("HTTP/1.1 503 "));
    assert!(gateway.is_running());
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn the_drain_of_sigterm_cannot_be_taken_back() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    open(&gateway);
    post(gateway.internal, "/drain", "");
    let back = request(gateway.internal, "DELETE /drain HTTP/1.1");
    assert!(back.starts_with("HTTP/1.1 200 "), "{back}");
    let ready = request(gateway.internal, "GET /ready HTTP/1.1");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    gateway.signal("TERM");
    gateway.until_not_ready();
    let back = request(gateway.internal, "DELETE /drain HTTP/1.1");
    assert!(back.starts_with("HTTP/1.1 409 "), "{back}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}
