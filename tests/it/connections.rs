//! Connections on both legs: reuse, caps, queues, staleness, balance, drain.
//!
//! In: many clients. Out: what the origins saw of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Client, get, wait_for};

fn one_upstream(origin: &Origin, settings: &str) -> String {
    format!(
        "routes: [{{ name: all, upstream: o }}]\nupstreams: [{{ name: o, endpoints: ['{}'], {settings} }}]\nruntime: {{ workers: 2 }}\n",
        origin.address
    )
}

#[test]
fn one_client_connection_keeps_one_upstream_connection() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    for _ in 0..50 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").status, 200);
    }
    assert_eq!(origin.connections(), 1);
    // The client may have its answer a moment before the connection is back in its pool.
    wait_for("the connection to be idle", || {
        let endpoint = gateway.api("/api/v1/upstreams")["upstreams"][0]["endpoints"][0].clone();
        (endpoint["connections"] == 1 && endpoint["idle"] == 1 && endpoint["in_flight"] == 0).then_some(())
    });
}

#[test]
fn the_cap_on_connections_holds_over_all_workers_and_the_rest_waits_its_turn() {
    let (busy, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (now, peak) = (Arc::clone(&busy), Arc::clone(&most));
    let origin = Origin::answering(move |_| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let gateway = Pellucid::start(&one_upstream(&origin, "connect_timeout: 5s, pool: { connections_per_endpoint: 2, pending: 100 }"));
    let address = gateway.address;
    let clients: Vec<_> = (0..30).map(|_| std::thread::spawn(move || get(address, "/").status)).collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?} at once");
    let queued = gateway.record(|record| record["attempts"][0]["phases_ms"]["queue"].as_f64() > Some(5.0));
    assert_eq!(queued["status"], 200);
}

#[test]
fn past_the_queue_requests_are_refused_at_once() {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(800));
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let gateway = Pellucid::start(&one_upstream(&origin, "connect_timeout: 5s, pool: { connections_per_endpoint: 1, pending: 1 }"));
    let address = gateway.address;
    let clients: Vec<_> = (0..6).map(|_| std::thread::spawn(move || get(address, "/"))).collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!((answers.iter().filter(|answer| answer.status == 200).count(), refused.len()), (2, 4));
    assert!(refused.iter().all(|answer| answer.json()["error"] == "pending_full"));
}

#[test]
fn waiting_for_a_connection_has_an_end() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&one_upstream(&origin, "connect_timeout: 200ms, pool: { connections_per_endpoint: 1 }"));
    let address = gateway.address;
    let first = std::thread::spawn(move || get(address, "/sleep/1500").status);
    wait_for("the first request to be on its way", || (origin.connections() > 0).then_some(()));
    assert_eq!(get(address, "/").json()["error"], "queue_timeout");
    assert_eq!(first.join().unwrap(), 200);
}

#[test]
fn a_stale_connection_costs_an_idempotent_request_nothing() {
    let origin = Origin::scripted(|talk| {
        if talk.read_request().is_some() {
            talk.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            // Takes the next request and hangs up on it without a word, as a server does that was just about to close.
            talk.read_head();
        }
    });
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    for _ in 0..2 {
        client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").text(), "ok");
    }
    let record = gateway.record(|record| record["attempts"].as_array().unwrap().len() == 2);
    assert_eq!(
        (record["status"].as_u64(), record["attempts"][0]["error"].as_str(), record["keep_reason"].as_str()),
        (Some(200), Some("upstream_stale"), Some("retry"))
    );
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.read_answer("POST").json()["error"], "upstream_stale");
    assert!(gateway.metrics().contains("pellucid_retries_total{pellucid_upstream=\"origin\"} 1"));
}

#[test]
fn endpoints_take_turns_and_a_dead_one_is_stepped_over() {
    let (a, b) = (Origin::echo(), Origin::echo());
    let yaml = |dead: &str| {
        format!(
            "routes: [{{ name: all, upstream: o }}]\nupstreams: [{{ name: o, endpoints: [{{ address: '{}', weight: 3 }}, '{}'{dead}] }}]\nruntime: {{ workers: 1 }}\n",
            a.address, b.address
        )
    };
    let gateway = Pellucid::start(&yaml(""));
    for _ in 0..40 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!((a.seen().len(), b.seen().len()), (30, 10));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Pellucid::start(&yaml(&format!(", '{closed}'")));
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert!(gateway.record(|record| record["attempts"][0]["error"] == "connect_refused")["attempts"].as_array().unwrap().len() == 2);
}

#[test]
fn connections_past_the_listeners_cap_are_closed_and_counted() {
    let origin = Origin::echo();
    let yaml = format!(
        "listeners: [{{ name: p, bind: 127.0.0.1:0, limits: {{ connections: 2 }} }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}",
        origin.config()
    );
    let gateway = Pellucid::start_config(&yaml, &[]);
    let mut held: Vec<_> = (0..2).map(|_| Client::connect(gateway.address)).collect();
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").status, 200);
    }
    assert!(Client::connect(gateway.address).is_closed());
    drop(held);
    wait_for("the cap to have room again", || Some(()).filter(|()| gateway.metrics().contains("pellucid_connections 0")));
    assert_eq!(gateway.get("/").status, 200);
    assert!(gateway.metrics().contains("pellucid_connections_refused_total 1"));
}

#[test]
fn a_signal_to_end_lets_what_is_in_flight_finish() {
    let origin = Origin::echo();
    let mut gateway = Pellucid::start(&origin.config());
    let address = gateway.address;
    let mut keeping = Client::connect(address);
    keeping.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(keeping.read_answer("GET").status, 200);
    let slow = std::thread::spawn(move || get(address, "/sleep/1000"));
    wait_for("the slow request to be on its way", || gateway.metrics().contains("http_server_active_requests 1").then_some(()));
    gateway.signal("TERM");
    let answer = slow.join().unwrap();
    assert_eq!((answer.status, answer.header("connection").as_deref()), (200, Some("close")));
    assert!(keeping.is_closed());
    assert_eq!(gateway.wait(), Some(0));
    assert!(std::net::TcpStream::connect(address).is_err());
}
