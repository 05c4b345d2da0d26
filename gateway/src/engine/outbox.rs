//! What waits to be sent to one session.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::num::{NonZeroU32, NonZeroUsize};
use std::rc::Rc;

use protocol::OldPayload;
use socket2::SockRef;
use tokio::net::TcpStream;

mod memory;

pub(crate) use memory::{ENTRY, OutboxMemory, Parcel, Payload, SharedPacket};

/// Most frames that one vectored write takes.
pub(crate) const BATCH: usize = 64;

/// Most bytes that one poll is answered with, unless a single packet is larger. The rest waits for
/// the next poll. A slow client shows with each poll that it is still there, and a payload is
/// compressed in a time that other sessions can wait.
pub(crate) const MAX_PAYLOAD: usize = 1024 * 1024;

/// Pointers to packets that were encoded once, bounded in bytes.
///
/// ```text
///            a packet is queued, and the transport does not take it
///   Flowing ---------------------------------------------------------> Waiting since ..
///      ^                                                                |  |       ^
///      |                     all was taken                              |  | some  |
///      +----------------------------------------------------------------+  +-------+
///                                                                       |
///                                  nothing was taken for too long       v
///                                                                     Stalled: the session closes
/// ```
#[derive(Default)]
pub(crate) struct Outbox {
    packets: VecDeque<Rc<Parcel>>,
    /// Bytes of `packets`, as WebSocket frames.
    bytes: usize,
    /// Bytes of the first packet that the WebSocket took already.
    written: usize,
    /// How many of the first packets go out before the others, in a write of their own.
    ahead: u32,
    /// How many of the first packets have to be taken until the last ping is.
    ping: u32,
    /// When the transport took something last, while something waits that it did not take; in the
    /// shard's ticks.
    waiting: Option<NonZeroU32>,
}

/// The outbox passed its limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// How many packets the next write takes; those of a [run](Parcel::run) count each.
    pub(crate) fn packets(&self) -> usize {
        let counts = self.next_packets().map(|parcel| parcel.count() as usize);
        counts.sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// By how much the client is behind: what waits, and the memory that its order takes.
    pub(crate) fn behind(&self) -> usize {
        self.bytes + self.memory()
    }

    /// Memory of the queue itself, without the packets.
    pub(crate) fn memory(&self) -> usize {
        self.packets.len() * ENTRY
    }

    /// Queues a packet. One that alone is larger than `limit` passes when nothing waits.
    pub(crate) fn push(&mut self, packet: &Rc<Parcel>, limit: usize) -> Result<(), Overflow> {
        let size = packet.packet().frames().len();
        if self.behind() + size > limit && !self.packets.is_empty() {
            return Err(Overflow);
        }
        self.bytes += size;
        self.packets.push_back(Rc::clone(packet));
        Ok(())
    }

    /// Queues several packets as one, if they all fit.
    pub(crate) fn push_run(&mut self, run: &Rc<Parcel>, limit: usize) -> Result<(), Overflow> {
        match self.behind() + run.packet().frames().len() > limit {
            true => Err(Overflow),
            false => self.push(run, limit),
        }
    }

    /// The packet that was queued last is a ping.
    pub(crate) fn mark_ping(&mut self) {
        self.ping = self.len();
    }

    /// Whether the transport has not taken the last ping yet.
    pub(crate) fn keeps_ping(&self) -> bool {
        self.ping > 0
    }

    /// The transport took something at `tick`, or would not take anything for the first time.
    pub(crate) fn wait_since(&mut self, tick: NonZeroU32) {
        self.waiting = (!self.is_empty()).then_some(tick);
    }

    /// Since when nothing was taken, while something waits.
    pub(crate) fn waiting(&self) -> Option<NonZeroU32> {
        self.waiting
    }

    /// Has what is queued now go out in a write of its own. Programs that await one message after
    /// the other lose the second one when a single read brings both.
    pub(crate) fn part(&mut self) {
        self.ahead = self.len();
    }

    fn len(&self) -> u32 {
        u32::try_from(self.packets.len()).unwrap_or(u32::MAX)
    }

    /// The next packets to write, at most [`BATCH`]; the first may be written in part.
    pub(crate) fn next_packets(&self) -> impl Iterator<Item = &Rc<Parcel>> {
        let most = match self.ahead {
            0 => BATCH,
            ahead => BATCH.min(ahead as usize),
        };
        self.packets.iter().take(most)
    }

    /// The next frames to write, at most [`BATCH`].
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; BATCH]) -> usize {
        let mut skip = self.written;
        let mut count = 0;
        for (slice, packet) in slices.iter_mut().zip(self.next_packets()) {
            *slice = IoSlice::new(&packet.packet().frames()[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// Writes the next frames, as many as the socket takes at once. It asks the kernel and not what the
    /// runtime remembers of the socket, which lies elsewhere in memory. So if the socket takes nothing,
    /// the runtime has to try as well before it waits.
    pub(crate) fn write_to(&self, stream: &TcpStream) -> io::Result<usize> {
        let socket = SockRef::from(stream);
        if let (Some(only), 1) = (self.packets.front(), self.packets.len()) {
            return socket.send(&only.packet().frames()[self.written..]);
        }
        let mut slices = [IoSlice::new(&[]); BATCH];
        let count = self.slices(&mut slices);
        socket.send_vectored(&slices[..count])
    }

    /// Whether a part of what waits is to go out in a write of its own.
    pub(crate) fn is_parted(&self) -> bool {
        self.ahead > 0
    }

    /// Forgets `count` bytes that were written, and says how many packets went with them.
    pub(crate) fn advance(&mut self, count: usize) -> Advanced {
        let mut left = self.written + count;
        let mut packets = 0;
        while let Some(first) = self.packets.front() {
            let size = first.packet().frames().len();
            if left < size {
                break;
            }
            left -= size;
            self.bytes -= size;
            self.packets.pop_front();
            packets += 1;
        }
        self.written = left;
        let was_ahead = self.ahead > 0;
        self.took(packets);
        if self.packets.is_empty() && self.packets.capacity() > 4 * BATCH {
            self.packets = VecDeque::new();
        }
        Advanced {
            packets,
            pause: was_ahead && self.ahead == 0,
        }
    }

    fn took(&mut self, packets: usize) {
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        self.ahead = self.ahead.saturating_sub(packets);
        self.ping = self.ping.saturating_sub(packets);
        if self.packets.is_empty() {
            self.waiting = None;
        }
    }

    /// Whether the last write ended within a packet.
    pub(crate) fn is_cut(&self) -> bool {
        self.written > 0
    }

    /// Takes a polling payload for a client of revision 3, of at most `most` packets and of no more than all such
    /// clients read. Returns how many packets left the outbox, and whether it is binary. With `escape` they are
    /// Socket.IO's.
    pub(crate) fn take_old_payload(
        &mut self,
        body: &mut Vec<u8>,
        most: NonZeroUsize,
        escape: bool,
    ) -> (usize, bool) {
        let fitting = self.fitting(most);
        let queued = self.packets.iter().take(fitting);
        let payload = OldPayload::take(queued.map(|parcel| parcel.packet()));
        payload.write(body, escape);
        let (packets, binary) = (payload.packets(), payload.is_binary());
        for packet in self.packets.drain(..packets) {
            self.bytes -= packet.packet().frames().len();
        }
        self.took(packets);
        self.packets.shrink_to(BATCH);
        (packets, binary)
    }

    /// How many of the first packets are at most [`MAX_PAYLOAD`] bytes together, and `most` packets of Engine.IO; one at
    /// least, with its attachments.
    fn fitting(&self, most: NonZeroUsize) -> usize {
        let (mut bytes, mut count) = (0, 0);
        let fits = self
            .packets
            .iter()
            .enumerate()
            .take_while(|(index, parcel)| {
                bytes += parcel.packet().frames().len();
                count += parcel.packet().packets();
                *index == 0 || (bytes <= MAX_PAYLOAD && count <= most.get())
            });
        fits.count()
    }

    /// Takes a polling payload of at most [`MAX_PAYLOAD`] bytes and `most` packets of Engine.IO, or of one packet with its
    /// attachments; returns how many packets left the outbox.
    pub(crate) fn take_payload(&mut self, body: &mut Vec<u8>, most: NonZeroUsize) -> usize {
        let packets = self.fitting(most);
        let sizes = self.packets.iter().take(packets);
        let bytes = sizes.map(|packet| packet.packet().frames().len()).sum();
        body.reserve(bytes);
        for packet in self.packets.drain(..packets) {
            if !body.is_empty() {
                body.push(protocol::engineio::payload::SEPARATOR);
            }
            packet.packet().append_payload(body);
        }
        self.bytes -= bytes;
        self.took(packets);
        self.packets.shrink_to(BATCH);
        packets
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What a write took from an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advanced {
    /// Packets that are gone.
    pub(crate) packets: usize,
    /// What follows should be written later.
    pub(crate) pause: bool,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::Encoded;
    use protocol::socketio::Arguments;

    use super::*;

    const MOST: NonZeroUsize = NonZeroUsize::new(100).unwrap();

    fn packet(text: &str) -> Rc<Parcel> {
        Parcel::constant(Encoded::engine_text(text))
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
        outbox.push(&packet("4abc"), 1000).unwrap();
        outbox.push(&packet("4def"), 1000).unwrap();
        let all = pending(&outbox);
        for split in 0..=all.len() {
            let mut outbox = Outbox::default();
            outbox.push(&packet("4abc"), 1000).unwrap();
            outbox.push(&packet("4def"), 1000).unwrap();
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
        outbox.push(&packet(&large), 50).unwrap();
        assert_eq!(outbox.push(&packet("4"), 50), Err(Overflow));
    }

    #[test]
    fn what_was_parted_goes_out_alone() {
        let mut outbox = Outbox::default();
        outbox.push(&packet("4a"), 1000).unwrap();
        outbox.push(&packet("4b"), 1000).unwrap();
        outbox.part();
        outbox.push(&packet("4c"), 1000).unwrap();
        let first = pending(&outbox);
        assert_eq!(first, b"\x81\x024a\x81\x024b");
        assert!(!outbox.advance(5).pause);
        assert!(outbox.advance(3).pause);
        assert_eq!(pending(&outbox), b"\x81\x024c");
        assert!(!outbox.advance(4).pause);
    }

    #[test]
    fn an_old_payload_leaves_what_is_too_much_for_the_next() {
        let mut outbox = Outbox::default();
        for _ in 0..20 {
            outbox.push(&packet("4é"), 1000).unwrap();
        }
        let mut body = Vec::new();
        assert_eq!(outbox.take_old_payload(&mut body, MOST, false), (16, false));
        assert_eq!(body, "2:4é".repeat(16).as_bytes());
        let mut rest = Vec::new();
        assert_eq!(outbox.take_old_payload(&mut rest, MOST, true), (4, false));
        assert_eq!(rest, "7:4\\u00e9".repeat(4).as_bytes());
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_payload_joins_all_packets() {
        let mut outbox = Outbox::default();
        outbox.push(&packet("4a"), 1000).unwrap();
        outbox.push(&packet("2"), 1000).unwrap();
        let mut body = Vec::new();
        assert_eq!(outbox.take_payload(&mut body, MOST), 2);
        assert_eq!(body, b"4a\x1e2");
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_payload_has_no_more_packets_than_it_may_and_parts_no_event() {
        let three = Encoded::event(
            "/",
            None,
            "e",
            Arguments::from_raw("", &[Bytes::from_static(b"1"), Bytes::from_static(b"2")]),
        );
        let (event, three) = (packet("4a"), Parcel::constant(three));
        let filled = |packets: &[&Rc<Parcel>]| {
            let mut outbox = Outbox::default();
            for packet in packets {
                outbox.push(packet, 1000).unwrap();
            }
            outbox
        };
        for (most, packets, expected) in [
            (1, [&event, &event, &event], &[1, 1, 1][..]),
            (2, [&event, &event, &event], &[2, 1]),
            (3, [&event, &three, &event], &[1, 1, 1]),
            (4, [&event, &three, &event], &[2, 1]),
            (5, [&event, &three, &event], &[3]),
            (2, [&three, &three, &event], &[1, 1, 1]),
        ] {
            let most = NonZeroUsize::new(most).unwrap();
            let mut outbox = filled(&packets);
            let mut old = filled(&packets);
            let (mut taken, mut taken_old) = (Vec::new(), Vec::new());
            while !outbox.is_empty() {
                taken.push(outbox.take_payload(&mut Vec::new(), most));
                taken_old.push(old.take_old_payload(&mut Vec::new(), most, true).0);
            }
            assert_eq!(taken, expected, "{most}");
            assert_eq!(taken_old, expected, "{most}");
            assert_eq!((outbox.bytes(), old.bytes()), (0, 0));
        }
    }
}
