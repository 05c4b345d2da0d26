//! Arguments of events and acknowledgements: what can be emitted, and how Rust values become it.

use std::cell::RefCell;

use adapter::ArgumentsBuf;
use bytes::Bytes;
use protocol::socketio::{Arguments, MAX_ATTACHMENTS, MAX_DEPTH, is_reserved, json};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::{Error as _, SerializeMap as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Arguments that are kept or sent: JSON values and their attachments.
///
/// ```
/// use gateway::event::IntoArguments;
///
/// let arguments = ("hi", 1).into_arguments()?;
/// assert_eq!(arguments.as_ref().json(), r#""hi",1"#);
/// let (text, number): (String, u32) = arguments.parse()?;
/// assert_eq!((text.as_str(), number), ("hi", 1));
/// # Ok::<(), gateway::event::EmitError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedArguments(ArgumentsBuf);

impl OwnedArguments {
    /// The arguments, borrowed.
    pub fn as_ref(&self) -> Arguments<'_> {
        self.0.as_arguments()
    }

    /// The arguments as a tuple, as [`Event::parse`](crate::event::Event::parse) does.
    ///
    /// # Errors
    ///
    /// Arguments that are missing, or of other types than the tuple has.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        parse(self.as_ref())
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.0.size()
    }
}

impl From<Arguments<'_>> for OwnedArguments {
    fn from(arguments: Arguments<'_>) -> Self {
        Self(arguments.into())
    }
}

impl From<OwnedArguments> for ArgumentsBuf {
    fn from(arguments: OwnedArguments) -> Self {
        arguments.0
    }
}

impl From<ArgumentsBuf> for OwnedArguments {
    fn from(arguments: ArgumentsBuf) -> Self {
        Self(arguments)
    }
}

/// Why something could not be emitted.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The name belongs to the library itself.
    #[error("{0:?} is a reserved event name")]
    ReservedName(String),
    /// An argument has no JSON form.
    #[error("an argument cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Clients accept no more than [`MAX_ATTACHMENTS`].
    #[error("more than {MAX_ATTACHMENTS} attachments")]
    TooManyAttachments,
    /// Clients and other nodes take no arguments that are nested so deep.
    #[error("the arguments are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A shard has too many broadcasts waiting, or the node awaits too many acknowledgements.
    #[error("the node is overloaded")]
    Overloaded,
}

pub(crate) fn check_name(name: &str) -> Result<(), EmitError> {
    if is_reserved(name) {
        Err(EmitError::ReservedName(name.to_owned()))
    } else {
        Ok(())
    }
}

/// What can be emitted: a tuple of values (`("hi", 1)`, `()` for none), or arguments that came in.
pub trait IntoArguments {
    /// The arguments.
    ///
    /// # Errors
    ///
    /// Values that have no JSON form, are nested too deep, or hold too many attachments: see
    /// [`EmitError`].
    fn into_arguments(self) -> Result<OwnedArguments, EmitError>;
}

impl IntoArguments for OwnedArguments {
    fn into_arguments(self) -> Result<OwnedArguments, EmitError> {
        Ok(self)
    }
}

impl IntoArguments for Arguments<'_> {
    fn into_arguments(self) -> Result<OwnedArguments, EmitError> {
        Ok(self.into())
    }
}

impl IntoArguments for () {
    fn into_arguments(self) -> Result<OwnedArguments, EmitError> {
        Ok(OwnedArguments::default())
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: Serialize),+> IntoArguments for ($($name,)+) {
            fn into_arguments(self) -> Result<OwnedArguments, EmitError> {
                serialize(&self)
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);

fn serialize(tuple: &impl Serialize) -> Result<OwnedArguments, EmitError> {
    let outer = ATTACHMENTS.replace(Some(Vec::new()));
    let json = serde_json::to_string(tuple);
    let attachments = ATTACHMENTS.replace(outer).unwrap_or_default();
    let json = json?;
    if attachments.len() > MAX_ATTACHMENTS {
        return Err(EmitError::TooManyAttachments);
    }
    if may_be_too_deep(&json) && !json::is_value(&json) {
        return Err(EmitError::TooDeep);
    }
    let inner = json
        .strip_prefix('[')
        .and_then(|json| json.strip_suffix(']'))
        .unwrap_or(&json);
    Ok(OwnedArguments(ArgumentsBuf {
        json: inner.into(),
        attachments,
    }))
}

/// Whether there are enough brackets in it at all.
fn may_be_too_deep(json: &str) -> bool {
    let brackets = memchr::memchr2_iter(b'[', b'{', json.as_bytes());
    brackets.take(MAX_DEPTH + 1).count() > MAX_DEPTH
}

pub(super) fn parse<T: DeserializeOwned>(arguments: Arguments<'_>) -> Result<T, serde_json::Error> {
    let mut json = String::with_capacity(arguments.json().len() + 2);
    json.push('[');
    json.push_str(arguments.json());
    json.push(']');
    let outer = ATTACHMENTS.replace(Some(arguments.attachments().to_vec()));
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    let parsed = T::deserialize(LeadingElements(&mut deserializer));
    ATTACHMENTS.set(outer);
    parsed
}

/// A deserializer whose tuples may be shorter than the array that they are read from.
struct LeadingElements<'a, 'de>(&'a mut serde_json::Deserializer<serde_json::de::StrRead<'de>>);

impl<'de> Deserializer<'de> for LeadingElements<'_, 'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: serde::de::Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_seq(Leading(visitor))
    }

    fn deserialize_tuple_struct<V: serde::de::Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_seq(Leading(visitor))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq map struct enum identifier ignored_any
    }
}

struct Leading<V>(V);

impl<'de, V: serde::de::Visitor<'de>> serde::de::Visitor<'de> for Leading<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_seq<S: serde::de::SeqAccess<'de>>(
        self,
        mut elements: S,
    ) -> Result<V::Value, S::Error> {
        let value = self.0.visit_seq(&mut elements)?;
        while elements.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(value)
    }
}

/// Bytes as an argument or anywhere inside one. They travel as an attachment.
///
/// It only has a serialized form as part of what is emitted or received.
#[expect(clippy::exhaustive_structs, reason = "its users make it")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary(
    /// The bytes.
    pub Bytes,
);

thread_local! {
    /// The attachments of the arguments that are being written or read on this thread: serde has
    /// no other way to hand them to a [`Binary`] deep inside.
    static ATTACHMENTS: RefCell<Option<Vec<Bytes>>> = const { RefCell::new(None) };
}

#[derive(Deserialize)]
struct Placeholder {
    #[serde(rename = "_placeholder")]
    placeholder: bool,
    num: usize,
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = ATTACHMENTS
            .with_borrow_mut(|attachments| {
                let attachments = attachments.as_mut()?;
                attachments.push(self.0.clone());
                Some(attachments.len() - 1)
            })
            .ok_or_else(|| S::Error::custom("binary outside of an event's arguments"))?;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("_placeholder", &true)?;
        map.serialize_entry("num", &number)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let placeholder = Placeholder::deserialize(deserializer)?;
        ATTACHMENTS
            .with_borrow(|attachments| {
                let found = attachments.as_ref()?.get(placeholder.num)?;
                placeholder.placeholder.then(|| Self(found.clone()))
            })
            .ok_or_else(|| D::Error::custom("not a binary argument"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(json: &str, attachments: &[&'static [u8]]) -> OwnedArguments {
        OwnedArguments(ArgumentsBuf {
            json: json.into(),
            attachments: attachments
                .iter()
                .map(|bytes| Bytes::from_static(bytes))
                .collect(),
        })
    }

    #[test]
    fn a_tuple_becomes_arguments() {
        assert_eq!(
            ("a", 1, json!({"b": [2]})).into_arguments().unwrap(),
            owned(r#""a",1,{"b":[2]}"#, &[])
        );
        assert_eq!(().into_arguments().unwrap(), owned("", &[]));
    }

    #[test]
    fn binary_becomes_an_attachment_at_any_depth() {
        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        struct Drawing {
            name: String,
            image: Binary,
        }
        let drawing = || Drawing {
            name: "x".into(),
            image: Binary(Bytes::from_static(b"img")),
        };
        let arguments = (Binary(Bytes::from_static(b"raw")), drawing())
            .into_arguments()
            .unwrap();
        assert_eq!(
            arguments,
            owned(
                r#"{"_placeholder":true,"num":0},{"name":"x","image":{"_placeholder":true,"num":1}}"#,
                &[b"raw", b"img"]
            )
        );
        let (raw, read): (Binary, Drawing) = arguments.parse().unwrap();
        assert_eq!(raw.0, "raw");
        assert_eq!(read, drawing());
    }

    #[test]
    fn more_arguments_than_the_tuple_takes_are_ignored() {
        let (first,): (String,) = owned(r#""a",2,[3]"#, &[]).parse().unwrap();
        assert_eq!(first, "a");
        assert!(owned("", &[]).parse::<(String,)>().is_err());
        assert!(owned("1", &[]).parse::<(String,)>().is_err());
    }

    #[test]
    fn a_placeholder_without_its_attachment_is_an_error() {
        assert!(
            owned(r#"{"_placeholder":true,"num":0}"#, &[])
                .parse::<(Binary,)>()
                .is_err()
        );
        assert!(serde_json::to_string(&Binary(Bytes::new())).is_err());
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let nested = |depth: usize| (1..depth).fold(serde_json::json!(["x"]), |it, _| [it].into());
        // The list of arguments is one level of its own.
        assert!((nested(MAX_DEPTH - 1),).into_arguments().is_ok());
        assert!(matches!(
            (nested(MAX_DEPTH),).into_arguments(),
            Err(EmitError::TooDeep)
        ));
        let many: Vec<[u8; 1]> = vec![[1]; 1000];
        assert!((many,).into_arguments().is_ok());
    }

    #[test]
    fn eleven_attachments_are_too_many() {
        let many: Vec<_> = (0..11).map(|_| Binary(Bytes::new())).collect();
        assert!(matches!(
            (many,).into_arguments(),
            Err(EmitError::TooManyAttachments)
        ));
    }
}
