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
    let length = out.len() - message.content_at;
    let slot = &mut out[message.content_at - LENGTH_WIDTH..message.content_at];
    slot.copy_from_slice(&padded(length as u64, LENGTH_WIDTH)[..LENGTH_WIDTH]);
}

/// A whole number below `2^(7 * width)` as a varint of `width` bytes, at most 8: what it does not need is padding.
fn padded(value: u64, width: usize) -> [u8; 8] {
    // Groups of 28, then of 14, then of 7 bits move to where their bytes begin.
    let spread = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let spread = spread & 0x0000_3fff_0000_3fff | (spread & 0x0fff_c000_0fff_c000) << 2;
    let spread = spread & 0x007f_007f_007f_007f | (spread & 0x3f80_3f80_3f80_3f80) << 1;
    let more = 0x0080_8080_8080_8080 >> (8 * (8 - width));
    (spread | more).to_le_bytes()
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

/// An attribute of which only the value changes, a number: what stands before the value, encoded once.
#[derive(Debug)]
pub(crate) struct Slot {
    before: Vec<u8>,
    width: usize,
}

/// Bytes of a varint for statuses and ports, and for sizes.
const SMALL_INT: usize = 3;
const LARGE_INT: usize = 8;

impl Slot {
    /// For a double.
    pub(crate) fn double(field: u32, key: &str) -> Self {
        let mut before = Vec::new();
        key_value_head(&mut before, field, key, 9);
        tag(&mut before, 4, WIRE_FIXED64);
        Slot { before, width: 8 }
    }

    /// For a whole number below 2^21.
    pub(crate) fn small_int(field: u32, key: &str) -> Self {
        Slot::int(field, key, SMALL_INT)
    }

    /// For a whole number below 2^56.
    pub(crate) fn large_int(field: u32, key: &str) -> Self {
        Slot::int(field, key, LARGE_INT)
    }

    fn int(field: u32, key: &str, width: usize) -> Self {
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
        out.extend_from_slice(&padded(value, self.width)[..self.width]);
    }
}

/// What goes into the room of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Int(u64),
    Double(f64),
}

/// Attributes that always stand together: encoded once, with room for the numbers that change. One copy instead of one for each.
#[derive(Debug)]
pub(crate) struct Block<const N: usize> {
    bytes: Vec<u8>,
    /// Where each value lies, and how wide it is.
    rooms: [(usize, usize); N],
}

impl<const N: usize> Block<N> {
    /// What never changes, and an attribute for each slot.
    pub(crate) fn new(fixed: &[u8], slots: [Slot; N]) -> Self {
        let mut bytes = fixed.to_vec();
        let rooms = slots.map(|slot| {
            bytes.extend_from_slice(&slot.before);
            let at = bytes.len();
            bytes.resize(at + slot.width, 0);
            (at, slot.width)
        });
        Block { bytes, rooms }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>, numbers: [Number; N]) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let block = &mut out[start..];
        for (&(at, width), number) in self.rooms.iter().zip(numbers) {
            let value = match number {
                Number::Int(value) => padded(value, width),
                Number::Double(value) => value.to_bits().to_le_bytes(),
            };
            // Of a known length each, so that no call is made for them.
            match width {
                SMALL_INT => block[at..at + SMALL_INT].copy_from_slice(&value[..SMALL_INT]),
                _ => block[at..at + 8].copy_from_slice(&value),
            }
        }
    }
}

/// An attribute of which only the value changes, a string of what a record holds: all that stands before it, encoded once, with room for
/// the lengths.
#[derive(Debug)]
pub(crate) struct TextSlot {
    before: Vec<u8>,
    /// Where the lengths lie: of the pair, of its value, of the string.
    lengths_at: [usize; 3],
}

/// A string that has been opened and must be closed.
#[must_use]
pub(crate) struct OpenText {
    start: usize,
}

/// Bytes of the lengths around a string: enough for less than 16 KiB, name included. A record's text and an endpoint's host are far shorter.
const TEXT_LENGTH_WIDTH: usize = 2;

impl TextSlot {
    pub(crate) fn new(field: u32, key: &str) -> Self {
        let mut before = Vec::new();
        let length = |before: &mut Vec<u8>, field| {
            tag(before, field, WIRE_BYTES);
            let at = before.len();
            before.extend_from_slice(&[0; TEXT_LENGTH_WIDTH]);
            at
        };
        let pair = length(&mut before, field);
        bytes(&mut before, 1, key.as_bytes());
        let lengths_at = [pair, length(&mut before, 2), length(&mut before, 1)];
        TextSlot { before, lengths_at }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>, value: &str) {
        let open = self.open(out);
        out.extend_from_slice(value.as_bytes());
        self.close(out, open);
    }

    /// What follows is the string.
    pub(crate) fn open(&self, out: &mut Vec<u8>) -> OpenText {
        let start = out.len();
        out.extend_from_slice(&self.before);
        OpenText { start }
    }

    pub(crate) fn close(&self, out: &mut [u8], text: OpenText) {
        let slot = &mut out[text.start..];
        debug_assert!(slot.len() < 1 << (7 * TEXT_LENGTH_WIDTH), "{} bytes", slot.len());
        for at in self.lengths_at {
            let length = slot.len() - at - TEXT_LENGTH_WIDTH;
            slot[at..at + TEXT_LENGTH_WIDTH].copy_from_slice(&padded(length as u64, TEXT_LENGTH_WIDTH)[..TEXT_LENGTH_WIDTH]);
        }
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

    fn value(pair: &KeyValue) -> Value {
        pair.value.clone().unwrap().value.unwrap()
    }

    #[test]
    fn a_padded_number_is_the_number() {
        for width in 1..=8 {
            for value in (0..7 * width).flat_map(|bit| [1 << bit, (1 << bit) - 1, 0x00a5_5a0f_f0c3_3c99 >> (56 - 7 * width)]) {
                let bytes = &padded(value, width as usize)[..width as usize];
                assert_eq!(prost::encoding::decode_varint(&mut &*bytes), Ok(value), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn the_official_decoder_reads_blocks_and_texts() {
        let mut out = Vec::new();
        let slots =
            [Slot::small_int(SPAN_ATTRIBUTES, "port"), Slot::double(SPAN_ATTRIBUTES, "ms"), Slot::large_int(SPAN_ATTRIBUTES, "size")];
        let mut fixed = Vec::new();
        string_attribute(&mut fixed, SPAN_ATTRIBUTES, "scheme", "http");
        let block = Block::new(&fixed, slots);
        block.put(&mut out, [Number::Int(65_535), Number::Double(0.5), Number::Int(1 << 55)]);
        let slot = TextSlot::new(SPAN_ATTRIBUTES, "text");
        let texts = ["", "a", &"b".repeat(100), &"c".repeat(16_000)];
        texts.iter().for_each(|text| slot.put(&mut out, text));
        block.put(&mut out, [Number::Int(0), Number::Double(-1.0), Number::Int(0)]);
        let span = Span::decode(&out[..]).unwrap();
        let expected = [Value::StringValue("http".to_owned()), Value::IntValue(65_535), Value::DoubleValue(0.5), Value::IntValue(1 << 55)];
        assert_eq!(span.attributes[..4].iter().map(value).collect::<Vec<_>>(), expected);
        assert_eq!(span.attributes[4..8].iter().map(value).collect::<Vec<_>>(), texts.map(|text| Value::StringValue(text.to_owned())));
        assert_eq!((value(&span.attributes[9]), value(&span.attributes[10])), (Value::IntValue(0), Value::DoubleValue(-1.0)));
    }

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
        Slot::small_int(SPAN_ATTRIBUTES, "port").put_int(&mut out, 65_535);
        Slot::large_int(SPAN_ATTRIBUTES, "size").put_int(&mut out, 1 << 40);
        let status = open(&mut out, 15);
        uint(&mut out, 3, 2);
        close(&mut out, status);
        fixed64(&mut out, 7, 42);
        let span = Span::decode(&out[..]).unwrap();
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
