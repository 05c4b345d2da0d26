//! A client's socket: TCP, or TLS on it.

use std::io::{self, Read, Write};

use mio::Registry;
use mio::net::TcpStream;
use rustls::ClientConnection;

use super::dial::Faults;
use crate::client::Failure;

/// An open socket.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<Tls>>,
    /// Connected, and the last write was taken whole.
    writable: bool,
}

#[derive(Debug)]
struct Tls {
    connection: ClientConnection,
    /// The server has said that nothing more comes.
    is_ended: bool,
    faults: Faults,
}

/// Where a thread reads into.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// What was received, decrypted.
    pub(crate) bytes: Vec<u8>,
    /// TLS records as they came.
    records: Vec<u8>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing is there now.
    Nothing,
    /// Nothing more comes.
    End,
    /// Bytes.
    Bytes {
        /// How many.
        count: usize,
        /// They were all. With edge-triggered readiness more bytes are another event.
        is_all: bool,
    },
}

impl Scratch {
    /// One read takes what a busy socket holds. What is decrypted is never longer than its records, and what was left of
    /// the last read; so it has room in `bytes`.
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; 256 << 10],
            records: vec![0; 128 << 10],
        }
    }
}

impl Stream {
    /// A socket that is still connecting, and on which TLS is to be spoken if `tls` is given.
    pub(crate) fn new(tcp: TcpStream, tls: Option<ClientConnection>, faults: &Faults) -> Self {
        let speak = |connection| {
            Box::new(Tls {
                connection,
                is_ended: false,
                faults: faults.clone(),
            })
        };
        Self {
            tcp,
            tls: tls.map(speak),
            writable: false,
        }
    }

    /// Is looked at no more.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        // A socket that is not registered has nothing to be taken back.
        let _ = registry.deregister(&mut self.tcp);
    }

    /// It is connected, or takes bytes again.
    pub(crate) fn handle_writable(&mut self) -> Result<(), Failure> {
        if let Ok(Some(_)) | Err(_) = self.tcp.take_error() {
            return Err(Failure::Transport);
        }
        self.writable = true;
        Ok(())
    }

    /// Writes what the socket takes of `out`.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(tls) = &mut self.tls else {
            while self.writable && !out.is_empty() {
                let written = self.tcp.write(out);
                if let Some(written) = taken(written, &mut self.writable)? {
                    cut(out, written);
                }
            }
            return Ok(());
        };
        loop {
            while self.writable && tls.connection.wants_write() {
                let written = tls.connection.write_tls(&mut self.tcp);
                taken(written, &mut self.writable)?;
            }
            if !self.writable || out.is_empty() || tls.connection.is_handshaking() {
                return Ok(());
            }
            let written = tls.connection.writer().write(out);
            cut(out, written.map_err(|_| Failure::Tls)?);
        }
    }

    /// Reads once, into `scratch.bytes`.
    pub(crate) fn read(&mut self, scratch: &mut Scratch) -> Result<Received, Failure> {
        let Some(tls) = &mut self.tls else {
            return Ok(match received(&mut self.tcp, &mut scratch.bytes)? {
                None => Received::Nothing,
                Some(0) => Received::End,
                Some(count) => Received::Bytes {
                    count,
                    is_all: count < scratch.bytes.len(),
                },
            });
        };
        loop {
            if tls.is_ended {
                return Ok(Received::End);
            }
            let read = match received(&mut self.tcp, &mut scratch.records)? {
                None => return Ok(Received::Nothing),
                Some(0) => return Ok(Received::End),
                Some(read) => read,
            };
            let decrypted = tls.decrypt(&scratch.records[..read], &mut scratch.bytes);
            let count = decrypted.map_err(|error| {
                tls.faults.note(&error.to_string());
                // The server is told why, if it still listens.
                let _unheard = tls.connection.write_tls(&mut self.tcp);
                Failure::Tls
            })?;
            let is_all = read < scratch.records.len() && !tls.is_ended;
            if count > 0 {
                return Ok(Received::Bytes { count, is_all });
            }
            if is_all {
                return Ok(Received::Nothing);
            }
        }
    }
}

impl Tls {
    /// Decrypts all `records`, and says how many bytes that made.
    fn decrypt(&mut self, mut records: &[u8], bytes: &mut [u8]) -> Result<usize, rustls::Error> {
        let mut count = 0;
        while !records.is_empty() && !self.is_ended {
            let read = self.connection.read_tls(&mut records);
            read.map_err(|error| rustls::Error::General(error.to_string()))?;
            let state = self.connection.process_new_packets()?;
            self.is_ended = state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let read = self.connection.reader().read(&mut bytes[count..]);
                let read = read.map_err(|error| rustls::Error::General(error.to_string()))?;
                count += read;
                left = left.saturating_sub(read.max(1));
            }
        }
        Ok(count)
    }
}

/// What a socket has taken; `None` if it takes nothing now.
fn taken(written: io::Result<usize>, writable: &mut bool) -> Result<Option<usize>, Failure> {
    match written {
        Ok(written) => Ok(Some(written)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            *writable = false;
            Ok(None)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(_) => Err(Failure::Transport),
    }
}

fn cut(out: &mut Vec<u8>, written: usize) {
    if written == out.len() {
        out.clear();
    } else {
        out.drain(..written);
    }
}

/// Reads once; `None` if nothing is there, and 0 at the end.
fn received(tcp: &mut TcpStream, bytes: &mut [u8]) -> Result<Option<usize>, Failure> {
    loop {
        return match tcp.read(bytes) {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(Failure::Transport),
        };
    }
}
