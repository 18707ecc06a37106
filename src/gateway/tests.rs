//! What no outsider can provoke: a request whose handling panics.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::proxy::filter::Filter;
use crate::proxy::snapshot::Snapshot;

const CONFIG: &str = "listeners: [{ name: l, bind: 127.0.0.1:0 }]\nadmin: { bind: 127.0.0.1:0 }\nruntime: { workers: 1, drain_timeout: 1s }\n\
    routes: [{ name: ok, filters: [{ respond: { status: 200, body: fine } }] }, \
    { name: broken, match: { path: /broken }, filters: [{ respond: { status: 200 } }] }]\n";

fn ask(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The same plan, but for a filter of the second route that panics.
fn sabotage(gateway: &Gateway) {
    let published = &gateway.control.published;
    let mut snapshot = compile_again(gateway);
    snapshot.routes[1].filters.filters = vec![Filter::Panic];
    published.store(Arc::new(snapshot));
}

fn compile_again(gateway: &Gateway) -> Snapshot {
    let control = &gateway.control;
    let context = crate::control::compile::Context {
        legends: &control.legends,
        environment: &|_| None,
        instance: "test",
        former: &control.current().upstreams.clone(),
    };
    Source::Text(CONFIG.to_owned()).load(&context).unwrap().1.snapshot
}

#[test]
fn a_request_that_breaks_down_is_answered_counted_and_survived() {
    let gateway = Gateway::from_yaml(CONFIG).unwrap();
    let address = gateway.listeners()[0];
    sabotage(&gateway);
    let answer = ask(address, "/broken");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("\"error\":\"internal\""), "{answer}");
    let trace_id = answer.split("x-trace-id: ").nth(1).unwrap()[..32].to_owned();
    assert!(answer.contains(&format!("\"trace_id\":\"{trace_id}\"")), "{answer}");
    assert!(ask(address, "/").ends_with("fine"), "the worker lives on");
    let recent = ask(gateway.admin(), "/api/v1/requests?status=500");
    assert!(recent.contains(&trace_id) && recent.contains("\"error\":\"internal\""), "{recent}");
    let metrics = ask(gateway.admin(), "/metrics");
    assert!(metrics.contains("pellucid_requests_total{pellucid_route=\"broken\",outcome=\"server_error\"} 1"), "{metrics}");
    assert!(metrics.contains("http_server_active_requests 0"), "{metrics}");
    gateway.shutdown();
}

#[test]
fn a_mounted_request_that_breaks_down_is_a_500_and_survived() {
    use tower::ServiceExt;
    let gateway = Gateway::from_yaml(CONFIG).unwrap();
    sabotage(&gateway);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = |path: &str| {
        let request = http::Request::get(path).header("host", "h").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        runtime.block_on(gateway.service().oneshot(request)).unwrap().status().as_u16()
    };
    assert_eq!((status("/broken"), status("/")), (500, 200));
    gateway.shutdown();
}
