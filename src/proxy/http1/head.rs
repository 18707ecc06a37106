//! Heads: the start line and the header section of a message.
//!
//! In: bytes from the wire, perhaps not all yet. Out: a parsed head, or why it is refused. Tokens come from `httparse`; what is
//! stricter than it stands here: every line ends in CRLF, targets and hosts have one reading.
//! Not here: reading from sockets, and what a header means beyond framing.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::framing::{self, Framing};
use super::{hop, host};
use crate::base::limits::HEADER_COUNT_MAX;
use crate::base::target::{BadTarget, Target};
use crate::proxy::fields::{Fields, Known};

/// What a request says before its body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    pub(crate) framing: Framing,
    /// The client allows another request on this connection.
    pub(crate) persistent: bool,
    pub(crate) expects_continue: bool,
}

/// What a response says before its body.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) framing: Framing,
    pub(crate) persistent: bool,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    Malformed(&'static str),
    TargetTooLong,
    TooLarge,
    TooManyFields,
}

impl From<BadTarget> for BadHead {
    fn from(bad: BadTarget) -> Self {
        BadHead::Malformed(bad.message())
    }
}

/// Bounds on the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
    pub(crate) target_bytes: usize,
}

/// Finds the end of a head in a buffer that grows, looking at each byte once.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    checked: usize,
    line_start: usize,
}

impl HeadScanner {
    /// The length of the head with its empty line, once it is there. Empty lines before a start line are taken out of `buffer`
    /// (RFC 9112, section 2.2). Fails at the first line that ends in a bare LF.
    pub(crate) fn find(&mut self, buffer: &mut BytesMut, head_bytes: usize) -> Result<Option<usize>, BadHead> {
        if self.checked == 0 {
            while buffer.starts_with(b"\r\n") {
                buffer.advance(2);
            }
        }
        while let Some(offset) = memchr::memchr(b'\n', &buffer[self.checked..]) {
            let at = self.checked + offset;
            if at == 0 || buffer[at - 1] != b'\r' {
                return Err(BadHead::Malformed("a line of the head ends in LF without CR"));
            }
            let (line_start, line_is_empty) = (self.line_start, at - 1 == self.line_start);
            self.checked = at + 1;
            self.line_start = at + 1;
            if at + 1 > head_bytes {
                return Err(self.too_large(line_start));
            }
            if line_is_empty {
                *self = HeadScanner::default();
                return Ok(Some(at + 1));
            }
        }
        self.checked = if buffer.as_ref() == b"\r" { 0 } else { buffer.len() };
        if buffer.len() > head_bytes { Err(self.too_large(self.line_start)) } else { Ok(None) }
    }

    /// The line that begins at `line_start` is where it became too much. Where that is the start line, its target is what is too long.
    fn too_large(&self, line_start: usize) -> BadHead {
        if line_start == 0 { BadHead::TargetTooLong } else { BadHead::TooLarge }
    }
}

/// Parses the request head that fills `head`.
pub(crate) fn parse_request(head: Bytes, limits: &HeadLimits) -> Result<RequestHead, BadHead> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; HEADER_COUNT_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, &head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(BadHead::Malformed("the head ends in the middle of a line")),
        Err(error) => return Err(bad_head(error)),
    }
    let method =
        Method::from_bytes(parsed.method.unwrap_or_default().as_bytes()).map_err(|_| BadHead::Malformed("the method is no token"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let path = parsed.path.unwrap_or_default().as_bytes();
    if path.len() > limits.target_bytes {
        return Err(BadHead::TargetTooLong);
    }
    if parsed.headers.len() > limits.fields {
        return Err(BadHead::TooManyFields);
    }
    let mut headers = Fields::of_head(head.clone(), parsed.headers);
    host::check(&headers, version)?;
    let target = resolve_target(&head, path, &method, &mut headers)?;
    let framing = framing::of_request(&headers, version)?;
    let persistent = hop::is_persistent(&headers, version);
    hop::remove_nominated(&mut headers)?;
    let expects_continue = version == Version::HTTP_11
        && framing != Framing::None
        && headers.get(Known::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    Ok(RequestHead { method, target, version, headers, framing, persistent, expects_continue })
}

/// Parses the response head that fills `head`; `request_method` decides whether a body follows (RFC 9112, section 6.3).
pub(crate) fn parse_response(head: Bytes, request_method: &Method) -> Result<ResponseHead, BadHead> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; HEADER_COUNT_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(BadHead::Malformed("the head ends in the middle of a line")),
        Err(error) => return Err(bad_head(error)),
    }
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .ok()
        .filter(|status| status.as_u16() < 600)
        .ok_or(BadHead::Malformed("the status is not between 100 and 599"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = Fields::of_head(head.clone(), parsed.headers);
    let framing = framing::of_response(&headers, version, status, request_method)?;
    let persistent = hop::is_persistent(&headers, version) && framing != Framing::UntilClose;
    hop::remove_nominated(&mut headers)?;
    Ok(ResponseHead { status, headers, framing, persistent })
}

/// Parses a trailer section: header fields up to and with the empty line.
pub(crate) fn parse_trailers(section: Bytes) -> Result<HeaderMap, BadHead> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    match httparse::parse_headers(&section, &mut fields) {
        Ok(httparse::Status::Complete((length, parsed))) if length == section.len() => build_headers(&section, parsed),
        Ok(_) => Err(BadHead::Malformed("the trailers end in the middle of a line")),
        Err(error) => Err(bad_head(error)),
    }
}

fn bad_head(error: httparse::Error) -> BadHead {
    match error {
        httparse::Error::TooManyHeaders => BadHead::TooManyFields,
        httparse::Error::HeaderName => BadHead::Malformed("a header name is empty or no token"),
        httparse::Error::HeaderValue => BadHead::Malformed("a header value holds a control character"),
        httparse::Error::NewLine => BadHead::Malformed("a line does not end in CRLF"),
        httparse::Error::Status => BadHead::Malformed("the status line is malformed"),
        httparse::Error::Token => BadHead::Malformed("the start line is malformed"),
        httparse::Error::Version => BadHead::Malformed("the version is neither HTTP/1.0 nor HTTP/1.1"),
    }
}

/// Trailers, as `http` has them.
fn build_headers(head: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, BadHead> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadHead::Malformed("a header name is empty or no token"))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| BadHead::Malformed("a header value holds a control character"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Turns any form of target (RFC 9112, section 3.2) into path and query. The authority of an absolute-form must be the one that
/// `Host` names.
fn resolve_target(head: &Bytes, text: &[u8], method: &Method, headers: &mut Fields) -> Result<Target, BadHead> {
    if method == Method::CONNECT {
        return Err(BadHead::Malformed("CONNECT is not served here"));
    }
    if text.first() == Some(&b'/') || (text == b"*" && method == Method::OPTIONS) {
        return Ok(Target::parse(head.slice_ref(text))?);
    }
    let scheme_len = "http://".len();
    let rest = match text.get(..scheme_len) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http://") => &text[scheme_len..],
        _ => return Err(BadTarget::NotAPath.into()),
    };
    let split = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    host::check_authority(authority)?;
    match headers.get(Known::Host) {
        Some(host) if !host.eq_ignore_ascii_case(authority) => {
            return Err(BadHead::Malformed("Host and the authority of the target disagree"));
        }
        Some(_) => {}
        None => headers.append(Known::Host.text().as_bytes(), authority),
    }
    if path.first() == Some(&b'/') {
        return Ok(Target::parse(head.slice_ref(path))?);
    }
    let mut rooted = Vec::with_capacity(path.len() + 1);
    rooted.push(b'/');
    rooted.extend_from_slice(path);
    Ok(Target::parse(Bytes::from(rooted))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 10, target_bytes: 100 };

    fn request(text: &str) -> Result<RequestHead, BadHead> {
        let mut buffer = BytesMut::from(text);
        let length = HeadScanner::default().find(&mut buffer, LIMITS.bytes)?.expect("a whole head");
        parse_request(buffer.split_to(length).freeze(), &LIMITS)
    }

    #[test]
    fn a_request_head_is_read_whole() {
        let head = request("\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
        assert_eq!((head.method, head.target.as_bytes()), (Method::POST, &b"/a?b"[..]));
        assert_eq!(head.framing, Framing::Length(5));
        assert!(head.persistent && head.expects_continue);
    }

    #[test]
    fn a_head_is_found_however_it_is_cut() {
        let text = b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..text.len() {
            let (mut buffer, mut scanner) = (BytesMut::from(&text[..cut]), HeadScanner::default());
            assert_eq!(scanner.find(&mut buffer, 100), Ok(None), "{cut}");
            buffer.extend_from_slice(&text[cut..]);
            assert_eq!(scanner.find(&mut buffer, 100), Ok(Some(text.len() - 2)), "{cut}");
        }
    }

    #[test]
    fn heads_with_two_readings_are_refused() {
        for bad in [
            "GET / HTTP/1.1\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\n: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: x\r\n\r\n",
            "GET / http/1.1\r\nHost: x\r\n\r\n",
            "GET /\r\nHost: x\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        ] {
            assert!(matches!(request(bad), Err(BadHead::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_a_host() {
        let head = request("GET http://x:80?q HTTP/1.1\r\nHost: X:80\r\n\r\n").unwrap();
        assert_eq!(head.target.as_bytes(), b"/?q");
        let head = request("GET HTTP://x/p HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!((head.target.as_bytes(), head.headers.get(Known::Host)), (&b"/p"[..], Some(&b"x"[..])));
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(request(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100))).unwrap_err(), BadHead::TargetTooLong);
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(5000));
        assert_eq!(request(&long).unwrap_err(), BadHead::TooLarge);
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(LIMITS.fields));
        assert_eq!(request(&many).unwrap_err(), BadHead::TooManyFields);
    }

    #[test]
    fn a_response_head_is_held_to_the_same_rules() {
        let response = |text: &str| parse_response(Bytes::copy_from_slice(text.as_bytes()), &Method::GET);
        let head = response("HTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\n").unwrap();
        assert_eq!((head.status.as_u16(), head.framing, head.persistent), (200, Framing::Length(3), true));
        assert!(!response("HTTP/1.1 200 OK\r\n\r\n").unwrap().persistent);
        for bad in [
            "HTTP/1.1 99 X\r\n\r\n",
            "HTTP/1.1 700 X\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert!(response(bad).is_err(), "{bad:?}");
        }
    }
}
