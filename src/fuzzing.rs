//! What the fuzz targets call: parsers on hostile bytes, with what must hold of their answers.
//!
//! In: any bytes. Out: nothing, or a panic where a promise is broken. Compiled only with the feature `fuzzing`.

use bytes::{Bytes, BytesMut};
use http::Method;

use crate::base::target::Target;
use crate::control::config;
use crate::proxy::fields::Fields;
use crate::proxy::http1::framing::Framing;
use crate::proxy::http1::head::{HeadLimits, HeadScanner, RequestHead, parse_request, parse_response};
use crate::proxy::http1::{chunked, encode};
use crate::proxy::route::pattern::PathPattern;
use crate::proxy::route::{Matcher, Table};
use crate::telemetry::record::baggage;
use crate::telemetry::record::propagation::{TRACE_STATE_BYTES_MAX, TraceParent, join_trace_state};

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, fields: 100, target_bytes: 4096 };

/// Requests, responses and chunked bodies: whatever is accepted means the same when it is written and read again.
pub fn http1(bytes: &[u8]) {
    if let Some(head) = request_head(bytes) {
        let mut written = Vec::new();
        encode::request_line(&mut written, &head.method, head.target.as_bytes());
        for field in head.headers.iter() {
            encode::field(&mut written, field.name, field.value);
        }
        encode::end_of_head(&mut written);
        if head.version == http::Version::HTTP_11 {
            let again = request_head(&written).expect("what was accepted is accepted again");
            assert_eq!((again.method, again.target.as_bytes()), (head.method, head.target.as_bytes()));
            assert_eq!(again.framing, head.framing);
        }
        assert!(head.framing != Framing::UntilClose, "a request never ends with its connection");
    }
    let mut buffer = BytesMut::from(bytes);
    if let Ok(Some(length)) = HeadScanner::default().find(&mut buffer, LIMITS.bytes) {
        let _ = parse_response(buffer.split_to(length).freeze(), &Method::GET);
    }
    if let Ok(Some((data, _))) = chunked::decode_all(bytes) {
        let mut written = Vec::new();
        if !data.is_empty() {
            encode::chunk_size(&mut written, data.len());
            written.extend_from_slice(&data);
            written.extend_from_slice(b"\r\n");
        }
        encode::last_chunk(&mut written, None);
        let (again, rest) = chunked::decode_all(&written).expect("well-formed").expect("whole");
        assert!(again == data && rest.is_empty());
    }
}

fn request_head(bytes: &[u8]) -> Option<RequestHead> {
    let mut buffer = BytesMut::from(bytes);
    let length = HeadScanner::default().find(&mut buffer, LIMITS.bytes).ok()??;
    parse_request(buffer.split_to(length).freeze(), &LIMITS).ok()
}

/// The first request with its body: method, target and body, or nothing where it is refused or not whole. For comparison with others.
#[must_use]
pub fn read_whole_request(bytes: &[u8]) -> Option<(String, String, Vec<u8>)> {
    let mut buffer = BytesMut::from(bytes);
    let length = HeadScanner::default().find(&mut buffer, LIMITS.bytes).ok()??;
    let head = parse_request(buffer.split_to(length).freeze(), &LIMITS).ok()?;
    let body = match head.framing {
        Framing::None => Vec::new(),
        Framing::Length(length) => buffer.get(..usize::try_from(length).ok()?)?.to_vec(),
        // Trailers are left out of the comparison: hyper has bounds of its own for them.
        Framing::Chunked => {
            chunked::decode_all(&buffer).ok()?.filter(|(_, rest)| buffer[..buffer.len() - rest.len()].ends_with(b"0\r\n\r\n"))?.0
        }
        Framing::UntilClose => return None,
    };
    let target = String::from_utf8_lossy(head.target.as_bytes()).into_owned();
    Some((head.method.to_string(), target, body))
}

/// `traceparent`, `tracestate` and `baggage`.
pub fn trace_context(bytes: &[u8]) {
    if let Some(parent) = TraceParent::parse(bytes) {
        assert_eq!(TraceParent::parse(&parent.encode()), Some(parent));
    }
    let mut joined = [0; TRACE_STATE_BYTES_MAX];
    if let Some(length) = join_trace_state(bytes.split(|byte| *byte == 0), &mut joined) {
        let mut again = [0; TRACE_STATE_BYTES_MAX];
        assert_eq!(join_trace_state([&joined[..length]].into_iter(), &mut again), Some(length));
        assert_eq!(joined[..length], again[..length]);
    }
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    baggage::join(bytes.split(|byte| *byte == 0), &mut once);
    baggage::join([&once[..]].into_iter(), &mut twice);
    assert_eq!(once, twice);
}

/// The configuration: read or refused with at least one mistake, each with a place.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (config, problems) = config::read(text, &|name| (name.len() < 4).then(|| name.to_owned()));
    assert!(config.is_some() || !problems.is_empty(), "refused without a word");
}

/// The route table: the tree finds what a search over all patterns finds, whatever the path.
pub fn routes(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let Some(target) = lines.next().and_then(|line| Target::parse(Bytes::copy_from_slice(line.as_bytes())).ok()) else { return };
    let patterns: Vec<PathPattern> = lines.take(16).filter_map(|line| PathPattern::parse(line).ok()).collect();
    let matcher = |path: &PathPattern| Matcher { hosts: Vec::new(), path: path.clone(), methods: Vec::new(), headers: Vec::new() };
    let matchers: Vec<Matcher> = patterns.iter().map(matcher).collect();
    let Ok(table) = Table::build(&matchers) else { return };
    let found = table.find(b"h", target.match_path(), &Method::GET, &Fields::new()).ok();
    let fitting = (0..patterns.len()).filter(|index| patterns[*index].matches(target.match_path()));
    let expected = fitting.min_by_key(|index| patterns[*index].specificity());
    assert_eq!(found, expected);
}
