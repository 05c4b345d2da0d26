use super::json;
use super::scanner::Scanner;

/// Whether every placeholder in `json`, a checked JSON array, points at one of `count`
/// attachments: what `socket.io-parser` finds out when the last attachment has come in.
///
/// A placeholder is an object whose last `_placeholder` is `true`; its last `num` has to be a
/// whole number in digits (stricter than Node, where 0.5 yields `undefined`). One that Node would
/// not look at, because it is inside another placeholder or because its key comes again, is checked
/// all the same: not every client's JSON parser drops it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_placeholders_are_accepted() {
        let table = [
            ("", 1),
            (r#"["a"]"#, 1),
            (r#"["a",{"_placeholder":true,"num":0}]"#, 1),
            (r#"["a",{"num":9,"_placeholder":true}]"#, 10),
            (r#"[ "a" , { "_placeholder" : true , "num" : 0 } ]"#, 1),
            (
                r#"["a",{"x":[{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}]}]"#,
                2,
            ),
            (r#"["a",{"_placeholder":true,"num":0,"more":"data"}]"#, 1),
            (r#"["a",{"\u005fplaceholder":true,"nu\u006d":0}]"#, 1),
            // No placeholders at all.
            (r#"["a",{"_placeholder":false,"num":7}]"#, 1),
            (r#"["a",{"_placeholder":"true","num":7}]"#, 1),
            (r#"["a",{"_placeholder":1,"num":7}]"#, 1),
            (r#"["a",{"_placeholder":[true],"num":7}]"#, 1),
            (
                r#"["a",{"_placeholder":{"_placeholder":true,"num":0},"num":7}]"#,
                1,
            ),
            (r#"["a",{"_Placeholder":true,"num":7}]"#, 1),
            (r#"["a",{"\\u005fplaceholder":true,"num":7}]"#, 1),
            (r#"["_placeholder",true,"num",7]"#, 1),
            // The last of equal keys counts.
            (r#"["a",{"_placeholder":true,"num":7,"num":0}]"#, 1),
            (
                r#"["a",{"num":7,"_placeholder":true,"_placeholder":false}]"#,
                1,
            ),
            (
                r#"["a",{"_placeholder":true,"_placeholder":[],"num":7}]"#,
                1,
            ),
        ];
        for (json, count) in table {
            assert!(are_legal(json, count), "{json}");
        }
    }

    #[test]
    fn illegal_placeholders_are_refused() {
        let table = [
            r#"["a",{"_placeholder":true}]"#,
            r#"["a",{"_placeholder":true,"num":2}]"#,
            r#"["a",{"_placeholder":true,"num":-1}]"#,
            r#"["a",{"_placeholder":true,"num":-0}]"#,
            r#"["a",{"_placeholder":true,"num":0.5}]"#,
            r#"["a",{"_placeholder":true,"num":1.0}]"#,
            r#"["a",{"_placeholder":true,"num":1e0}]"#,
            r#"["a",{"_placeholder":true,"num":18446744073709551616}]"#,
            r#"["a",{"_placeholder":true,"num":"0"}]"#,
            r#"["a",{"_placeholder":true,"num":null}]"#,
            r#"["a",{"_placeholder":true,"num":[0]}]"#,
            r#"["a",{"_placeholder":true,"num":{}}]"#,
            r#"["a",{"\u005fplaceholder":true,"num":2}]"#,
            r#"["a",{"_place\u0068older":true,"num":0,"n\u0075m":2}]"#,
            r#"["a",{"_placeholder":false,"_placeholder":true,"num":2}]"#,
            r#"["a",{"_placeholder":true,"num":0,"num":{"num":0}}]"#,
            r#"["a",[[{"b":{"_placeholder":true,"num":2}}]]]"#,
            r#"["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":2}]"#,
            r#"["a",{"b":[],"_placeholder":true,"c":{},"num":2,"d":1}]"#,
            // Out of Node's sight, not of every client's.
            r#"["a",{"_placeholder":true,"num":0,"x":{"_placeholder":true}}]"#,
            r#"["a",{"x":{"_placeholder":true,"num":2},"x":1}]"#,
        ];
        for json in table {
            assert!(!are_legal(json, 2), "{json}");
        }
    }
}
