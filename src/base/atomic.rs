//! Atomics of what threads share without a lock: the standard library's, or a model checker's that tries their interleavings.
//!
//! In: nothing. Out: the same names either way. Not here: atomics of which only one thread writes, or that a request touches.

#[cfg(feature = "model")]
pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(feature = "model"))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
