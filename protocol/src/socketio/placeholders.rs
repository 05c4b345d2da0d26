use super::scanner::Scanner;
use super::{MAX_ATTACHMENTS, json};

/// Whether every placeholder in `json`, a checked JSON array, points at one of `count`
/// attachments: what `socket.io-parser` finds out when the last attachment has come in.
///
/// There may be no more of them than attachments. Clients name each attachment once. Where binary stands in its place, as
/// in msgpack or for a backend, one that is named a thousand times would stand there a thousand times.
///
/// A placeholder is an object whose last `_placeholder` is `true`; its last `num` has to be a whole
/// number in digits (stricter than Node, where 0.5 yields `undefined`). Node would not look at one
/// inside another placeholder, or at one whose key comes again. It is checked all the same: not
/// every client's JSON parser drops it.
pub(super) fn are_legal(json: &str, count: usize) -> bool {
    if !may_have_placeholder(json) {
        return true;
    }
    check(json, count).unwrap_or(false)
}

/// `json`, checked JSON values, with what `write` makes of the number of each placeholder in its
/// place. Everything else stays as it is written. `None` if a placeholder is not legal.
pub(super) fn replaced(
    json: &str,
    count: usize,
    mut write: impl FnMut(&mut String, usize),
) -> Option<String> {
    if !may_have_placeholder(json) {
        return Some(json.to_owned());
    }
    let mut found = Vec::new();
    if !walk(json, count, |placeholder| found.push(placeholder))? {
        return None;
    }
    let mut out = String::with_capacity(json.len());
    let mut end = 0;
    // In the order in which they end: one that holds others comes behind them.
    found.sort_unstable_by_key(|placeholder: &Placeholder| placeholder.start);
    for placeholder in found {
        if placeholder.start >= end {
            out.push_str(json.get(end..placeholder.start)?);
            write(&mut out, placeholder.num);
            end = placeholder.end;
        }
    }
    out.push_str(json.get(end..)?);
    Some(out)
}

/// Where a placeholder stands, and what it points at.
struct Placeholder {
    start: usize,
    end: usize,
    num: usize,
}

/// An object or array around the cursor.
#[derive(Default)]
struct Frame {
    start: usize,
    key: Key,
    placeholder: bool,
    /// Its number, if that is one of an attachment.
    num: Option<usize>,
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
    let mut placeholders = 0;
    let are_legal = walk(json, count, |_| placeholders += 1)?;
    Some(are_legal && placeholders <= MAX_ATTACHMENTS)
}

/// The same; `see_placeholder` is told of each legal one.
fn walk(json: &str, count: usize, mut see_placeholder: impl FnMut(Placeholder)) -> Option<bool> {
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
                see(&mut open, "", count);
                open.push(Frame {
                    start,
                    ..Frame::default()
                });
            }
            b'}' | b']' => {
                scanner.take(byte)?;
                let closed = open.pop()?;
                if closed.placeholder {
                    let Some(num) = closed.num else {
                        return Some(false);
                    };
                    see_placeholder(Placeholder {
                        start: closed.start,
                        end: scanner.position(),
                        num,
                    });
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
                    see(&mut open, scalar, count);
                }
            }
        }
    }
}

/// Notes for the innermost object whether the value that comes now, a scalar or nothing, makes it a
/// placeholder or a legal one.
fn see(open: &mut [Frame], scalar: &str, count: usize) {
    let Some(frame) = open.last_mut() else {
        return;
    };
    match frame.key {
        Key::Other => {}
        Key::Placeholder => frame.placeholder = scalar == "true",
        Key::Num => frame.num = index(scalar, count),
    }
}

fn key(string: &str) -> Key {
    match json::as_string(string).as_deref() {
        Some("_placeholder") => Key::Placeholder,
        Some("num") => Key::Num,
        _ => Key::Other,
    }
}

fn index(number: &str, count: usize) -> Option<usize> {
    let is_whole = number.bytes().all(|byte| byte.is_ascii_digit());
    let index = number.parse().ok().filter(|_| is_whole)?;
    (index < count).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_all_else_stays_as_it_is_written() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(250), "]".repeat(250));
        let one = r#"{"_placeholder":true,"num":1}"#;
        for (json, expected) in [
            (
                r#""a", 1E400,{"b":1.10,"a":2}"#.to_owned(),
                r#""a", 1E400,{"b":1.10,"a":2}"#.to_owned(),
            ),
            (
                format!(r#"1E400 ,{{"b":{one}, "a":[{one}]}}"#),
                r#"1E400 ,{"b":<1>, "a":[<1>]}"#.to_owned(),
            ),
            (deep(one), deep("<1>")),
            (
                r#"{ "num" : 0 , "x":{}, "_placeholder" : true }"#.to_owned(),
                "<0>".to_owned(),
            ),
            (
                format!(r#"{{"_placeholder":true,"num":0,"in":{one}}},{one}"#),
                "<0>,<1>".to_owned(),
            ),
            (
                r#"{"_placeholder":false,"num":7}"#.to_owned(),
                r#"{"_placeholder":false,"num":7}"#.to_owned(),
            ),
        ] {
            let write = |out: &mut String, num: usize| out.push_str(&format!("<{num}>"));
            assert_eq!(
                replaced(&json, 2, write).as_ref(),
                Some(&expected),
                "{json}"
            );
        }
        assert_eq!(
            replaced(r#"{"_placeholder":true,"num":2}"#, 2, |_, _| {}),
            None
        );
    }

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
    fn there_are_no_more_placeholders_than_there_may_be_attachments() {
        let named = |times: usize| {
            let one = r#"{"_placeholder":true,"num":0}"#;
            format!("[\"a\",{}]", vec![one; times].join(","))
        };
        assert!(are_legal(&named(10), 1));
        assert!(!are_legal(&named(11), 1));
        assert!(!are_legal(&named(11), 10));
        let nested = r#"{"_placeholder":true,"num":0,"in":"#.repeat(11) + "1" + &"}".repeat(11);
        assert!(!are_legal(&nested, 1));
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
