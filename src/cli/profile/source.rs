//! A profile as it came: from a file, or from a running gateway.
//!
//! In: bytes of a pprof profile. Out: the profile, and the bytes themselves for as long as they say the same, so that what is only passed
//! on loses nothing. Not here: the format (`pprof`).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Trouble;
use crate::base::limits::PROFILE_BYTES_MAX;
use crate::telemetry::export::profile::pprof;
use crate::telemetry::profile::Profile;

/// What gzip begins with (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) struct Source {
    /// For the reader: a path or a URL.
    pub(super) name: String,
    pub(super) profile: Profile,
    /// None once the profile has been changed.
    bytes: Option<Vec<u8>>,
}

impl Source {
    pub(super) fn read(name: String, bytes: Vec<u8>) -> Result<Self, String> {
        match pprof::decode(&bytes) {
            Ok(profile) => Ok(Source { name, profile, bytes: Some(bytes) }),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    /// A file that cannot be read, or is no profile, is the user's mistake.
    pub(super) fn file(path: &Path) -> Result<Self, Trouble> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(PROFILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|error| Trouble::Wrong(format!("{name}: {error}; expected a pprof file")))?;
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(Trouble::Wrong(format!(
                "{name}: found more than {PROFILE_BYTES_MAX} bytes, expected a pprof file of at most that"
            )));
        }
        Source::read(name, bytes).map_err(Trouble::Wrong)
    }

    /// Only the samples that carry all of these labels.
    pub(super) fn retain(&mut self, wanted: &[(&str, &str)]) {
        if !wanted.is_empty() {
            self.changed().retain(wanted);
        }
    }

    /// The profile, to be changed.
    pub(super) fn changed(&mut self) -> &mut Profile {
        self.bytes = None;
        &mut self.profile
    }

    /// The profile as pprof, gzipped.
    pub(super) fn pprof(&self) -> Vec<u8> {
        match &self.bytes {
            Some(bytes) if bytes.starts_with(&GZIP_MAGIC) => bytes.clone(),
            _ => pprof::encode(&self.profile),
        }
    }

    /// Whether no sample has any of this value.
    pub(super) fn is_empty(&self, value: usize) -> bool {
        self.profile.samples.iter().all(|sample| sample.values.get(value).is_none_or(|count| *count == 0))
    }

    /// What the profile's maker has to say of it, a line each.
    pub(super) fn comments(&self) -> Vec<String> {
        let shown = |comment: &String| comment.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        self.profile.comments.iter().map(|comment| format!("{}: {}", self.name, shown(comment))).collect()
    }
}
