//! The data path.
//!
//! ```text
//!  client ──► listener ──► pipeline.handle() ───────────────────────────────► listener ──► client
//!             accept        open the exchange and its record                  stream the answer,
//!             read a head   route   ► filter ► resilience (the attempt loop)   close the record
//!                                     ▲          │ attempt():
//!                                     │          │   route.choose   which upstream (split by weight)
//!                                     │          │   balance        which endpoint
//!                                     │          │   upstream       connection from the pool, send, wait
//!                                     └──────────┘ again, if `resilience` says so
//! ```
//!
//! The rooms `route`, `filter`, `balance`, `resilience`, `upstream` and `response` do not know each other; `pipeline` alone knows their
//! order. `snapshot` is the immutable plan that all of them obey; control builds it.

pub(crate) mod activity;
pub(crate) mod capture;
pub(crate) mod fields;
pub(crate) mod http1;
pub(crate) mod message;
pub(crate) mod route;
pub(crate) mod filter;
pub(crate) mod balance;
pub(crate) mod resilience;
pub(crate) mod upstream;
pub(crate) mod response;
pub(crate) mod snapshot;
pub(crate) mod error;
pub(crate) mod drain;
pub(crate) mod worker;
pub(crate) mod exchange;
pub(crate) mod pipeline;
pub(crate) mod listener;
