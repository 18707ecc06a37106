//! The ground floor: identifiers, limits, time, randomness, bounded text, spelling.
//!
//! Everything here is a small value with no life of its own. It imports nothing of ours, so any room may use it.
//! Not here: anything that knows what a request is.

pub(crate) mod alarm;
pub(crate) mod atomic;
pub(crate) mod clock;
pub(crate) mod draw;
pub(crate) mod ids;
pub(crate) mod limits;
pub(crate) mod lock;
pub(crate) mod spelling;
pub(crate) mod stopwatch;
pub(crate) mod target;
pub(crate) mod text;
