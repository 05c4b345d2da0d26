use super::json;
use super::scanner::Scanner;

/// Whether every placeholder in `json`, a checked JSON array, points at one of `count`
/// attachments: what `socket.io-parser` finds out when the last attachment has come in.
///
/// A placeholder is an object whose last `_placeholder` is `true`; its last `num` has to be a
/// whole number in digits (stricter than Node, where 0.5 yields `undefined`). One that
/// Node would not look at, because it is inside another placeholder or because its key comes again, is
/// checked all the same: not every client's JSON parser drops it.
pub(super) fn are_legal(json: &str, count: usize) -> bool {
    if !may_have_placeholder(json) {
        return true;
    }
    check(json, count).unwrap_or(false)
}

/// An object or array around the cursor.
#[derive(Default)]
struct Frame {
    key: Key,
    placeholder: bool,
    legal: bool,
}

/// Under which key of its object a value stands.
#[derive(Default, Clone, Copy, PartialEq)]
enum Key {
    /// One that means nothing here, or in an array.
    #[default]
    Other,
    Placeholder,
    Num,
}

/// The key cannot be written without either.
fn may_have_placeholder(json: &str) -> bool {
    json.contains("_placeholder") || json.contains('\\')
}

/// `None` if `json` turns out not to be JSON after all.
fn check(json: &str, count: usize) -> Option<bool> {
    let mut scanner = Scanner::new(json);
    let mut open: Vec<Frame> = Vec::new();
    loop {
        scanner.skip_whitespace();
        let start = scanner.position();
        let Some(byte) = scanner.peek() else {
            return Some(true);
        };
        match byte {
            b'{' | b'[' => {
                scanner.take(byte)?;
                see(&mut open, |_| false);
                open.push(Frame::default());
            }
            b'}' | b']' => {
                scanner.take(byte)?;
                let closed = open.pop()?;
                if closed.placeholder && !closed.legal {
                    return Some(false);
                }
            }
            b',' | b':' => scanner.take(byte)?,
            _ => {
                scanner.value()?;
                let scalar = json.get(start..scanner.position())?;
                scanner.skip_whitespace();
                if scanner.peek() == Some(b':') {
                    open.last_mut()?.key = key(scalar);
                } else {
                    see(&mut open, |key| match key {
                        Key::Other => false,
                        Key::Placeholder => scalar == "true",
                        Key::Num => is_index(scalar, count),
                    });
                }
            }
        }
    }
}

/// Notes for the innermost object whether the value that comes now makes it a placeholder or a
/// legal one.
fn see(open: &mut [Frame], is_right: impl FnOnce(Key) -> bool) {
    let Some(frame) = open.last_mut() else {
        return;
    };
    match frame.key {
        Key::Other => {}
        Key::Placeholder => frame.placeholder = is_right(Key::Placeholder),
        Key::Num => frame.legal = is_right(Key::Num),
    }
    frame.key = Key::Other;
}

fn key(string: &str) -> Key {
    match json::as_string(string).as_deref() {
        Some("_placeholder") => Key::Placeholder,
        Some("num") => Key::Num,
        _ => Key::Other,
    }
}

fn is_index(number: &str, count: usize) -> bool {
    number.bytes().all(|byte| byte.is_ascii_digit())
        && number.parse::<usize>().is_ok_and(|index| index < count)
}
