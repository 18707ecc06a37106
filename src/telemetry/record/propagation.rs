//! Trace context on the wire: `traceparent` and `tracestate` (W3C Trace Context Level 2).
//!
//! In: header values as the caller sent them, all of them hostile. Out: the caller's context, or none; and the bytes of the
//! headers that go downstream. An invalid `traceparent` is as if there were none, and takes its `tracestate` with it.
//! Not here: whether to trust the caller (the listener's policy says) and `baggage`.

use crate::base::ids::{SpanId, TraceId, read_hex};

/// Bytes of a combined `tracestate` that are passed on. The specification asks for at least 512.
pub(crate) const TRACE_STATE_BYTES_MAX: usize = 512;
/// List members of a `tracestate` (section 3.3.1.1).
const TRACE_STATE_MEMBERS_MAX: usize = 32;
const FLAG_SAMPLED: u8 = 0x01;
const FLAG_RANDOM: u8 = 0x02;
/// `00-` trace id `-` span id `-` flags.
const VERSION_00_LEN: usize = 55;

/// What a valid `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) sampled: bool,
    pub(crate) random: bool,
}

impl TraceParent {
    /// Reads all values of the header; more than one is as bad as none (section 3.2.1).
    pub(crate) fn extract<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<Self> {
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(trim(value))
    }

    /// Reads one value. Versions above 00 are read by their first four fields (section 3.2.4).
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut version = [0];
        read_hex(value.get(..2)?, &mut version)?;
        let length_fits = match version[0] {
            0xff => false,
            0x00 => value.len() == VERSION_00_LEN,
            _ => value.len() == VERSION_00_LEN || value.get(VERSION_00_LEN) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].into_iter().all(|at| value.get(at) == Some(&b'-'));
        if !length_fits || !dashes {
            return None;
        }
        let mut flags = [0];
        read_hex(&value[53..55], &mut flags)?;
        Some(TraceParent {
            trace_id: TraceId::from_hex(&value[3..35])?,
            span_id: SpanId::from_hex(&value[36..52])?,
            sampled: flags[0] & FLAG_SAMPLED != 0,
            random: flags[0] & FLAG_RANDOM != 0,
        })
    }

    /// The header value of version 00.
    pub(crate) fn encode(&self) -> [u8; VERSION_00_LEN] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        out[3..35].copy_from_slice(&self.trace_id.hex());
        out[36..52].copy_from_slice(&self.span_id.hex());
        let flags = (u8::from(self.sampled) * FLAG_SAMPLED) | (u8::from(self.random) * FLAG_RANDOM);
        out[54] = b'0' + flags;
        out
    }
}

/// Joins all `tracestate` values into `out` in their order and returns the length, or none where one of them is invalid or they
/// hold a key twice. What is over [`TRACE_STATE_BYTES_MAX`] loses whole members from its end (section 3.3.1.5).
pub(crate) fn join_trace_state<'v>(values: impl Iterator<Item = &'v [u8]>, out: &mut [u8; TRACE_STATE_BYTES_MAX]) -> Option<usize> {
    let mut keys: [&[u8]; TRACE_STATE_MEMBERS_MAX] = [&[]; TRACE_STATE_MEMBERS_MAX];
    let (mut count, mut used, mut full) = (0, 0, false);
    for member in values.flat_map(|value| value.split(|byte| *byte == b',')).map(trim).filter(|member| !member.is_empty()) {
        let key = member_key(member)?;
        if count == TRACE_STATE_MEMBERS_MAX || keys[..count].contains(&key) {
            return None;
        }
        keys[count] = key;
        count += 1;
        let comma = usize::from(used > 0);
        full = full || used + comma + member.len() > TRACE_STATE_BYTES_MAX;
        if !full {
            out[used..used + comma].fill(b',');
            out[used + comma..used + comma + member.len()].copy_from_slice(member);
            used += comma + member.len();
        }
    }
    Some(used)
}

/// The key of a well-formed `key=value` member (sections 3.3.1.3.1 and 3.3.1.3.2).
fn member_key(member: &[u8]) -> Option<&[u8]> {
    let split = member.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&member[..split], &member[split + 1..]);
    let value_fits = !value.is_empty()
        && value.len() <= 256
        && value.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'='))
        && value.last() != Some(&b' ');
    (value_fits && is_key(key)).then_some(key)
}

fn is_key(key: &[u8]) -> bool {
    let part = |part: &[u8], most: usize, digit_first: bool| {
        let first = part.first().is_some_and(|byte| byte.is_ascii_lowercase() || digit_first && byte.is_ascii_digit());
        let rest = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/');
        first && part.len() <= most && part.iter().all(rest)
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => part(key, 256, false),
        Some(at) => part(&key[..at], 241, true) && part(&key[at + 1..], 14, false),
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn join(values: &[&str]) -> Option<String> {
        let mut out = [0; TRACE_STATE_BYTES_MAX];
        let len = join_trace_state(values.iter().map(|value| value.as_bytes()), &mut out)?;
        Some(String::from_utf8(out[..len].to_vec()).unwrap())
    }

    #[test]
    fn a_valid_traceparent_is_read_and_written_back() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert!(parent.sampled && !parent.random);
        assert_eq!(&parent.encode()[..], GOOD.as_bytes());
        assert!(TraceParent::parse(GOOD.replace("-01", "-03").as_bytes()).unwrap().random);
    }

    #[test]
    fn a_future_version_is_read_by_its_first_fields() {
        for (value, valid) in [
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-adds", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ] {
            assert_eq!(TraceParent::parse(value.as_bytes()).is_some(), valid, "{value}");
        }
    }

    #[test]
    fn an_invalid_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TraceParent::extract([GOOD.as_bytes(), GOOD.as_bytes()].into_iter()), None);
        assert!(TraceParent::extract([format!(" {GOOD}\t").as_bytes()].into_iter()).is_some());
    }

    #[test]
    fn tracestate_members_are_joined_in_order_and_checked() {
        assert_eq!(join(&["rojo=1, congo=2", "", "a@b=c d"]).as_deref(), Some("rojo=1,congo=2,a@b=c d"));
        assert_eq!(join(&["a=1,a=2"]), None, "a key twice");
        assert_eq!(join(&["A=1"]), None, "upper case");
        assert_eq!(join(&["1a=1"]), None, "a digit first, with no tenant");
        assert_eq!(join(&["1a@b=1"]).as_deref(), Some("1a@b=1"));
        assert_eq!(join(&["a=b=c"]), None);
        assert_eq!(join(&["a="]), None);
        let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(join(&[&many]), None);
    }

    #[test]
    fn a_long_tracestate_loses_whole_members_from_its_end() {
        let long = format!("a={},b={},c={}", "x".repeat(250), "y".repeat(250), "z".repeat(100));
        let kept = join(&[&long]).unwrap();
        assert!(kept.ends_with(&"y".repeat(250)) && kept.len() <= TRACE_STATE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(parent) = TraceParent::parse(&bytes) {
                prop_assert_eq!(TraceParent::parse(&parent.encode()), Some(parent));
            }
        }

        #[test]
        fn every_context_survives_the_wire(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), sampled: bool, random: bool) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let parent = TraceParent { trace_id: TraceId(trace), span_id: SpanId(span), sampled, random };
            prop_assert_eq!(TraceParent::parse(&parent.encode()), Some(parent));
        }

        #[test]
        fn a_joined_tracestate_joins_to_itself(text in "[a-z=,@ \\-0-9]{0,60}") {
            if let Some(joined) = join(&[&text]) {
                let again = join(&[&joined]);
                prop_assert_eq!(again.as_deref(), Some(joined.as_str()));
            }
        }
    }
}
