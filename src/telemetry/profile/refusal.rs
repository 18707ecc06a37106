//! Why there is no profile.
//!
//! In: nothing; it is a list. Out: sentences for whoever asked. Not here: which status of HTTP that is.

/// Why there are no samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoProfile {
    /// This system, or this process, cannot be sampled.
    Unavailable(String),
    /// The past is asked for, and nothing is remembered of it.
    NotContinuous,
    /// It is longer ago than is remembered; how many seconds are.
    Forgotten(u64),
}

impl std::fmt::Display for NoProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoProfile::Unavailable(why) => f.write_str(why),
            NoProfile::NotContinuous => f.write_str(
                "the past is asked for, but continuous profiles are off: set telemetry.profiles.continuous, or leave `ago`, `from` and `until` out to profile from now on",
            ),
            NoProfile::Forgotten(seconds) => write!(f, "the window ended before the last {seconds} s, which is all that is remembered"),
        }
    }
}
