//! Connections to endpoints, and one request over one of them.
//!
//! In: an endpoint and a request. Out: the head of its response and a body that streams, with the time of every phase written into
//! the attempt. Not here: which endpoint (`balance`), whether to try again (`resilience`).

pub(crate) mod endpoint;
pub(crate) mod connect;
pub(crate) mod pool;
pub(crate) mod head;
pub(crate) mod call;

use std::io;

/// Why an attempt has no response. Nothing was sent before the variants up to [`Failure::Connect`].
#[derive(Debug)]
#[allow(dead_code, reason = "the causes are for whoever debugs")]
pub(crate) enum Failure {
    /// As many requests wait for a connection as may.
    PendingFull,
    /// As many requests are in flight as may.
    InFlightFull,
    /// No connection became free in time.
    QueueTimeout,
    Dns(io::Error),
    ConnectTimeout,
    Connect(io::Error),
    /// A reused connection broke before any byte of a response, and nothing of the body was taken.
    Stale,
    /// The connection broke before a whole response head.
    Reset(io::Error),
    Closed,
    Malformed(&'static str),
    FirstByteTimeout,
    /// The client's body failed while it was being sent on.
    RequestBody(super::http1::incoming::Broken),
    /// The client's body is not as long as its head said.
    RequestLength,
    /// The whole exchange took too long.
    ExchangeTimeout,
}
