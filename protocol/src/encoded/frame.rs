/// The first byte of a WebSocket frame that is a whole text message.
pub(super) const TEXT: u8 = 0x81;
/// The same for a binary message.
pub(super) const BINARY: u8 = 0x82;

/// How long a frame is.
pub(super) fn len(payload: usize) -> usize {
    let header = match payload {
        ..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    header + payload
}

/// Appends a frame whose payload is `parts`.
pub(super) fn push(frames: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    push_header(frames, opcode, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        frames.extend_from_slice(part);
    }
}

/// Appends what comes before a payload of that length.
pub(super) fn push_header(frames: &mut Vec<u8>, opcode: u8, payload: usize) {
    frames.push(opcode);
    match payload {
        ..126 => frames.push(payload as u8),
        126..=0xffff => {
            frames.push(126);
            frames.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            frames.push(127);
            frames.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// The frames of a buffer that [`push`] wrote: first byte and payload.
pub(super) struct Frames<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[opcode, short], rest) = self.0.split_first_chunk()?;
        let (len, rest) = match short {
            126 => {
                let (len, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk()?;
                (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
            }
            len => (usize::from(len), rest),
        };
        let (payload, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((opcode, payload))
    }
}
