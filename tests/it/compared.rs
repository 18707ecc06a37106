//! Our HTTP/1 reader and hyper's on the same bytes: we refuse whatever hyper refuses, and where we refuse more there is a reason.
//!
//! In: a table of requests. Out: for each, what both made of it. hyper is asked over a real connection; its answer of 400, or a closed
//! connection, is a refusal. Not here: random inputs (`tests/fuzz` has them).

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::support::Client;
use crate::support::origin::Origin;
use crate::support::process::Pellucid;

/// A server on hyper that reads each body to its end.
fn hyper_server() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(socket).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = service_fn(async |request: hyper::Request<Incoming>| {
                    let read = request.into_body().collect().await;
                    let status = if read.is_ok() { 200 } else { 400 };
                    Ok::<_, Infallible>(hyper::Response::builder().status(status).body(Full::new(Bytes::new())).unwrap())
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
    });
    address
}

/// Whether a server takes a request, and a second one behind it.
fn takes(address: SocketAddr, request: &str) -> bool {
    let mut client = Client::connect(address);
    client.stream.set_read_timeout(Some(std::time::Duration::from_millis(700))).unwrap();
    client.send(request);
    client.read_head().is_some_and(|head| head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200"))
}

/// Requests that hyper and we must both take (`Both`), both refuse (`None`), or that only hyper takes, with why ours is right.
enum Expect {
    Both,
    None,
    OnlyHyper(&'static str),
}

const TABLE: [(&str, Expect); 27] = [
    ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", Expect::Both),
    ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Expect::Both),
    ("GET / HTTP/1.0\r\n\r\n", Expect::Both),
    ("GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n", Expect::Both),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", Expect::Both),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: v\r\n\r\n", Expect::Both),
    ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", Expect::Both),
    ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", Expect::None),
    ("GET / HTTP/1.1\r\n: h\r\n\r\n", Expect::None),
    ("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", Expect::None),
    ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", Expect::None),
    ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", Expect::None),
    ("GET / HTTP/4.2\r\nHost: h\r\n\r\n", Expect::None),
    ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", Expect::None),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", Expect::None),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc", Expect::None),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n", Expect::None),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", Expect::None),
    ("GET / HTTP/1.1\r\n\r\n", Expect::OnlyHyper("RFC 9112, section 3.2: a request of HTTP/1.1 without Host is answered with 400")),
    ("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", Expect::OnlyHyper("RFC 9112, section 3.2: so is one with more than one Host")),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Expect::OnlyHyper("RFC 9112, section 3.2: so is one with an invalid Host")),
    (
        "GET / HTTP/1.1\nHost: h\n\n",
        Expect::OnlyHyper("RFC 9112, section 2.2 lets a recipient take a bare LF; two that differ in it see two requests"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Expect::OnlyHyper("RFC 9112, section 6.1: both lengths at once ought to be handled as an error"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        Expect::OnlyHyper("RFC 9112, section 6.3 allows either; one length has one reading"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Expect::OnlyHyper("we would have to undo the first coding to know the length that an upstream sees"),
    ),
    ("GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n", Expect::OnlyHyper("RFC 3986, section 6.2.2.3: two parsers may see two paths")),
    ("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", Expect::OnlyHyper("RFC 9112, section 3.2.2: a Host that disagrees with the target")),
];

#[test]
fn what_hyper_refuses_we_refuse_and_where_we_refuse_more_there_is_a_reason() {
    let origin = Origin::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
    let gateway = Pellucid::start(&origin.config());
    let hyper = hyper_server();
    for (request, expect) in &TABLE {
        let taken = (takes(gateway.address, request), takes(hyper, request));
        let (expected, why) = match expect {
            Expect::Both => ((true, true), ""),
            Expect::None => ((false, false), ""),
            Expect::OnlyHyper(why) => ((false, true), *why),
        };
        assert_eq!(taken, expected, "(Pellucid, hyper) on {request:?} {why}");
    }
}
