//! Connections that switch protocols: WebSocket through the gateway.
//!
//! In: clients and origins that switch after a real handshake and then send bytes of any kind. Out: the same bytes at the other end, the
//! ends of both directions, bounded memory, and one record when all is over. Not here: the frames of WebSocket, which the gateway does
//! not read.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::faults_client::start;
use crate::faults2::{AccessLog, FINE, reset_on_close, told, until_closed};
use crate::support::origin::{Conversation, Origin};
use crate::support::process::Pellucid;
use crate::support::{Client, ask, wait_for};

const MIB: usize = 1 << 20;
const RESIDENT_KIB_MAX: u64 = 64 * 1024;
/// More than all the sockets' buffers between two ends hold.
const NEVER_TAKEN: u64 = 128 << 20;

/// The handshake of RFC 6455, section 1.2.
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn asking(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, superchat\r\n\r\n"
    )
}

/// Switches whoever asks for it and hands the connection to `script`; answers everyone else.
fn switching(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Origin {
    Origin::scripted(move |talk| {
        while let Some(seen) = talk.read_request() {
            if seen.header("upgrade").is_none() {
                talk.write(FINE);
                continue;
            }
            talk.write(SWITCH);
            return script(talk);
        }
    })
}

/// A client whose connection is switched.
fn switched(gateway: &Pellucid, path: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    client.send(asking(path));
    let answer = client.read_answer("GET");
    assert_eq!(answer.status, 101, "{}", answer.head);
    client
}

/// Bytes that repeat nowhere soon.
fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}

fn no_record_of(gateway: &Pellucid, path: &str) -> bool {
    let found = gateway.api("/api/v1/requests?limit=1000");
    found["requests"].as_array().unwrap().iter().all(|record| record["path"] != path)
}

#[test]
fn the_handshake_goes_through_whole_and_a_mib_each_way_arrives_as_it_was_sent() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&received);
    let origin = switching(move |talk| {
        let mut writer = talk.stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&pattern(2, MIB)).is_ok());
        let mut bytes = vec![0; MIB];
        if talk.stream.read_exact(&mut bytes).is_ok() {
            *sink.lock().unwrap() = bytes;
        }
        assert!(writing.join().unwrap());
        until_closed(talk);
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let mut client = Client::connect(gateway.address);
    client.send(asking("/chat?room=1"));
    let answer = client.read_answer("GET");
    assert_eq!(answer.status, 101, "{}", answer.head);
    let header = |name: &str| answer.header(name).unwrap_or_default();
    assert!(header("connection").eq_ignore_ascii_case("upgrade"), "{}", answer.head);
    assert_eq!([header("upgrade"), header("sec-websocket-protocol")], ["websocket", "chat"]);
    assert_eq!(header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None), "{}", answer.head);
    let seen = origin.last();
    assert!(seen.header("connection").unwrap().eq_ignore_ascii_case("upgrade"), "{}", seen.head);
    assert_eq!((seen.path(), seen.header("upgrade").as_deref()), ("/chat?room=1", Some("websocket")));
    assert_eq!(seen.header("sec-websocket-key").as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(seen.header("sec-websocket-protocol").as_deref(), Some("chat, superchat"));

    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&pattern(1, MIB)).unwrap());
    assert!(client.read_exact(MIB) == pattern(2, MIB), "what the origin sent arrives as it was");
    writing.join().unwrap();
    wait_for("the origin to have it all", || (!received.lock().unwrap().is_empty()).then_some(()));
    assert!(*received.lock().unwrap() == pattern(1, MIB), "what the client sent arrives as it was");
    assert!(gateway.metrics().contains("http_server_active_requests 1\n"), "the exchange lasts as long as the tunnel");
    assert!(no_record_of(&gateway, "/chat"));

    drop(client);
    let record = told(&gateway, &log, "/chat", 101, None);
    let bytes = Some(MIB as u64);
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (bytes, bytes), "{record}");
    assert_eq!(record["attempts"][0]["status"].as_u64(), Some(101), "{record}");
    assert_eq!(gateway.get("/after").text(), "fine");
    assert_eq!(origin.connections(), 2, "what was a tunnel is no connection for requests");
}

#[test]
fn what_the_origin_says_right_behind_its_switch_is_not_lost() {
    let origin = Origin::scripted(|talk| {
        talk.read_request();
        talk.write(format!("{SWITCH}hello"));
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let mut client = switched(&gateway, "/eager");
    assert_eq!(client.read_all(), b"hello");
    drop(client);
    let record = told(&gateway, &log, "/eager", 101, None);
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(0), Some(5)), "{record}");
}

#[test]
fn each_side_may_end_its_direction_while_the_other_still_flows() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let origin = switching(move |talk| {
        if talk.stream.peek(&mut [0]).is_ok_and(|count| count == 0) {
            // The client has ended its side. Far longer than a plain request would be served for.
            std::thread::sleep(Duration::from_millis(700));
            return talk.write("still here");
        }
        talk.write("bye");
        talk.stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        let _ = talk.stream.read_to_end(&mut all);
        *sink.lock().unwrap() = all;
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "half_close_timeout: 200ms", &log);

    let mut client = switched(&gateway, "/client-first");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_all(), b"still here");
    let record = told(&gateway, &log, "/client-first", 101, None);
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(0), Some(10)), "{record}");

    let mut client = switched(&gateway, "/origin-first");
    client.send("hello");
    assert_eq!(client.read_all(), b"bye", "the end of the origin's side is passed on");
    client.send(", and more");
    client.stream.shutdown(Shutdown::Write).unwrap();
    wait_for("the origin to hear it all", || (*heard.lock().unwrap() == b"hello, and more").then_some(()));
    let record = told(&gateway, &log, "/origin-first", 101, None);
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(15), Some(3)), "{record}");
}

/// Writes until the socket takes no more. Returns what it took.
fn fill(mut stream: &TcpStream) -> u64 {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let piece = vec![b'z'; 1 << 16];
    let mut taken = 0;
    while taken < NEVER_TAKEN {
        match stream.write(&piece) {
            Ok(count) => taken += count as u64,
            Err(_) => break,
        }
    }
    taken
}

fn resident_kib(gateway: &Pellucid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()).unwrap()
}

#[test]
fn a_client_that_sends_faster_than_the_origin_takes_is_held_back() {
    let (go, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (may_read, count) = (Arc::clone(&go), Arc::clone(&received));
    let origin = switching(move |talk| {
        wait_for("leave to read", || may_read.load(Ordering::SeqCst).then_some(()));
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = talk.stream.read(&mut buffer) {
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let mut client = switched(&gateway, "/up");
    let taken = fill(&client.stream);
    assert!(taken < NEVER_TAKEN, "the client is never held back");
    let resident = resident_kib(&gateway);
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB resident after {taken} bytes");
    go.store(true, Ordering::SeqCst);
    client.stream.shutdown(Shutdown::Write).unwrap();
    wait_for("all bytes to arrive", || (received.load(Ordering::SeqCst) == taken).then_some(()));
    assert!(client.read_all().is_empty());
    let record = told(&gateway, &log, "/up", 101, None);
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(taken), Some(0)), "{record}");
}

#[test]
fn an_origin_that_sends_faster_than_the_client_takes_is_held_back() {
    let filled = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&filled);
    let origin = switching(move |talk| {
        total.store(fill(&talk.stream), Ordering::SeqCst);
        talk.stream.shutdown(Shutdown::Write).unwrap();
        until_closed(talk);
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let mut client = switched(&gateway, "/down");
    let taken = wait_for("the origin to be held back", || Some(filled.load(Ordering::SeqCst)).filter(|taken| *taken > 0));
    assert!(taken < NEVER_TAKEN, "the origin is never held back");
    let resident = resident_kib(&gateway);
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB resident after {taken} bytes");
    let (mut received, mut last) = (0, 1);
    while last > 0 {
        last = client.skip();
        received += last as u64;
    }
    assert_eq!(received, taken);
    drop(client);
    let record = told(&gateway, &log, "/down", 101, None);
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(0), Some(taken)), "{record}");
}

#[test]
fn a_tunnel_lives_while_a_byte_moves_and_ends_when_none_does() {
    let (heard, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, end) = (Arc::clone(&heard), Arc::clone(&ended));
    let origin = switching(move |talk| {
        let mut byte = [0];
        while let Ok(1) = talk.stream.read(&mut byte) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        end.store(true, Ordering::SeqCst);
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "upgrade_idle_timeout: 1s", &log);
    let mut client = switched(&gateway, "/quiet");
    // One direction is enough, and longer than the timeout in all.
    for number in 1..=8 {
        client.send("x");
        wait_for("the byte to arrive", || (heard.load(Ordering::SeqCst) == number).then_some(()));
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(no_record_of(&gateway, "/quiet"));
    assert!(client.read_all().is_empty());
    wait_for("the origin's side to end", || ended.load(Ordering::SeqCst).then_some(()));
    let record = told(&gateway, &log, "/quiet", 101, Some("upgrade_idle_timeout"));
    assert_eq!((record["request_bytes"].as_u64(), record["response_bytes"].as_u64()), (Some(8), Some(0)), "{record}");
}

#[test]
fn a_side_that_is_gone_ends_the_tunnel_for_the_other() {
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let origin = switching(move |talk| {
        let mut byte = [0];
        if talk.stream.read(&mut byte).is_ok_and(|count| count == 1) {
            return reset_on_close(&talk.stream);
        }
        end.store(true, Ordering::SeqCst);
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let client = switched(&gateway, "/client-gone");
    reset_on_close(&client.stream);
    drop(client);
    wait_for("the origin's side to end", || ended.load(Ordering::SeqCst).then_some(()));
    let record = gateway.record(|record| record["path"] == "/client-gone");
    assert_eq!(log.line(record["trace_id"].as_str().unwrap())["http.response.status_code"].as_u64(), Some(101), "{record}");

    let mut client = switched(&gateway, "/origin-gone");
    client.send("x");
    assert!(client.read_all().is_empty());
    assert!(matches!(client.stream.read(&mut [0]), Ok(0)));
    let record = gateway.record(|record| record["path"] == "/origin-gone");
    assert_eq!(log.line(record["trace_id"].as_str().unwrap())["http.response.status_code"].as_u64(), Some(101), "{record}");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_origin_that_does_not_switch_is_answered_as_any_other() {
    let origin = Origin::answering(|_| FINE.into());
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let mut client = Client::connect(gateway.address);
    client.send(asking("/declined"));
    let answer = client.read_answer("GET");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("upgrade")), (200, "fine", None));
    assert_eq!(origin.last().header("upgrade").as_deref(), Some("websocket"));
    told(&gateway, &log, "/declined", 200, None);
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.read_answer("GET").text(), "fine", "the client's connection goes on");
    assert_eq!(origin.connections(), 1, "and so does the upstream's");
}

#[test]
fn a_protocol_that_the_route_does_not_list_is_not_asked_for() {
    let h2c = "GET /h2c HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    let origin = Origin::answering(|_| FINE.into());
    let yaml = format!(
        "routes: [{{ name: all, upstream: o }}, {{ name: plain, match: {{ path: /plain }}, upgrade: [], upstream: o }}]
upstreams: [{{ name: o, endpoints: ['{}'] }}]
",
        origin.address
    );
    let gateway = Pellucid::start(&yaml);
    for request in [h2c.to_owned(), asking("/plain")] {
        let answer = ask(gateway.address, &request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "fine"), "{request}");
        let seen = origin.last();
        assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None), "{}", seen.head);
        assert!(!seen.header("connection").unwrap_or_default().to_lowercase().contains("upgrade"), "{}", seen.head);
    }

    let forced = Origin::scripted(|talk| {
        talk.read_request();
        talk.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
        until_closed(talk);
    });
    let log = AccessLog::new();
    let gateway = start(&forced, "", &log);
    let answer = ask(gateway.address, h2c);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some("upstream_malformed")), "no switch that was not asked for");
    told(&gateway, &log, "/h2c", 502, Some("upstream_malformed"));
}
