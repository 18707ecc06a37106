//! Our HTTP/1 engine: bytes to messages and back, by one strict codec for both legs (RFC 9112).
//!
//! In: a socket. Out: heads as `http` types, bodies as frames, and the reverse. What two parsers could read differently is refused,
//! in requests and in responses alike. The codec (`head`, `framing`, `chunked`, `decoder`, `encode`) does no I/O; `leg`, `incoming` and
//! `sender` bind it to a socket. Not here: routes, pools, policy. Only the listener, the upstreams and the body type use it.

pub(crate) mod head;
pub(crate) mod framing;
pub(crate) mod host;
pub(crate) mod hop;
pub(crate) mod chunked;
pub(crate) mod decoder;
pub(crate) mod encode;
pub(crate) mod leg;
pub(crate) mod incoming;
pub(crate) mod sender;
