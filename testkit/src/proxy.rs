//! A TCP proxy that does with what passes as the test says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Which way bytes pass.
#[expect(clippy::exhaustive_enums, reason = "a connection has two directions")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What becomes of bytes that came.
#[expect(clippy::exhaustive_enums, reason = "a test says what becomes of bytes")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// They are passed on.
    On,
    /// They are lost.
    Lost,
    /// They are lost, and the connection with them.
    Cut,
}

/// The proxy. It ends with the process.
pub struct Proxy {
    address: SocketAddr,
    connections: Connections,
}

type Connections = Arc<Mutex<Vec<TcpStream>>>;

impl Proxy {
    /// Passes on to `server`. Each connection asks its own `decide`, which `connection` makes.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start<D>(server: SocketAddr, mut connection: impl FnMut() -> D + Send + 'static) -> Self
    where
        D: FnMut(Way, &[u8]) -> Pass + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::default();
        let kept = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let both = [&client, &server].map(|it| it.try_clone().unwrap());
                kept.lock().unwrap().extend(both);
                let decide = Arc::new(Mutex::new(connection()));
                for (way, from, to) in [(Way::Up, &client, &server), (Way::Down, &server, &client)]
                {
                    from.set_nodelay(true).unwrap();
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let decide = Arc::clone(&decide);
                    thread::spawn(move || pass(way, from, to, &decide));
                }
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        for stream in self.connections.lock().unwrap().drain(..) {
            // It may be gone already.
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    decide: &Mutex<impl FnMut(Way, &[u8]) -> Pass>,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        let decided = decide.lock().unwrap()(way, bytes);
        match decided {
            Pass::On if to.write_all(bytes).is_ok() => {}
            Pass::Lost => {}
            Pass::On | Pass::Cut => break,
        }
    }
    // Both sides, so that the other way ends as well.
    let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection with what it was sent.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    std::io::copy(&mut &stream, &mut back)
                });
            }
        });
        address
    }

    fn ask(client: &mut TcpStream, text: &str) -> String {
        client.write_all(text.as_bytes()).unwrap();
        let mut buffer = [0; 64];
        let count = client.read(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn each_connection_has_a_decision_of_its_own() {
        let proxy = Proxy::start(echo(), || {
            let mut answers = 0;
            move |way, _: &[u8]| {
                answers += u32::from(way == Way::Down);
                if answers > 1 { Pass::Cut } else { Pass::On }
            }
        });
        for _ in 0..2 {
            let mut client = TcpStream::connect(proxy.address()).unwrap();
            assert_eq!(ask(&mut client, "one"), "one");
            assert_eq!(ask(&mut client, "two"), "");
        }
    }

    #[test]
    fn what_is_cut_ends_at_both_sides_and_others_can_connect() {
        let proxy = Proxy::start(echo(), || |_, _: &[u8]| Pass::On);
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(ask(&mut client, "here"), "here");
        proxy.cut();
        assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(ask(&mut client, "again"), "again");
    }
}
