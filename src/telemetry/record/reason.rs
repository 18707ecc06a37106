//! Why an exchange or an attempt did not end well: one closed list, used as `error.type`, as a metric label and in answers.
//!
//! In: nothing. Out: a small enum and its labels. Not here: which status a reason gets (`proxy::error` decides that).

/// What went wrong. The label is stable: dashboards and alerts use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Reason {
    MalformedRequest = 1,
    TargetTooLong,
    HeadersTooLarge,
    HeaderTimeout,
    BodyTimeout,
    BodyTooLarge,
    NoRoute,
    ClientGone,
    ClientWriteTimeout,
    NoEndpoint,
    PendingFull,
    InFlightFull,
    QueueTimeout,
    DnsFailed,
    ConnectRefused,
    ConnectTimeout,
    ConnectFailed,
    UpstreamReset,
    UpstreamClosed,
    UpstreamMalformed,
    UpstreamStale,
    FirstByteTimeout,
    UpstreamBodyTimeout,
    UpstreamBodyBroken,
    ExchangeTimeout,
    /// Nothing moved in a tunnel.
    UpgradeIdleTimeout,
    /// The gateway ended before the exchange did.
    Draining,
    Internal,
    /// The upstream answered with a 5xx of its own: the semantic conventions make the status the error type.
    UpstreamStatus,
}

impl Reason {
    pub(crate) const ALL: [Reason; 29] = [
        Reason::MalformedRequest,
        Reason::TargetTooLong,
        Reason::HeadersTooLarge,
        Reason::HeaderTimeout,
        Reason::BodyTimeout,
        Reason::BodyTooLarge,
        Reason::NoRoute,
        Reason::ClientGone,
        Reason::ClientWriteTimeout,
        Reason::NoEndpoint,
        Reason::PendingFull,
        Reason::InFlightFull,
        Reason::QueueTimeout,
        Reason::DnsFailed,
        Reason::ConnectRefused,
        Reason::ConnectTimeout,
        Reason::ConnectFailed,
        Reason::UpstreamReset,
        Reason::UpstreamClosed,
        Reason::UpstreamMalformed,
        Reason::UpstreamStale,
        Reason::FirstByteTimeout,
        Reason::UpstreamBodyTimeout,
        Reason::UpstreamBodyBroken,
        Reason::ExchangeTimeout,
        Reason::UpgradeIdleTimeout,
        Reason::Draining,
        Reason::Internal,
        Reason::UpstreamStatus,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Reason::MalformedRequest => "malformed_request",
            Reason::TargetTooLong => "target_too_long",
            Reason::HeadersTooLarge => "headers_too_large",
            Reason::HeaderTimeout => "header_timeout",
            Reason::BodyTimeout => "body_timeout",
            Reason::BodyTooLarge => "body_too_large",
            Reason::NoRoute => "no_route",
            Reason::ClientGone => "client_gone",
            Reason::ClientWriteTimeout => "client_write_timeout",
            Reason::NoEndpoint => "no_endpoint",
            Reason::PendingFull => "pending_full",
            Reason::InFlightFull => "in_flight_full",
            Reason::QueueTimeout => "queue_timeout",
            Reason::DnsFailed => "dns_failed",
            Reason::ConnectRefused => "connect_refused",
            Reason::ConnectTimeout => "connect_timeout",
            Reason::ConnectFailed => "connect_failed",
            Reason::UpstreamReset => "upstream_reset",
            Reason::UpstreamClosed => "upstream_closed",
            Reason::UpstreamMalformed => "upstream_malformed",
            Reason::UpstreamStale => "upstream_stale",
            Reason::FirstByteTimeout => "first_byte_timeout",
            Reason::UpstreamBodyTimeout => "upstream_body_timeout",
            Reason::UpstreamBodyBroken => "upstream_body_broken",
            Reason::ExchangeTimeout => "exchange_timeout",
            Reason::UpgradeIdleTimeout => "upgrade_idle_timeout",
            Reason::Draining => "draining",
            Reason::Internal => "internal",
            Reason::UpstreamStatus => "upstream_status",
        }
    }

    /// The inverse of `reason as u8`.
    pub(crate) fn from_code(code: u8) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| *reason as u8 == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_label_and_a_code_of_its_own() {
        let labels: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason as u8), Some(reason));
        }
        assert_eq!(Reason::from_code(0), None);
    }
}
