//! How it ends.

use crate::support::{Process, request};

#[test]
fn sigterm_ends_an_idle_node_with_status_0() {
    let gateway = Process::start(&["--shutdown-drain", "100ms"]);
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn sigterm_goes_on_serving_and_a_second_one_ends_at_once() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    gateway.signal("TERM");
    gateway.until_not_ready();
    let handshake = request(
        gateway.clients,
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1",
    );
    assert!(handshake.starts_with("HTTP/1.1 200 "), "{handshake}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn sigint_does_not_wait_for_the_drain() {
    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    gateway.signal("TERM");
    gateway.until_not_ready();
    gateway.signal("INT");
    assert_eq!(gateway.ended().code(), Some(0));

    let gateway = Process::start(&["--shutdown-drain", "1d"]);
    gateway.signal("INT");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_drained_node_stays_up_until_it_is_told_to_end() {
    let mut gateway = Process::start(&["--shutdown-drain", "100ms"]);
    let drain = request(gateway.internal, "POST /drain HTTP/1.1");
    assert!(drain.starts_with("HTTP/1.1 202 "), "{drain}");
    let target = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1";
    gateway.until(|gateway| request(gateway.clients, target).starts_with("HTTP/1.1 503 "));
    assert!(gateway.child.try_wait().unwrap().is_none());
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}
