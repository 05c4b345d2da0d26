//! Content codings of HTTP answers: which one a client accepts, and applying it.
//!
//! ```
//! use gateway::encoding::{Encoding, compress, negotiate};
//! use hyper::header::HeaderValue;
//!
//! let accepted = HeaderValue::from_static("gzip, br;q=0.5");
//! let coding = negotiate(Some(&accepted), &[Encoding::Brotli, Encoding::Gzip]);
//! assert_eq!(coding, Some(Encoding::Gzip));
//! assert!(compress(Encoding::Gzip, &[0; 4096]).len() < 100);
//! ```

use std::cmp::Reverse;
use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::header::HeaderValue;

/// A content coding that the gateway can apply to an answer.
#[expect(
    clippy::exhaustive_enums,
    reason = "a client and the gateway agree on one of these"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `br`, for files only.
    Brotli,
    /// `gzip`.
    Gzip,
    /// `deflate`: a zlib stream, as HTTP means it.
    Deflate,
}

impl Encoding {
    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// Picks the coding that the client weighs highest among those `offered`, or none.
///
/// For equal weights a coding that is named goes before one that only `*` covers, then the order
/// in the client's header decides, then the order of `offered`. No coding is applied for a client
/// that sends no header, or that prefers `identity` to everything offered.
pub fn negotiate(accept_encoding: Option<&HeaderValue>, offered: &[Encoding]) -> Option<Encoding> {
    let header = accept_encoding?.to_str().ok()?;
    let (encoding, best) = offered
        .iter()
        .filter_map(|&encoding| Some((encoding, preference(header, encoding.name())?)))
        .filter(|(_, preference)| preference.weight > 0)
        .min_by_key(|&(_, p)| (Reverse(p.weight), !p.named, p.position))?;
    let identity = preference(header, "identity").filter(|p| p.named);
    match identity {
        Some(identity) if identity.weight > best.weight => None,
        Some(_) | None => Some(encoding),
    }
}

/// Compresses at a level that suits a shard: 50 kB take 2 ms (gzip, deflate) or 5 ms (br).
pub fn compress(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
    let coded = Vec::with_capacity(plain.len() / 3 + 64);
    let result = match encoding {
        Encoding::Brotli => brotli(plain, coded),
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(coded, FLATE_LEVEL);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(coded, FLATE_LEVEL);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
    };
    result.expect("a Vec takes every byte")
}

const FLATE_LEVEL: Compression = Compression::new(3);

fn brotli(mut plain: &[u8], mut coded: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let params = BrotliEncoderParams {
        quality: 5,
        size_hint: plain.len(),
        ..BrotliEncoderParams::default()
    };
    brotli::BrotliCompress(&mut plain, &mut coded, &params)?;
    Ok(coded)
}

/// What a header says about one coding.
#[derive(Debug, Clone, Copy)]
struct Preference {
    /// Thousandths, 0 meaning "not acceptable".
    weight: u16,
    /// Named itself, not covered by `*`.
    named: bool,
    /// Where in the header.
    position: usize,
}

fn preference(header: &str, name: &str) -> Option<Preference> {
    let mut wildcard = None;
    for (position, element) in header.split(',').enumerate() {
        let mut parts = element.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let named = coding.eq_ignore_ascii_case(name);
        if !named && coding != "*" {
            continue;
        }
        let Some(weight) = weight(parts) else {
            continue;
        };
        let found = Preference {
            weight,
            named,
            position,
        };
        if named {
            return Some(found);
        }
        wildcard.get_or_insert(found);
    }
    wildcard
}

/// The `q` among an element's parameters, 1 without one, `None` if it is not a weight.
fn weight<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let value = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map(|(_, value)| value.trim());
    let Some(value) = value else {
        return Some(1000);
    };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(3)
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const ALL: [Encoding; 3] = [Encoding::Brotli, Encoding::Gzip, Encoding::Deflate];

    #[test]
    fn the_highest_weight_wins() {
        assert_eq!(chosen("br;q=0.5, gzip;q=0.8, deflate"), Some("deflate"));
        assert_eq!(chosen("br;q=0.5, gzip;q=0.501"), Some("gzip"));
        assert_eq!(chosen("GZIP ; Q=0.2 , br; q=0.1"), Some("gzip"));
    }

    #[test]
    fn for_equal_weights_the_order_of_the_header_decides() {
        assert_eq!(chosen("gzip, deflate, br"), Some("gzip"));
        assert_eq!(chosen("deflate, gzip"), Some("deflate"));
        assert_eq!(chosen("br, gzip"), Some("br"));
    }

    #[test]
    fn a_star_covers_what_is_not_named() {
        assert_eq!(chosen("*"), Some("br"));
        assert_eq!(chosen("*, gzip"), Some("gzip"));
        assert_eq!(chosen("br;q=0, *"), Some("gzip"));
        assert_eq!(chosen("gzip;q=0.4, *;q=0.5"), Some("br"));
    }

    #[test]
    fn weight_zero_refuses() {
        assert_eq!(chosen("br;q=0, gzip;q=0.000"), None);
        assert_eq!(chosen("*;q=0"), None);
        assert_eq!(chosen("*;q=0, deflate"), Some("deflate"));
    }

    #[test]
    fn identity_wins_only_when_it_weighs_more() {
        assert_eq!(chosen("identity, gzip;q=0.5"), None);
        assert_eq!(chosen("identity, gzip"), Some("gzip"));
        assert_eq!(chosen("identity;q=0, gzip"), Some("gzip"));
    }

    #[test]
    fn nothing_acceptable_means_no_coding() {
        assert_eq!(negotiate(None, &ALL), None);
        assert_eq!(chosen(""), None);
        assert_eq!(chosen("zstd, compress"), None);
        let gzip = HeaderValue::from_static("gzip");
        assert_eq!(negotiate(Some(&gzip), &[Encoding::Deflate]), None);
        assert_eq!(negotiate(Some(&gzip), &[]), None);
    }

    #[test]
    fn an_element_with_a_bad_weight_is_ignored() {
        for bad in ["2", "1.1", "-1", "0.1234", "", ".5", "x", "0.x"] {
            assert_eq!(chosen(&format!("br;q={bad}, gzip;q=0.1")), Some("gzip"));
        }
    }

    #[test]
    fn a_header_that_is_not_text_counts_as_none() {
        let header = HeaderValue::from_bytes(b"gzip, \xff").unwrap();
        assert_eq!(negotiate(Some(&header), &ALL), None);
    }

    #[test]
    fn every_coding_can_be_undone() {
        let plain = b"42[\"chat\",\"hello\"]\x1e".repeat(500);
        for encoding in ALL {
            let coded = compress(encoding, &plain);
            assert!(coded.len() < plain.len() / 10, "{encoding:?}");
            assert_eq!(decompress(encoding, &coded), plain, "{encoding:?}");
        }
    }

    #[test]
    fn an_empty_answer_can_be_coded() {
        for encoding in ALL {
            assert_eq!(decompress(encoding, &compress(encoding, b"")), b"");
        }
    }

    fn chosen(header: &str) -> Option<&'static str> {
        let header = HeaderValue::from_str(header).unwrap();
        negotiate(Some(&header), &ALL).map(Encoding::name)
    }

    fn decompress(encoding: Encoding, coded: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match encoding {
            Encoding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut plain),
            Encoding::Gzip => flate2::read::GzDecoder::new(coded).read_to_end(&mut plain),
            Encoding::Deflate => flate2::read::ZlibDecoder::new(coded).read_to_end(&mut plain),
        }
        .unwrap();
        plain
    }
}
