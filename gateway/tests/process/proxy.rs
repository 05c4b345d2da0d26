//! What stands in front of gateways and does them wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What is wrong with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It does not pass the headers of an upgrade.
    NoUpgrade,
    /// It cuts connections that are silent for so long.
    Idle(Duration),
    /// It holds answers of polls back for so long.
    Holds(Duration),
    /// It answers everything itself.
    Answers(&'static str),
}

/// How long a read waits until the other direction is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Starts a proxy that gives each connection to the next of `upstreams`. It ends with the process.
pub(crate) fn start(fault: Fault, upstreams: &[SocketAddr]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstreams = upstreams.to_vec();
    thread::spawn(move || {
        for (turn, client) in listener.incoming().enumerate() {
            let client = client.unwrap();
            let upstream = upstreams.get(turn % upstreams.len().max(1)).copied();
            thread::spawn(move || serve(fault, client, upstream));
        }
    });
    address
}

fn serve(fault: Fault, mut client: TcpStream, upstream: Option<SocketAddr>) {
    let Some(mut head) = read_head(&mut client) else {
        return;
    };
    if let Fault::Answers(answer) = fault {
        client.write_all(answer.as_bytes()).unwrap();
        return;
    }
    let mut upstream = TcpStream::connect(upstream.unwrap()).unwrap();
    let is_poll = head.starts_with("GET") && head.contains("&sid=");
    if fault == Fault::NoUpgrade {
        head = head
            .split_inclusive("\r\n")
            .filter(|line| {
                let line = line.to_lowercase();
                !line.starts_with("upgrade:") && !line.starts_with("connection: upgrade")
            })
            .collect();
    }
    upstream.write_all(head.as_bytes()).unwrap();
    let moved = Arc::new(Mutex::new(Instant::now()));
    let hold = match fault {
        Fault::Holds(time) if is_poll => time,
        Fault::None | Fault::NoUpgrade | Fault::Idle(_) | Fault::Holds(_) | Fault::Answers(_) => {
            Duration::ZERO
        }
    };
    let back = {
        let (from, to) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
        let moved = Arc::clone(&moved);
        thread::spawn(move || copy(fault, from, to, hold, &moved))
    };
    copy(fault, client, upstream, Duration::ZERO, &moved);
    back.join().unwrap();
}

fn read_head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn copy(
    fault: Fault,
    mut from: TcpStream,
    mut to: TcpStream,
    hold: Duration,
    moved: &Mutex<Instant>,
) {
    from.set_read_timeout(Some(TICK)).unwrap();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                *moved.lock().unwrap() = Instant::now();
                thread::sleep(hold);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let silence = moved.lock().unwrap().elapsed();
                if matches!(fault, Fault::Idle(limit) if silence > limit) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    // Both sides, so that the other direction ends as well.
    let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
