//! Why a trace is kept: `pellucid.keep_reason`.
//!
//! In: nothing; it is a list. Not here: who decides (`process::keep`).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepReason {
    Error,
    Retry,
    Slow,
    Sampled,
}

impl KeepReason {
    pub(crate) const ALL: [KeepReason; 4] = [KeepReason::Error, KeepReason::Retry, KeepReason::Slow, KeepReason::Sampled];

    pub(crate) fn label(self) -> &'static str {
        ["error", "retry", "slow", "sampled"][self as usize]
    }
}
