//! Values that must never be seen.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};

use super::value::{Shape, Value};

/// A secret of the configuration. It cannot be printed. Comparing takes the same time however much of
/// a guess is right.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Whether `candidate` is this secret. The time taken depends on the length of the candidate
    /// alone.
    #[must_use]
    pub fn verify(&self, candidate: &[u8]) -> bool {
        let mut difference = self.0.len() ^ candidate.len();
        for (index, byte) in candidate.iter().enumerate() {
            // The modulus keeps the walk as long as the candidate, whatever the secret's length.
            difference |= usize::from(self.0[index % self.0.len()] ^ byte);
            difference = std::hint::black_box(difference);
        }
        difference == 0
    }

    /// A value that is compared as secrets are, however short it is.
    pub(crate) fn of(value: &[u8]) -> Self {
        Self(value.into())
    }

    /// Returns the bytes themselves, to sign with them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.verify(&other.0)
    }
}

impl Eq for Secret {}

/// Shortest secret that is taken.
const SHORTEST: usize = 16;

impl Value for Secret {
    const SHAPE: Shape = Shape::Text;
    const KIND: &'static str = "secret";

    fn parse(text: &str) -> Result<Self, String> {
        if text.len() < SHORTEST {
            return Err(format!("too short, a secret has at least {SHORTEST} bytes"));
        }
        Ok(Self(text.as_bytes().into()))
    }
}

/// Secrets of which each is as good as the others, so that callers can change from one to another.
///
/// ```
/// use gateway::Config;
///
/// let config = Config::from_toml("api.key = \"0123456789abcdef,fedcba9876543210\"")?;
/// let keys = config.api.keys.unwrap();
/// assert!(keys.verify(b"fedcba9876543210"));
/// assert!(!keys.verify(b"0000000000000000"));
/// # Ok::<(), gateway::config::Errors>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<Secret>,
    text: Secret,
}

impl Keys {
    /// Returns each of them, in their order.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.keys.iter()
    }

    /// The text as it was written, if it holds more than one: what has commas was one secret once.
    #[must_use]
    pub fn unparted(&self) -> Option<&Secret> {
        (self.keys.len() > 1).then_some(&self.text)
    }

    /// Returns the first, which is the one to sign with.
    #[must_use]
    pub fn first(&self) -> Option<&Secret> {
        self.keys.first()
    }

    /// Whether `candidate` is one of them. All are compared.
    #[must_use]
    pub fn verify(&self, candidate: &[u8]) -> bool {
        let fits = |fits, key: &Secret| fits | key.verify(candidate);
        self.keys.iter().fold(false, fits)
    }
}

impl Value for Keys {
    const SHAPE: Shape = Shape::TextOrList;
    const KIND: &'static str = "secret";

    fn parse(text: &str) -> Result<Self, String> {
        let keys = text.split(',').map(|key| Secret::parse(key.trim()));
        let keys: Vec<_> = keys.collect::<Result<_, _>>().map_err(|error| {
            let parted = text.contains(',');
            let which = if parted {
                "a secret between commas is "
            } else {
                ""
            };
            format!("{which}{error}")
        })?;
        let text = Secret::parse(text)?;
        Ok(Self { keys, text })
    }
}

/// Headers whose values are secrets.
///
/// ```
/// use gateway::Config;
///
/// let toml = "otel = { endpoint = \"http://collector:4318\", headers = \"x-key=abc\" }";
/// let headers = Config::from_toml(toml)?.otel.unwrap().headers.unwrap();
/// assert_eq!(headers.iter().count(), 1);
/// assert!(!format!("{headers:?}").contains("abc"));
/// # Ok::<(), gateway::config::Errors>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHeaders(Vec<(HeaderName, HeaderValue)>);

impl SecretHeaders {
    /// Returns each name with its value, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl Value for SecretHeaders {
    const SHAPE: Shape = Shape::TextOrList;
    const KIND: &'static str = "secret";

    fn parse(text: &str) -> Result<Self, String> {
        let header = |text: &str| {
            let (name, value) = text.trim().split_once('=')?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            // It is printed as `Sensitive`.
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        let headers = text.split(',').map(header).collect::<Option<_>>();
        let wrong = || "not NAME=VALUE, or several of them with commas between them".to_owned();
        headers.map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_verifies() {
        let secret = Secret::parse("0123456789abcdef").unwrap();
        assert!(secret.verify(b"0123456789abcdef"));
        for wrong in [
            &b""[..],
            b"0",
            b"0123456789abcdeF",
            b"1123456789abcdef",
            b"0123456789abcde",
            b"0123456789abcdef0",
            b"0123456789abcdef0123456789abcdef",
        ] {
            assert!(!secret.verify(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn each_of_several_keys_verifies() {
        let keys = Keys::parse("0123456789abcdef, fedcba9876543210").unwrap();
        assert!(keys.verify(b"0123456789abcdef") && keys.verify(b"fedcba9876543210"));
        assert!(!keys.verify(b"0123456789abcdef, fedcba9876543210"));
        assert!(Keys::parse("0123456789abcdef,").is_err());
    }

    #[test]
    fn headers_have_names_and_their_values_are_not_printed() {
        let headers = SecretHeaders::parse("X-Key=a=b, authorization = Basic dTpw").unwrap();
        let read: Vec<_> = headers
            .iter()
            .map(|(name, it)| (name.as_str(), it))
            .collect();
        assert_eq!(read[0], ("x-key", &HeaderValue::from_static("a=b")));
        assert_eq!(
            read[1],
            ("authorization", &HeaderValue::from_static("Basic dTpw"))
        );
        assert!(!format!("{headers:?}").contains("dTpw"));
        for wrong in [
            "",
            "hidden",
            "a b=hidden",
            "=hidden",
            "a=hidden,",
            "a=hid\nhidden",
        ] {
            let refused = SecretHeaders::parse(wrong).unwrap_err();
            assert!(!refused.contains("hidden"), "{refused}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::parse("0123456789abcdef").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let refused = Secret::parse("short-one").unwrap_err();
        assert!(!refused.contains("short-one"), "{refused}");
    }
}
