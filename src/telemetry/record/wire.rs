//! Protobuf bytes, written straight into a buffer.
//!
//! In: field numbers and values. Out: bytes of the wire format (protobuf.dev, "Encoding"). A nested message reserves a
//! length of fixed width that is filled in when it closes, so that nothing is measured twice or moved.
//! Not here: which fields a span has (`export::otlp` knows).

/// `Span.attributes` in opentelemetry/proto/trace/v1/trace.proto.
pub(crate) const SPAN_ATTRIBUTES: u32 = 9;

/// `AnyValue.array_value` in opentelemetry/proto/common/v1/common.proto.
const ANY_ARRAY: u32 = 5;

const WIRE_VARINT: u32 = 0;
const WIRE_FIXED64: u32 = 1;
const WIRE_BYTES: u32 = 2;
const WIRE_FIXED32: u32 = 5;
/// Bytes of a reserved length: enough for 256 MiB.
const LENGTH_WIDTH: usize = 4;

pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

pub(crate) fn uint(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, WIRE_VARINT);
    varint(out, value);
}

pub(crate) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, WIRE_FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    tag(out, field, WIRE_FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, WIRE_BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A nested message that has been opened and must be closed.
#[must_use]
pub(crate) struct Open {
    content_at: usize,
}

pub(crate) fn open(out: &mut Vec<u8>, field: u32) -> Open {
    tag(out, field, WIRE_BYTES);
    out.extend_from_slice(&[0; LENGTH_WIDTH]);
    Open { content_at: out.len() }
}

/// Fills in the length as a varint padded to its full width, which the wire format allows.
pub(crate) fn close(out: &mut [u8], message: Open) {
    let mut length = out.len() - message.content_at;
    let slot = &mut out[message.content_at - LENGTH_WIDTH..message.content_at];
    for (index, byte) in slot.iter_mut().enumerate() {
        let more = if index + 1 < LENGTH_WIDTH { 0x80 } else { 0 };
        *byte = (length & 0x7f) as u8 | more;
        length >>= 7;
    }
}

/// Bytes that `value` takes as a varint.
fn varint_len(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// A `KeyValue` with a string in it, as field `field`.
pub(crate) fn string_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    let any_len = 1 + varint_len(value.len()) + value.len();
    key_value_head(out, field, key, any_len);
    bytes(out, 1, value.as_bytes());
}

/// A `KeyValue` with an array of strings in it.
pub(crate) fn strings_attribute<'v>(out: &mut Vec<u8>, field: u32, key: &str, values: impl Iterator<Item = std::borrow::Cow<'v, str>>) {
    let pair = open(out, field);
    bytes(out, 1, key.as_bytes());
    let any = open(out, 2);
    let array = open(out, ANY_ARRAY);
    for value in values {
        let any = open(out, 1);
        bytes(out, 1, value.as_bytes());
        close(out, any);
    }
    close(out, array);
    close(out, any);
    close(out, pair);
}

pub(crate) fn int_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: i64) {
    let mut any = [0u8; 10];
    let mut len = 0;
    let mut rest = value as u64;
    while rest >= 0x80 {
        any[len] = rest as u8 | 0x80;
        rest >>= 7;
        len += 1;
    }
    any[len] = rest as u8;
    key_value_head(out, field, key, 2 + len);
    tag(out, 3, WIRE_VARINT);
    out.extend_from_slice(&any[..=len]);
}

pub(crate) fn bool_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: bool) {
    key_value_head(out, field, key, 2);
    uint(out, 2, u64::from(value));
}

/// An attribute of which only the value changes: what stands before the value, encoded once.
#[derive(Debug)]
pub(crate) struct Slot {
    before: Vec<u8>,
    width: usize,
}

impl Slot {
    /// For a double.
    pub(crate) fn double(field: u32, key: &str) -> Self {
        let mut before = Vec::new();
        key_value_head(&mut before, field, key, 9);
        tag(&mut before, 4, WIRE_FIXED64);
        Slot { before, width: 8 }
    }

    /// For a whole number below `2^(7 * width)`, as a varint padded to `width` bytes.
    pub(crate) fn int(field: u32, key: &str, width: usize) -> Self {
        let mut before = Vec::new();
        key_value_head(&mut before, field, key, 1 + width);
        tag(&mut before, 3, WIRE_VARINT);
        Slot { before, width }
    }

    pub(crate) fn put_double(&self, out: &mut Vec<u8>, value: f64) {
        out.extend_from_slice(&self.before);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(crate) fn put_int(&self, out: &mut Vec<u8>, value: u64) {
        out.extend_from_slice(&self.before);
        let mut padded = [0x80u8; 10];
        let mut rest = value;
        for byte in &mut padded[..self.width] {
            *byte |= (rest & 0x7f) as u8;
            rest >>= 7;
        }
        padded[self.width - 1] &= 0x7f;
        out.extend_from_slice(&padded[..self.width]);
    }
}

/// Everything of a `KeyValue` up to its `AnyValue`'s content of `any_len` bytes.
fn key_value_head(out: &mut Vec<u8>, field: u32, key: &str, any_len: usize) {
    let key_len = 1 + varint_len(key.len()) + key.len();
    let value_len = 1 + varint_len(any_len) + any_len;
    tag(out, field, WIRE_BYTES);
    varint(out, (key_len + value_len) as u64);
    bytes(out, 1, key.as_bytes());
    tag(out, 2, WIRE_BYTES);
    varint(out, any_len as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    #[test]
    fn the_official_decoder_reads_what_is_written_here() {
        let mut out = Vec::new();
        bytes(&mut out, 1, &[7; 16]);
        string_attribute(&mut out, SPAN_ATTRIBUTES, "k", &"v".repeat(300));
        int_attribute(&mut out, SPAN_ATTRIBUTES, "status", 503);
        int_attribute(&mut out, SPAN_ATTRIBUTES, "negative", -1);
        Slot::double(SPAN_ATTRIBUTES, "ms").put_double(&mut out, 1.5);
        bool_attribute(&mut out, SPAN_ATTRIBUTES, "reused", true);
        Slot::double(SPAN_ATTRIBUTES, "slot_ms").put_double(&mut out, 2.25);
        Slot::int(SPAN_ATTRIBUTES, "port", 3).put_int(&mut out, 65_535);
        Slot::int(SPAN_ATTRIBUTES, "size", 9).put_int(&mut out, 1 << 40);
        let status = open(&mut out, 15);
        uint(&mut out, 3, 2);
        close(&mut out, status);
        fixed64(&mut out, 7, 42);
        let span = Span::decode(&out[..]).unwrap();
        let value = |pair: &KeyValue| pair.value.clone().unwrap().value.unwrap();
        assert_eq!(span.trace_id, [7; 16]);
        assert_eq!(value(&span.attributes[0]), Value::StringValue("v".repeat(300)));
        assert_eq!(value(&span.attributes[1]), Value::IntValue(503));
        assert_eq!(value(&span.attributes[2]), Value::IntValue(-1));
        assert_eq!(value(&span.attributes[3]), Value::DoubleValue(1.5));
        assert_eq!(value(&span.attributes[4]), Value::BoolValue(true));
        assert_eq!(value(&span.attributes[5]), Value::DoubleValue(2.25));
        assert_eq!(value(&span.attributes[6]), Value::IntValue(65_535));
        assert_eq!(value(&span.attributes[7]), Value::IntValue(1 << 40));
        assert_eq!(span.status.unwrap().code, 2);
        assert_eq!(span.start_time_unix_nano, 42);
    }
}
