//! The control plane: configuration, its compilation into a snapshot, its publication, and the admin listener.
//!
//! Runs on a runtime of its own, off the request path, and is traced in the ordinary way. It builds what the data path obeys; it never
//! touches a request.

pub(crate) mod config;
pub(crate) mod compile;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod sockets;
pub(crate) mod swap;
pub(crate) mod watch;
pub(crate) mod tracing_setup;
pub(crate) mod profiling;
pub(crate) mod admin;
pub(crate) mod plane;
