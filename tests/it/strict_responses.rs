//! The table of an upstream's answers for `strict`: what the origin says, where the rule or the attack was published, and what the
//! client must get.
//!
//! In: nothing. Out: one row an answer: replaced by 502, begun and broken off, or passed on, and whether the upstream's connection may
//! be used again. Not here: saying them (`strict` does).

/// One answer of an upstream and what must become of it.
pub(crate) struct Response {
    pub(crate) name: &'static str,
    /// An RFC with its section, or a published attack.
    pub(crate) source: &'static str,
    /// The request's method.
    pub(crate) method: &'static str,
    bytes: Vec<u8>,
    /// The origin closes the connection behind it.
    pub(crate) ends: bool,
    pub(crate) expect: Outcome,
}

pub(crate) enum Outcome {
    /// The client gets 502 with this error in its place.
    Replaced(&'static str),
    /// The client gets its head, and sees that the rest is missing. The record has this error.
    BrokenOff(&'static str),
    Passed {
        status: u16,
        body: &'static str,
        /// The connection serves the next request.
        kept: bool,
    },
}

/// What an attacker writes behind an answer, for the next one who asks.
const BEHIND: &[u8] = b"HTTP/1.1 200 OK\r\nX-Smuggled: yes\r\nContent-Length: 8\r\n\r\nsmuggled";

impl Response {
    /// What the origin writes: also what nobody asked for, unless the connection is to be kept or closed.
    pub(crate) fn wire(&self) -> Vec<u8> {
        let alone = self.ends || self.is_kept();
        join([&self.bytes, if alone { &[][..] } else { BEHIND }])
    }

    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.expect, Outcome::Passed { kept: true, .. })
    }

    fn ends(self) -> Self {
        Response { ends: true, ..self }
    }

    fn error(self, error: &'static str) -> Self {
        let expect = match self.expect {
            Outcome::BrokenOff(_) => Outcome::BrokenOff(error),
            _ => Outcome::Replaced(error),
        };
        Response { expect, ..self }
    }

    /// Passed on, but the connection is not used again.
    fn not_kept(mut self) -> Self {
        if let Outcome::Passed { kept, .. } = &mut self.expect {
            *kept = false;
        }
        self
    }

    fn status(mut self, code: u16) -> Self {
        if let Outcome::Passed { status, .. } = &mut self.expect {
            *status = code;
        }
        self
    }

    fn for_head(self) -> Self {
        Response { method: "HEAD", ..self }
    }
}

/// Replaced by 502 `upstream_malformed`.
fn malformed(name: &'static str, source: &'static str, bytes: impl AsRef<[u8]>) -> Response {
    let expect = Outcome::Replaced("upstream_malformed");
    Response { name, source, method: "GET", bytes: bytes.as_ref().to_vec(), ends: false, expect }
}

/// Broken off as `upstream_malformed`: a chunked body that begins well and goes on like this.
fn broken(name: &'static str, source: &'static str, body: impl AsRef<[u8]>) -> Response {
    let expect = Outcome::BrokenOff("upstream_malformed");
    Response { expect, ..malformed(name, source, chunked(join([b"3\r\nabc\r\n", body.as_ref()]))) }
}

/// Passed on with 200 and this body, and the connection is kept.
fn passed(name: &'static str, source: &'static str, bytes: impl AsRef<[u8]>, body: &'static str) -> Response {
    Response { expect: Outcome::Passed { status: 200, body, kept: true }, ..malformed(name, source, bytes) }
}

fn join<const N: usize>(parts: [&[u8]; N]) -> Vec<u8> {
    parts.concat()
}

/// With this status line.
fn status(line: impl AsRef<[u8]>) -> Vec<u8> {
    join([line.as_ref(), b"\r\nContent-Length: 2\r\n\r\nok"])
}

/// With these fields.
fn with(fields: impl AsRef<[u8]>) -> Vec<u8> {
    join([b"HTTP/1.1 200 OK\r\n", fields.as_ref(), b"\r\n\r\nok"])
}

/// With a field beside a good length.
fn beside(field: impl AsRef<[u8]>) -> Vec<u8> {
    with(join([field.as_ref(), b"\r\nContent-Length: 2"]))
}

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    join([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body.as_ref()])
}

/// Every answer.
pub(crate) fn responses() -> Vec<Response> {
    let heads = [status_lines(), statuses(), fields(), lengths(), codings(), interims()];
    let bodies = [chunks(), trailers(), ends(), plain(), kept_or_not(), behind()];
    heads.into_iter().chain(bodies).flatten().collect()
}

fn status_lines() -> Vec<Response> {
    vec![
        malformed("bare LF everywhere", "RFC 9112, 2.2", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        malformed("a bare LF behind the status line", "RFC 9112, 2.2", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok"),
        malformed("a bare LF for the empty line", "RFC 9112, 2.2", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok"),
        malformed("CR, CR, LF behind the status line", "RFC 9112, 2.2", status("HTTP/1.1 200 OK\r")),
        malformed("a bare CR in the reason", "RFC 9112, 4", status("HTTP/1.1 200 O\rK")),
        malformed("a NUL in the reason", "RFC 9112, 4", status("HTTP/1.1 200 O\0K")),
        malformed("a control in the reason", "RFC 9112, 4", status("HTTP/1.1 200 O\x1bK")),
        malformed("a DEL in the reason", "RFC 9112, 4", status("HTTP/1.1 200 O\x7fK")),
        malformed("two spaces before the status", "RFC 9112, 4", status("HTTP/1.1  200 OK")),
        malformed("a tab before the status", "RFC 9112, 4", status("HTTP/1.1\t200 OK")),
        malformed("a tab behind the status", "RFC 9112, 4", status("HTTP/1.1 200\tOK")),
        malformed("a space before the version", "RFC 9112, 4", status(" HTTP/1.1 200 OK")),
        malformed("no space before the status", "RFC 9112, 4", status("HTTP/1.1200 OK")),
        malformed("HTTP/0.9", "RFC 9112, 2.3", status("HTTP/0.9 200 OK")),
        malformed("HTTP/1.2", "RFC 9112, 2.3", status("HTTP/1.2 200 OK")),
        malformed("HTTP/2.0", "RFC 9112, 2.3", status("HTTP/2.0 200 OK")),
        malformed("HTTP/2", "RFC 9112, 2.3", status("HTTP/2 200 OK")),
        malformed("HTTP/1.10", "RFC 9112, 2.3", status("HTTP/1.10 200 OK")),
        malformed("a version in lower case", "RFC 9112, 2.3: case-sensitive", status("http/1.1 200 OK")),
        malformed("a letter behind the version", "RFC 9112, 2.3", status("HTTP/1.1x 200 OK")),
        malformed("another protocol", "RFC 9112, 4", status("ICY 200 OK")),
        malformed("a body without a head", "RFC 9112, 4: an answer of HTTP/0.9", "<p>hello</p>\r\n\r\n"),
        malformed("a request", "RFC 9112, 4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]
}

fn statuses() -> Vec<Response> {
    let bad = |name, code: &str| malformed(name, "RFC 9110, 15", status(format!("HTTP/1.1 {code} X")));
    vec![
        bad("status 099", "099"),
        bad("status 600", "600"),
        bad("status 999", "999"),
        bad("a status of two digits", "20"),
        bad("a status of four digits", "2000"),
        bad("a status of letters", "2OO"),
        bad("a status with a plus", "+20"),
        bad("a status with a minus", "-20"),
        bad("a status in hex", "0xc"),
        malformed("no status", "RFC 9112, 4", status("HTTP/1.1 OK")),
        malformed("a version alone", "RFC 9112, 4", status("HTTP/1.1")),
    ]
}

fn fields() -> Vec<Response> {
    vec![
        malformed("a folded field", "RFC 9112, 5.2", beside("A: b\r\n c")),
        malformed("a field folded with a tab", "RFC 9112, 5.2", beside("A: b\r\n\tc")),
        malformed("a space before the first field", "RFC 9112, 2.2", beside(" A: b")),
        malformed("a space before a colon", "RFC 9112, 5.1: a proxy must take it away or refuse", beside("A : b")),
        malformed("a space before the length's colon", "RFC 9112, 5.1", with("Content-Length : 2")),
        malformed("an empty name", "RFC 9110, 5.1; CVE-2023-25725 (HAProxy)", beside(": b")),
        malformed("a line without a colon", "RFC 9112, 5", beside("Abc")),
        malformed("a parenthesis in a name", "RFC 9110, 5.6.2", beside("A(b): c")),
        malformed("a NUL in a name", "RFC 9110, 5.6.2", beside("A\0: c")),
        malformed("a NUL in a value", "RFC 9110, 5.5", beside("A: b\0c")),
        malformed("a CR in a value", "RFC 9110, 5.5; CVE-2023-30589 (llhttp)", beside("A: b\rc")),
        malformed("a control in a value", "RFC 9110, 5.5", beside("A: b\x01c")),
        malformed("a DEL in a value", "RFC 9110, 5.5", beside("A: b\x7fc")),
        malformed("a bare LF between fields", "CVE-2022-35256 (llhttp)", beside("A: b\nTransfer-Encoding: chunked")),
        malformed("a value of 70,000 bytes", "RFC 9110, 5.4", beside(format!("A: {}", "b".repeat(70_000)))),
        malformed("300 fields", "RFC 9110, 5.4", beside(["a: b"; 299].join("\r\n"))),
    ]
}

fn lengths() -> Vec<Response> {
    let bad = |name, value: &str| malformed(name, "RFC 9112, 6.3", with(format!("Content-Length: {value}")));
    vec![
        bad("two lengths that differ", "2\r\nContent-Length: 3"),
        bad("two lengths that agree", "2\r\nContent-Length: 2"),
        bad("a list of lengths", "2, 2"),
        bad("a length with a plus", "+2"),
        bad("a length with a minus", "-2"),
        bad("a length in hex", "0x2"),
        bad("a length with a space inside", "2 2"),
        bad("a length with a point", "2.0"),
        bad("an empty length", ""),
        bad("a length of 2^64", "18446744073709551616"),
        bad("a length that wraps to 2", "18446744073709551618"),
        malformed("a bad length under a 204", "RFC 9112, 6.3", "HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n"),
        malformed("a bad length under a 304", "RFC 9112, 6.3", "HTTP/1.1 304 Not Modified\r\nContent-Length: -1\r\n\r\n"),
        bad("a bad length for HEAD", "1, 2").for_head(),
    ]
}

fn codings() -> Vec<Response> {
    let bad = |name, source, value: &[u8]| {
        malformed(name, source, join([b"HTTP/1.1 200 OK\r\nTransfer-Encoding:", value, b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"]))
    };
    vec![
        bad("a length behind chunks", "RFC 9112, 6.1", b" chunked\r\nContent-Length: 2"),
        bad("a length of 0 behind chunks", "RFC 9112, 6.1", b" chunked\r\nContent-Length: 0"),
        malformed(
            "chunks behind a length",
            "RFC 9112, 6.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        bad("gzip and chunks", "RFC 9112, 6.1", b" gzip, chunked"),
        bad("gzip alone", "RFC 9112, 6.3", b" gzip"),
        bad("identity", "RFC 9112, 7", b" identity"),
        bad("chunks of chunks", "RFC 9112, 6.1", b" chunked, chunked"),
        bad("chunks and identity", "RFC 9112, 6.3", b" chunked, identity"),
        bad("chunks in two fields", "RFC 9112, 6.1", b" chunked\r\nTransfer-Encoding: chunked"),
        bad("chunks, then identity", "RFC 9112, 6.1", b" chunked\r\nTransfer-Encoding: identity"),
        bad("xchunked", "CVE-2022-1705 (Go)", b" xchunked"),
        bad("chunks in quotes", "CVE-2022-1705 (Go)", b" \"chunked\""),
        bad("chunks with a parameter", "RFC 9112, 7.1", b" chunked;q=1"),
        bad("an empty coding", "RFC 9112, 6.1", b""),
        bad("a tab inside the coding", "RFC 9112, 6.1", b" chun\tked"),
        bad("a vertical tab before the coding", "CVE-2019-18277 (HAProxy)", b"\x0bchunked"),
        malformed("chunks on HTTP/1.0", "RFC 9112, 6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ]
}

fn interims() -> Vec<Response> {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    vec![
        malformed("17 interim answers", "RFC 9110, 15.2: limits", hints.repeat(17) + good),
        passed("16 interim answers", "RFC 9110, 15.2", hints.repeat(16) + good, "ok"),
        malformed(
            "an interim answer with a body",
            "RFC 9110, 15.2: it ends with its head",
            format!("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello{good}"),
        ),
        malformed(
            "an interim answer with two lengths",
            "RFC 9112, 6.3",
            format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{good}"),
        ),
        malformed("an interim answer that is folded", "RFC 9112, 5.2", format!("HTTP/1.1 103 Early Hints\r\nA: b\r\n c\r\n\r\n{good}")),
        malformed(
            "a switch of protocols that nobody asked for",
            "RFC 9110, 7.8",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
    ]
}

fn chunks() -> Vec<Response> {
    let rfc = "RFC 9112, 7.1";
    vec![
        broken("a chunk size of letters", rfc, "x\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk size with 0x", rfc, "0x3\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk size with a plus", rfc, "+3\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk size with a minus", rfc, "-3\r\nabc\r\n0\r\n\r\n"),
        broken("a space before a chunk size", rfc, " 3\r\nabc\r\n0\r\n\r\n"),
        broken("a space behind a chunk size", rfc, "3 \r\nabc\r\n0\r\n\r\n"),
        broken("an empty chunk size", rfc, "\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk size of 16 digits", "RFC 9112, 7.1: overflow", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk size that wraps to 3", "RFC 9112, 7.1: overflow", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        broken("a bare LF behind a size", "CVE-2025-22871 (Go)", "3\nabc\r\n0\r\n\r\n"),
        broken("a bare LF behind a chunk", rfc, "3\r\nabc\n0\r\n\r\n"),
        broken("a bare CR behind a size", rfc, "3\rabc\r\n0\r\n\r\n"),
        broken("a chunk longer than its size", rfc, "1\r\nab\r\n0\r\n\r\n"),
        broken("a chunk shorter than its size", rfc, "5\r\nabc\r\n0\r\n\r\n"),
        broken("a NUL in an extension", "RFC 9112, 7.1.1", "3;a=\0\r\nabc\r\n0\r\n\r\n"),
        broken("a bare LF behind an extension", "Funky chunks (2025): TERM.EXT", "3;a\nabc\r\n0\r\n\r\n"),
        broken("an extension of 300 bytes", "CVE-2023-39326 (Go)", format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(300))),
    ]
}

fn trailers() -> Vec<Response> {
    vec![
        broken("no empty line at the end", "RFC 9112, 7.1", "0\r\n"),
        broken("a bare LF for the end", "RFC 9112, 7.1", "0\r\n\n"),
        broken("a folded trailer", "RFC 9112, 5.2", "0\r\nA: b\r\n c\r\n\r\n"),
        broken("a trailer with a space in its name", "RFC 9112, 5", "0\r\nA b: c\r\n\r\n"),
        broken("a trailer without a name", "RFC 9112, 5", "0\r\n: b\r\n\r\n"),
        broken("a trailer without a colon", "RFC 9112, 5", "0\r\nabc\r\n\r\n"),
        broken("a bare LF behind a trailer", "RFC 9112, 2.2", "0\r\nA: b\n\r\n"),
        broken("a NUL in a trailer", "RFC 9110, 5.5", "0\r\nA: b\0c\r\n\r\n"),
        broken("a trailer of 9,000 bytes", "RFC 9112, 7.1.2: limits", format!("0\r\nA: {}\r\n\r\n", "b".repeat(9000))),
    ]
}

/// Connections that end too soon.
fn ends() -> Vec<Response> {
    let closed = |name, bytes: &str| malformed(name, "RFC 9112, 8", bytes).error("upstream_closed").ends();
    let cut = |name, body: &str| broken(name, "RFC 9112, 8", body).error("upstream_body_broken").ends();
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    vec![
        closed("an end before an answer", ""),
        closed("an end in the status line", "HTTP/1.1 200"),
        closed("an end in the fields", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
        closed("a word for an answer", "hello"),
        cut("an end before the last chunk", ""),
        cut("an end in a size", "3"),
        cut("an end in a chunk", "3\r\na"),
        cut("an end behind a chunk", "3\r\nabc"),
        cut("an end in the last chunk", "0\r\n"),
        cut("an end in a trailer", "0\r\nA: b\r\n"),
        Response { expect: Outcome::BrokenOff("upstream_body_broken"), ..malformed("an end before the length's", "RFC 9112, 8", short) }
            .ends(),
    ]
}

/// Answers that are as they ought to be.
fn plain() -> Vec<Response> {
    vec![
        passed("a length", "RFC 9112, 6.2", with("Content-Length: 2"), "ok"),
        passed("a length with leading zeros", "RFC 9110, 8.6", with("Content-Length: 0002"), "ok"),
        passed("a length of 0", "RFC 9110, 8.6", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        passed("chunks", "RFC 9112, 7.1", chunked("2\r\nok\r\n0\r\n\r\n"), "ok"),
        passed("chunks of nothing", "RFC 9112, 7.1", chunked("0\r\n\r\n"), ""),
        passed("extensions and trailers", "RFC 9112, 7.1", chunked("2;a=\"b\"\r\nok\r\n00;c\r\nX-Sum: 1\r\n\r\n"), "ok"),
        passed("no reason", "RFC 9112, 4", status("HTTP/1.1 200 "), "ok"),
        passed("no reason and no space", "RFC 9112, 4", status("HTTP/1.1 200"), "ok"),
        passed("a reason in Latin-1", "RFC 9112, 4", status(b"HTTP/1.1 200 caf\xe9"), "ok"),
        passed("a value in Latin-1, and an empty one", "RFC 9110, 5.5", beside(b"A: caf\xe9\r\nB:"), "ok"),
        passed("an unknown status", "RFC 9110, 15", status("HTTP/1.1 299 X"), "ok").status(299),
        passed("status 599", "RFC 9110, 15", status("HTTP/1.1 599 X"), "ok").status(599),
        passed("an answer without content", "RFC 9110, 15.3.5", "HTTP/1.1 204 No Content\r\n\r\n", "").status(204),
        passed("a length under a 304", "RFC 9110, 8.6", "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n", "").status(304),
        passed("a length for HEAD", "RFC 9110, 8.6", "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n", "").for_head(),
        passed("chunks for HEAD", "RFC 9112, 6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "").for_head(),
    ]
}

/// Answers after which the connection is over, or is not.
fn kept_or_not() -> Vec<Response> {
    let old = |field: &str| format!("HTTP/1.0 200 OK\r\n{field}Content-Length: 2\r\n\r\nok");
    vec![
        passed("a body up to the end of the connection", "RFC 9112, 6.3", with("A: b"), "ok").not_kept().ends(),
        passed("HTTP/1.0", "RFC 9112, 9.3", old(""), "ok").not_kept(),
        passed("HTTP/1.0 that keeps its connection", "RFC 9112, 9.3", old("Connection: keep-alive\r\n"), "ok"),
        passed("a connection that is to close", "RFC 9112, 9.6", beside("Connection: close"), "ok").not_kept(),
        passed("a connection that is to close, in a list", "RFC 9112, 9.6", beside("Connection: x, CLOSE"), "ok").not_kept(),
    ]
}

/// Bytes behind an answer: nobody asked for them, so nobody gets them.
fn behind() -> Vec<Response> {
    let poisoning = "PortSwigger, HTTP/2: The Sequel is Always Worse (2021): response queue poisoning";
    vec![
        passed("an answer behind a length", poisoning, with("Content-Length: 2"), "ok").not_kept(),
        passed("an answer behind chunks", poisoning, chunked("2\r\nok\r\n0\r\n\r\n"), "ok").not_kept(),
        passed("an answer behind trailers", poisoning, chunked("2\r\nok\r\n0\r\nA: b\r\n\r\n"), "ok").not_kept(),
        passed("a body under a 204", "RFC 9112, 6.3", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "")
            .status(204)
            .not_kept(),
        passed("a body under a 304", "RFC 9112, 6.3", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", "")
            .status(304)
            .not_kept(),
        passed("a body for HEAD", "RFC 9112, 6.3", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "").for_head().not_kept(),
        passed("a CRLF behind an answer", poisoning, join([&with("Content-Length: 2"), b"\r\n"]), "ok").not_kept(),
    ]
}
