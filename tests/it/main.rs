//! The one integration binary: real gateways on port 0, real peers.
//!
//! One file a promise; `support` starts what they talk to. A test's name says what a user may rely on.

mod support;

mod allocations;
mod config;
mod connections;
mod data_path;
mod demo;
mod mount;
mod routing;
mod signals;
mod streaming;
mod tidy;
mod traces;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;
