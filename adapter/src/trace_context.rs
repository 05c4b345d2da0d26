//! W3C Trace Context: which trace something belongs to, and what it is a part of there.

use std::fmt;

/// Most bytes of a `tracestate` that is passed on.
const MAX_STATE: usize = 512;

/// Most bytes of a member of a `tracestate` that is kept before shorter ones.
const LONG_MEMBER: usize = 128;

/// Most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;

/// A trace and a span of it: what `traceparent` says.
///
/// ```
/// use adapter::TraceContext;
///
/// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let context = TraceContext::parse(text.as_bytes()).unwrap();
/// assert!(context.is_sampled);
/// assert_eq!(context.to_string(), text);
/// ```
#[expect(
    clippy::exhaustive_structs,
    reason = "its users make it, field by field"
)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The id of the trace; not all zero.
    pub trace: [u8; 16],
    /// The id of the span; not all zero.
    pub span: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Characters of a context of version 0.
    pub const LENGTH: usize = 55;

    /// Reads a `traceparent`. `None`: it is none, or not one that this version can use.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(Self::LENGTH)?;
        let separated = [2, 35, 52].iter().all(|place| head[*place] == b'-');
        let [version] = bytes(&head[..2])?;
        // Later versions may have more behind a dash.
        let ends = rest.is_empty() || (version != 0 && rest[0] == b'-');
        if !separated || version == 0xff || !ends {
            return None;
        }
        let (trace, span) = (bytes(&head[3..35])?, bytes(&head[36..52])?);
        let [flags] = bytes(&head[53..])?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace,
            span,
            is_sampled: flags & 1 == 1,
        })
    }
}

/// As `traceparent` has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(if self.is_sampled { "-01" } else { "-00" })
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bytes of digits in lower case, which they have to be.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

/// The `tracestate` to pass on: the headers of this name in their order, with at most 512 bytes. `None` if there is
/// none, or if one of its members is not legal.
pub fn trace_state<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut members = Vec::new();
    for header in headers {
        let text = std::str::from_utf8(header).ok()?;
        let found = text.split(',').map(|it| it.trim_matches([' ', '\t']));
        members.extend(found.filter(|it| !it.is_empty()));
    }
    let is_legal = members.len() <= MAX_MEMBERS && members.iter().all(|it| is_member(it));
    let key = |member: &'a str| member.split('=').next();
    let is_double = |(place, it): (usize, &&'a str)| {
        let before = &members[..place];
        before.iter().any(|other| key(other) == key(it))
    };
    if !is_legal || members.iter().enumerate().any(is_double) {
        return None;
    }
    let size = |members: &[&str]| members.iter().map(|it| it.len() + 1).sum::<usize>();
    while size(&members) > MAX_STATE + 1 {
        let long = members.iter().rposition(|it| it.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    (!members.is_empty()).then(|| members.join(","))
}

/// Whether a member has a key and a value of legal characters.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let (tenant, system) = match key.split_once('@') {
        Some((tenant, system)) => (tenant, Some(system)),
        None => (key, None),
    };
    let is_of_key =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
    let has_start = |text: &str, with_digit: bool| {
        let first = text.bytes().next();
        first.is_some_and(|it| it.is_ascii_lowercase() || (with_digit && it.is_ascii_digit()))
            && text.bytes().all(is_of_key)
    };
    let is_key = match system {
        None => tenant.len() <= 256 && has_start(tenant, false),
        Some(system) => {
            tenant.len() <= 241
                && has_start(tenant, true)
                && system.len() <= 14
                && has_start(system, false)
        }
    };
    let is_of_value = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b',' && byte != b'=';
    is_key && (1..=256).contains(&value.len()) && value.bytes().all(is_of_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "12345678901234567890123456789012";
    const SPAN: &str = "1234567890123456";

    /// The cases of W3C's own tests of `traceparent`.
    #[test]
    fn what_is_no_context_begins_a_new_trace() {
        for text in [
            "",
            "00-12345678901234567890123456789012-1234567890123456",
            "00-12345678901234567890123456789012-1234567890123456-",
            "00-12345678901234567890123456789012-1234567890123456-0",
            "00-12345678901234567890123456789012-1234567890123456-1",
            "00-12345678901234567890123456789012-1234567890123456-001",
            "00-12345678901234567890123456789012-1234567890123456-01.",
            "00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
            "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like",
            "ff-12345678901234567890123456789012-1234567890123456-01",
            "0-12345678901234567890123456789012-1234567890123456-01",
            "000-12345678901234567890123456789012-1234567890123456-01",
            ".0-12345678901234567890123456789012-1234567890123456-01",
            "0.-12345678901234567890123456789012-1234567890123456-01",
            "00-00000000000000000000000000000000-1234567890123456-01",
            "00-.2345678901234567890123456789012-1234567890123456-01",
            "00-1234567890123456789012345678901.-1234567890123456-01",
            "00-123456789012345678901234567890123-1234567890123456-01",
            "00-1234567890123456789012345678901-1234567890123456-01",
            "00-12345678901234567890123456789012-0000000000000000-01",
            "00-12345678901234567890123456789012-.234567890123456-01",
            "00-12345678901234567890123456789012-123456789012345.-01",
            "00-12345678901234567890123456789012-12345678901234567-01",
            "00-12345678901234567890123456789012-123456789012345-01",
            "00-12345678901234567890123456789012-1234567890123456-.0",
            "00-12345678901234567890123456789012-1234567890123456-0.",
            "00-12345678901234567890123456789012-1234567890123456-fF",
            "00-ABCDEF78901234567890123456789012-1234567890123456-01",
            "00_12345678901234567890123456789012-1234567890123456-01",
            "00-12345678901234567890123456789012_1234567890123456-01",
            "00-12345678901234567890123456789012-1234567890123456_01",
            " 00-12345678901234567890123456789012-1234567890123456-01",
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_context_is_read_and_written() {
        for (version, flags, sampled, more) in [
            ("00", "00", false, ""),
            ("00", "01", true, ""),
            ("00", "fe", false, ""),
            ("00", "ff", true, ""),
            ("01", "01", true, ""),
            ("cc", "01", true, "-what-the-future-will-be-like"),
            ("fe", "03", true, "-"),
        ] {
            let text = format!("{version}-{TRACE}-{SPAN}-{flags}{more}");
            let context = TraceContext::parse(text.as_bytes()).expect(&text);
            assert_eq!(context.is_sampled, sampled, "{text}");
            let written = context.to_string();
            assert_eq!(written, format!("00-{TRACE}-{SPAN}-0{}", u8::from(sampled)));
            assert_eq!(written.len(), TraceContext::LENGTH);
            assert_eq!(TraceContext::parse(written.as_bytes()), Some(context));
        }
    }

    fn state(headers: &[&str]) -> Option<String> {
        trace_state(headers.iter().map(|it| it.as_bytes()))
    }

    /// The cases of W3C's own tests of `tracestate`.
    #[test]
    fn a_state_is_passed_on_if_it_is_legal() {
        let long = "z".repeat(256);
        for (headers, expected) in [
            (&["foo=1"][..], "foo=1"),
            (&["foo=1,bar=2"], "foo=1,bar=2"),
            (&["foo=1", "bar=2,rojo=1"], "foo=1,bar=2,rojo=1"),
            (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
            (&["foo=1,", "", ",bar=2"], "foo=1,bar=2"),
            (&["t/a-_*9@sys=ok value"], "t/a-_*9@sys=ok value"),
            (&["0tenant@v=1"], "0tenant@v=1"),
            (&[&format!("{long}=1")], &format!("{long}=1")),
        ] {
            assert_eq!(state(headers).as_deref(), Some(expected), "{headers:?}");
        }
        let many: Vec<_> = (0..33).map(|it| format!("a{it}=1")).collect();
        for headers in [
            &[""][..],
            &["foo"],
            &["foo="],
            &["=1"],
            &["foo=1=2"],
            &["foo =1"],
            &["FOO=1"],
            &["foo.bar=1"],
            &["foo@=1,bar=2"],
            &["@foo=1"],
            &["foo@@bar=1"],
            &["foo@bar@baz=1"],
            &["0foo=1"],
            &["foo=1,foo=1"],
            &["foo=\u{e9}"],
            &[&format!("{long}z=1")],
            &[&format!("tenant@{}=1", "v".repeat(15))],
            &[&format!("{}@v=1", "t".repeat(242))],
            &[&format!("foo={long}z")],
            &[&many.join(",")],
        ] {
            assert_eq!(state(headers), None, "{headers:?}");
        }
    }

    #[test]
    fn a_state_has_at_most_512_bytes_and_loses_long_members_first() {
        let (long, short) = ("l".repeat(200), "s".repeat(120));
        let all = format!("a={long},b={short},c={long},d={short},e={short}");
        let kept = format!("a={long},b={short},d={short}");
        assert_eq!(
            state(&[&all]).as_deref(),
            Some(&*format!("b={short},d={short},e={short}"))
        );
        assert_eq!(state(&[&kept]), Some(kept.clone()));
        let exact = format!("a={short},b={short},c={short},d={}", "s".repeat(141));
        assert_eq!(exact.len(), 512);
        assert_eq!(state(&[&exact]), Some(exact.clone()));
        let cut = state(&[&format!("{exact},e=1")]);
        assert_eq!(
            cut.as_deref(),
            Some(&*format!("a={short},b={short},c={short},e=1"))
        );
        let cut = format!("a={short},b={short},c={short},d={short}");
        assert_eq!(state(&[&format!("{cut},e={short}")]), Some(cut));
    }
}
