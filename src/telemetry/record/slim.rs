//! A record in less room, for the way to telemetry: most exchanges have one attempt and little text.
//!
//! In: a record. Out: a value of a third of its size, or none where it does not fit; and the record again. It is what goes through the cache on
//! every request, so its size is time.

use super::{Attempt, Facts, Record};
use crate::base::text::Text;

/// Bytes of text that a slim record holds.
const TEXT_BYTES: usize = 128;

#[derive(Clone, Copy)]
pub(crate) struct Slim {
    facts: Facts,
    attempt: Attempt,
    text: Text<TEXT_BYTES>,
}

impl Slim {
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let mut slim = Slim { facts: record.facts, attempt: record.attempts[0], text: Text::new() };
        (record.facts.attempt_count <= 1 && slim.text.copy_used(&record.text)).then_some(slim)
    }

    /// Writes the record that this was made of into `record`.
    pub(crate) fn expand(&self, record: &mut Record) {
        record.facts = self.facts;
        record.attempts[0] = self.attempt;
        // What came from a larger text fits into it.
        record.text.copy_used(&self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Tick;
    use crate::base::ids::SpanId;

    #[test]
    fn a_record_that_fits_comes_out_as_it_went_in() {
        assert!(size_of::<Slim>() <= 520 && size_of::<Slim>() * 2 < size_of::<Record>(), "{}", size_of::<Slim>());
        let mut record = Record::empty();
        record.status = 201;
        record.path = record.text.keep(b"/users/7", 100);
        record.open_attempt(SpanId([1; 8]), Tick(5)).status = 202;
        let mut other = Record::empty();
        Slim::of(&record).unwrap().expand(&mut other);
        assert_eq!((other.status, other.text.bytes(other.path), other.attempts()[0].status), (201, &b"/users/7"[..], 202));
    }

    #[test]
    fn what_does_not_fit_stays_as_it_is() {
        let mut long = Record::empty();
        long.path = long.text.keep(&[b'x'; 200], 200);
        assert!(Slim::of(&long).is_none());
        let mut retried = Record::empty();
        retried.open_attempt(SpanId([1; 8]), Tick(0));
        retried.open_attempt(SpanId([2; 8]), Tick(0));
        assert!(Slim::of(&retried).is_none());
    }
}
