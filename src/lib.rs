//! Pellucid: an observability-first HTTP gateway.
//!
//! The map of the house, in the order in which a request travels:
//!
//! - `base`: identifiers, limits, time, randomness.
//! - `telemetry`: the request record and everything that is derived from it.
//! - `proxy`: the data path, from the listener through the rooms to the upstream.
//! - `control`: configuration, its compilation into a snapshot, the admin plane.
//! - `gateway`: puts them together.
//! - `cli`: the commands of the binary.
//!
//! As a library it offers [`Gateway`], and its [`Service`] for `axum::Router::fallback_service`.

// Only the sampler and the allocator's profiles are allowed any; the tidy test names them.
#![deny(unsafe_code)]

mod base;
mod telemetry;
mod proxy;
mod control;
mod gateway;
pub mod cli;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use gateway::{Gateway, StartError};
pub use proxy::listener::mount::{MountedBody, Service};
