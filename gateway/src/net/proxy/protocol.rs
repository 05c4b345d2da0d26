//! The header of the PROXY protocol, versions 1 and 2, that a proxy sends before anything else.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What every header of version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What every header of version 1 begins with.
const PREFIX: &[u8] = b"PROXY ";

/// The longest line of version 1, its end included.
const MAX_LINE: usize = 107;

/// Most bytes behind the fixed part of version 2: addresses and extensions.
const MAX_BODY: usize = 4096;

/// Why a connection does not begin as a proxy's should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    #[error("the line of the header is too long")]
    LineTooLong,
    #[error("the line of the header is malformed")]
    Line,
    #[error("the binary header has the unknown version {0}")]
    Version(u8),
    #[error("the binary header has the unknown command {0}")]
    Command(u8),
    #[error("the binary header has {0} bytes of addresses and extensions")]
    BodyLength(usize),
}

/// Reads the header and not a byte more. `None` if it names no address: the proxy speaks for
/// itself, or does not know its client.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        read_binary(stream).await
    } else if start.starts_with(PREFIX) {
        let line = read_line(stream, &start).await?;
        parse_line(&line)
    } else {
        Err(HeaderError::Missing)
    }
}

/// Reads to the end of the line that begins with `start`.
async fn read_line(stream: &mut TcpStream, start: &[u8]) -> Result<Vec<u8>, HeaderError> {
    let mut line = start.to_vec();
    let mut seen = [0; MAX_LINE];
    while line.last() != Some(&b'\n') {
        let room = MAX_LINE - line.len();
        if room == 0 {
            return Err(HeaderError::LineTooLong);
        }
        let count = stream.peek(&mut seen[..room]).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let end = seen[..count].iter().position(|byte| *byte == b'\n');
        let ours = end.map_or(count, |end| end + 1);
        stream.read_exact(&mut seen[..ours]).await?;
        line.extend_from_slice(&seen[..ours]);
    }
    Ok(line)
}

fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let line = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_suffix("\r\n"))
        .ok_or(HeaderError::Line)?;
    let words: Vec<_> = line.split(' ').collect();
    let [_, family, words @ ..] = &*words else {
        return Err(HeaderError::Line);
    };
    let parse = |ip: &str, port: &str| {
        let ip: IpAddr = ip.parse().ok()?;
        Some(SocketAddr::new(ip, port.parse().ok()?))
    };
    match (*family, words) {
        ("UNKNOWN", _) => Ok(None),
        ("TCP4" | "TCP6", [source, target, source_port, target_port]) => {
            let of_family = |address: &SocketAddr| address.is_ipv4() == (*family == "TCP4");
            let target = parse(target, target_port).filter(of_family);
            let source = parse(source, source_port).filter(of_family);
            source
                .and(target)
                .and(source)
                .map(Some)
                .ok_or(HeaderError::Line)
        }
        _ => Err(HeaderError::Line),
    }
}

async fn read_binary(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [version_and_command, family, length @ ..] = fixed;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_BODY {
        return Err(HeaderError::BodyLength(length));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    parse_binary(version_and_command, family, &body)
}

fn parse_binary(
    version_and_command: u8,
    family: u8,
    body: &[u8],
) -> Result<Option<SocketAddr>, HeaderError> {
    const LOCAL: u8 = 0;
    const PROXY: u8 = 1;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;

    let (version, command) = (version_and_command >> 4, version_and_command & 0xf);
    if version != 2 {
        return Err(HeaderError::Version(version));
    }
    let too_short = HeaderError::BodyLength(body.len());
    match (command, family) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP_OVER_IPV4) => {
            let (Some(ip), Some(port)) = (array::<4>(body, 0), array::<2>(body, 8)) else {
                return Err(too_short);
            };
            Ok(Some((Ipv4Addr::from(ip), u16::from_be_bytes(port)).into()))
        }
        (PROXY, TCP_OVER_IPV6) => {
            let (Some(ip), Some(port)) = (array::<16>(body, 0), array::<2>(body, 32)) else {
                return Err(too_short);
            };
            Ok(Some((Ipv6Addr::from(ip), u16::from_be_bytes(port)).into()))
        }
        (PROXY, _) => Ok(None),
        (command, _) => Err(HeaderError::Command(command)),
    }
}

fn array<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of `pieces` that come one after the other, and what is left.
    async fn read_pieces(pieces: &[&[u8]]) -> (Result<Option<SocketAddr>, HeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        proxy.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in pieces {
                proxy.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(proxy);
        };
        let (_, address) = tokio::join!(send, read(&mut stream));
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest).await;
        (address, rest)
    }

    fn binary(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([version_and_command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    }

    fn ipv4_body() -> Vec<u8> {
        [&[192, 0, 2, 1, 10, 0, 0, 1][..], &[0x12, 0x34, 0, 80]].concat()
    }

    fn headers() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let mut ipv6 = [0; 36];
        ipv6[0] = 0x20;
        ipv6[1] = 0x01;
        ipv6[15] = 7;
        ipv6[32] = 0x12;
        ipv6[33] = 0x34;
        let mut with_extensions = ipv4_body();
        with_extensions.extend([4; 1000]);
        vec![
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n".to_vec(),
                Some("192.0.2.1:4660"),
            ),
            (
                b"PROXY TCP6 2001::7 ::1 4660 80\r\n".to_vec(),
                Some("[2001::7]:4660"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff:: ff:: 1 2\r\n".to_vec(), None),
            (binary(0x21, 0x11, &ipv4_body()), Some("192.0.2.1:4660")),
            (binary(0x21, 0x11, &with_extensions), Some("192.0.2.1:4660")),
            (binary(0x21, 0x21, &ipv6), Some("[2001::7]:4660")),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &ipv4_body()), None),
            (binary(0x21, 0x00, &[1, 2, 3]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ]
    }

    #[tokio::test]
    async fn the_header_is_read_and_not_a_byte_more() {
        for (header, expected) in headers() {
            let expected: Option<SocketAddr> = expected.map(|text| text.parse().unwrap());
            let (address, rest) = read_pieces(&[&[&header[..], b"GET / "].concat()]).await;
            assert_eq!(address.unwrap(), expected);
            assert_eq!(rest, b"GET / ");
        }
    }

    #[tokio::test]
    async fn it_may_come_byte_by_byte() {
        for (header, expected) in headers() {
            let expected: Option<SocketAddr> = expected.map(|text| text.parse().unwrap());
            let all = [&header[..], b"GET / "].concat();
            let pieces: Vec<_> = all.chunks(1).collect();
            let (address, rest) = read_pieces(&pieces).await;
            assert_eq!(address.unwrap(), expected);
            assert_eq!(rest, b"GET / ");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ", &[b'x'; 100][..], b"\r\n"].concat();
        let mut wrong_signature = binary(0x21, 0x11, &ipv4_body());
        wrong_signature[11] = b'x';
        let cases: [(&[u8], &str); 17] = [
            (
                b"GET / HTTP/1.1\r\n\r\n",
                "the connection does not begin with a header of the PROXY protocol",
            ),
            (b"PROX", "the connection ended: "),
            (b"PROXY TCP4 192.0.2.1", "the connection ended: "),
            (&long, "the line of the header is too long"),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1 80\n",
                "the line of the header is malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
                "the line of the header is malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1 80 9\r\n",
                "the line of the header is malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
                "the line of the header is malformed",
            ),
            (
                b"PROXY TCP4 2001::7 ::1 1 80\r\n",
                "the line of the header is malformed",
            ),
            (
                b"PROXY TCP6 192.0.2.1 10.0.0.1 1 80\r\n",
                "the line of the header is malformed",
            ),
            (
                b"PROXY TCP4 example.com 10.0.0.1 1 80\r\n",
                "the line of the header is malformed",
            ),
            (
                b"PROXY UDP4 192.0.2.1 10.0.0.1 1 80\r\n",
                "the line of the header is malformed",
            ),
            (
                &wrong_signature,
                "the connection does not begin with a header of the PROXY protocol",
            ),
            (
                &binary(0x11, 0x11, &ipv4_body()),
                "the binary header has the unknown version 1",
            ),
            (
                &binary(0x22, 0x11, &ipv4_body()),
                "the binary header has the unknown command 2",
            ),
            (
                &binary(0x21, 0x11, &[0; 9]),
                "the binary header has 9 bytes of",
            ),
            (
                &binary(0x21, 0x11, &[0; 5000]),
                "the binary header has 5000 bytes of",
            ),
        ];
        for (bytes, expected) in cases {
            let (address, _) = read_pieces(&[bytes]).await;
            let error = address.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
