//! A polling body: packets joined by the record separator `0x1e`.

use super::{DecodeError, Packet};

/// The byte between two packets of a payload.
pub const SEPARATOR: u8 = 0x1e;

/// The packets of a polling body in their order. An empty body, or an empty part of it, is
/// [`DecodeError::Empty`]; whoever reads stops at the first error, what came before it counts.
pub fn decode(body: &str) -> impl Iterator<Item = Result<Packet<'_>, DecodeError>> {
    body.split(char::from(SEPARATOR)).map(Packet::decode)
}
