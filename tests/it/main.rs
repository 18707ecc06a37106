//! The one integration binary: real gateways on port 0, real peers.
//!
//! One file a promise; `support` starts what they talk to. A test's name says what a user may rely on.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    reason = "tests wait, print and fail by panic"
)]

mod support;

mod admin_token;
mod allocations;
mod api;
mod captured;
mod clients;
mod config;
mod connections;
mod console;
mod dashboards;
mod data_path;
mod demo;
mod profiles;
mod profiles2;
mod profiles_cli;
mod reload;
mod reload2;
mod restart;
mod watch;
mod explain;
mod exporters;
mod faults;
mod faults2;
mod faults_client;
mod faults_client2;
mod firewall;
mod floods;
mod floods2;
mod limits;
mod hostile;
mod mount;
mod routing;
mod signals;
mod stack_files;
mod streaming;
mod strict;
mod strict_requests;
mod strict_responses;
mod telemetry_faults;
mod telemetry_faults2;
mod telemetry_faults3;
mod tidy;
mod traces;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;
