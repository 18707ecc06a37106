//! Request headers that the configuration asks for, packed into a record's text.
//!
//! In: values with the ids of their headers, while a request is read. Out: headers with their names, for whoever tells of the request. A value
//! is `[id][length, and whether it was cut][bytes]`. Secrets are packed without their value, so that nothing behind the request path can tell
//! them. Not here: which headers are wanted (`proxy::capture`).

use std::borrow::Cow;
use std::sync::Arc;

use super::Record;
use super::legend::{HeaderId, HeaderLegend};
use crate::base::limits::{CAPTURED_BYTES_MAX, CAPTURED_VALUE_BYTES_MAX, CAPTURED_VALUES_MAX};

/// In the byte of the length: the value was longer.
const CUT: u8 = 0x80;
const _: () = assert!(CAPTURED_VALUE_BYTES_MAX < CUT as usize, "a length leaves the highest bit to say that it was cut");

/// Values on their way into a record.
pub(crate) struct Packer {
    bytes: [u8; CAPTURED_BYTES_MAX],
    used: usize,
    values: usize,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Packer { bytes: [0; CAPTURED_BYTES_MAX], used: 0, values: 0 }
    }

    /// Adds a value, cut to what a value may have and to the room that is left; without room for a byte of it, nothing.
    pub(crate) fn add(&mut self, id: HeaderId, value: &[u8]) {
        let room = (CAPTURED_BYTES_MAX - self.used).saturating_sub(2);
        if self.values == CAPTURED_VALUES_MAX || (room == 0 && !value.is_empty()) || self.used + 2 > CAPTURED_BYTES_MAX {
            return;
        }
        let length = value.len().min(CAPTURED_VALUE_BYTES_MAX).min(room);
        let cut = if length < value.len() { CUT } else { 0 };
        self.bytes[self.used..self.used + 2].copy_from_slice(&[id.0, length as u8 | cut]);
        self.bytes[self.used + 2..self.used + 2 + length].copy_from_slice(&value[..length]);
        self.used += 2 + length;
        self.values += 1;
    }

    pub(crate) fn write_into(&self, record: &mut Record) {
        if self.used > 0 {
            record.captured = record.text.keep(&self.bytes[..self.used], self.used);
        }
    }
}

/// The captured headers of a record, in the order of the configuration's names.
#[derive(Clone, Copy)]
pub(crate) struct Captured<'c> {
    packed: &'c [u8],
    legends: &'c [Arc<HeaderLegend>],
}

/// One value of a captured header.
#[derive(Clone, Copy)]
pub(crate) struct Header<'c> {
    pub(crate) legend: &'c HeaderLegend,
    pub(crate) is_cut: bool,
    value: &'c [u8],
}

impl<'c> Captured<'c> {
    pub(crate) fn of(record: &'c Record, legends: &'c [Arc<HeaderLegend>]) -> Self {
        Captured { packed: record.text.bytes(record.captured), legends }
    }
}

impl<'c> Captured<'c> {
    /// Tells each header once, with all of its values as text: they stand behind one another.
    pub(crate) fn by_name(self, mut tell: impl FnMut(&HeaderLegend, &mut dyn Iterator<Item = Cow<'c, str>>)) {
        let mut rest = self.peekable();
        while let Some(first) = rest.next() {
            let more = std::iter::from_fn(|| rest.next_if(|header| header.legend.name == first.legend.name));
            tell(first.legend, &mut std::iter::once(first).chain(more).map(|header| String::from_utf8_lossy(header.value())));
        }
    }
}

impl<'c> Iterator for Captured<'c> {
    type Item = Header<'c>;

    fn next(&mut self) -> Option<Header<'c>> {
        let [id, length, rest @ ..] = self.packed else { return None };
        // A text that was full may have cut the last value shorter than its length says.
        let (value, rest) = rest.split_at(usize::from(length & !CUT).min(rest.len()));
        self.packed = rest;
        Some(Header { legend: self.legends.get(usize::from(*id))?, is_cut: length & CUT != 0, value })
    }
}

impl<'c> Header<'c> {
    /// As it may be shown: a secret's is [`HIDDEN`].
    pub(crate) fn value(&self) -> &'c [u8] {
        if self.legend.is_secret { HIDDEN.as_bytes() } else { self.value }
    }
}

/// Stands for a secret value.
pub(crate) const HIDDEN: &str = "REDACTED";

/// Captures these headers, and tells what their ids stand for. Who says [`HIDDEN`] means a secret.
#[cfg(test)]
pub(crate) fn capture(record: &mut Record, pairs: &[(&str, &[u8])]) -> Vec<Arc<HeaderLegend>> {
    let legends = super::legend::Legends::new();
    let mut packer = Packer::new();
    pairs.iter().for_each(|(name, value)| packer.add(legends.header(name, *value == HIDDEN.as_bytes()), value));
    packer.write_into(record);
    legends.headers()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::legend::Legends;

    fn told(record: &Record, legends: &Legends) -> Vec<(String, String, bool)> {
        let headers = legends.headers();
        let text = |header: Header<'_>| (header.legend.name.clone(), String::from_utf8_lossy(header.value()).into_owned(), header.is_cut);
        Captured::of(record, &headers).map(text).collect()
    }

    #[test]
    fn values_come_back_with_their_names_and_secrets_without_their_value() {
        let legends = Legends::new();
        let (tenant, secret) = (legends.header("x-tenant", false), legends.header("authorization", true));
        let mut record = Record::empty();
        let mut packer = Packer::new();
        packer.add(tenant, b"acme");
        packer.add(tenant, b"");
        packer.add(secret, b"");
        packer.write_into(&mut record);
        let expected = [("x-tenant", "acme"), ("x-tenant", ""), ("authorization", HIDDEN)];
        assert_eq!(told(&record, &legends), expected.map(|(name, value)| (name.to_owned(), value.to_owned(), false)));
        record.reset();
        assert!(told(&record, &legends).is_empty());
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_much_is_left_out() {
        let legends = Legends::new();
        let id = legends.header("x-long", false);
        let mut record = Record::empty();
        let mut packer = Packer::new();
        for _ in 0..2 * CAPTURED_VALUES_MAX {
            packer.add(id, &[b'x'; 8192]);
        }
        packer.write_into(&mut record);
        let told = told(&record, &legends);
        assert_eq!(told[0].1.len(), CAPTURED_VALUE_BYTES_MAX);
        assert!(told.iter().all(|(_, value, is_cut)| *is_cut && !value.is_empty()));
        assert!(record.text.used().len() <= CAPTURED_BYTES_MAX);
        let mut packer = Packer::new();
        (0..CAPTURED_VALUES_MAX + 1).for_each(|_| packer.add(id, b"v"));
        packer.write_into(&mut record);
        assert_eq!(Captured::of(&record, &legends.headers()).count(), CAPTURED_VALUES_MAX);
    }
}
