//! Limits of listeners and upstreams, one by one: what a client sees at each, and what record and metrics say of it.
//!
//! In: gateways with small limits, and clients at them and past them. Out: answers, ends of connections, reasons. What is exactly as large
//! as a limit is still allowed. Not here: `limits.connections` and `pool.pending` (`connections`), upstreams that fail (`data_path`), and
//! many such clients at once (`floods`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Answer, Client, PATIENCE, ask, get, wait_for};

/// Within this a connection must end: much later than the limits below, earlier than every default.
const SOON: Duration = Duration::from_secs(8);
/// More than the kernel takes on behalf of a client that reads nothing.
const LONG_BYTES: usize = 16 << 20;

fn limited(limits: &str, rest: &str) -> Pellucid {
    let listener = format!("listeners: [{{ name: p, bind: 127.0.0.1:0, limits: {{ {limits} }} }}]");
    Pellucid::start_config(&format!("{listener}\nadmin: {{ bind: 127.0.0.1:0 }}\n{rest}"), &[])
}

/// The value of a metric without labels.
pub(crate) fn metric(gateway: &Pellucid, name: &str) -> f64 {
    let metrics = gateway.metrics();
    let value: Option<f64> = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {metrics}"))
}

/// A socket of the client address `source`, to be connected by `connect`.
pub(crate) fn socket_of(source: [u8; 4]) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket
}

pub(crate) fn connect(socket: Socket, to: SocketAddr) -> TcpStream {
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The status of an answer to a client at `source`; none where its connection was closed at once.
fn status_for(source: [u8; 4], gateway: SocketAddr) -> Option<u16> {
    let mut stream = connect(socket_of(source), gateway);
    let mut answer = String::new();
    // A connection that is closed at once takes no request, and is reset if it got one.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1)?.parse().ok()
}

/// The connection ends soon, and nothing more comes before.
fn ends(client: &mut Client) -> bool {
    client.stream.set_read_timeout(Some(SOON)).unwrap();
    match client.stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// The record that names `reason`, which the metrics name as well.
fn record_of(gateway: &Pellucid, reason: &str) -> serde_json::Value {
    let record = gateway.record(|record| record["error"] == reason);
    let label = format!("error_type=\"{reason}\"");
    let metrics = gateway.metrics();
    let mut counts = metrics.lines().filter(|line| line.starts_with("http_server_request_duration_seconds_count{"));
    assert!(counts.any(|line| line.contains(&label)), "{reason} in {metrics}");
    record
}

/// What was asked is refused with the limit's own answer, on a connection that ends behind it.
fn assert_refused(gateway: &Pellucid, request: &str, status: u16, reason: &str) {
    let mut client = Client::connect(gateway.address);
    client.send(request);
    let answer = client.read_answer("GET");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(reason)));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert!(ends(&mut client));
    assert_eq!(record_of(gateway, reason)["status"], status);
}

/// Sends a byte now and then until the answer is there.
fn trickle(client: &mut Client) -> Answer {
    client.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    wait_for("the answer to a trickle", || {
        // Behind the answer nobody needs to take it.
        let _ = client.stream.write_all(b"a");
        client.stream.peek(&mut [0]).ok().filter(|count| *count > 0)
    });
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read_answer("GET")
}

#[test]
fn a_head_may_have_so_many_bytes() {
    let head = |bytes: usize| {
        let (start, end) = ("GET / HTTP/1.1\r\nHost: h\r\nX-Pad: ", "\r\n\r\n");
        format!("{start}{}{end}", "a".repeat(bytes - start.len() - end.len()))
    };
    let origin = Origin::echo();
    let gateway = limited("header_bytes: 1KiB", &origin.config());
    assert_eq!(ask(gateway.address, head(1024)).status, 200);
    assert_refused(&gateway, &head(1025), 431, "headers_too_large");
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_head_may_have_so_many_fields() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X-Field: y\r\n".repeat(fields - 1));
    let origin = Origin::echo();
    let gateway = limited("header_count: 20", &origin.config());
    assert_eq!(ask(gateway.address, head(20)).status, 200);
    assert_refused(&gateway, &head(21), 431, "headers_too_large");
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_target_may_have_so_many_bytes() {
    let head = |bytes: usize| format!("GET /?{} HTTP/1.1\r\nHost: h\r\n\r\n", "q".repeat(bytes - 2));
    let origin = Origin::echo();
    let gateway = limited("target_bytes: 1KiB", &origin.config());
    assert_eq!(ask(gateway.address, head(1024)).status, 200);
    assert_refused(&gateway, &head(1025), 414, "target_too_long");
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_body_that_announces_too_much_is_refused_before_an_endpoint_hears_of_it() {
    let origin = Origin::echo();
    let gateway = limited("body_bytes: 1000", &origin.config());
    let post = |bytes: usize| {
        let body = "b".repeat(bytes);
        ask(gateway.address, format!("POST /{bytes} HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n{body}"))
    };
    assert_eq!(post(1000).status, 200);
    let answer = post(1001);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (413, Some("body_too_large")));
    let record = record_of(&gateway, "body_too_large");
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/1001"), Some(413)));
    assert!(record["attempts"].as_array().unwrap().is_empty(), "{record}");
    assert_eq!((origin.seen().len(), origin.connections()), (1, 1));
}

#[test]
fn a_chunked_body_that_outgrows_its_limit_is_refused_while_there_is_no_answer() {
    let origin = Origin::echo();
    let gateway = limited("body_bytes: 1000", &origin.config());
    let chunk = format!("1f4\r\n{}\r\n", "c".repeat(500));
    let post = |chunks: usize| {
        let body = chunk.repeat(chunks);
        ask(gateway.address, format!("POST /{chunks} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"))
    };
    assert_eq!(post(2).status, 200);
    let answer = post(3);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (413, Some("body_too_large")));
    let record = record_of(&gateway, "body_too_large");
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/3"), Some(413)));
    assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "what was sent in part is not sent again: {record}");
    assert_eq!(origin.seen().len(), 1, "the origin never sees the end of the second body");
}

#[test]
fn a_chunked_body_that_outgrows_its_limit_cuts_off_an_answer_that_has_begun() {
    let origin = Origin::scripted(|talk| {
        talk.read_head();
        talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
        // Until the gateway hangs up.
        let _ = talk.stream.read_to_end(&mut Vec::new());
    });
    let gateway = limited("body_bytes: 1000", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("POST /grows HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(client.read_head().unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!([client.read_line(), client.read_line()], ["5", "early"]);
    client.send(format!("7d0\r\n{}\r\n", "c".repeat(2000)));
    assert!(ends(&mut client), "no last chunk: the client knows that the answer is not whole");
    let record = record_of(&gateway, "body_too_large");
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/grows"), Some(200)));
}

#[test]
fn the_last_request_of_a_connection_is_answered_with_its_end() {
    let origin = Origin::echo();
    let gateway = limited("requests_per_connection: 3", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("GET /n HTTP/1.1\r\nHost: h\r\n\r\n".repeat(4));
    let closes: Vec<_> = (0..3).map(|_| client.read_answer("GET").header("connection")).collect();
    assert_eq!(closes, [None, None, Some("close".to_owned())]);
    assert!(ends(&mut client));
    assert_eq!(origin.seen().len(), 3, "what came behind the last one is not served");
}

#[test]
fn a_client_has_its_own_cap_on_connections_and_others_do_not_feel_it() {
    let origin = Origin::echo();
    let gateway = limited("connections_per_client: 2", &origin.config());
    let mut held: Vec<_> = (0..2).map(|_| Client::connect(gateway.address)).collect();
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").status, 200);
    }
    assert_eq!(status_for([127, 0, 0, 1], gateway.address), None);
    assert_eq!(status_for([127, 0, 0, 2], gateway.address), Some(200));
    assert_eq!(metric(&gateway, "pellucid_connections_refused_total"), 1.0);
    held.pop();
    assert_eq!(wait_for("room for the client again", || status_for([127, 0, 0, 1], gateway.address)), 200);
}

#[test]
fn requests_in_flight_to_an_upstream_are_bounded_over_all_workers() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let origin = Origin::answering(move |_| {
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let gateway = Pellucid::start(&format!(
        "routes: [{{ name: all, upstream: o }}]\nruntime: {{ workers: 2 }}\n\
         upstreams: [{{ name: o, endpoints: ['{}'], pool: {{ in_flight: 3 }} }}]\n",
        origin.address
    ));
    let address = gateway.address;
    let flying: Vec<_> = (0..3).map(|_| std::thread::spawn(move || get(address, "/held").status)).collect();
    wait_for("three requests at the origin", || (origin.seen().len() == 3).then_some(()));
    let refused = get(address, "/over");
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("in_flight_full")));
    let record = record_of(&gateway, "in_flight_full");
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/over"), Some(503)));
    open.store(true, Ordering::SeqCst);
    assert!(flying.into_iter().all(|request| request.join().unwrap() == 200));
    // The client may have its answer a moment before its place is free.
    wait_for("room again", || (get(address, "/again").status == 200).then_some(()));
}

#[test]
fn a_head_that_trickles_is_cut_off_in_time_however_often_a_byte_comes() {
    let origin = Origin::echo();
    let gateway = limited("header_timeout: 300ms", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ");
    let answer = trickle(&mut client);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (408, Some("header_timeout")));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    let record = record_of(&gateway, "header_timeout");
    assert_eq!(record["status"], 408);
    assert!((290.0..8000.0).contains(&record["duration_ms"].as_f64().unwrap()), "{record}");
    assert!(origin.seen().is_empty());
}

#[test]
fn a_connection_on_which_nothing_comes_is_closed_without_a_word() {
    let origin = Origin::echo();
    let gateway = limited("header_timeout: 200ms", &origin.config());
    assert!(ends(&mut Client::connect(gateway.address)));
    wait_for("the connection to be counted out", || (metric(&gateway, "pellucid_connections") == 0.0).then_some(()));
    assert_eq!(metric(&gateway, "pellucid_connections_closed_total{reason=\"header_timeout\"}"), 1.0);
    assert!(gateway.api("/api/v1/requests")["requests"].as_array().unwrap().is_empty());
}

#[test]
fn a_body_that_stalls_names_its_timeout_in_record_and_metrics() {
    let origin = Origin::echo();
    let gateway = limited("body_timeout: 300ms", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("POST /stalls HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    let answer = client.read_answer("POST");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (408, Some("body_timeout")));
    let record = record_of(&gateway, "body_timeout");
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/stalls"), Some(408)));
    assert!(origin.seen().is_empty(), "the origin never sees the end of the body");
}

#[test]
fn an_answer_that_its_client_does_not_take_is_cut_off() {
    let origin = Origin::echo();
    let gateway = limited("write_timeout: 300ms", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send(format!("GET /length/{LONG_BYTES} HTTP/1.1\r\nHost: h\r\n\r\n"));
    let record = record_of(&gateway, "client_write_timeout");
    assert_eq!(record["status"], 200);
    assert!(record["duration_ms"].as_f64() > Some(290.0), "{record}");
    assert!(client.read_head().unwrap().contains(&format!("content-length: {LONG_BYTES}\r\n")));
    let taken = client.read_all().len();
    assert!(taken < LONG_BYTES, "{taken} bytes came");
}

#[test]
fn a_connection_between_two_requests_is_closed_without_a_word() {
    let origin = Origin::echo();
    let gateway = limited("idle_timeout: 300ms", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.read_answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert!(ends(&mut client));
    wait_for("the connection to be counted out", || (metric(&gateway, "pellucid_connections") == 0.0).then_some(()));
    assert_eq!(gateway.api("/api/v1/requests")["requests"].as_array().unwrap().len(), 1);
    assert_eq!(metric(&gateway, "pellucid_connections_closed_total{reason=\"idle_timeout\"}"), 1.0);
}

#[test]
fn a_client_that_closed_its_sending_side_is_served_for_a_while_only() {
    let origin = Origin::echo();
    // Longer than the default, so that the one cannot pass for the other.
    let gateway = limited("half_close_timeout: 1500ms", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("GET /sleep/6000 HTTP/1.1\r\nHost: h\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(ends(&mut client));
    let record = record_of(&gateway, "client_gone");
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/sleep/6000"), Some(499)));
    assert!((1490.0..5900.0).contains(&record["duration_ms"].as_f64().unwrap()), "{record}");
}

#[test]
fn the_timeout_of_a_route_cuts_off_an_answer_that_goes_on_and_on() {
    let origin = Origin::scripted(|talk| {
        talk.read_request();
        talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut pieces = 0;
        while pieces < 1000 && talk.stream.write_all(b"1\r\nx\r\n").is_ok() {
            pieces += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let gateway = Pellucid::start(&format!(
        "routes: [{{ name: all, upstream: o, timeout: 400ms }}]\nupstreams: [{{ name: o, endpoints: ['{}'] }}]\n",
        origin.address
    ));
    let mut client = Client::connect(gateway.address);
    client.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.read_head().unwrap().starts_with("HTTP/1.1 200"));
    let body = client.read_all();
    assert!(body.starts_with(b"1\r\nx\r\n") && !body.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&body));
    let record = record_of(&gateway, "exchange_timeout");
    assert_eq!((record["status"].as_u64(), record["attempts"][0]["error"].as_str()), (Some(200), Some("exchange_timeout")));
    assert!(record["duration_ms"].as_f64() > Some(390.0), "{record}");
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_closed() {
    let origin = Origin::scripted(|talk| {
        talk.read_request();
        talk.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = talk.stream.read(&mut bytes) {
            talk.write(&bytes[..count]);
        }
    });
    let gateway = limited("upgrade_idle_timeout: 400ms", &origin.config());
    let mut client = Client::connect(gateway.address);
    client.send(
        "GET /talk HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    assert_eq!(client.read_answer("GET").status, 101);
    client.send("ping");
    assert_eq!(client.read_exact(4), b"ping");
    assert!(ends(&mut client));
    let record = record_of(&gateway, "upgrade_idle_timeout");
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/talk"), Some(101)));
    assert!(record["duration_ms"].as_f64() > Some(390.0), "{record}");
}
