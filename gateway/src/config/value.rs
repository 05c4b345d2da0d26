//! How a value is written: what every type of the settings has in common, and the plain types.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::password::PasswordHash;
use super::section::{
    AdminMode, InternalPage, LogFormat, Rebalancing, RedisInterest, RedisMode, SameSite,
    SubscriptionMode, TlsVerify,
};

/// A type that settings have.
pub(super) trait Value: Sized {
    /// How it stands in a TOML file.
    const SHAPE: Shape;
    /// What it is called in messages and in the reference.
    const KIND: &'static str;

    /// Reads it. The error says what would be right; that of a secret never repeats it.
    fn parse(text: &str) -> Result<Self, String>;

    /// What is compared with the setting's range.
    fn magnitude(&self) -> u128 {
        0
    }
}

/// How a value stands in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A string.
    Text,
    /// A string of a number and its unit.
    Measure,
    /// An integer.
    Number,
    /// A number, with a point or without.
    Decimal,
    /// `true` or `false`.
    Boolean,
    /// An array of strings.
    List,
    /// A string, or an array of strings.
    TextOrList,
    /// A string, an integer, or an array of strings.
    Places,
}

impl Value for bool {
    const SHAPE: Shape = Shape::Boolean;
    const KIND: &'static str = "boolean";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("{text:?} is neither true nor false"))
    }
}

impl Value for usize {
    const SHAPE: Shape = Shape::Number;
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        whole(text)
    }

    fn magnitude(&self) -> u128 {
        *self as u128
    }
}

impl Value for u32 {
    const SHAPE: Shape = Shape::Number;
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        whole(text)
    }

    fn magnitude(&self) -> u128 {
        (*self).into()
    }
}

impl Value for NonZeroUsize {
    const SHAPE: Shape = Shape::Number;
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        whole(text)
    }

    fn magnitude(&self) -> u128 {
        self.get() as u128
    }
}

impl Value for NonZeroU32 {
    const SHAPE: Shape = Shape::Number;
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        whole(text)
    }

    fn magnitude(&self) -> u128 {
        self.get().into()
    }
}

/// The error of a zero where there must be something is the range's to explain, so it names no type.
fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| match text.parse::<u128>() {
        Ok(0) => "0 is too little, it must be at least 1".to_owned(),
        Ok(_) => format!("{text} is too much"),
        Err(_) => format!("{text:?} is not a whole number"),
    })
}

impl Value for PathBuf {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a path cannot be empty".to_owned());
        }
        Ok(text.into())
    }
}

/// A part of all: 0 is none of it, 1 all.
///
/// ```
/// use gateway::Config;
///
/// let config = Config::from_toml("otel = { endpoint = \"http://collector:4318\", sample = 0.25 }")?;
/// assert_eq!(config.otel.unwrap().sample.get(), 0.25);
/// # Ok::<(), gateway::config::Errors>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    millionths: u32,
}

impl Share {
    /// Returns it as a number from 0 to 1.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.millionths) / 1e6
    }
}

impl Value for Share {
    const SHAPE: Shape = Shape::Decimal;
    const KIND: &'static str = "number from 0 to 1";

    fn parse(text: &str) -> Result<Self, String> {
        let is_plain = text.bytes().all(|it| it.is_ascii_digit() || it == b'.');
        match text.parse::<f64>() {
            Ok(share) if is_plain && share <= 1.0 => Ok(Self {
                // The result is at most a million.
                millionths: (share * 1e6).round() as u32,
            }),
            Ok(_) | Err(_) => Err(format!(
                "{text:?} is not a number from 0 to 1, such as 0.01"
            )),
        }
    }
}

impl<T: Value> Value for Vec<T> {
    const SHAPE: Shape = Shape::List;
    const KIND: &'static str = "list";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::new());
        }
        text.split(',').map(|item| T::parse(item.trim())).collect()
    }
}

impl Value for Duration {
    const SHAPE: Shape = Shape::Measure;
    const KIND: &'static str = "duration";

    fn parse(text: &str) -> Result<Self, String> {
        let millis = with_unit(
            text,
            &[
                ("ms", 1),
                ("s", 1_000),
                ("m", 60_000),
                ("h", 3_600_000),
                ("d", 86_400_000),
            ],
            |number| {
                // Whoever writes thousands thinks of Socket.IO's options.
                match number.strip_suffix("000").filter(|it| !it.is_empty()) {
                    Some(seconds) => format!(
                        "the milliseconds of Socket.IO's options are written {number}ms here, \
                         or {seconds}s"
                    ),
                    None => format!(
                        "{number}s counts seconds, and {number}ms milliseconds, as Socket.IO's \
                         options do"
                    ),
                }
            },
        )?;
        Ok(Self::from_millis(millis))
    }

    fn magnitude(&self) -> u128 {
        self.as_nanos()
    }
}

/// Reads a duration as settings have it: a whole number with `ms`, `s`, `m`, `h` or `d`, or `0`.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(gateway::config::duration("25s"), Ok(Duration::from_secs(25)));
/// assert!(gateway::config::duration("25").is_err());
/// ```
///
/// # Errors
///
/// What is wrong with the text, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text)
}

/// A number of bytes.
#[derive(Clone, Copy)]
pub(super) struct Size(pub(super) usize);

impl Value for Size {
    const SHAPE: Shape = Shape::Measure;
    const KIND: &'static str = "size";

    fn parse(text: &str) -> Result<Self, String> {
        let bytes = with_unit(
            text,
            &[
                ("B", 1),
                ("kB", 1_000),
                ("KB", 1_000),
                ("MB", 1_000_000),
                ("GB", 1_000_000_000),
                ("KiB", 1 << 10),
                ("MiB", 1 << 20),
                ("GiB", 1 << 30),
            ],
            |number| {
                format!(
                    "{number}B counts bytes, as Socket.IO's options do, {number}KiB 1024 of them"
                )
            },
        )?;
        usize::try_from(bytes)
            .map(Self)
            .map_err(|_| format!("{text:?} is too much"))
    }

    fn magnitude(&self) -> u128 {
        self.0 as u128
    }
}

/// A whole number and its unit, in the smallest unit. Zero needs none.
/// `explain` says what a number without a unit may mean.
fn with_unit(
    text: &str,
    units: &[(&str, u64)],
    explain: impl Fn(&str) -> String,
) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if !number.is_empty() && unit.is_empty() {
        return Err(format!("{text} has no unit ({names}): {}", explain(text)));
    }
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start());
    let (Some((_, factor)), false) = (factor, number.is_empty()) else {
        return Err(format!(
            "{text:?} is not a whole number with a unit ({names})"
        ));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| format!("{text} is too much"))
}

impl Value for RedisMode {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "mode (`pubsub` or `sharded`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "pubsub" => Ok(Self::PubSub),
            "sharded" => Ok(Self::Sharded),
            _ => Err(format!("{text:?} is neither pubsub nor sharded")),
        }
    }
}

impl Value for RedisInterest {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "interest (`rooms` or `all`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "rooms" => Ok(Self::Rooms),
            "all" => Ok(Self::All),
            _ => Err(format!("{text:?} is neither rooms nor all")),
        }
    }
}

impl Value for TlsVerify {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "check (`full`, `ca` or `none`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "ca" => Ok(Self::Ca),
            "none" => Ok(Self::None),
            _ => Err(format!("{text:?} is neither full nor ca nor none")),
        }
    }
}

impl Value for SubscriptionMode {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "mode (`static`, `dynamic` or `dynamic-private`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "static" => Ok(Self::Static),
            "dynamic" => Ok(Self::Dynamic),
            "dynamic-private" => Ok(Self::DynamicPrivate),
            _ => Err(format!(
                "{text:?} is neither static nor dynamic nor dynamic-private"
            )),
        }
    }
}

impl Value for Rebalancing {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "mode (`auto` or `off`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => Err(format!("{text:?} is neither auto nor off")),
        }
    }
}

impl Value for PasswordHash {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "hash of a password (bcrypt or Argon2)";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Value for AdminMode {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "mode (`production` or `development`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "production" => Ok(Self::Production),
            "development" => Ok(Self::Development),
            _ => Err(format!("{text:?} is neither production nor development")),
        }
    }
}

impl Value for InternalPage {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "page (`full`, `no_rooms` or `off`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "no_rooms" => Ok(Self::NoRooms),
            "off" => Ok(Self::Off),
            _ => Err(format!("{text:?} is neither full, no_rooms nor off")),
        }
    }
}

impl Value for SameSite {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "one of `lax`, `strict`, `none`";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "lax" => Ok(Self::Lax),
            "strict" => Ok(Self::Strict),
            "none" => Ok(Self::None),
            _ => Err(format!("{text:?} is neither lax, strict nor none")),
        }
    }
}

impl Value for LogFormat {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "format (`text` or `json`)";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither text nor json")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_carry_units() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("25s", 25_000),
            ("25 s", 25_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(Duration::parse(text), Ok(Duration::from_millis(millis)));
        }
        for (text, bytes) in [
            ("0", 0),
            ("7B", 7),
            ("1kB", 1_000),
            ("1KB", 1_000),
            ("1MB", 1_000_000),
            ("2GB", 2_000_000_000),
            ("1KiB", 1024),
            ("1MiB", 1_048_576),
            ("1GiB", 1_073_741_824),
        ] {
            assert_eq!(Size::parse(text).unwrap().0, bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_with_a_unit_is_refused() {
        for (text, problem) in [
            (
                "25",
                "25 has no unit (ms, s, m, h, d): 25s counts seconds, and 25ms milliseconds, as \
                 Socket.IO's options do",
            ),
            (
                "25000",
                "25000 has no unit (ms, s, m, h, d): the milliseconds of Socket.IO's options are \
                 written 25000ms here, or 25s",
            ),
        ] {
            assert_eq!(Duration::parse(text).unwrap_err(), problem);
        }
        let size = Size::parse("1000000").map(|size| size.0);
        assert_eq!(
            size.unwrap_err(),
            "1000000 has no unit (B, kB, KB, MB, GB, KiB, MiB, GiB): 1000000B counts bytes, as \
             Socket.IO's options do, 1000000KiB 1024 of them"
        );
        for text in [
            "", "s", "-1s", "1.5s", "1x", "1S", "1 s ", "1s1s", "00", "1e3s", "٣s",
        ] {
            assert!(Duration::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "1", "1mb", "1M", "1kb", "1mib"] {
            assert!(Size::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(
            Duration::parse("18446744073709551615d").unwrap_err(),
            "18446744073709551615d is too much"
        );
        assert_eq!(
            Duration::parse("99999999999999999999s").unwrap_err(),
            "99999999999999999999s is too much"
        );
    }
}
