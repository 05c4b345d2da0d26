use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use protocol::Encoded;
use socket2::SockRef;
use tokio::net::TcpStream;

/// Most frames that one vectored write takes.
pub(crate) const BATCH: usize = 64;

/// What waits to be sent to one session: pointers to packets that were encoded once, bounded in
/// bytes.
#[derive(Default)]
pub(crate) struct Outbox {
    packets: VecDeque<Rc<Encoded>>,
    /// Bytes of `packets`, as WebSocket frames.
    bytes: usize,
    /// Bytes of the first packet that the WebSocket took already.
    written: usize,
    /// How many of the first packets go out before the others, in a write of their own.
    ahead: usize,
}

/// The outbox passed its limit: the client reads too slowly.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues a packet. One that alone is larger than `limit` passes when nothing waits.
    pub(crate) fn push(&mut self, packet: Rc<Encoded>, limit: usize) -> Result<(), Overflow> {
        let size = packet.frames().len();
        if self.bytes + size > limit && !self.packets.is_empty() {
            return Err(Overflow);
        }
        self.bytes += size;
        self.packets.push_back(packet);
        Ok(())
    }

    /// Has what is queued now go out in a write of its own. Programs that await one message after
    /// the other lose the second one when a single read brings both.
    pub(crate) fn part(&mut self) {
        self.ahead = self.packets.len();
    }

    /// The next frames to write, at most [`BATCH`].
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; BATCH]) -> usize {
        let mut skip = self.written;
        let mut count = 0;
        let most = if self.ahead > 0 { self.ahead } else { BATCH };
        for (slice, packet) in slices.iter_mut().zip(&self.packets).take(most) {
            *slice = IoSlice::new(&packet.frames()[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// Writes the next frames, as many as the socket takes at once. It asks the kernel and not what the
    /// runtime remembers of the socket, which lies elsewhere in memory; so if the socket takes nothing,
    /// the runtime has to try as well before it waits.
    pub(crate) fn write_to(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); BATCH];
        let count = self.slices(&mut slices);
        let socket = SockRef::from(stream);
        match &slices[..count] {
            [only] => socket.send(only),
            several => socket.send_vectored(several),
        }
    }

    /// Whether a part of what waits is to go out in a write of its own.
    pub(crate) fn is_parted(&self) -> bool {
        self.ahead > 0
    }

    /// Forgets `count` bytes that were written. `true` if what follows should be written later.
    pub(crate) fn advance(&mut self, count: usize) -> bool {
        let mut left = self.written + count;
        let was_ahead = self.ahead > 0;
        while let Some(first) = self.packets.front() {
            let size = first.frames().len();
            if left < size {
                break;
            }
            left -= size;
            self.bytes -= size;
            self.packets.pop_front();
            self.ahead = self.ahead.saturating_sub(1);
        }
        self.written = left;
        if self.packets.is_empty() && self.packets.capacity() > 4 * BATCH {
            self.packets = VecDeque::new();
        }
        was_ahead && self.ahead == 0
    }

    /// Whether the last write ended within a packet.
    pub(crate) fn is_cut(&self) -> bool {
        self.written > 0
    }

    /// Takes everything as a polling payload; returns how many packets it holds.
    pub(crate) fn take_payload(&mut self, body: &mut Vec<u8>) -> usize {
        body.reserve(self.bytes);
        let count = self.packets.len();
        for packet in self.packets.drain(..) {
            if !body.is_empty() {
                body.push(protocol::engineio::payload::SEPARATOR);
            }
            packet.append_payload(body);
        }
        self.bytes = 0;
        self.ahead = 0;
        self.packets.shrink_to(BATCH);
        count
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(text: &str) -> Rc<Encoded> {
        Rc::new(Encoded::engine_text(text))
    }

    fn pending(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); BATCH];
        let count = outbox.slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let mut outbox = Outbox::default();
        outbox.push(packet("4abc"), 1000).unwrap();
        outbox.push(packet("4def"), 1000).unwrap();
        let all = pending(&outbox);
        for split in 0..=all.len() {
            let mut outbox = Outbox::default();
            outbox.push(packet("4abc"), 1000).unwrap();
            outbox.push(packet("4def"), 1000).unwrap();
            outbox.advance(split);
            assert_eq!(pending(&outbox), &all[split..]);
            outbox.advance(all.len() - split);
            assert!(outbox.is_empty());
            assert_eq!(outbox.bytes(), 0);
        }
    }

    #[test]
    fn it_overflows_by_bytes_but_takes_one_large_packet() {
        let mut outbox = Outbox::default();
        let large = format!("4{}", "x".repeat(100));
        outbox.push(packet(&large), 50).unwrap();
        assert_eq!(outbox.push(packet("4"), 50), Err(Overflow));
    }

    #[test]
    fn what_was_parted_goes_out_alone() {
        let mut outbox = Outbox::default();
        outbox.push(packet("4a"), 1000).unwrap();
        outbox.push(packet("4b"), 1000).unwrap();
        outbox.part();
        outbox.push(packet("4c"), 1000).unwrap();
        let first = pending(&outbox);
        assert_eq!(first, b"\x81\x024a\x81\x024b");
        assert!(!outbox.advance(5));
        assert!(outbox.advance(3));
        assert_eq!(pending(&outbox), b"\x81\x024c");
        assert!(!outbox.advance(4));
    }

    #[test]
    fn a_payload_joins_all_packets() {
        let mut outbox = Outbox::default();
        outbox.push(packet("4a"), 1000).unwrap();
        outbox.push(packet("2"), 1000).unwrap();
        let mut body = Vec::new();
        assert_eq!(outbox.take_payload(&mut body), 2);
        assert_eq!(body, b"4a\x1e2");
        assert!(outbox.is_empty());
    }
}
