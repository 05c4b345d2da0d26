use super::{Encoded, Frames};
use crate::engineio::old_payload::{self, Form};
use crate::websocket::frame::OpCode;

/// The next polling payload for a client of revision 3, of packets that have its dialect.
#[derive(Debug)]
pub struct OldPayload<'a> {
    packets: Vec<&'a Encoded>,
    count: usize,
    form: Form,
}

impl<'a> OldPayload<'a> {
    /// Takes packets from the front, at most [`MAX_PACKETS`](old_payload::MAX_PACKETS) with their attachments, unless the
    /// first has more.
    pub fn take(packets: impl Iterator<Item = &'a Encoded>) -> Self {
        let mut taken = Self {
            packets: Vec::new(),
            count: 0,
            form: Form::Text,
        };
        for packet in packets {
            let count = packet.packets();
            if taken.count > 0 && taken.count + count > old_payload::MAX_PACKETS {
                break;
            }
            taken.count += count;
            taken.packets.push(packet);
            if packet.attachments().next().is_some() {
                taken.form = Form::Binary;
            }
        }
        taken
    }

    /// How many were taken.
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Whether it is a binary payload.
    pub fn is_binary(&self) -> bool {
        self.form == Form::Binary
    }

    /// Writes it. With `escape` the packets are Socket.IO's, and what is not ASCII in their JSON is escaped.
    pub fn write(&self, body: &mut Vec<u8>, escape: bool) {
        for packet in &self.packets {
            for (opcode, data) in Frames(&packet.frames) {
                if opcode == OpCode::Binary {
                    old_payload::push_binary(body, self.form, data);
                    continue;
                }
                let text = std::str::from_utf8(data).unwrap_or_default();
                match escape {
                    true => old_payload::push_text(body, self.form, &old_payload::escaped(text)),
                    false => old_payload::push_text(body, self.form, text),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Dialect;
    use crate::socketio::Arguments;

    #[test]
    fn an_old_payload_is_binary_only_if_it_must_be_and_holds_few_packets() {
        let binary = Encoded::event(
            "/",
            None,
            "é",
            Arguments::from_raw("", &[Bytes::from_static(&[1])]),
        );
        let event = Encoded::event("/", None, "é", Arguments::from_raw("", &[]));
        let old = binary.recode(Dialect::Old).unwrap();
        let base64 = binary.recode(Dialect::OldBase64).unwrap();
        let written = |packets: &[&Encoded]| {
            let payload = OldPayload::take(packets.iter().copied());
            let mut body = Vec::new();
            payload.write(&mut body, true);
            (payload.is_binary(), body)
        };
        let escaped = "42[\"\\u00e9\"]";
        assert_eq!(
            written(&[&event]),
            (false, format!("{}:{escaped}", escaped.len()).into())
        );
        assert_eq!(
            written(&[&base64, &event]),
            (
                false,
                format!("14:451-[\"\\u00e9\"]6:b4AQ==12:{escaped}").into()
            )
        );
        assert_eq!(
            written(&[&old]),
            (
                true,
                [
                    &b"\x00\x01\x04\xff451-[\"\\u00e9\"]"[..],
                    b"\x01\x02\xff\x04\x01"
                ]
                .concat()
            )
        );
        assert_eq!(OldPayload::take([&event; 20].into_iter()).packets(), 16);
        assert_eq!(OldPayload::take([&old; 20].into_iter()).packets(), 8);
    }
}
