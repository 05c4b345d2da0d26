//! What is left of the descriptors when clients hold as many as they can.

use std::net::TcpStream;

use crate::support::{Process, request};

const LIMIT: usize = 256;

fn open_files(gateway: &Process) -> f64 {
    let metrics = request(gateway.internal, "GET /metrics HTTP/1.1");
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix("process_open_fds "));
    value.unwrap().parse().unwrap()
}

#[test]
fn clients_that_hold_all_descriptors_leave_those_of_probes_and_make_room_for_others() {
    let gateway = Process::with_descriptors(LIMIT, &["--shards=2"]);
    let before = open_files(&gateway);
    // A sixth of them is kept back; the kernel holds the rest of the connections.
    let silent: Vec<_> = (0..LIMIT)
        .map(|_| TcpStream::connect(gateway.clients).unwrap())
        .collect();
    gateway.until(|gateway| open_files(gateway) >= before + (LIMIT / 2) as f64);
    for _ in 0..20 {
        let live = request(gateway.internal, "GET /live HTTP/1.1");
        assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
        let open = open_files(&gateway);
        assert!(
            open <= (LIMIT - LIMIT / 6) as f64 + before,
            "{before} {open}"
        );
    }
    let handshake = request(
        gateway.clients,
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1",
    );
    assert!(handshake.starts_with("HTTP/1.1 200 "), "{handshake}");
    drop(silent);
    gateway.until(|gateway| open_files(gateway) <= before + 2.0);
}
