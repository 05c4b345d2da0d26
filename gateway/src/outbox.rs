use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use protocol::Encoded;

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

    /// The next frames to write, at most [`BATCH`].
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; BATCH]) -> usize {
        let mut skip = self.written;
        let mut count = 0;
        for (slice, packet) in slices.iter_mut().zip(&self.packets) {
            *slice = IoSlice::new(&packet.frames()[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// Forgets `count` bytes that were written; returns how many packets are done with.
    pub(crate) fn advance(&mut self, count: usize) -> usize {
        let mut left = self.written + count;
        let mut done = 0;
        while let Some(first) = self.packets.front() {
            let size = first.frames().len();
            if left < size {
                break;
            }
            left -= size;
            self.bytes -= size;
            self.packets.pop_front();
            done += 1;
        }
        self.written = left;
        if self.packets.is_empty() && self.packets.capacity() > 4 * BATCH {
            self.packets = VecDeque::new();
        }
        done
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
