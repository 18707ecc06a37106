//! What a request tells about itself.
//!
//! `record` is what the request path writes and all that it may see. `sampler` interrupts threads to see what they execute, `profile` makes
//! profiles of that. `export` turns records and profiles into bytes of each format and carries them out. `process` is the thread between: it
//! drains the rings, decides what is kept, and feeds the exporters. Imports point backwards in this order; none sees a room of the proxy.

pub(crate) mod record;
pub(crate) mod sampler;
pub(crate) mod profile;
pub(crate) mod export;
pub(crate) mod process;
