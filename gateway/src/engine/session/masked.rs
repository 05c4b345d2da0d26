//! Packets as they may be shown in the log.

use std::fmt::{self, Write};

/// Most characters of a packet that are shown.
const SHOWN: usize = 200;

/// What every JSON Web Token begins with: a JSON object in base64.
const BEGINS: &str = "eyJ";

/// What stands before the secret with which a client comes back, in the answer to its `CONNECT`.
const PID: &str = "\"pid\":\"";

/// The beginning of a packet or of its arguments. What looks like a JSON Web Token, or is a pid, is left out.
pub(crate) struct Masked<'a>(pub(crate) &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(SHOWN).map(|(index, _)| index);
        let mut rest = &self.0[..end.unwrap_or(self.0.len())];
        loop {
            let (at, shown) = match (rest.find(BEGINS), rest.find(PID)) {
                (Some(token), Some(pid)) if pid < token => (pid + PID.len(), "(pid)"),
                (None, Some(pid)) => (pid + PID.len(), "(pid)"),
                (Some(token), _) => (token, "(token)"),
                (None, None) => break,
            };
            let (before, secret) = rest.split_at(at);
            f.write_str(before)?;
            f.write_str(shown)?;
            rest = secret.trim_start_matches(is_of_token);
        }
        f.write_str(rest)?;
        match end {
            Some(_) => f.write_char('…'),
            None => Ok(()),
        }
    }
}

fn is_of_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.=+/".contains(letter)
}

/// Packets of this event hold a token, whatever it looks like.
const TOKEN_EVENT: &str = "token";

/// The arguments of an event.
pub(crate) fn arguments<'a>(event: &str, arguments: &'a str) -> Masked<'a> {
    if event == TOKEN_EVENT {
        Masked("(token)")
    } else {
        Masked(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_left_out_wherever_they_stand() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl-_";
        for (text, shown) in [
            (r#"["join","a"]"#.to_owned(), r#"["join","a"]"#.to_owned()),
            (
                format!(r#"["x",{{"t":"{token}"}},1]"#),
                r#"["x",{"t":"(token)"},1]"#.to_owned(),
            ),
            (
                format!("Bearer {token} {token}"),
                "Bearer (token) (token)".to_owned(),
            ),
            (
                format!("{}{token}", "é".repeat(190)),
                format!("{}(token)…", "é".repeat(190)),
            ),
            ("x".repeat(201), format!("{}…", "x".repeat(200))),
            (
                r#"40{"sid":"a","pid":"Ab-_.AAAA.0000000000000001"}"#.to_owned(),
                r#"40{"sid":"a","pid":"(pid)"}"#.to_owned(),
            ),
            (
                format!(r#"["x",{{"pid":"{token}","t":"{token}"}}]"#),
                r#"["x",{"pid":"(pid)","t":"(token)"}]"#.to_owned(),
            ),
        ] {
            assert_eq!(Masked(&text).to_string(), shown);
        }
        assert_eq!(arguments("token", r#""opaque""#).to_string(), "(token)");
        assert_eq!(arguments("say", r#""opaque""#).to_string(), r#""opaque""#);
    }
}
