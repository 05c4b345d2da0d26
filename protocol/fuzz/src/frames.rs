/// One frame of a server, as a client reads it.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// The frames that `bytes` are, to the last byte.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(2);
        assert_eq!(head[1] & 0x80, 0, "masked");
        let extended = match head[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (extended, rest) = rest.split_at(extended);
        let len = if extended.is_empty() {
            usize::from(head[1])
        } else {
            let len = extended
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            assert!(
                len > if extended.len() == 2 { 125 } else { 0xffff },
                "not the shortest form"
            );
            len
        };
        let (payload, rest) = rest.split_at(len);
        frames.push(match head[0] {
            0x81 => Frame::Text(String::from_utf8(payload.to_vec()).expect("text is UTF-8")),
            0x82 => Frame::Binary(payload.to_vec()),
            other => panic!("first byte {other:#x}"),
        });
        bytes = rest;
    }
    frames
}
