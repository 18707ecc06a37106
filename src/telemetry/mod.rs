//! What a request tells about itself.
//!
//! `record` is what the request path writes and all that it may see. `export` turns records into bytes of each format and carries
//! them out. `process` is the thread between: it drains the rings, decides what is kept, and feeds the exporters. Imports point from
//! `process` to `export` to `record`; none of them sees a room of the proxy.

pub(crate) mod record;
pub(crate) mod export;
pub(crate) mod process;
