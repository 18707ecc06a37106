//! The table of requests for `strict`: what is sent, where the rule or the attack was published, and what must become of it.
//!
//! In: nothing. Out: one row a request: refused, or taken with what the origin must see; and where hyper 1.12 or nginx 1.22 decide
//! otherwise, why ours is right. Not here: sending them (`strict` does).

/// One request and what must become of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// An RFC with its section, or a published attack.
    pub(crate) source: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expect: Expect,
    /// Why ours is right where hyper decides otherwise.
    pub(crate) hyper: Option<&'static str>,
    /// The same for nginx.
    pub(crate) nginx: Option<&'static str>,
}

pub(crate) enum Expect {
    /// Answered with this status; nothing behind it is read.
    Refused(u16),
    Taken(Sees),
}

/// What the origin must see of a request that is taken.
#[derive(Default)]
pub(crate) struct Sees {
    pub(crate) line: &'static str,
    pub(crate) body: &'static str,
    pub(crate) trailers: &'static str,
    pub(crate) has: Vec<(&'static str, &'static str)>,
    pub(crate) lacks: Vec<&'static str>,
    /// The connection ends with the answer, as the request wants it.
    pub(crate) last: bool,
}

impl Case {
    fn hyper(self, why: &'static str) -> Self {
        Case { hyper: Some(why), ..self }
    }

    fn nginx(self, why: &'static str) -> Self {
        Case { nginx: Some(why), ..self }
    }

    fn status(self, status: u16) -> Self {
        Case { expect: Expect::Refused(status), ..self }
    }

    fn body(self, body: &'static str) -> Self {
        self.seen(|sees| sees.body = body)
    }

    fn trailers(self, trailers: &'static str) -> Self {
        self.seen(|sees| sees.trailers = trailers)
    }

    fn has(self, name: &'static str, value: &'static str) -> Self {
        self.seen(|sees| sees.has.push((name, value)))
    }

    fn lacks(self, name: &'static str) -> Self {
        self.seen(|sees| sees.lacks.push(name))
    }

    fn last(self) -> Self {
        self.seen(|sees| sees.last = true)
    }

    fn seen(mut self, change: impl FnOnce(&mut Sees)) -> Self {
        match &mut self.expect {
            Expect::Taken(sees) => change(sees),
            Expect::Refused(_) => panic!("{}: a refused request is not seen", self.name),
        }
        self
    }
}

/// Refused with 400.
fn refused(name: &'static str, source: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    Case { name, source, bytes: bytes.as_ref().to_vec(), expect: Expect::Refused(400), hyper: None, nginx: None }
}

/// Taken; the origin sees `line`.
fn taken(name: &'static str, source: &'static str, bytes: impl AsRef<[u8]>, line: &'static str) -> Case {
    let expect = Expect::Taken(Sees { line, ..Sees::default() });
    Case { name, source, bytes: bytes.as_ref().to_vec(), expect, hyper: None, nginx: None }
}

fn join<const N: usize>(parts: [&[u8]; N]) -> Vec<u8> {
    parts.concat()
}

/// A POST with these fields.
fn posted(fields: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    join([b"POST / HTTP/1.1\r\nHost: h\r\n", fields.as_ref(), b"\r\n\r\n", body.as_ref()])
}

/// A body of three bytes under this length.
fn length(value: impl AsRef<[u8]>) -> Vec<u8> {
    posted(join([b"Content-Length:", value.as_ref()]), "abc")
}

/// A chunked body under this coding.
fn coding(value: impl AsRef<[u8]>) -> Vec<u8> {
    posted(join([b"Transfer-Encoding:", value.as_ref()]), "3\r\nabc\r\n0\r\n\r\n")
}

/// A chunked body, byte for byte.
fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    posted("Transfer-Encoding: chunked", body)
}

/// A GET with these fields behind its Host.
fn with(fields: impl AsRef<[u8]>) -> Vec<u8> {
    join([b"GET / HTTP/1.1\r\nHost: h\r\n", fields.as_ref(), b"\r\n\r\n"])
}

/// A GET of this target.
fn to(target: impl AsRef<[u8]>) -> Vec<u8> {
    join([b"GET ", target.as_ref(), b" HTTP/1.1\r\nHost: h\r\n\r\n"])
}

/// A request with this start line.
fn line(line: impl AsRef<[u8]>) -> Vec<u8> {
    join([line.as_ref(), b"\r\nHost: h\r\n\r\n"])
}

/// A GET with this Host.
fn host(value: impl AsRef<[u8]>) -> Vec<u8> {
    join([b"GET / HTTP/1.1\r\nHost: ", value.as_ref(), b"\r\n\r\n"])
}

const H_LF: &str = "hyper takes a bare LF for the end of a line, as RFC 9112, 2.2 lets it; two that differ in it see two requests";
const H_BOTH: &str = "hyper lets Transfer-Encoding win; whoever stands before it may have let Content-Length win (RFC 9112, 6.1)";
const H_CODINGS: &str = "hyper wants chunked to be the last coding; we know the length that an upstream sees only if it is the only one";
const H_HOST: &str = "hyper leaves Host to its caller; we route by it, so it has one reading (RFC 9112, 3.2)";
const H_TARGET: &str = "hyper leaves the target to its caller; we match it and send it on, so it has one reading";
const H_FORM: &str = "hyper leaves the form of the target to its caller; we serve origin-form, absolute-form of http, and OPTIONS *";
const H_CHUNK: &str = "hyper is lenient about what stands behind a chunk's size; a size line has one form (RFC 9112, 7.1)";
const H_LIMIT: &str = "hyper's limit is a larger one";

const N_LF: &str = "nginx takes a bare LF for the end of a line, as RFC 9112, 2.2 lets it; two that differ in it see two requests";
const N_CHUNK: &str = "nginx is lenient about what stands behind a chunk's size; a size line has one form (RFC 9112, 7.1)";
const N_CHUNK_LF: &str = "nginx takes a bare LF in the chunked coding; RFC 9112, 2.2 allows that for start lines and fields at most";
const N_TRAILER: &str = "nginx drops trailers unread; we send them on, so they are fields or nothing";
const N_NAME: &str = "nginx drops a field whose name it does not like and serves the rest; what is no field makes no request (RFC 9112, 5)";
const N_VALUE: &str = "nginx looks only for NUL in a value; RFC 9110, 5.5 calls CR, LF and NUL dangerous and other controls invalid";
const N_HOST: &str = "nginx cuts Host at a colon and checks little of the rest; we route by it, so it has one reading (RFC 9112, 3.2)";
const N_VERSION: &str = "nginx is lenient about the request line; RFC 9112, 3 wants single spaces and a version of one digit each";
const N_TARGET: &str = "nginx takes such bytes for a part of the path; servers differ in what they make of them (RFC 3986, 3.3)";
const N_DOTS: &str = "nginx takes the dots away to choose a location and sends them on all the same; two servers see two paths";
const N_LIMIT: &str = "nginx has no such limit of its own";
const N_OWS: &str = "nginx knows no tab around a value; RFC 9110, 5.6.3 does";
const N_METHOD: &str = "nginx knows upper-case letters, _ and - in a method; RFC 9110, 9.1 makes any token one";

/// Every request.
pub(crate) fn requests() -> Vec<Case> {
    let framing = [lengths(), two_lengths(), codings(), split_codings(), sizes(), chunk_ends(), extensions(), trailers()];
    let heads = [line_ends(), names(), values(), hosts(), authorities(), versions(), request_lines(), methods()];
    let targets = [forms(), target_bytes(), escapes(), dots(), encoded_dots(), too_much()];
    let taken = [bodies(), hidden_requests(), hops(), fine_heads(), fine_paths()];
    framing.into_iter().chain(heads).chain(targets).chain(taken).flatten().collect()
}

/// One Content-Length that is no plain number.
fn lengths() -> Vec<Case> {
    vec![
        refused("a length with a plus", "CVE-2021-32715 (hyper)", length(" +3")),
        refused("a length with a minus", "RFC 9110, 8.6", length(" -3")),
        refused("a length of minus nothing", "RFC 9110, 8.6", length(" -0")),
        refused("an empty length", "RFC 9110, 8.6", length("")),
        refused("a length of spaces", "RFC 9110, 8.6", length("   ")),
        refused("a length in hex", "RFC 9110, 8.6", length(" 0x3")),
        refused("a length of a hex digit", "RFC 9110, 8.6", length(" a")),
        refused("a length with a space inside", "RFC 9110, 8.6", length(" 3 3")),
        refused("a length with a tab inside", "RFC 9110, 8.6", length(" 3\t3")),
        refused("a length with a point", "RFC 9110, 8.6", length(" 3.0")),
        refused("a length with an exponent", "RFC 9110, 8.6", length(" 3e0")),
        refused("a length with a parameter", "RFC 9110, 8.6", length(" 3;q=1")),
        refused("a length in quotes", "RFC 9110, 8.6", length(" \"3\"")),
        refused("a length in another script", "RFC 9110, 8.6", length(" \u{ff13}")),
        refused("a length behind a no-break space", "RFC 9110, 5.6.3", length(b" \xa03")),
        refused("a length and a NUL", "RFC 9110, 5.5", length(" 3\0")),
        refused("a length and a vertical tab", "RFC 9110, 5.5", length(" 3\x0b")),
        refused("a length of 2^64", "RFC 9110, 8.6: overflow", length(" 18446744073709551616")),
        refused("a length that wraps to 3", "RFC 9110, 8.6: overflow", length(" 18446744073709551619")),
        refused("a length of 40 digits", "RFC 9110, 8.6: overflow", length(format!(" {}", "9".repeat(40)))),
        refused("a length of 20 digits, most of them zero", "RFC 9110, 8.6: overflow", length(" 00000000000000000003"))
            .hyper("hyper counts; a reader with room for 19 digits sees another length")
            .nginx("nginx counts; a reader with room for 19 digits sees another length"),
        refused("a space before the length's colon", "CVE-2019-16276 (Go), CVE-2021-22959 (llhttp)", posted("Content-Length : 3", "abc")),
        refused("a tab before the length's colon", "RFC 9112, 5.1", posted("Content-Length\t: 3", "abc")),
        refused("a folded length", "RFC 9112, 5.2", posted("Content-Length:\r\n 3", "abc")),
    ]
}

/// More than one length, or both kinds.
fn two_lengths() -> Vec<Case> {
    vec![
        refused("two lengths that differ", "CVE-2020-10108 (Twisted)", posted("Content-Length: 1\r\nContent-Length: 3", "abc")),
        refused(
            "two lengths that agree",
            "RFC 9112, 6.3; CVE-2019-16792 (Waitress)",
            posted("Content-Length: 3\r\nContent-Length: 3", "abc"),
        )
        .hyper("RFC 9112, 6.3 allows either; one length has one reading"),
        refused("two lengths in two cases", "RFC 9112, 6.3", posted("Content-Length: 3\r\ncONTENT-lENGTH: 0", "abc")),
        refused("a list of lengths that agree", "RFC 9112, 6.3", length(" 3, 3")),
        refused("a list of lengths that differ", "RFC 9112, 6.3", length(" 3, 4")),
        refused("a list without a space", "RFC 9112, 6.3", length(" 3,3")),
        refused("a length and a comma", "RFC 9112, 6.3", length(" 3,")),
        refused("three lengths, one of them in a list", "RFC 9112, 6.3", posted("Content-Length: 3\r\nContent-Length: 3, 3", "abc")),
        refused(
            "CL.TE",
            "PortSwigger, HTTP Desync Attacks (2019); CVE-2020-10109 (Twisted)",
            posted("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"),
        )
        .hyper(H_BOTH),
        refused(
            "TE.CL",
            "PortSwigger, HTTP Desync Attacks (2019); CVE-2019-20445 (Netty)",
            posted("Transfer-Encoding: chunked\r\nContent-Length: 3", "8\r\nSMUGGLED\r\n0\r\n\r\n"),
        )
        .hyper(H_BOTH),
        refused("a length of 0 and chunks", "RFC 9112, 6.1", posted("Content-Length: 0\r\nTransfer-Encoding: chunked", "0\r\n\r\n"))
            .hyper(H_BOTH),
        refused("chunks and a length of 0", "RFC 9112, 6.1", posted("Transfer-Encoding: chunked\r\nContent-Length: 0", "0\r\n\r\n"))
            .hyper(H_BOTH),
        refused("chunks and no length", "RFC 9112, 6.1", posted("Transfer-Encoding: chunked\r\nContent-Length: x", "0\r\n\r\n"))
            .hyper(H_BOTH),
        refused("no length and chunks", "RFC 9112, 6.1", posted("Content-Length: x\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
        refused("identity and a length", "RFC 9112, 6.1", posted("Transfer-Encoding: identity\r\nContent-Length: 3", "abc")),
        refused("a length and an unknown coding", "RFC 9112, 6.1", posted("Content-Length: 3\r\nTransfer-Encoding: cow", "abc")),
        refused(
            "a length, chunks, a length",
            "RFC 9112, 6.3",
            posted("Content-Length: 3\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", "0\r\n\r\n"),
        )
        .hyper(H_BOTH),
    ]
}

/// Any Transfer-Encoding but exactly `chunked`.
fn codings() -> Vec<Case> {
    vec![
        refused("gzip and chunks", "RFC 9112, 6.1; CVE-2019-16786 (Waitress)", coding(" gzip, chunked")).hyper(H_CODINGS),
        refused("chunks and gzip", "RFC 9112, 6.3; CVE-2024-1135 (Gunicorn)", coding(" chunked, gzip")),
        refused("gzip alone", "RFC 9112, 6.3", coding(" gzip")),
        refused("identity", "RFC 9112, 7: identity was removed", coding(" identity")),
        refused("identity and chunks", "RFC 9112, 7", coding(" identity, chunked")).hyper(H_CODINGS),
        refused("chunks and identity", "RFC 9112, 6.3; CVE-2024-1135 (Gunicorn)", coding(" chunked, identity")),
        refused("chunks of chunks", "RFC 9112, 6.1: chunked is applied once", coding(" chunked, chunked")).hyper(H_CODINGS),
        refused("chunks behind an empty element", "RFC 9110, 5.6.1", coding(" , chunked")).hyper(H_CODINGS),
        refused("chunks before an empty element", "RFC 9110, 5.6.1", coding(" chunked,")),
        refused("chunkedchunked", "CVE-2022-32213 (llhttp)", coding(" chunkedchunked")),
        refused("xchunked", "PortSwigger, HTTP Desync Attacks (2019): TE.TE", coding(" xchunked")),
        refused("chunkedx", "PortSwigger, HTTP Desync Attacks (2019): TE.TE", coding(" chunkedx")),
        refused("chunks with a parameter", "RFC 9112, 7.1: chunked has no parameters", coding(" chunked;q=1")),
        refused("chunks in quotes", "CVE-2022-1705 (Go)", coding(" \"chunked\"")),
        refused("an empty coding", "RFC 9112, 6.1", coding("")),
        refused("a coding with a tab inside", "RFC 9112, 6.1", coding(" chun\tked")),
        refused("a coding with a space inside", "RFC 9112, 6.1", coding(" chun ked")),
        refused("a vertical tab before the coding", "CVE-2019-18277 (HAProxy)", coding("\x0bchunked")),
        refused("a form feed before the coding", "CVE-2019-16789 (Waitress)", coding(" \x0cchunked")),
        refused("a vertical tab behind the coding", "CVE-2019-16789 (Waitress)", coding(" chunked\x0b")),
        refused("a vertical tab inside the coding", "RFC 9110, 5.5", coding(" chun\x0bked")),
        refused("a NUL inside the coding", "RFC 9110, 5.5", coding(" chun\0ked")),
        refused("a NUL behind the coding", "RFC 9110, 5.5", coding(" chunked\0")),
        refused("a Kelvin sign in the coding", "RFC 9110, 5.5: case folding is ASCII", coding(" chun\u{212a}ed")),
        refused("a no-break space before the coding", "RFC 9110, 5.6.3", coding(b" \xa0chunked")),
        refused("a coding on HTTP/1.0", "RFC 9112, 6.1", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ]
}

/// Codings in two fields, or hidden from one reader.
fn split_codings() -> Vec<Case> {
    vec![
        refused("chunks twice", "CVE-2020-8287 (Node.js)", coding(" chunked\r\nTransfer-Encoding: chunked")).hyper(H_CODINGS),
        refused("chunks, then identity", "CVE-2020-8287 (Node.js)", coding(" chunked\r\nTransfer-Encoding: identity")),
        refused("identity, then chunks", "CVE-2020-8287 (Node.js)", coding(" identity\r\nTransfer-Encoding: chunked")).hyper(H_CODINGS),
        refused("chunks, then a cow", "PortSwigger, HTTP Desync Attacks (2019): TE.TE", coding(" chunked\r\nTransfer-encoding: cow")),
        refused("chunks, then nothing", "RFC 9112, 6.1", coding(" chunked\r\nTransfer-Encoding:")),
        refused("a space before the coding's colon", "CVE-2019-16869 (Netty)", posted("Transfer-Encoding : chunked", "0\r\n\r\n")),
        refused(
            "a space before the coding's name",
            "CVE-2020-7238 (Netty)",
            posted("Content-Length: 5\r\n Transfer-Encoding: chunked", "0\r\n\r\n"),
        ),
        refused("a folded coding", "PortSwigger, HTTP Desync Attacks (2019): TE.TE", coding("\r\n chunked")),
        refused("a coding folded behind chunks", "CVE-2022-32215 (llhttp)", coding(" chunked\r\n , identity")),
        refused("a coding folded with a tab", "RFC 9112, 5.2", posted("A: b\r\n\tTransfer-Encoding: chunked", "0\r\n\r\n")),
        refused(
            "a coding behind a bare LF",
            "PortSwigger, HTTP Desync Attacks (2019): TE.TE; CVE-2022-32214 (llhttp)",
            posted("Content-Length: 5\r\nX: X\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        )
        .hyper(H_LF),
        refused(
            "a coding behind a bare CR",
            "CVE-2023-30589 (llhttp)",
            posted("Content-Length: 5\r\nX-Abc:\rxTransfer-Encoding: chunked", "0\r\n\r\n"),
        ),
        refused("a coding behind a CR in a value", "CVE-2023-30589 (llhttp)", posted("X: X\rTransfer-Encoding: chunked", "0\r\n\r\n")),
        refused("a length behind a bare LF", "CVE-2022-35256 (llhttp)", posted("Dummy: x\nContent-Length: 3", "abc"))
            .hyper(H_LF)
            .nginx(N_LF),
        refused("a length behind an empty name", "CVE-2023-25725 (HAProxy)", posted(":\r\nContent-Length: 3", "abc")),
        refused(
            "a coding behind a line without a colon",
            "CVE-2019-20444 (Netty)",
            posted("Dummy\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        )
        .nginx(N_NAME),
    ]
}

/// Chunk sizes that are no plain hexadecimal number.
fn sizes() -> Vec<Case> {
    let size = |text: &str| chunked(format!("{text}\r\nabc\r\n0\r\n\r\n"));
    vec![
        refused("a chunk size of letters", "RFC 9112, 7.1", size("x")),
        refused("a chunk size with junk", "RFC 9112, 7.1; CVE-2023-46846 (Squid)", size("3x")),
        refused("a chunk size with 0x", "RFC 9112, 7.1; CVE-2023-46846 (Squid)", size("0x3")),
        refused("a chunk size with a plus", "RFC 9112, 7.1", size("+3")),
        refused("a chunk size with a minus", "RFC 9112, 7.1", size("-3")),
        refused("a chunk size in quotes", "RFC 9112, 7.1", size("\"3\"")),
        refused("a chunk size with a point", "RFC 9112, 7.1", size("3.0")),
        refused("a chunk size with a comma", "RFC 9112, 7.1", size("3,3")),
        refused("an underscore in a chunk size", "RFC 9112, 7.1", size("0_3")),
        refused("a space before a chunk size", "RFC 9112, 7.1", size(" 3")),
        refused("a tab before a chunk size", "RFC 9112, 7.1", size("\t3")),
        refused("a space behind a chunk size", "RFC 9112, 7.1", size("3 ")).hyper(H_CHUNK).nginx(N_CHUNK),
        refused("a tab behind a chunk size", "RFC 9112, 7.1", size("3\t")).hyper(H_CHUNK).nginx(N_CHUNK),
        refused("a space before an extension", "RFC 9112, 7.1.1: bad whitespace", size("3 ;a")).hyper(H_CHUNK).nginx(N_CHUNK),
        refused("a chunk size, a space, a digit", "RFC 9112, 7.1", size("3 3")).nginx(N_CHUNK),
        refused("a NUL behind a chunk size", "RFC 9112, 7.1", size("3\0")),
        refused("a vertical tab behind a chunk size", "RFC 9112, 7.1", size("3\x0b")),
        refused("an empty chunk size", "RFC 9112, 7.1", size("")),
        refused("an extension without a size", "RFC 9112, 7.1", size(";a=b")),
        refused("a chunk size of 16 digits", "RFC 9112, 7.1: overflow; CVE-2021-32714 (hyper)", size("ffffffffffffffff")),
        refused("a chunk size that wraps to 3", "RFC 9112, 7.1: overflow; CVE-2021-32714 (hyper)", size("10000000000000003")),
        refused("a chunk size of 40 digits", "RFC 9112, 7.1: overflow", size(&"f".repeat(40))),
        refused("a chunk size of 16 digits, most of them zero", "RFC 9112, 7.1: overflow", size("0000000000000003"))
            .hyper("hyper counts; a reader with room for 15 digits sees another size")
            .nginx("nginx counts; a reader with room for 15 digits sees another size"),
    ]
}

/// Chunks that do not end where their size says, or not in CRLF.
fn chunk_ends() -> Vec<Case> {
    vec![
        refused("a chunk longer than its size", "RFC 9112, 7.1", chunked("1\r\nab\r\n0\r\n\r\n")),
        refused("a chunk shorter than its size", "RFC 9112, 7.1", chunked("5\r\nabc\r\n0\r\n\r\n")),
        refused("two bytes behind a chunk that are no CRLF", "Funky chunks (2025): SPILL", chunked("3\r\nabcxx0\r\n\r\n")),
        refused("no CRLF behind a chunk", "RFC 9112, 7.1", chunked("3\r\nabc0\r\n\r\n")),
        refused("a bare LF behind a size", "CVE-2025-22871 (Go)", chunked("3\nabc\r\n0\r\n\r\n")).nginx(N_CHUNK_LF),
        refused("a bare LF behind a chunk", "RFC 9112, 7.1; CVE-2023-46846 (Squid)", chunked("3\r\nabc\n0\r\n\r\n")).nginx(N_CHUNK_LF),
        refused("a bare CR behind a size", "RFC 9112, 7.1", chunked("3\rabc\r\n0\r\n\r\n")),
        refused("a bare CR behind a chunk", "RFC 9112, 7.1", chunked("3\r\nabc\r0\r\n\r\n")),
        refused("CR, CR, LF behind a size", "RFC 9112, 7.1", chunked("3\r\r\nabc\r\n0\r\n\r\n")),
        refused("LF, CR behind a chunk", "RFC 9112, 7.1", chunked("3\r\nabc\n\r0\r\n\r\n")),
        refused("a bare LF behind the last size", "RFC 9112, 7.1; CVE-2025-22871 (Go)", chunked("3\r\nabc\r\n0\n\r\n")).nginx(N_CHUNK_LF),
        refused("a bare LF for the end", "RFC 9112, 7.1", chunked("3\r\nabc\r\n0\r\n\n"))
            .hyper("hyper takes the LF for a trailer and swallows the request behind it")
            .nginx(N_CHUNK_LF),
        refused("no last chunk", "RFC 9112, 7.1", chunked("3\r\nabc\r\n\r\n")),
        refused("no empty line at the end", "RFC 9112, 7.1", chunked("3\r\nabc\r\n0\r\n")).nginx(N_TRAILER),
        refused("an empty line before the first size", "RFC 9112, 7.1", chunked("\r\n3\r\nabc\r\n0\r\n\r\n")),
    ]
}

/// What stands behind a chunk's size.
fn extensions() -> Vec<Case> {
    let extended = |text: &[u8]| chunked(join([b"3;", text, b"\r\nabc\r\n0\r\n\r\n"]));
    vec![
        refused("a NUL in an extension", "RFC 9112, 7.1.1", extended(b"a=\0")).hyper(H_CHUNK).nginx(N_CHUNK),
        refused("a control in an extension", "RFC 9112, 7.1.1", extended(b"a=\x01")).hyper(H_CHUNK).nginx(N_CHUNK),
        refused("a byte that is no ASCII in an extension", "RFC 9112, 7.1.1", extended(b"a=\xe9")).hyper(H_CHUNK).nginx(N_CHUNK),
        refused(
            "a bare LF behind an extension",
            "Funky chunks (2025): TERM.EXT; CVE-2025-55315 (Kestrel)",
            chunked("3;a\nabc\r\n0\r\n\r\n"),
        )
        .nginx(N_CHUNK_LF),
        refused("a bare CR in an extension", "Funky chunks (2025); CVE-2025-55315 (Kestrel)", extended(b"a\rb")),
        refused("CR, CR, LF behind an extension", "Funky chunks (2025)", extended(b"a\r")),
        refused("a bare LF behind the last extension", "Funky chunks (2025): TERM.EXT", chunked("3\r\nabc\r\n0;a\n\r\n")).nginx(N_CHUNK_LF),
        refused("an extension of 300 bytes", "CVE-2021-22960 (llhttp), CVE-2023-39326 (Go)", extended(&[b'a'; 300]))
            .hyper(H_LIMIT)
            .nginx(N_LIMIT),
        refused("an extension of 20,000 bytes", "CVE-2023-39326 (Go)", extended(&[b'a'; 20_000])).nginx(N_LIMIT),
    ]
}

/// What stands behind the last chunk.
fn trailers() -> Vec<Case> {
    let trailed = |text: &str| chunked(format!("3\r\nabc\r\n0\r\n{text}\r\n\r\n"));
    vec![
        refused("a folded trailer", "RFC 9112, 5.2", trailed("A: b\r\n c")).nginx(N_TRAILER),
        refused("a trailer behind a space", "RFC 9112, 5.2", trailed(" A: b")).nginx(N_TRAILER),
        refused("a trailer with a space in its name", "RFC 9112, 5", trailed("bad name: 1")).nginx(N_TRAILER),
        refused("a trailer with a bracket in its name", "RFC 9112, 5", trailed("A(b): c")).nginx(N_TRAILER),
        refused("a trailer with a space before its colon", "RFC 9112, 5.1", trailed("A : b")).nginx(N_TRAILER),
        refused("a trailer without a name", "RFC 9112, 5", trailed(": b")).nginx(N_TRAILER),
        refused("a trailer without a colon", "RFC 9112, 5", trailed("abc")).nginx(N_TRAILER),
        refused("a NUL in a trailer", "RFC 9110, 5.5", trailed("A: b\0c")).nginx(N_TRAILER),
        refused("a bare CR in a trailer", "RFC 9112, 2.2", trailed("A: b\rc")),
        refused("a bare LF between trailers", "RFC 9112, 2.2", trailed("A: b\nC: d")).nginx(N_TRAILER),
        refused("a bare LF behind a trailer", "RFC 9112, 2.2", chunked("3\r\nabc\r\n0\r\nA: b\n\r\n"))
            .hyper("hyper swallows the request behind it as trailers")
            .nginx(N_TRAILER),
        refused("a trailer of 9,000 bytes", "RFC 9112, 7.1.2: limits", trailed(&format!("A: {}", "b".repeat(9000))))
            .hyper(H_LIMIT)
            .nginx(N_LIMIT),
        refused("300 trailers", "RFC 9112, 7.1.2: limits", trailed(&["a: b"; 300].join("\r\n"))).nginx(N_LIMIT),
    ]
}

/// Lines that do not end in CRLF.
fn line_ends() -> Vec<Case> {
    vec![
        refused("bare LF everywhere", "RFC 9112, 2.2", "GET / HTTP/1.1\nHost: h\n\n").hyper(H_LF).nginx(N_LF),
        refused("a bare LF behind the request line", "RFC 9112, 2.2", "GET / HTTP/1.1\nHost: h\r\n\r\n").hyper(H_LF).nginx(N_LF),
        refused("a bare LF behind a field", "CVE-2019-16785 (Waitress)", with("A: b\nC: d")).hyper(H_LF).nginx(N_LF),
        refused("a bare LF for the empty line", "RFC 9112, 2.2", "GET / HTTP/1.1\r\nHost: h\r\n\n").hyper(H_LF).nginx(N_LF),
        refused("a bare LF before the request line", "RFC 9112, 2.2", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").hyper(H_LF).nginx(N_LF),
        refused("a bare CR before the request line", "RFC 9112, 2.2", "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .nginx("nginx skips any CR and LF before a request; RFC 9112, 2.2 speaks of empty lines"),
        refused("CR, CR, LF before the request line", "RFC 9112, 2.2", "\r\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .nginx("nginx skips any CR and LF before a request; RFC 9112, 2.2 speaks of empty lines"),
        refused("bare CR everywhere", "RFC 9112, 2.2", "GET / HTTP/1.1\rHost: h\r\r"),
        refused("CR, CR, LF behind the request line", "RFC 9112, 2.2", line("GET / HTTP/1.1\r")),
        refused("CR, CR, LF behind a field", "RFC 9112, 2.2", with("A: b\r"))
            .nginx("nginx takes any number of CR before an LF; a bare CR is no part of a line's end"),
        refused("CR, CR, LF for the empty line", "RFC 9112, 2.2", "GET / HTTP/1.1\r\nHost: h\r\n\r\r\n"),
    ]
}

/// Field names that are none, and folded lines.
fn names() -> Vec<Case> {
    vec![
        refused("a space before the first field", "RFC 9112, 2.2", "GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
        refused("a tab before the first field", "RFC 9112, 2.2", "GET / HTTP/1.1\r\n\tHost: h\r\n\r\n"),
        refused("a field hidden behind a space", "PortSwigger, HTTP/1.1 must die (2025)", "GET / HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n"),
        refused("a field folded with a space", "RFC 9112, 5.2", with("A: b\r\n c")),
        refused("a field folded with a tab", "RFC 9112, 5.2", with("A: b\r\n\tc")),
        refused("a folded line of spaces", "RFC 9112, 5.2", with("A: b\r\n  \r\nC: d")),
        refused("a folded Host", "RFC 9112, 5.2", host("h\r\n evil")),
        refused("a space before a colon", "RFC 9112, 5.1; CVE-2019-16276 (Go)", with("A : b")),
        refused("a tab before a colon", "RFC 9112, 5.1", with("A\t: b")),
        refused("a space inside a name", "RFC 9110, 5.1", with("A B: c")),
        refused("an empty name", "RFC 9110, 5.1; CVE-2023-25725 (HAProxy)", with(": b")),
        refused("a line without a colon", "RFC 9112, 5; CVE-2019-20444 (Netty)", with("Abc")).nginx(N_NAME),
        refused("a NUL inside a name", "RFC 9110, 5.1", with("A\0B: c")),
        refused("a control inside a name", "RFC 9110, 5.1", with("A\x01B: c")),
        refused("a DEL inside a name", "RFC 9110, 5.1", with("A\x7fB: c")),
        refused("a CR inside a name", "RFC 9110, 5.1", with("A\rB: c")),
        refused("a name in UTF-8", "RFC 9110, 5.1", with("\u{e9}: b")).nginx(N_NAME),
        refused("a name in Latin-1", "RFC 9110, 5.1", with(b"caf\xe9: b")).nginx(N_NAME),
        refused("a parenthesis in a name", "RFC 9110, 5.6.2", with("A(b): c")).nginx(N_NAME),
        refused("a slash in a name", "RFC 9110, 5.6.2", with("A/B: c")).nginx(N_NAME),
        refused("a bracket in a name", "RFC 9110, 5.6.2", with("A[0]: c")).nginx(N_NAME),
        refused("quotes around a name", "RFC 9110, 5.6.2", with("\"A\": c")).nginx(N_NAME),
    ]
}

/// Field values with what no value may hold.
fn values() -> Vec<Case> {
    vec![
        refused("a NUL inside a value", "RFC 9110, 5.5", with("A: b\0c")),
        refused("a NUL for a value", "RFC 9110, 5.5", with("A: \0")),
        refused("a CR inside a value", "RFC 9110, 5.5; CVE-2023-30589 (llhttp)", with("A: b\rc")),
        refused("a CR before a value", "RFC 9110, 5.5", with("A:\rb")),
        refused("a control inside a value", "RFC 9110, 5.5", with("A: b\x01c")).nginx(N_VALUE),
        refused("a vertical tab inside a value", "RFC 9110, 5.5", with("A: b\x0bc")).nginx(N_VALUE),
        refused("an escape inside a value", "RFC 9110, 5.5", with("A: b\x1b[2Jc")).nginx(N_VALUE),
        refused("a DEL inside a value", "RFC 9110, 5.5", with("A: b\x7fc")).nginx(N_VALUE),
    ]
}

/// No Host, several, or none that is one.
fn hosts() -> Vec<Case> {
    let bad = |name, value: &str| refused(name, "RFC 9112, 3.2; RFC 3986, 3.2", host(value)).hyper(H_HOST);
    vec![
        refused("no Host", "RFC 9112, 3.2", "GET / HTTP/1.1\r\n\r\n").hyper(H_HOST),
        refused("no Host but a field", "RFC 9112, 3.2", "GET / HTTP/1.1\r\nA: b\r\n\r\n").hyper(H_HOST),
        refused("Host twice, alike", "RFC 9112, 3.2", with("Host: h")).hyper(H_HOST),
        refused("Host twice, different", "RFC 9112, 3.2", with("Host: evil")).hyper(H_HOST),
        refused("Host twice, in two cases", "RFC 9112, 3.2", with("hOST: evil")).hyper(H_HOST),
        bad("an empty Host", ""),
        bad("a space in Host", "a b"),
        bad("a tab in Host", "a\tb"),
        bad("a list of hosts", "a, b"),
        bad("a list of hosts without a space", "a,b").nginx(N_HOST),
        bad("a user in Host", "u@h").nginx(N_HOST),
        bad("a user with a password in Host", "u:p@h").nginx(N_HOST),
        bad("a path in Host", "h/p"),
        bad("a query in Host", "h?x").nginx(N_HOST),
        bad("a fragment in Host", "h#x").nginx(N_HOST),
        bad("a scheme in Host", "http://h"),
        bad("a port of letters", "h:8a").nginx(N_HOST),
        bad("a port of 65536", "h:65536").nginx(N_HOST),
        bad("a port of eleven digits", "h:00000000080").nginx(N_HOST),
        bad("a port with a sign", "h:+80").nginx(N_HOST),
        bad("two ports", "h:1:2").nginx(N_HOST),
        bad("a port alone", ":80"),
        bad("an IPv6 address without brackets", "::1"),
        bad("an open bracket", "[::1").nginx(N_HOST),
        bad("brackets around nothing", "[]").nginx(N_HOST),
        bad("brackets around letters", "[zz]").nginx(N_HOST),
        bad("letters behind brackets", "[::1]x").nginx(N_HOST),
        bad("a zone in Host", "[fe80::1%25eth0]").nginx(N_HOST),
        bad("an escape in Host", "h%41").nginx(N_HOST),
        bad("a Host in UTF-8", "h\u{e9}").nginx(N_HOST),
        bad("a backslash in Host", "h\\x").nginx(N_HOST),
        bad("quotes around Host", "\"h\"").nginx(N_HOST),
        refused("a Host of 300 bytes", "RFC 1035, 2.3.4", host("h".repeat(300))).hyper(H_HOST).nginx(N_HOST),
    ]
}

/// Targets in absolute-form whose authority is none, or not the Host.
fn authorities() -> Vec<Case> {
    let asked = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    vec![
        refused("a target of another host", "RFC 9112, 3.2.2", asked("http://other/", "h"))
            .hyper(H_HOST)
            .nginx("nginx serves the target's host and ignores the other; whoever stands before it may have read the other"),
        refused("a target of another port", "RFC 9112, 3.2.2", asked("http://h:81/", "h"))
            .hyper(H_HOST)
            .nginx("nginx serves the target's host and ignores the other; whoever stands before it may have read the other"),
        refused("a target with a host and no Host", "RFC 9112, 3.2", "GET http://h/ HTTP/1.1\r\n\r\n").hyper(H_HOST),
        refused("a target with a host and two of them", "RFC 9112, 3.2", "GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n")
            .hyper(H_HOST),
        refused("a target with a user", "RFC 9110, 4.2.4", asked("http://u@h/", "u@h")).hyper(H_HOST),
        refused("a target without a host", "RFC 9110, 4.2.1", asked("http:///x", "h")),
        refused("a target with a port of letters", "RFC 3986, 3.2.3", asked("http://h:x/", "h:x")).hyper(H_HOST),
        refused("a target with a fragment for a path", "RFC 9112, 3.2.2", asked("http://h#x/", "h")).hyper(H_TARGET),
        refused("a target with a backslash before its user", "Orange Tsai, A New Era of SSRF (2017)", asked("http://h\\@evil/", "h")),
        refused("a target of https", "RFC 9110, 4.3.3: no plain connection has authority for it", asked("https://h/", "h"))
            .hyper(H_FORM)
            .nginx("nginx takes any scheme for its own"),
        refused("a target of ftp", "RFC 9112, 3.2.2", asked("ftp://h/", "h")).hyper(H_FORM).nginx("nginx takes any scheme for its own"),
        refused("dots in an absolute target", "RFC 3986, 6.2.2.3", asked("http://h/a/../b", "h")).hyper(H_TARGET).nginx(N_DOTS),
    ]
}

/// Versions but 1.0 and 1.1.
fn versions() -> Vec<Case> {
    vec![
        refused("no version", "RFC 9112, 3: a simple request of HTTP/0.9", "GET /\r\n")
            .nginx("nginx still serves HTTP/0.9, whose answer has no head; no client of today wants one"),
        refused("no version but a Host", "RFC 9112, 3", line("GET /"))
            .nginx("nginx still serves HTTP/0.9, whose answer has no head; no client of today wants one"),
        refused("HTTP/0.9", "RFC 9112, 2.3", line("GET / HTTP/0.9")),
        refused("HTTP/1.2", "RFC 9112, 2.3", line("GET / HTTP/1.2")).nginx(N_VERSION),
        refused("HTTP/1.10", "RFC 9112, 2.3: one digit", line("GET / HTTP/1.10")).nginx(N_VERSION),
        refused("HTTP/1.01", "RFC 9112, 2.3: one digit", line("GET / HTTP/1.01")).nginx(N_VERSION),
        refused("HTTP/01.1", "RFC 9112, 2.3: one digit", line("GET / HTTP/01.1")),
        refused("HTTP/2.0", "RFC 9112, 2.3", line("GET / HTTP/2.0")),
        refused("HTTP/4.2", "RFC 9112, 2.3", line("GET / HTTP/4.2")),
        refused("the preface of HTTP/2", "RFC 9113, 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        refused("HTTP/11", "RFC 9112, 2.3", line("GET / HTTP/11")),
        refused("HTTP/1.", "RFC 9112, 2.3", line("GET / HTTP/1.")),
        refused("HTTP/1", "RFC 9112, 2.3", line("GET / HTTP/1")),
        refused("HTTP/1,1", "RFC 9112, 2.3", line("GET / HTTP/1,1")),
        refused("HTTP 1.1", "RFC 9112, 2.3", line("GET / HTTP 1.1")),
        refused("HTP/1.1", "RFC 9112, 2.3", line("GET / HTP/1.1")),
        refused("a version in lower case", "RFC 9112, 2.3: case-sensitive", line("GET / http/1.1")),
        refused("a version in both cases", "RFC 9112, 2.3: case-sensitive", line("GET / Http/1.1")),
        refused("a letter behind the version", "RFC 9112, 2.3", line("GET / HTTP/1.1x")),
        refused("a NUL behind the version", "RFC 9112, 2.3", line("GET / HTTP/1.1\0")),
        refused("a space behind the version", "RFC 9112, 3", line("GET / HTTP/1.1 ")).nginx(N_VERSION),
        refused("a tab behind the version", "RFC 9112, 3", line("GET / HTTP/1.1\t")),
        refused("a word behind the version", "RFC 9112, 3", line("GET / HTTP/1.1 x")),
        refused("the version twice", "RFC 9112, 3", line("GET / HTTP/1.1 HTTP/1.1")),
    ]
}

/// Request lines that are not three words with one space between.
fn request_lines() -> Vec<Case> {
    vec![
        refused("two spaces before the target", "RFC 9112, 3", line("GET  / HTTP/1.1")).nginx(N_VERSION),
        refused("two spaces behind the target", "RFC 9112, 3", line("GET /  HTTP/1.1")).nginx(N_VERSION),
        refused("a tab before the target", "RFC 9112, 3", line("GET\t/ HTTP/1.1")),
        refused("a tab behind the target", "RFC 9112, 3", line("GET /\tHTTP/1.1")),
        refused("a vertical tab before the target", "RFC 9112, 3", line("GET\x0b/ HTTP/1.1")),
        refused("a form feed behind the target", "RFC 9112, 3", line("GET /\x0cHTTP/1.1")),
        refused("a space before the method", "RFC 9112, 3", line(" GET / HTTP/1.1")),
        refused("a tab before the method", "RFC 9112, 3", line("\tGET / HTTP/1.1")),
        refused("a NUL before the method", "RFC 9112, 3", line("\0GET / HTTP/1.1")),
        refused("a byte order mark before the method", "RFC 9112, 3", line("\u{feff}GET / HTTP/1.1")),
        refused("a space inside the target", "RFC 9112, 3.2", line("GET /a b HTTP/1.1")),
        refused("a space and a NUL inside the target", "CVE-2013-4547 (nginx)", line("GET /a \0.php HTTP/1.1")),
        refused("no target", "RFC 9112, 3", line("GET HTTP/1.1")),
        refused("no method", "RFC 9112, 3", line("/ HTTP/1.1")),
        refused("a method alone", "RFC 9112, 3", line("GET")),
        refused("a status line", "RFC 9112, 3", line("HTTP/1.1 200 OK")),
    ]
}

/// Methods that are no token, and CONNECT.
fn methods() -> Vec<Case> {
    vec![
        refused("a parenthesis in the method", "RFC 9110, 5.6.2", line("G(T / HTTP/1.1")),
        refused("an at sign in the method", "RFC 9110, 5.6.2", line("G@T / HTTP/1.1")),
        refused("a comma in the method", "RFC 9110, 5.6.2", line("GET,POST / HTTP/1.1")),
        refused("a colon behind the method", "RFC 9110, 5.6.2", line("GET: / HTTP/1.1")),
        refused("quotes around the method", "RFC 9110, 5.6.2", line("\"GET\" / HTTP/1.1")),
        refused("a NUL in the method", "RFC 9110, 5.6.2", line("G\0T / HTTP/1.1")),
        refused("a method in UTF-8", "RFC 9110, 5.6.2", line("G\u{c9}T / HTTP/1.1")),
        refused("CONNECT to a host", "RFC 9110, 9.3.6", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n")
            .hyper("hyper leaves CONNECT to its caller; we open no tunnels"),
        refused("CONNECT to a path", "RFC 9112, 3.2.3", line("CONNECT / HTTP/1.1"))
            .hyper("hyper leaves CONNECT to its caller; we open no tunnels"),
    ]
}

/// Targets in a form that we do not serve.
fn forms() -> Vec<Case> {
    vec![
        refused("an asterisk that is not for OPTIONS", "RFC 9112, 3.2.4", to("*")).hyper(H_FORM),
        refused("a target without a slash", "RFC 9112, 3.2.1", to("x")).hyper(H_FORM),
        refused("a target of a host and a port", "RFC 9112, 3.2.3", to("h:80")).hyper(H_FORM),
        refused("a target of a query", "RFC 9112, 3.2.1", to("?q")),
        refused("a target of a fragment", "RFC 9112, 3.2.1", to("#x")),
        refused("a target of dots", "RFC 9112, 3.2.1", to("../x")),
        refused("a target with a scheme and one slash", "RFC 9112, 3.2.2", to("http:/x")),
    ]
}

/// Bytes that no target may hold.
fn target_bytes() -> Vec<Case> {
    vec![
        refused("a fragment behind the path", "RFC 9112, 3.2", to("/a#b")).hyper(H_TARGET).nginx(N_TARGET),
        refused("a fragment behind the query", "RFC 9112, 3.2", to("/a?b#c")).hyper(H_TARGET).nginx(N_TARGET),
        refused("a backslash in the path", "RFC 3986, 3.3", to("/a\\b")).hyper(H_TARGET).nginx(N_TARGET),
        refused("dots between backslashes", "RFC 3986, 3.3", to("/a\\..\\b")).hyper(H_TARGET).nginx(N_TARGET),
        refused("a backslash before a host", "RFC 3986, 3.3", to("/\\h/x")).hyper(H_TARGET).nginx(N_TARGET),
        refused("a backslash in the query", "RFC 3986, 3.4", to("/a?b=\\")).hyper(H_TARGET).nginx(N_TARGET),
        refused("a NUL in the path", "RFC 3986, 3.3", to("/a\0b")),
        refused("a control in the path", "RFC 3986, 3.3", to("/a\x01b")),
        refused("a DEL in the path", "RFC 3986, 3.3", to("/a\x7fb")),
        refused("a CR in the path", "RFC 3986, 3.3", to("/a\rb")),
        refused("a control in the query", "RFC 3986, 3.4", to("/a?b=\x1f")),
        refused("UTF-8 in the path", "RFC 3986, 2.1", to("/\u{e9}")).hyper(H_TARGET).nginx(N_TARGET),
        refused("UTF-8 in the query", "RFC 3986, 2.1", to("/a?\u{e9}")).hyper(H_TARGET).nginx(N_TARGET),
        refused("Latin-1 in the path", "RFC 3986, 2.1", to(b"/\xe9")).nginx(N_TARGET),
        refused("overlong dots in the path", "CVE-2000-0884 (IIS)", to(b"/a/\xc0\xae\xc0\xae/b")).nginx(N_TARGET),
    ]
}

/// Escapes that are none, and NUL.
fn escapes() -> Vec<Case> {
    let bad = |name, source, target: &str| refused(name, source, to(target)).hyper(H_TARGET);
    vec![
        bad("a percent sign at the end", "RFC 3986, 2.1", "/a%"),
        bad("one digit behind a percent sign", "RFC 3986, 2.1", "/a%4"),
        bad("letters behind a percent sign", "RFC 3986, 2.1", "/a%zz"),
        bad("a percent sign before a slash", "RFC 3986, 2.1", "/a%/b"),
        bad("an escape inside an escape", "CVE-2021-42013 (Apache)", "/a/.%%32%65/b"),
        bad("an escape of UTF-16", "CVE-2000-0884 (IIS)", "/a/%u002e%u002e/b"),
        bad("an escaped NUL", "RFC 3986, 7.3", "/%00"),
        bad("an escaped NUL inside a name", "RFC 3986, 7.3", "/a.txt%00.php"),
    ]
}

/// Dot segments as they are.
fn dots() -> Vec<Case> {
    let bad = |name, target: &str| refused(name, "RFC 3986, 6.2.2.3", to(target)).hyper(H_TARGET);
    let parameters = |name, target: &str| refused(name, "Orange Tsai, Breaking Parser Logic (2018)", to(target)).hyper(H_TARGET);
    vec![
        bad("two dots alone", "/.."),
        bad("two dots at the beginning", "/../b"),
        bad("two dots and a query", "/..?b"),
        bad("two dots behind two slashes", "//../b"),
        bad("two dots too many", "/a/../../b"),
        bad("two dots in the middle", "/a/../b").nginx(N_DOTS),
        bad("two dots at the end", "/a/..").nginx(N_DOTS),
        bad("two dots before a query", "/a/..?b").nginx(N_DOTS),
        bad("a dot alone", "/.").nginx(N_DOTS),
        bad("a dot at the beginning", "/./b").nginx(N_DOTS),
        bad("a dot in the middle", "/a/./b").nginx(N_DOTS),
        bad("a dot at the end", "/a/.").nginx(N_DOTS),
        parameters("two dots and a semicolon", "/a/..;/b").nginx(N_TARGET),
        parameters("two dots and a parameter", "/a/..;x=1/b").nginx(N_TARGET),
        parameters("two dots and a semicolon at the beginning", "/..;/b").nginx(N_TARGET),
        parameters("a dot and a semicolon", "/a/.;/b").nginx(N_TARGET),
    ]
}

/// Dot segments with escapes, or between escaped slashes.
fn encoded_dots() -> Vec<Case> {
    let bad = |name, target: &str| refused(name, "RFC 3986, 6.2.2.2", to(target)).hyper(H_TARGET);
    vec![
        bad("two escaped dots at the beginning", "/%2e%2e/b"),
        bad("an escaped dot and a dot", "/%2E./b"),
        bad("a dot and an escaped dot", "/.%2e/b"),
        bad("dots and an escaped slash", "/..%2fb"),
        refused("dots up to the root", "CVE-2021-41773 (Apache)", to("/icons/.%2e/%2e%2e/etc/passwd")).hyper(H_TARGET),
        bad("two escaped dots", "/a/%2e%2e/b").nginx(N_DOTS),
        bad("an escaped dot", "/a/%2e/b").nginx(N_DOTS),
        bad("an escaped dot at the end", "/a/.%2E").nginx(N_DOTS),
        bad("escaped dots and an escaped slash", "/a/%2e%2e%2fb").nginx(N_DOTS),
        bad("escaped dots and a parameter", "/a/%2e%2e;x/b").nginx(N_TARGET),
        bad("dots and an escaped slash behind a name", "/a/..%2fb").nginx(N_DOTS),
        bad("dots between escaped slashes", "/a%2f..%2fb").nginx(N_DOTS),
        bad("dots behind an escaped slash", "/a%2F..").nginx(N_DOTS),
        bad("dots and an escaped backslash", "/a/..%5cb").nginx(N_TARGET),
        bad("dots between escaped backslashes", "/a%5C..%5Cb").nginx(N_TARGET),
    ]
}

/// More than the limits of a listener allow.
fn too_much() -> Vec<Case> {
    let many = |count: usize, field: &str| with(vec![field; count].join("\r\n"));
    vec![
        refused("a target of 9,000 bytes", "RFC 9112, 3: 414", to(format!("/{}", "a".repeat(8999)))).status(414).hyper(H_LIMIT),
        refused("a value of 70,000 bytes", "RFC 6585, 5: 431", with(format!("A: {}", "b".repeat(70_000)))).status(431).hyper(H_LIMIT),
        refused("90 fields of 800 bytes", "RFC 6585, 5: 431", many(90, &format!("A: {}", "b".repeat(797)))).status(431).hyper(H_LIMIT),
        refused("101 fields", "RFC 6585, 5: 431", many(100, "a: b")).status(431).nginx(N_LIMIT),
        refused("300 fields", "RFC 6585, 5: 431", many(299, "a: b")).status(431).nginx(N_LIMIT),
        refused("a request line of 70,000 bytes without an end", "RFC 9112, 3: 414", format!("GET /{}", "a".repeat(70_000))).status(414),
    ]
}

/// Bodies that are taken.
fn bodies() -> Vec<Case> {
    let post = |name, source, bytes: Vec<u8>| taken(name, source, bytes, "POST / HTTP/1.1");
    vec![
        post("a length", "RFC 9112, 6.2", length(" 3")).body("abc").has("content-length", "3").lacks("transfer-encoding"),
        post("a length without a space", "RFC 9110, 5.6.3", length("3")).body("abc").has("content-length", "3"),
        post("a length behind a tab", "RFC 9110, 5.6.3", length("\t3")).body("abc").has("content-length", "3").nginx(N_OWS),
        post("a length with leading zeros", "RFC 9110, 8.6", length(" 0003")).body("abc").has("content-length", "3"),
        post("a length of 0", "RFC 9110, 8.6", posted("Content-Length: 0", "")).has("content-length", "0"),
        post("no length", "RFC 9112, 6.3", posted("A: b", "")).lacks("content-length").lacks("transfer-encoding"),
        post("chunks", "RFC 9112, 7.1", coding(" chunked")).body("abc").has("transfer-encoding", "chunked").lacks("content-length"),
        post("chunks in another case", "RFC 9112, 7", coding(" cHuNKed")).body("abc").has("transfer-encoding", "chunked"),
        post("chunks behind a tab", "PortSwigger, HTTP Desync Attacks (2019): TE.TE", coding("\tchunked"))
            .body("abc")
            .has("transfer-encoding", "chunked")
            .nginx(N_OWS),
        post("chunks before a tab", "RFC 9110, 5.6.3", coding(" chunked \t")).body("abc").has("transfer-encoding", "chunked").nginx(N_OWS),
        post("chunk sizes with leading zeros", "RFC 9112, 7.1", chunked("003\r\nabc\r\n000\r\n\r\n")).body("abc"),
        post("a chunk size in upper case", "RFC 9112, 7.1", chunked("A\r\n0123456789\r\n0\r\n\r\n")).body("0123456789"),
        post("extensions", "RFC 9112, 7.1.1", chunked("3;a=\"b\";c\r\nabc\r\n0;d\r\n\r\n")).body("abc"),
        post("an extension that just fits", "RFC 9112, 7.1.1", chunked(format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(252)))).body("abc"),
        post("a trailer", "RFC 9112, 7.1.2", chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")).body("abc").trailers("x-sum: 1\n"),
        post(
            "trailers that frame, route and authenticate",
            "RFC 9110, 6.5.1",
            chunked("3\r\nabc\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: evil\r\nCookie: a\r\nX-Sum: 1\r\n\r\n"),
        )
        .body("abc")
        .trailers("x-sum: 1\n"),
        post("a length on HTTP/1.0", "RFC 9112, 6.2", b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc".to_vec()).body("abc").last(),
    ]
}

/// A request for those who do not see where the body begins or ends.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Requests that lie in another one's body, and stay there.
fn hidden_requests() -> Vec<Case> {
    let length = HIDDEN.len();
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {length}\r\n\r\n{HIDDEN}");
    let long_name = "a".repeat(255);
    vec![
        taken(
            "CL.0",
            "PortSwigger, Browser-Powered Desync Attacks (2022)",
            posted(format!("Content-Length: {length}"), HIDDEN),
            "POST / HTTP/1.1",
        )
        .body(HIDDEN),
        taken("0.CL", "PortSwigger, HTTP/1.1 must die (2025)", get(""), "GET / HTTP/1.1").body(HIDDEN).has("content-length", "35"),
        taken("0.CL with Expect", "PortSwigger, HTTP/1.1 must die (2025)", get("Expect: 100-continue\r\n"), "GET / HTTP/1.1").body(HIDDEN),
        taken("0.CL with an odd Expect", "PortSwigger, HTTP/1.1 must die (2025)", get("Expect: y 100-continue\r\n"), "GET / HTTP/1.1")
            .body(HIDDEN),
        taken(
            "TE.0",
            "Unveiling TE.0 (2024)",
            format!("OPTIONS / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
            "OPTIONS / HTTP/1.1",
        )
        .body(HIDDEN),
        taken(
            "a name whose length wraps",
            "CVE-2021-40346 (HAProxy)",
            posted(format!("Content-Length0{long_name}:\r\nContent-Length: {length}"), HIDDEN),
            "POST / HTTP/1.1",
        )
        .body(HIDDEN)
        .has("content-length", "35"),
    ]
}

/// Fields of the connection, and what they are abused for.
fn hops() -> Vec<Case> {
    let get = |name, source, fields: &str| taken(name, source, with(fields), "GET / HTTP/1.1");
    vec![
        taken(
            "Connection names what frames and routes",
            "Nathan Davison, Abusing HTTP hop-by-hop request headers (2019)",
            posted("Connection: content-length, host, transfer-encoding\r\nContent-Length: 3", "abc"),
            "POST / HTTP/1.1",
        )
        .body("abc")
        .has("content-length", "3")
        .has("host", "h")
        .lacks("connection"),
        get("Connection names a field", "RFC 9110, 7.6.1", "Connection: X-Private\r\nX-Private: 1\r\nX-Public: 2")
            .has("x-public", "2")
            .lacks("x-private"),
        get("fields of the connection", "RFC 9110, 7.6.1", "Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip")
            .lacks("keep-alive")
            .lacks("proxy-connection")
            .lacks("te"),
        get(
            "an upgrade to HTTP/2",
            "Bishop Fox, h2c Smuggling (2020)",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        )
        .lacks("upgrade")
        .lacks("http2-settings"),
        get("a connection that is to close", "RFC 9112, 9.6", "Connection: close").last(),
    ]
}

/// Heads that are taken.
fn fine_heads() -> Vec<Case> {
    let get = |name, source, bytes: Vec<u8>| taken(name, source, bytes, "GET / HTTP/1.1");
    vec![
        get("a plain request", "RFC 9112, 3", to("/")).has("host", "h").lacks("content-length").lacks("transfer-encoding"),
        get("empty lines before a request", "RFC 9112, 2.2", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        get("HTTP/1.0 without Host", "RFC 9112, 3.2", b"GET / HTTP/1.0\r\n\r\n".to_vec()).last(),
        get("HTTP/1.0 that keeps its connection", "RFC 9112, 9.3", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec()),
        taken("a method in lower case", "RFC 9110, 9.1", line("get / HTTP/1.1"), "get / HTTP/1.1").nginx(N_METHOD),
        taken("a method of odd letters", "RFC 9110, 5.6.2", line("!#$%&'*+-.^_`|~9 / HTTP/1.1"), "!#$%&'*+-.^_`|~9 / HTTP/1.1")
            .nginx(N_METHOD),
        taken("a method with a hyphen", "RFC 9110, 9.1", line("M-SEARCH / HTTP/1.1"), "M-SEARCH / HTTP/1.1"),
        taken("an asterisk for OPTIONS", "RFC 9112, 3.2.4", line("OPTIONS * HTTP/1.1"), "OPTIONS * HTTP/1.1")
            .nginx("nginx serves no asterisk-form; RFC 9112, 3.2.4 defines it"),
        taken("an absolute target", "RFC 9112, 3.2.2", "GET http://H:80/x?y HTTP/1.1\r\nHost: h:80\r\n\r\n", "GET /x?y HTTP/1.1")
            .has("host", "h:80"),
        taken("an absolute target without a path", "RFC 9110, 4.2.3", to("http://h?q"), "GET /?q HTTP/1.1").has("host", "h"),
        get("an IPv6 address and a port", "RFC 3986, 3.2.2", host("[::1]:8080")).has("host", "[::1]:8080"),
        get("an empty port", "RFC 3986, 3.2.3", host("h:")).has("host", "h:"),
        get("values of nothing, with a tab, in Latin-1", "RFC 9110, 5.5", with(b"A:\r\nB: a\tb\r\nC: caf\xe9"))
            .has("a", "")
            .has("b", "a\tb"),
        get("100 fields", "as many as may be", with(["a: b"; 99].join("\r\n"))).has("a", "b"),
    ]
}

/// Paths and queries that are data, whatever they look like.
fn fine_paths() -> Vec<Case> {
    vec![
        taken("an escaped slash", "RFC 3986, 2.2", to("/a%2Fb"), "GET /a%2Fb HTTP/1.1"),
        taken("an escaped backslash", "RFC 3986, 2.2", to("/a%5Cb"), "GET /a%5Cb HTTP/1.1"),
        taken("escaped delimiters", "RFC 3986, 2.2", to("/%3F%23%3b"), "GET /%3F%23%3b HTTP/1.1"),
        taken("escaped letters", "RFC 3986, 6.2.2.2", to("/%61dmin/%7Ex?%61"), "GET /%61dmin/%7Ex?%61 HTTP/1.1"),
        taken("escaped UTF-8", "RFC 3986, 2.1", to("/%E2%82%AC"), "GET /%E2%82%AC HTTP/1.1"),
        taken("dots escaped twice", "RFC 3986, 2.4", to("/a/%252e%252e/b"), "GET /a/%252e%252e/b HTTP/1.1"),
        taken("dots escaped too long", "CVE-2000-0884 (IIS)", to("/a/%c0%ae%c0%ae/b"), "GET /a/%c0%ae%c0%ae/b HTTP/1.1"),
        taken("dots in a query", "RFC 3986, 3.4", to("/x?p=/../y&q=..%2f"), "GET /x?p=/../y&q=..%2f HTTP/1.1"),
        taken("dots in names", "RFC 3986, 3.3", to("/.../a..b/..c/.d"), "GET /.../a..b/..c/.d HTTP/1.1"),
        taken("slashes side by side", "RFC 3986, 3.3", to("//a///b"), "GET //a///b HTTP/1.1"),
        taken("parameters", "RFC 3986, 3.3", to("/a;b=c/d,e"), "GET /a;b=c/d,e HTTP/1.1"),
        taken("characters that ought to be escaped", "RFC 3986, 2.4", to("/x?q=<>`{}|^[]\""), "GET /x?q=<>`{}|^[]\" HTTP/1.1")
            .hyper("hyper wants <, > and \" escaped; clients send them as they are, and they have one reading"),
    ]
}
