//! One proxy error: whose fault it is, which status the client sees, which reason telemetry records, whether another try is safe.
//!
//! In: the small error of a room. Out: all of the above, from one exhaustive match. Not here: the rooms' own errors.

use std::io;

use http::StatusCode;

use super::balance::NoEndpoint;
use super::http1::head::BadHead;
use super::http1::incoming::Broken;
use super::resilience::Outcome;
use super::response::Fault;
use super::route::NoRoute;
use super::upstream::Failure;
use crate::base::target::BadTarget;
use crate::telemetry::record::reason::Reason;

/// Why an exchange has no response from an upstream.
#[derive(Debug)]
pub(crate) enum ProxyError {
    BadRequest(BadHead),
    HeaderTimeout,
    BodyTooLarge,
    Route(NoRoute),
    Balance(NoEndpoint),
    Upstream(Failure),
}

impl From<NoRoute> for ProxyError {
    fn from(error: NoRoute) -> Self {
        ProxyError::Route(error)
    }
}

impl From<NoEndpoint> for ProxyError {
    fn from(error: NoEndpoint) -> Self {
        ProxyError::Balance(error)
    }
}

impl From<Failure> for ProxyError {
    fn from(error: Failure) -> Self {
        ProxyError::Upstream(error)
    }
}

impl From<BadHead> for ProxyError {
    fn from(error: BadHead) -> Self {
        ProxyError::BadRequest(error)
    }
}

impl From<BadTarget> for ProxyError {
    fn from(error: BadTarget) -> Self {
        ProxyError::BadRequest(error.into())
    }
}

impl ProxyError {
    /// Status, reason and text of the answer.
    pub(crate) fn fault(&self) -> Fault {
        let (status, reason, message) = match self {
            ProxyError::BadRequest(bad) => return of_head(*bad),
            ProxyError::HeaderTimeout => (408, Reason::HeaderTimeout, "the request's head did not arrive in time"),
            ProxyError::BodyTooLarge => return BODY_TOO_LARGE,
            ProxyError::Route(NoRoute) => (404, Reason::NoRoute, "no route matches this request"),
            ProxyError::Balance(NoEndpoint) => (503, Reason::NoEndpoint, "the upstream has no endpoint to send to"),
            ProxyError::Upstream(failure) => return of_upstream(failure),
        };
        fault(status, reason, message)
    }

    /// What a retry policy needs to know.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            ProxyError::Upstream(Failure::Dns(_) | Failure::ConnectTimeout | Failure::Connect(_)) => Outcome::Unsent,
            ProxyError::Upstream(Failure::Stale) => Outcome::Stale,
            _ => Outcome::Final,
        }
    }
}

const BODY_TOO_LARGE: Fault =
    Fault { status: StatusCode::PAYLOAD_TOO_LARGE, reason: Reason::BodyTooLarge, message: "the request's body is too large" };

fn of_head(bad: BadHead) -> Fault {
    match bad {
        BadHead::Malformed(why) => fault(400, Reason::MalformedRequest, why),
        BadHead::TargetTooLong => fault(414, Reason::TargetTooLong, "the request target is too long"),
        BadHead::TooLarge => fault(431, Reason::HeadersTooLarge, "the header section is too large"),
        BadHead::TooManyFields => fault(431, Reason::HeadersTooLarge, "the header section has too many fields"),
    }
}

/// The answer to an attempt that failed for good.
pub(crate) fn of_upstream(failure: &Failure) -> Fault {
    let (status, reason, message) = match failure {
        Failure::PendingFull => (503, Reason::PendingFull, "too many requests wait for a connection to the upstream"),
        Failure::InFlightFull => (503, Reason::InFlightFull, "too many requests are in flight to the upstream"),
        Failure::QueueTimeout => (503, Reason::QueueTimeout, "no connection to the upstream became free in time"),
        Failure::Dns(_) => (502, Reason::DnsFailed, "the upstream's name does not resolve"),
        Failure::ConnectTimeout => (504, Reason::ConnectTimeout, "the upstream did not accept a connection in time"),
        Failure::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            (502, Reason::ConnectRefused, "the upstream refused the connection")
        }
        Failure::Connect(_) => (502, Reason::ConnectFailed, "the upstream cannot be reached"),
        Failure::Stale => (502, Reason::UpstreamStale, "the upstream closed an idle connection as the request went out"),
        Failure::Reset(_) => (502, Reason::UpstreamReset, "the upstream broke the connection before it answered"),
        Failure::Closed => (502, Reason::UpstreamClosed, "the upstream closed the connection before it answered"),
        Failure::Malformed(_) => (502, Reason::UpstreamMalformed, "the upstream's answer is no valid HTTP/1.1"),
        Failure::FirstByteTimeout => (504, Reason::FirstByteTimeout, "the upstream did not answer in time"),
        Failure::ExchangeTimeout => (504, Reason::ExchangeTimeout, "the exchange did not end in time"),
        Failure::RequestLength => (400, Reason::MalformedRequest, "the request's body is not as long as announced"),
        Failure::RequestBody(broken) => return of_request_body(broken),
    };
    fault(status, reason, message)
}

/// The client's own body failed.
fn of_request_body(broken: &Broken) -> Fault {
    match broken {
        Broken::Malformed(bad) => fault(400, Reason::MalformedRequest, bad.0),
        Broken::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            fault(408, Reason::BodyTimeout, "the request's body did not arrive in time")
        }
        Broken::TooLarge => BODY_TOO_LARGE,
        Broken::Closed | Broken::Io(_) => fault(499, Reason::ClientGone, "the client went away"),
    }
}

fn fault(status: u16, reason: Reason, message: &'static str) -> Fault {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Fault { status, reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_status_that_the_contract_names() {
        let status = |error: ProxyError| error.fault().status.as_u16();
        assert_eq!(status(ProxyError::Route(NoRoute)), 404);
        assert_eq!(status(ProxyError::BadRequest(BadHead::TooLarge)), 431);
        assert_eq!(status(ProxyError::Upstream(Failure::PendingFull)), 503);
        assert_eq!(status(ProxyError::Upstream(Failure::Closed)), 502);
        assert_eq!(status(ProxyError::Upstream(Failure::FirstByteTimeout)), 504);
        assert_eq!(status(ProxyError::Upstream(Failure::RequestBody(Broken::Closed))), 499);
    }

    #[test]
    fn only_what_never_left_is_safe_to_send_again() {
        assert_eq!(ProxyError::Upstream(Failure::ConnectTimeout).outcome(), Outcome::Unsent);
        assert_eq!(ProxyError::Upstream(Failure::Closed).outcome(), Outcome::Final);
        assert_eq!(ProxyError::Upstream(Failure::FirstByteTimeout).outcome(), Outcome::Final);
    }
}
