//! Why a client's connection ended: one closed list, a label of a metric.
//!
//! In: nothing. Out: a small enum and its labels. Not here: why a request failed (`reason`).

/// What ended a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed it, or it broke.
    Client,
    /// The last answer said so: HTTP/1.0, `Connection: close`, a request or an answer that failed.
    #[default]
    Answered,
    /// Nothing came on it from the start.
    HeaderTimeout,
    IdleTimeout,
    RequestsPerConnection,
    Draining,
    /// It had become a tunnel.
    Tunnel,
}

impl Ending {
    pub(crate) const ALL: [Ending; 7] = [
        Ending::Client,
        Ending::Answered,
        Ending::HeaderTimeout,
        Ending::IdleTimeout,
        Ending::RequestsPerConnection,
        Ending::Draining,
        Ending::Tunnel,
    ];

    pub(crate) fn label(self) -> &'static str {
        ["client", "answered", "header_timeout", "idle_timeout", "requests_per_connection", "draining", "tunnel"][self as usize]
    }
}
