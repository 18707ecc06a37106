//! Which request headers a record remembers.
//!
//! In: the names of the configuration, and each request. Out: their values in its record. Off, it is one comparison a request. Not here: how
//! values are packed, and who tells of them (`telemetry::record::captured`).

use super::fields::Fields;
use crate::telemetry::record::Record;
use crate::telemetry::record::captured::Packer;
use crate::telemetry::record::legend::HeaderId;

#[derive(Debug, Default)]
pub(crate) struct Capture {
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
pub(crate) struct Wanted {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) id: HeaderId,
    /// Its values must not be known.
    pub(crate) is_secret: bool,
}

impl Capture {
    pub(crate) fn new(wanted: Vec<Wanted>) -> Self {
        Capture { wanted }
    }

    pub(crate) fn note(&self, record: &mut Record, headers: &Fields) {
        if self.wanted.is_empty() {
            return;
        }
        let mut packer = Packer::new();
        for wanted in &self.wanted {
            for value in headers.values_of(wanted.name.as_bytes()) {
                packer.add(wanted.id, if wanted.is_secret { b"" } else { value });
            }
        }
        packer.write_into(record);
    }
}
