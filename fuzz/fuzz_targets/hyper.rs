//! The first request in some bytes, as we read it and as hyper does: what we take, hyper takes as well, and reads the same.
//!
//! In: any bytes. Out: nothing, or a panic where the two disagree about method, target or body. hyper may take more than we do (the
//! table in `tests/it/strict_requests.rs` says why), and refuses a few characters in targets that we pass on.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

/// Method, target and body.
type Read = (String, String, Vec<u8>);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((method, target, body)) = pellucid::fuzzing::read_whole_request(bytes) else { return };
    // hyper's own type for targets refuses these.
    let strange = |byte: u8| !byte.is_ascii_alphanumeric() && !b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    if target.bytes().any(strange) {
        return;
    }
    assert_eq!(hyper_reads(bytes), Some((method, target, body)));
});

/// What hyper makes of the first request; nothing where it refuses it.
fn hyper_reads(bytes: &[u8]) -> Option<Read> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let read: Rc<RefCell<Option<Read>>> = Rc::default();
        let (mut client, server) = tokio::io::duplex(bytes.len() + 65_536);
        client.write_all(bytes).await.expect("room for all");
        client.shutdown().await.expect("an open pipe");
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let read = Rc::clone(&read);
            async move {
                let method = request.method().to_string();
                let target = request.uri().path_and_query().map_or_else(|| request.uri().to_string(), ToString::to_string);
                let body = request.into_body().collect().await;
                if let Ok(body) = body {
                    read.borrow_mut().get_or_insert((method, target, body.to_bytes().to_vec()));
                }
                Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
            }
        });
        // What follows the first request may be anything.
        let _ = Builder::new().half_close(true).serve_connection(TokioIo::new(server), service).await;
        read.take()
    })
}
