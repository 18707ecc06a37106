//! `heap` and `allocs`: who holds memory, and who allocates.
//!
//! In: now, or a length of time. Out: the allocator's samples. The first call switches its sampling on; it is switched off again when nobody
//! has asked for a while, unless the configuration wants it always. Not here: jemalloc itself (`telemetry::profile::heap`).

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Admin;
use super::query::Ask;
use super::{answer, aside, refuse};
use crate::telemetry::profile::heap::NoHeap;
use crate::telemetry::profile::profiler::Profiler;

pub(super) async fn heap(State(admin): State<Admin>, ask: Ask) -> Result<Response, Response> {
    show(admin, ask, "heap", "inuse_space").await
}

pub(super) async fn allocs(State(admin): State<Admin>, ask: Ask) -> Result<Response, Response> {
    show(admin, ask, "allocs", "alloc_space").await
}

async fn show(admin: Admin, ask: Ask, name: &str, default_type: &'static str) -> Result<Response, Response> {
    let heap = &admin.profiling;
    heap.want_heap().map_err(|why| no_heap(&why))?;
    let began = Profiler::of_process().unix_nanos();
    let earlier = match ask.seconds {
        None => None,
        Some(seconds) => {
            let earlier = dump(&admin).await?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Some(earlier)
        }
    };
    let later = dump(&admin).await?;
    let profile = aside(move || {
        let dump = earlier.map_or_else(|| later.clone(), |earlier| later.since(&earlier));
        let profiler = Profiler::of_process();
        let duration = profiler.unix_nanos().saturating_sub(began);
        dump.to_profile(&mut profiler.symbols(), default_type, began, duration)
    });
    Ok(answer(&profile.await?, name, ask.debug))
}

async fn dump(admin: &Admin) -> Result<crate::telemetry::profile::heap::Dump, Response> {
    let profiling = admin.profiling.clone();
    aside(move || profiling.heap().take()).await?.map_err(|why| no_heap(&why))
}

fn no_heap(why: &NoHeap) -> Response {
    let status = match why {
        NoHeap::Dump(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::NOT_IMPLEMENTED,
    };
    refuse(status, &why.to_string())
}
