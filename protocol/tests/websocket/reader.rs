use std::borrow::Cow;
use std::str;

use protocol::websocket::frame::{CloseCode, FrameError};
use protocol::websocket::reader::{MAX_FRAGMENTS, Reader, Received};

use super::properties::pieces::read;

/// A mask that changes nothing, so that the payloads below can be read.
const NO_MASK: &[u8] = &[0; 4];

#[test]
fn reads_the_examples_of_the_rfc() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_yields(hello, [text("Hello")]);
    let fragments = b"\x01\x83\0\0\0\0Hel\x80\x82\0\0\0\0lo";
    assert_yields(fragments, [text("Hello")]);
    let ping = b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_yields(ping, [Received::Ping(b"Hello".into())]);
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_yields(pong, [Received::Pong]);
    let long = [b"\x82\xfe\x01\x00", NO_MASK, &[7; 256]].concat();
    assert_yields(&long, [Received::Binary(vec![7; 256].into())]);
    let longer = [b"\x82\xff\0\0\0\0\0\x01\0\0", NO_MASK, &[7; 65536]].concat();
    assert_yields(&longer, [Received::Binary(vec![7; 65536].into())]);
}

#[test]
fn reads_one_frame_after_the_other() {
    let stream = b"\x81\x80\0\0\0\0\x82\x81\0\0\0\0\xff\x81\x81\0\0\0\0a\x88\x80\0\0\0\0";
    let binary = Received::Binary(b"\xff".into());
    assert_yields(stream, [text(""), binary, text("a"), Received::Close(None)]);
}

#[test]
fn control_frames_stand_between_fragments() {
    let stream =
        b"\x01\x81\0\0\0\0a\x89\x82\0\0\0\0hi\x00\x80\0\0\0\0\x8a\x81\0\0\0\0x\x80\x81\0\0\0\0b";
    let ping = Received::Ping(b"hi".into());
    assert_yields(stream, [ping, Received::Pong, text("ab")]);
}

#[test]
fn refuses_what_is_no_frame() {
    for first in [0xc1, 0xa1, 0x91, 0xc8] {
        assert_refused(&[first], FrameError::ReservedBits);
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        assert_refused(&[0x80 | opcode], FrameError::ReservedOpcode);
    }
    for opcode in [8, 9, 0xa] {
        assert_refused(&[opcode], FrameError::FragmentedControl);
        assert_refused(&[0x80 | opcode, 0x80 | 126], FrameError::LongControl);
        assert_refused(&[0x80 | opcode, 0x80 | 127], FrameError::LongControl);
    }
    assert_refused(b"\x81\x05Hello", FrameError::Unmasked);
    assert_refused(b"\x89\x00", FrameError::Unmasked);
    assert_refused(b"\x82\xfe\x00\x7d", FrameError::LongLength);
    assert_refused(b"\x82\xff\0\0\0\0\0\0\xff\xff", FrameError::LongLength);
    assert_refused(b"\x82\xff\x80\0\0\0\0\0\0\0", FrameError::HugeLength);
}

#[test]
fn refuses_fragments_out_of_place() {
    assert_refused(b"\x80", FrameError::NothingToContinue);
    assert_refused(b"\x00", FrameError::NothingToContinue);
    for first in [0x01, 0x02, 0x81, 0x82] {
        let stream = [b"\x01\x80\0\0\0\0", &[first][..]].concat();
        assert_refused(&stream, FrameError::UnfinishedMessage);
    }
    let finished = b"\x01\x80\0\0\0\0\x80\x81\0\0\0\0a\x80";
    let outcome = (vec![text("a")], Some(FrameError::NothingToContinue));
    assert_outcome(finished, 1000, &outcome);
}

#[test]
fn a_control_frame_has_at_most_125_bytes() {
    let ping = [b"\x89\xfd", NO_MASK, &[7; 125]].concat();
    let outcome = (vec![Received::Ping(vec![7; 125].into())], None);
    assert_outcome(&ping, 0, &outcome);
}

#[test]
fn reads_close_frames() {
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4999] {
        let [high, low] = u16::to_be_bytes(code);
        let close = [b"\x88\x82", NO_MASK, &[high, low]].concat();
        assert_yields(&close, [Received::Close(CloseCode::new(code))]);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let [high, low] = u16::to_be_bytes(code);
        let close = [b"\x88\x82", NO_MASK, &[high, low]].concat();
        assert_refused(&close, FrameError::CloseCode(code));
    }
    let reason = b"\x88\x89\0\0\0\0\x03\xe8gr\xc3\xbc\xc3\x9fe";
    assert_yields(reason, [Received::Close(Some(CloseCode::NORMAL))]);
    assert_refused(b"\x88\x81\0\0\0\0\x03", FrameError::ShortClose);
    let bad_reason = b"\x88\x83\0\0\0\0\x03\xe8\xff";
    assert_refused(bad_reason, FrameError::InvalidUtf8);
    let begun_character = b"\x88\x83\0\0\0\0\x03\xe8\xc3";
    assert_refused(begun_character, FrameError::InvalidUtf8);
}

#[test]
fn text_is_utf8() {
    assert_yields(b"\x81\x83\0\0\0\0\xe2\x82\xac", [text("€")]);
    for wrong in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82"] {
        let length = 0x80 | wrong.len() as u8;
        let whole = [&[0x81, length], NO_MASK, wrong].concat();
        assert_refused(&whole, FrameError::InvalidUtf8);
        let fragment = [b"\x01\x80\0\0\0\0", &[0x80, length][..], NO_MASK, wrong].concat();
        assert_refused(&fragment, FrameError::InvalidUtf8);
    }
}

#[test]
fn a_character_may_be_cut_by_fragments() {
    let stream = b"\x01\x81\0\0\0\0\xe2\x00\x81\0\0\0\0\x82\x80\x82\0\0\0\0\xac!";
    assert_yields(stream, [text("€!")]);
}

#[test]
fn refuses_text_at_its_first_wrong_byte() {
    const BYTES: [u8; 16] = [
        0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4,
        0xf5,
    ];
    for index in 0..BYTES.len().pow(4) {
        let bytes: [u8; 4] = std::array::from_fn(|i| BYTES[(index >> (4 * i)) & 15]);
        // The frame claims more, so nothing is wrong with a character that is not all there.
        let mut head = *b"\x81\xfd\0\0\0\0";
        let mut reader = Reader::new();
        assert_eq!(reader.next(&mut &mut head[..], 1000), Ok(None));
        for end in 1..=bytes.len() {
            let wrong = str::from_utf8(&bytes[..end]).is_err_and(|it| it.error_len().is_some());
            let expected = if wrong {
                Err(FrameError::InvalidUtf8)
            } else {
                Ok(None)
            };
            let mut byte = [bytes[end - 1]];
            assert_eq!(
                reader.next(&mut &mut byte[..], 1000),
                expected,
                "{bytes:x?}"
            );
            if wrong {
                break;
            }
        }
    }
}

#[test]
fn a_message_may_have_as_many_bytes_as_the_limit() {
    let whole = b"\x82\x85\0\0\0\0Hello";
    let fragments = b"\x02\x83\0\0\0\0Hel\x89\x81\0\0\0\0x\x80\x82\0\0\0\0lo";
    let hello = || Received::Binary(b"Hello".into());
    let ping = || Received::Ping(b"x".into());
    assert_outcome(whole, 5, &(vec![hello()], None));
    assert_outcome(fragments, 5, &(vec![ping(), hello()], None));
    // The head is enough to refuse it.
    assert_outcome(&whole[..2], 4, &(vec![], Some(FrameError::TooBig)));
    let too_big = (vec![ping()], Some(FrameError::TooBig));
    assert_outcome(&fragments[..18], 4, &too_big);
    let largest = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff";
    assert_outcome(largest, 1000, &(vec![], Some(FrameError::TooBig)));
}

#[test]
fn a_begun_character_counts_towards_the_limit() {
    let stream = b"\x01\x81\0\0\0\0\xe2\x80\x82\0\0\0\0\x82\xac";
    assert_outcome(stream, 3, &(vec![text("€")], None));
    assert_outcome(stream, 2, &(vec![], Some(FrameError::TooBig)));
}

#[test]
fn a_message_may_have_so_many_fragments_and_no_more() {
    let mut stream = b"\x01\x80\0\0\0\0".to_vec();
    for _ in 2..MAX_FRAGMENTS {
        stream.extend(b"\x00\x80\0\0\0\0");
    }
    let last = [&stream[..], b"\x80\x80\0\0\0\0"].concat();
    assert_eq!(read(&last, &[65536], 0), (vec![text("")], None));
    let more = [&stream[..], b"\x00\x80\0\0\0\0\x80"].concat();
    let refused = (vec![], Some(FrameError::TooManyFragments));
    assert_eq!(read(&more, &[65536], 0), refused);
}

#[test]
fn a_whole_frame_is_taken_where_it_lies() {
    let mut reader = Reader::new();
    let mut stream = *b"\x81\x81\0\0\0\0a\x82\x81\0\0\0\0b\x89\x81\0\0\0\0c";
    let mut input = &mut stream[..];
    let mut next = || reader.next(&mut input, 1000);
    assert!(matches!(
        next(),
        Ok(Some(Received::Text(Cow::Borrowed("a"))))
    ));
    assert!(matches!(
        next(),
        Ok(Some(Received::Binary(Cow::Borrowed(b"b"))))
    ));
    assert!(matches!(
        next(),
        Ok(Some(Received::Ping(Cow::Borrowed(b"c"))))
    ));
    assert_eq!(next(), Ok(None));
    assert_eq!(reader.held(), 0);
}

#[test]
fn a_payload_that_follows_its_head_is_taken_where_it_lies() {
    let mut reader = Reader::new();
    let mut stream = *b"\x81\x82\x01\x01\x01\x01`c";
    let (mut head, mut payload) = stream.split_at_mut(6);
    assert_eq!(reader.next(&mut head, 1000), Ok(None));
    let received = reader.next(&mut payload, 1000);
    assert!(matches!(
        received,
        Ok(Some(Received::Text(Cow::Borrowed("ab"))))
    ));
    assert_eq!(reader.held(), 0);
}

#[test]
fn an_idle_reader_is_a_null_pointer() {
    assert_eq!(size_of::<Reader>(), size_of::<usize>());
    let mut reader = Reader::new();
    let mut stream = *b"\x02\x81\0\0\0\0a\x80\x81\0\0\0\0b";
    let (mut first, mut second) = stream.split_at_mut(9);
    assert_eq!(reader.next(&mut first, 1000), Ok(None));
    assert!(reader.held() > 0);
    let ab = Received::Binary(b"ab".into());
    assert_eq!(reader.next(&mut second, 1000), Ok(Some(ab)));
    assert_eq!(reader.held(), 0);
}

#[test]
fn memory_follows_what_arrived_and_not_what_was_claimed() {
    let mut reader = Reader::new();
    let mut head = *b"\x82\xff\0\0\0\0\x03\0\0\0\0\0\0\0";
    assert_eq!(reader.next(&mut &mut head[..], 1 << 26), Ok(None));
    let empty = reader.held();
    assert!(empty < 256, "{empty}");
    let mut given = 0;
    while given < 1 << 20 {
        assert_eq!(reader.next(&mut &mut [7; 1000][..], 1 << 26), Ok(None));
        given += 1000;
        assert!(reader.held() - empty <= 2 * given);
    }
}

#[test]
fn no_more_room_is_made_than_the_message_can_take() {
    let mut reader = Reader::new();
    let mut stream = [b"\x82\xfe\x03\xe8", NO_MASK, &[7; 1000]].concat();
    let (mut head, payload) = stream.split_at_mut(8);
    let (mut first, rest) = payload.split_at_mut(700);
    let (mut second, _) = rest.split_at_mut(100);
    assert_eq!(reader.next(&mut head, 1 << 20), Ok(None));
    let empty = reader.held();
    assert_eq!(reader.next(&mut first, 1 << 20), Ok(None));
    assert_eq!(reader.next(&mut second, 1 << 20), Ok(None));
    assert_eq!(reader.held(), empty + 1000);
}

#[test]
fn after_an_error_nothing_is_kept() {
    let mut reader = Reader::new();
    let mut stream = *b"\x01\x81\0\0\0\0a\x81\x81\0\0\0\0b";
    let mut input = &mut stream[..];
    let error = Err(FrameError::UnfinishedMessage);
    assert_eq!(reader.next(&mut input, 1000), error);
    assert!(input.is_empty());
    assert_eq!(reader.held(), 0);
}

fn text(text: &str) -> Received<'static> {
    Received::Text(text.to_owned().into())
}

#[track_caller]
fn assert_yields<const N: usize>(stream: &[u8], received: [Received<'static>; N]) {
    assert_outcome(stream, 1 << 20, &(received.into(), None));
}

#[track_caller]
fn assert_refused(stream: &[u8], error: FrameError) {
    assert_outcome(stream, 1 << 20, &(vec![], Some(error)));
}

/// Whole, in halves, and byte by byte.
#[track_caller]
fn assert_outcome(
    stream: &[u8],
    limit: usize,
    outcome: &(Vec<Received<'static>>, Option<FrameError>),
) {
    for size in [stream.len(), stream.len().div_ceil(2), 1] {
        assert_eq!(read(stream, &[size], limit), *outcome, "by {size}");
    }
}
