use super::*;

#[test]
fn numbers_take_the_shortest_form() {
    let table: [(i64, &[u8]); 17] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0xcc, 0x80]),
        (255, &[0xcc, 0xff]),
        (256, &[0xcd, 1, 0]),
        (65_535, &[0xcd, 0xff, 0xff]),
        (65_536, &[0xce, 0, 1, 0, 0]),
        (4_294_967_295, &[0xce, 0xff, 0xff, 0xff, 0xff]),
        (4_294_967_296, &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
        (-1, &[0xff]),
        (-32, &[0xe0]),
        (-33, &[0xd0, 0xdf]),
        (-128, &[0xd0, 0x80]),
        (-129, &[0xd1, 0xff, 0x7f]),
        (-32_769, &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
        (
            -2_147_483_649,
            &[0xd3, 255, 255, 255, 255, 0x7f, 255, 255, 255],
        ),
        (i64::MIN, &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (number, bytes) in table {
        let mut writer = Packer::default();
        writer.signed(number);
        assert_eq!(writer.bytes, bytes, "{number}");
        assert_eq!(Unpacker::new(bytes).token(), Some(signed(number)));
    }
}

#[test]
fn lengths_take_the_shortest_form() {
    for length in [0, 31, 32, 255, 256, 65_535, 65_536] {
        let mut writer = Packer::default();
        writer.text(&"x".repeat(length));
        writer.binary(&vec![7; length]);
        writer.array(length);
        writer.map(length);
        let bytes = writer.into_bytes();
        let mut reader = Unpacker::new(&bytes);
        assert!(matches!(reader.token(), Some(Token::Text(text)) if text.len() == length));
        assert!(matches!(reader.token(), Some(Token::Binary(it)) if it.len() == length));
        let count = u32::try_from(length).unwrap();
        assert_eq!(reader.token(), Some(Token::Array(count)));
        assert_eq!(reader.token(), Some(Token::Map(count)));
        assert!(reader.rest().is_empty());
    }
}

#[test]
fn extensions_of_old_versions_are_known() {
    let table: [(&[u8], Token); 7] = [
        (&[0xd4, 0, 0], Token::Undefined),
        (
            &[0xd7, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0],
            Token::Date(1.7e12),
        ),
        (&[0xc7, 2, 0, 1, 2], Token::Binary(&[1, 2])),
        (&[0xc8, 0, 1, 0, 9], Token::Binary(&[9])),
        (&[0xc9, 0, 0, 0, 1, 0, 9], Token::Binary(&[9])),
        (&[0xd5, 0, 1, 2], Token::Extension(0, &[1, 2])),
        (&[0xd4, 5, 1], Token::Extension(5, &[1])),
    ];
    for (bytes, token) in table {
        assert_eq!(Unpacker::new(bytes).token(), Some(token));
    }
}

#[test]
fn timestamps_are_dates() {
    let table: [(&[u8], f64); 4] = [
        (&[0xd6, 0xff, 0x65, 0x53, 0xf1, 0], 1.7e12),
        (
            &[0xd7, 0xff, 0x1d, 0x53, 0x53, 0, 0x65, 0x53, 0xf1, 0],
            1_700_000_000_123.0,
        ),
        (
            &[
                0xc7, 12, 0xff, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
            -1000.0,
        ),
        (
            &[0xc7, 12, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0],
            21_474_836_480_000.0,
        ),
    ];
    for (bytes, milliseconds) in table {
        assert_eq!(
            Unpacker::new(bytes).token(),
            Some(Token::Date(milliseconds))
        );
    }
}

#[test]
fn what_is_passed_is_what_is_read() {
    for prefix in 0..=255u8 {
        let bytes = [&[prefix][..], &[0, 0, 0, 2], &[7; 40]].concat();
        let (mut reader, mut passer) = (Unpacker::new(&bytes), Unpacker::new(&bytes));
        let token = reader.token();
        let values = passer.pass();
        assert_eq!(token.is_some(), values.is_some(), "{prefix:x}");
        let expected = match token {
            Some(Token::Array(count)) => count.into(),
            Some(Token::Map(count)) => 2 * u64::from(count),
            _ => 0,
        };
        assert_eq!(values.unwrap_or(0), expected, "{prefix:x}");
        if token.is_some() {
            assert_eq!(passer.position(), reader.position(), "{prefix:x}");
        }
    }
}

#[test]
fn only_one_value_of_bounded_depth_is_accepted() {
    assert!(Unpacker::new(&[0x92, 1, 0x81, 0xa1, b'a', 0x90]).is_one_value());
    assert!(!Unpacker::new(&[0x92, 1]).is_one_value());
    assert!(!Unpacker::new(&[1, 1]).is_one_value());
    assert!(!Unpacker::new(&[]).is_one_value());
    assert!(!Unpacker::new(&[0xdd, 255, 255, 255, 255]).is_one_value());
    let nested = |depth: usize| [vec![0x91; depth], vec![1]].concat();
    assert!(Unpacker::new(&nested(MAX_DEPTH)).is_one_value());
    assert!(!Unpacker::new(&nested(MAX_DEPTH + 1)).is_one_value());
}

#[test]
fn a_size_may_be_told_afterwards() {
    for count in [3, 20, 70_000] {
        let mut writer = Packer::default();
        let start = writer.open();
        (0..count).for_each(|_| writer.nil());
        writer.close(start, false, count);
        let mut told_before = Packer::default();
        told_before.array(count);
        (0..count).for_each(|_| told_before.nil());
        assert_eq!(writer.bytes, told_before.bytes);
    }
}
