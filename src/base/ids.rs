//! Trace and span ids (W3C Trace Context, section 3.2.2): 16 and 8 bytes, never all zero.
//!
//! In: random numbers or hexadecimal text. Out: the bytes and their lower-case hexadecimal form.
//! Not here: the headers that carry them (`telemetry::record::propagation`).

use super::draw::Draw;

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct SpanId(pub(crate) [u8; 8]);

impl TraceId {
    pub(crate) fn random(draw: &mut Draw) -> Self {
        loop {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&draw.number().to_be_bytes());
            bytes[8..].copy_from_slice(&draw.number().to_be_bytes());
            if bytes != [0; 16] {
                return TraceId(bytes);
            }
        }
    }

    /// The 56 random bits that sampling by trace id looks at (W3C Trace Context Level 2, random flag).
    pub(crate) fn randomness(self) -> u64 {
        let mut low = [0; 8];
        low.copy_from_slice(&self.0[8..]);
        u64::from_be_bytes(low) & 0x00ff_ffff_ffff_ffff
    }

    pub(crate) fn hex(self) -> [u8; 32] {
        let mut out = [0; 32];
        write_hex(&self.0, &mut out);
        out
    }

    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        read_hex(text, &mut bytes)?;
        (bytes != [0; 16]).then_some(TraceId(bytes))
    }
}

impl SpanId {
    pub(crate) fn random(draw: &mut Draw) -> Self {
        SpanId(draw.number().max(1).to_be_bytes())
    }

    pub(crate) fn hex(self) -> [u8; 16] {
        let mut out = [0; 16];
        write_hex(&self.0, &mut out);
        out
    }

    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        read_hex(text, &mut bytes)?;
        (bytes != [0; 8]).then_some(SpanId(bytes))
    }
}

impl std::fmt::Debug for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(hex_text(&self.hex()))
    }
}

impl std::fmt::Debug for SpanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(hex_text(&self.hex()))
    }
}

/// Hexadecimal digits as text.
pub(crate) fn hex_text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("hexadecimal digits are ASCII")
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Lower-case digits only, as W3C Trace Context demands.
pub(crate) fn read_hex(text: &[u8], out: &mut [u8]) -> Option<()> {
    if text.len() != out.len() * 2 {
        return None;
    }
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(())
}

fn hex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_hexadecimal_form() {
        let mut draw = Draw::seeded(3);
        for _ in 0..100 {
            let (trace, span) = (TraceId::random(&mut draw), SpanId::random(&mut draw));
            assert_eq!(TraceId::from_hex(&trace.hex()), Some(trace));
            assert_eq!(SpanId::from_hex(&span.hex()), Some(span));
        }
    }

    #[test]
    fn zero_upper_case_and_short_ids_are_no_ids() {
        assert_eq!(TraceId::from_hex(&[b'0'; 32]), None);
        assert_eq!(SpanId::from_hex(b"00F067AA0BA902B7"), None);
        assert_eq!(SpanId::from_hex(b"00f067aa0ba902"), None);
    }
}
