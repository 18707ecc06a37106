//! How long each filter of a route took, packed into a record's text.
//!
//! In: room for a route's filters, then the time of each as it has run. Out: the filters that ran, in the order of the configuration. Routes
//! without filters pay nothing. Not here: what a filter does (`proxy::filter`).

use super::Record;
use crate::base::limits::FILTERS_TIMED_MAX;

/// Which filter it is; labels are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FilterTag {
    StripPrefix,
    Rewrite,
    RequestHeaders,
    ResponseHeaders,
    Redirect,
    Respond,
}

/// A tag and nanoseconds; a filter that takes four seconds has its worker for itself anyway.
const FILTER_BYTES: usize = 5;
/// In the place of a tag: it has not run.
const NOT_RUN: u8 = 0xff;

impl FilterTag {
    const ALL: [FilterTag; 6] = [
        FilterTag::StripPrefix,
        FilterTag::Rewrite,
        FilterTag::RequestHeaders,
        FilterTag::ResponseHeaders,
        FilterTag::Redirect,
        FilterTag::Respond,
    ];

    pub(crate) fn label(self) -> &'static str {
        ["strip_prefix", "rewrite", "request_headers", "response_headers", "redirect", "respond"][self as usize]
    }
}

impl Record {
    /// Makes room for a route's filters. Those beyond [`FILTERS_TIMED_MAX`] run untimed.
    pub(crate) fn open_filters(&mut self, count: usize) {
        let room = [NOT_RUN; FILTER_BYTES * FILTERS_TIMED_MAX];
        let wanted = FILTER_BYTES * count.min(FILTERS_TIMED_MAX);
        self.filters = self.text.keep(&room[..wanted], wanted);
    }

    /// The filter in the place `index` has run.
    pub(crate) fn filtered(&mut self, index: usize, tag: FilterTag, nanos: u64) {
        let piece = self.filters;
        if let Some(place) = self.text.bytes_mut(piece).chunks_exact_mut(FILTER_BYTES).nth(index) {
            place[0] = tag as u8;
            place[1..].copy_from_slice(&u32::try_from(nanos).unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    /// The filters that ran, with their nanoseconds.
    pub(crate) fn filters(&self) -> impl Iterator<Item = (FilterTag, u32)> {
        self.text.bytes(self.filters).chunks_exact(FILTER_BYTES).filter_map(|place| {
            let tag = FilterTag::ALL.get(usize::from(place[0]))?;
            Some((*tag, u32::from_le_bytes([place[1], place[2], place[3], place[4]])))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_back_in_their_order_with_their_time_if_they_ran() {
        let mut record = Record::empty();
        record.open_filters(3);
        record.filtered(2, FilterTag::ResponseHeaders, u64::MAX);
        record.filtered(0, FilterTag::StripPrefix, 420);
        record.filtered(7, FilterTag::Rewrite, 1);
        assert_eq!(record.filters().collect::<Vec<_>>(), [(FilterTag::StripPrefix, 420), (FilterTag::ResponseHeaders, u32::MAX)]);
        record.reset();
        assert_eq!(record.filters().count(), 0);
        record.open_filters(100);
        (0..100).for_each(|index| record.filtered(index, FilterTag::Rewrite, 1));
        assert_eq!(record.filters().count(), FILTERS_TIMED_MAX);
    }
}
