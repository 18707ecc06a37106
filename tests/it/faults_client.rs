//! Clients that leave, stall or do not read, and pooled connections that end under a request.
//!
//! In: clients and origins on raw sockets. Out: how the exchange was recorded, that the upstream's connection ended with it, and what was
//! sent a second time. Not here: upstreams that fail (`faults`), and connections that switch protocols (`faults_client2`).

use std::io::Read;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::faults2::{AccessLog, FINE, connections_to, reset_on_close, told, until_closed};
use crate::support::origin::{Conversation, Origin};
use crate::support::process::Pellucid;
use crate::support::{Client, find, get, wait_for};

/// One worker, so that a connection that could be used again would be. `limits` are the listener's.
pub(crate) fn start(origin: &Origin, limits: &str, log: &AccessLog) -> Pellucid {
    let listeners = format!("[{{ name: p, bind: 127.0.0.1:0, limits: {{ {limits} }} }}]");
    let yaml = format!(
        "listeners: {listeners}\nadmin: {{ bind: 127.0.0.1:0 }}\nruntime: {{ workers: 1 }}\ntelemetry: {{ {} }}\n{}",
        log.setting(),
        origin.config()
    );
    Pellucid::start_config(&yaml, &[])
}

/// An origin, and how many of its connections the gateway has ended.
struct Watched {
    origin: Origin,
    ended: Arc<AtomicU64>,
}

impl Watched {
    /// Runs `script` on each connection and then reads to its end.
    fn scripted(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let ended = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&ended);
        let origin = Origin::scripted(move |talk| {
            script(talk);
            until_closed(talk);
            count.fetch_add(1, Ordering::SeqCst);
        });
        Watched { origin, ended }
    }

    fn wait_for_ends(&self, count: u64) {
        wait_for("the gateway to end the upstream's connection", || (self.ended.load(Ordering::SeqCst) == count).then_some(()));
    }
}

/// The two ways to go: an orderly close, and a reset.
const WAYS: [(&str, bool); 2] = [("closes", false), ("resets", true)];

fn leave(client: Client, resets: bool) {
    if resets {
        reset_on_close(&client.stream);
    }
    drop(client);
}

#[test]
fn a_client_that_leaves_before_its_answer_is_a_499_and_frees_the_upstream() {
    let watched = Watched::scripted(|talk| {
        while talk.read_request().is_some_and(|seen| seen.path() == "/again") {
            talk.write(FINE);
        }
    });
    let origin = &watched.origin;
    let log = AccessLog::new();
    let gateway = start(origin, "half_close_timeout: 200ms", &log);
    for (number, (way, resets)) in (1..).zip(WAYS) {
        let path = format!("/{way}");
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        wait_for("the origin to see it", || origin.seen().iter().any(|seen| seen.path() == path).then_some(()));
        leave(client, resets);
        let record = told(&gateway, &log, &path, 499, Some("client_gone"));
        let attempts = record["attempts"].as_array().unwrap();
        assert_eq!(
            (attempts.len(), attempts[0]["error"].as_str(), attempts[0]["status"].as_u64()),
            (1, Some("client_gone"), None),
            "{record}"
        );
        watched.wait_for_ends(number);
        assert_eq!(get(gateway.address, "/again").text(), "fine");
    }
    // The second client got the connection of the first `/again`, and nobody got one with half an answer to come.
    assert_eq!(origin.connections(), 3);
}

/// An origin that writes down what comes on any of its connections, to their ends.
fn taking_down() -> (Watched, Arc<Mutex<Vec<u8>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&taken);
    let watched = Watched::scripted(move |talk| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = talk.stream.read(&mut buffer) {
            log.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    (watched, taken)
}

#[test]
fn a_client_that_leaves_in_its_upload_leaves_no_request_that_looks_whole() {
    let (watched, taken) = taking_down();
    let log = AccessLog::new();
    let gateway = start(&watched.origin, "", &log);
    let half = "b".repeat(100);
    let (length, chunks) = (format!("Content-Length: 1000\r\n\r\n{half}"), format!("Transfer-Encoding: chunked\r\n\r\n64\r\n{half}\r\n"));
    let mut ends = 0;
    for (framing, rest) in [("length", length), ("chunked", chunks)] {
        for (way, resets) in WAYS {
            let path = format!("/{framing}-{way}");
            taken.lock().unwrap().clear();
            let mut client = Client::connect(gateway.address);
            client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\n{rest}"));
            wait_for("half the body to arrive", || find(&taken.lock().unwrap(), half.as_bytes()));
            leave(client, resets);
            let record = told(&gateway, &log, &path, 499, Some("client_gone"));
            assert_eq!(
                (record["attempts"][0]["error"].as_str(), record["request_bytes"].as_u64()),
                (Some("client_gone"), Some(100)),
                "{record}"
            );
            ends += 1;
            watched.wait_for_ends(ends);
            let text = String::from_utf8_lossy(&taken.lock().unwrap()).into_owned();
            assert!(text.starts_with(&format!("POST {path} ")) && !text.ends_with("0\r\n\r\n"), "{text}");
            assert_eq!(watched.origin.connections(), ends, "a connection with half a request on it is not used again");
        }
    }
}

#[test]
fn a_client_that_leaves_in_its_download_ends_it_at_the_upstream() {
    let watched = Watched::scripted(|talk| {
        let Some(seen) = talk.read_request() else { return };
        if seen.path() == "/silent" {
            return talk.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc");
        }
        talk.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1u64 << 30));
        let piece = vec![b'z'; 1 << 16];
        while std::io::Write::write_all(&mut talk.stream, &piece).is_ok() {}
    });
    let log = AccessLog::new();
    let gateway = start(&watched.origin, "", &log);
    for (number, (path, taken, resets)) in (1..).zip([("/streaming", 100_000, false), ("/streamed", 100_000, true), ("/silent", 3, true)]) {
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(client.read_head().unwrap().starts_with("HTTP/1.1 200"));
        client.read_exact(taken);
        leave(client, resets);
        let record = told(&gateway, &log, path, 200, Some("client_gone"));
        assert!(record["response_bytes"].as_u64() >= Some(taken as u64), "{record}");
        watched.wait_for_ends(number);
        assert_eq!(watched.origin.connections(), number, "a connection with half an answer on it is not used again");
    }
}

#[test]
fn a_client_that_closed_its_sending_side_is_served_for_the_half_close_time() {
    let watched = Watched::scripted(|talk| {
        if talk.read_request().is_some_and(|seen| seen.path() == "/late") {
            std::thread::sleep(Duration::from_millis(300));
            talk.write(FINE);
        }
    });
    let log = AccessLog::new();
    let gateway = start(&watched.origin, "half_close_timeout: 2s", &log);
    let half_closed = |path: &str| {
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.stream.shutdown(Shutdown::Write).unwrap();
        client
    };
    let mut served = half_closed("/late");
    let answer = served.read_answer("GET");
    assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
    assert!(served.is_closed());
    told(&gateway, &log, "/late", 200, None);

    let mut given_up = half_closed("/never");
    assert!(given_up.read_all().is_empty(), "nobody can tell it from a client that left");
    told(&gateway, &log, "/never", 499, Some("client_gone"));
}

#[test]
fn an_upload_that_stalls_is_a_408_and_ends_at_the_upstream() {
    let (watched, _taken) = taking_down();
    let log = AccessLog::new();
    let gateway = start(&watched.origin, "body_timeout: 300ms", &log);
    let mut client = Client::connect(gateway.address);
    client.send(format!("POST /stalls HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{}", "b".repeat(100)));
    let answer = client.read_answer("POST");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (408, Some("body_timeout")));
    let record = told(&gateway, &log, "/stalls", 408, Some("body_timeout"));
    assert_eq!((record["attempts"][0]["error"].as_str(), record["request_bytes"].as_u64()), (Some("body_timeout"), Some(100)), "{record}");
    watched.wait_for_ends(1);
}

#[test]
fn a_client_that_does_not_read_is_cut_off_after_the_write_timeout() {
    const GIB: u64 = 1 << 30;
    let watched = Watched::scripted(|talk| {
        talk.read_request();
        talk.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"));
        let piece = vec![b'z'; 1 << 16];
        while std::io::Write::write_all(&mut talk.stream, &piece).is_ok() {}
    });
    let log = AccessLog::new();
    let gateway = start(&watched.origin, "write_timeout: 500ms", &log);
    let mut client = Client::connect(gateway.address);
    client.send("GET /unread HTTP/1.1\r\nHost: h\r\n\r\n");
    let record = told(&gateway, &log, "/unread", 200, Some("client_write_timeout"));
    assert!(record["response_bytes"].as_u64().unwrap() < GIB, "{record}");
    watched.wait_for_ends(1);
    let (mut rest, mut last) = (0, 1);
    while last > 0 {
        last = client.skip();
        rest += last as u64;
    }
    assert!(rest < GIB, "the connection ends before the answer does");
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_no_request_anything() {
    let origin = Origin::scripted(|talk| {
        if talk.read_request().is_some() {
            talk.write(FINE);
        }
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let mut client = Client::connect(gateway.address);
    let bodies = ["", "Content-Length: 5\r\n", "", "Transfer-Encoding: chunked\r\n"];
    for (number, framing) in (1..).zip(bodies) {
        let path = format!("/{number}");
        let (method, body) = match framing {
            "" => ("GET", ""),
            "Content-Length: 5\r\n" => ("POST", "hello"),
            _ => ("POST", "5\r\nhello\r\n0\r\n\r\n"),
        };
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{framing}\r\n{body}"));
        assert_eq!(client.read_answer(method).text(), "fine", "{method} {path}");
        let record = told(&gateway, &log, &path, 200, None);
        let attempts = record["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), attempts[0]["reused"].as_bool()), (1, Some(false)), "{record}");
        assert_eq!((origin.seen().len() as u64, origin.connections()), (number, number), "{method} {path} is sent once");
        wait_for("the gateway's kernel to know of the close", || {
            connections_to(origin.address).iter().all(|(established, _)| !established).then_some(())
        });
    }
}

#[test]
fn a_race_between_a_request_and_the_end_of_its_connection_is_never_lost() {
    let count = AtomicU64::new(0);
    let origin = Origin::scripted(move |talk| {
        if talk.read_request().is_some() {
            talk.write(FINE);
            // Sometimes before the next request is sent, sometimes behind it.
            std::thread::sleep(Duration::from_micros(count.fetch_add(1, Ordering::Relaxed) * 37 % 7 * 100));
        }
    });
    let gateway = start(&origin, "", &AccessLog::new());
    let mut client = Client::connect(gateway.address);
    for number in 0..100 {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let answer = client.read_answer("GET");
        assert_eq!((answer.status, answer.text().as_str()), (200, "fine"), "request {number}");
    }
    let seen: Vec<String> = origin.seen().iter().map(|seen| seen.path().to_owned()).collect();
    assert_eq!(seen, (0..100).map(|number| format!("/{number}")).collect::<Vec<_>>(), "each once, in order");
}

/// Serves one request on each connection. When another begins to come, takes as much of it as `takes` says and is gone.
fn going_stale(takes: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Origin {
    Origin::scripted(move |talk| {
        if talk.read_request().is_some() {
            talk.write(FINE);
            takes(talk);
        }
    })
}

/// Waits for the first byte and leaves it unread, so that the close is a reset.
fn take_nothing(talk: &mut Conversation) {
    let _ = talk.stream.peek(&mut [0]);
}

#[test]
fn a_request_that_meets_the_end_of_its_connection_is_sent_once_more() {
    for (way, origin) in [
        ("reset", going_stale(take_nothing)),
        (
            "close",
            going_stale(|talk| {
                talk.read_head();
            }),
        ),
    ] {
        let log = AccessLog::new();
        let gateway = start(&origin, "", &log);
        let mut client = Client::connect(gateway.address);
        client.send("GET /first HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").text(), "fine", "{way}");

        client.send("GET /second HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").text(), "fine", "{way}");
        let record = told(&gateway, &log, "/second", 200, None);
        let attempts: Vec<_> =
            record["attempts"].as_array().unwrap().iter().map(|attempt| (attempt["error"].as_str(), attempt["reused"].as_bool())).collect();
        assert_eq!(attempts, [(Some("upstream_stale"), Some(true)), (None, Some(false))], "{way}: {record}");

        // Nothing of this body is there yet, so it can still go to another connection.
        client.send("PUT /third HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
        wait_for("the second try", || (origin.connections() == 3).then_some(()));
        client.send("hello");
        assert_eq!(client.read_answer("PUT").text(), "fine", "{way}");
        let record = told(&gateway, &log, "/third", 200, None);
        assert_eq!(record["attempts"].as_array().unwrap().len(), 2, "{way}: {record}");
        let seen: Vec<_> = origin.seen().iter().map(|seen| (seen.path().to_owned(), seen.body.clone())).collect();
        let expected =
            [("/first", ""), ("/second", ""), ("/third", "hello")].map(|(path, body)| (path.to_owned(), body.as_bytes().to_vec()));
        assert_eq!(seen, expected, "{way}: each once and whole");
    }
}

#[test]
fn what_may_have_been_done_or_was_taken_in_part_is_never_sent_again() {
    let origin = going_stale(|talk| {
        let Some(head) = talk.read_head() else { return };
        let mut taken = talk.take_buffered();
        let mut buffer = [0; 100];
        while head.starts_with("PUT /part ") && taken < 5 {
            match talk.stream.read(&mut buffer) {
                Ok(count @ 1..) => taken += count,
                _ => return,
            }
        }
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    for (number, (method, path, part, error)) in
        (1..).zip([("PUT", "/part", "01234", "upstream_closed"), ("POST", "/not-idempotent", "", "upstream_stale")])
    {
        assert_eq!(gateway.get("/first").text(), "fine");
        let mut client = Client::connect(gateway.address);
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{part}"));
        let answer = client.read_answer(method);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some(error)), "{method} {path}");
        let record = told(&gateway, &log, path, 502, Some(error));
        let attempts = record["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), attempts[0]["reused"].as_bool()), (1, Some(true)), "{record}");
        assert_eq!(origin.connections(), number, "{method} {path}: no second connection is tried");
        assert!(origin.seen().iter().all(|seen| seen.path() == "/first"), "{method} {path}");
    }
}

#[test]
fn after_a_stale_connection_the_next_try_takes_a_new_one_however_many_lie_idle() {
    // Four connections become idle together, and each is gone as soon as its second request begins to come.
    let (all, waiting) = (Arc::new(std::sync::Barrier::new(4)), Arc::new(AtomicU64::new(0)));
    let origin = Origin::scripted(move |talk| {
        let Some(seen) = talk.read_request() else { return };
        if seen.path() == "/warm" {
            waiting.fetch_add(1, Ordering::SeqCst);
            all.wait();
        }
        talk.write(FINE);
        take_nothing(talk);
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let ask = |path: &str| {
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.read_answer("GET").text()
    };
    std::thread::scope(|scope| {
        let warming: Vec<_> = (0..4).map(|_| scope.spawn(|| ask("/warm"))).collect();
        assert!(warming.into_iter().all(|asking| asking.join().unwrap() == "fine"));
    });
    wait_for("four idle connections", || (gateway.api("/api/v1/upstreams")["upstreams"][0]["endpoints"][0]["idle"] == 4).then_some(()));
    assert_eq!(ask("/second"), "fine");
    let record = told(&gateway, &log, "/second", 200, None);
    assert_eq!(record["attempts"].as_array().unwrap().len(), 2, "{record}");
}

#[test]
fn an_answer_that_had_begun_is_not_taken_for_a_stale_connection() {
    let origin = going_stale(|talk| {
        talk.read_head();
        talk.write("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    });
    let log = AccessLog::new();
    let gateway = start(&origin, "", &log);
    let mut client = Client::connect(gateway.address);
    client.send("GET /first HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.read_answer("GET").text(), "fine");
    client.send("GET /hinted HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.read_head().unwrap().starts_with("HTTP/1.1 103"));
    let answer = client.read_answer("GET");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some("upstream_closed")));
    assert_eq!(told(&gateway, &log, "/hinted", 502, Some("upstream_closed"))["attempts"].as_array().unwrap().len(), 1);
}
