//! Just enough HTTP/1.1 for long-polling: one response after the other on a kept connection.

use super::Failure;

/// Gathers the response that is under way.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    partial: Vec<u8>,
}

/// One complete response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// Status code.
    pub(crate) status: u16,
    /// Body, put together when it came in chunks.
    pub(crate) body: Vec<u8>,
}

impl Responses {
    /// Takes received bytes; gives the response once it is complete. A client has one request in flight, so bytes
    /// behind a response belong to nothing.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Response>, Failure> {
        self.partial.extend_from_slice(bytes);
        let Some((response, used)) = parse(&self.partial)? else {
            return Ok(None);
        };
        if used < self.partial.len() {
            return Err(Failure::Protocol);
        }
        self.partial = Vec::new();
        Ok(Some(response))
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(Response, usize)>, Failure> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..head]).map_err(|_| Failure::Protocol)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status
        .and_then(|status| status.parse().ok())
        .ok_or(Failure::Protocol)?;
    let mut length = None;
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(
                value
                    .trim()
                    .parse::<usize>()
                    .map_err(|_| Failure::Protocol)?,
            );
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let body = head + 4;
    if chunked {
        let parsed = parse_chunks(bytes, body)?;
        return Ok(parsed.map(|(body, used)| (Response { status, body }, used)));
    }
    let end = body + length.ok_or(Failure::Protocol)?;
    Ok(bytes.get(body..end).map(|body| {
        let body = body.to_vec();
        (Response { status, body }, end)
    }))
}

fn parse_chunks(bytes: &[u8], mut at: usize) -> Result<Option<(Vec<u8>, usize)>, Failure> {
    let mut body = Vec::new();
    loop {
        let Some(line) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| Failure::Protocol)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| Failure::Protocol)?;
        let begin = at + line + 2;
        let end = begin.checked_add(size).ok_or(Failure::Protocol)?;
        let Some(b"\r\n") = bytes.get(end..end + 2) else {
            return if bytes.len() < end + 2 {
                Ok(None)
            } else {
                Err(Failure::Protocol)
            };
        };
        if size == 0 {
            return Ok(Some((body, end + 2)));
        }
        body.extend_from_slice(&bytes[begin..end]);
        at = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_everywhere(bytes: &[u8], status: u16, body: &str) {
        for at in 1..bytes.len() {
            let mut responses = Responses::default();
            let (first, second) = bytes.split_at(at);
            assert_eq!(responses.handle_bytes(first), Ok(None));
            let response = responses.handle_bytes(second).unwrap().unwrap();
            assert_eq!(response.status, status);
            assert_eq!(response.body, body.as_bytes());
        }
    }

    #[test]
    fn a_body_of_known_length() {
        split_everywhere(
            b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\n40{}x",
            200,
            "40{}x",
        );
    }

    #[test]
    fn a_body_in_chunks() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na;x=y\r\n0123456789\r\n0\r\n\r\n";
        split_everywhere(bytes, 200, "abc0123456789");
    }

    #[test]
    fn an_error_without_a_body() {
        split_everywhere(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            400,
            "",
        );
    }

    #[test]
    fn rubbish_is_refused() {
        let mut responses = Responses::default();
        assert_eq!(
            responses.handle_bytes(b"nonsense\r\n\r\n"),
            Err(Failure::Protocol)
        );
        let mut responses = Responses::default();
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab";
        assert_eq!(responses.handle_bytes(bytes), Err(Failure::Protocol));
    }
}
