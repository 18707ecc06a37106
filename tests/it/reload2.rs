//! Reloading, the second part: listeners that come, go and change, and thousands of routes under load.
//!
//! In: new configurations while clients are connected. Out: which sockets and connections live on, which end and how, and what it costs.
//! With PELLUCID_HEAVY set, the load test has the size and the time limit of the promise; without, it only looks for loss and growth.
//! Not here: requests, diffs and refusals in general (`reload`).

use std::fmt::Write;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::reload::{PUBLIC, config, generation, held, history, listening, reload, say, start, try_reload, wait_until_held};
use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Client, get, wait_for};

/// What a reload of ten thousand routes may take.
const RELOAD_MS_MAX: f64 = 200.0;
/// What the process may have grown by between its first reloads and its last, beside a tenth.
const GROWTH_KIB_MAX: f64 = 8.0 * 1024.0;
/// Entries of the history that are read at a time; it holds 16.
const ENTRIES_READ: usize = 15;

/// A local address whose port nobody gets who asks for any: the kernel takes those from 32768 on.
fn quiet_address() -> SocketAddr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(37).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + (number % 10_000) as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A listener for a configuration.
fn listener(name: &str, address: SocketAddr) -> String {
    format!("{{ name: {name}, bind: '{address}' }}")
}

/// The peer has closed the connection. Mere silence is not that.
pub(crate) fn is_ended(client: &mut Client) -> bool {
    match client.stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Waits until nobody listens.
pub(crate) fn wait_until_refused(address: SocketAddr) {
    wait_for("connections to be refused", || TcpStream::connect(address).err());
}

#[test]
fn a_listener_comes_while_the_others_serve_on() {
    let origin = Origin::echo();
    let gateway = start(&config(PUBLIC, &origin.config()));
    let mut kept = Client::connect(gateway.address);
    assert_eq!(say(&mut kept, "/").status, 200);
    let sockets = listening(gateway.address);
    let second = quiet_address();
    let diff = reload(&gateway, &config(&format!("{}, {PUBLIC}", listener("second", second)), &origin.config()));
    assert_eq!(diff["listeners"], json!({ "added": ["second"], "removed": [], "changed": [] }));
    // Once the reload is told of, the listener is there.
    assert_eq!(get(second, "/second").status, 200);
    assert_eq!(say(&mut kept, "/").status, 200);
    assert_eq!(listening(gateway.address), sockets);
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_listener_that_goes_ends_its_connections_after_what_is_in_flight() {
    let (origin, gate) = held("o");
    let second = quiet_address();
    let both = config(&format!("{PUBLIC}, {}", listener("second", second)), &origin.config());
    let gateway = start(&both);
    let (mut staying, mut idle, mut busy) = (Client::connect(gateway.address), Client::connect(second), Client::connect(second));
    for client in [&mut staying, &mut idle] {
        assert_eq!(say(client, "/").header("connection"), None);
    }
    busy.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until_held(&origin);
    let diff = reload(&gateway, &config(PUBLIC, &origin.config()));
    assert_eq!(diff["listeners"], json!({ "added": [], "removed": ["second"], "changed": [] }));
    wait_until_refused(second);
    assert!(is_ended(&mut idle));
    let answer = say(&mut staying, "/");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    gate.store(true, Ordering::SeqCst);
    let answer = busy.read_answer("GET");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("connection").as_deref()), (200, "o", Some("close")));
    assert!(is_ended(&mut busy));

    reload(&gateway, &both);
    let mut back = Client::connect(second);
    assert_eq!((say(&mut back, "/").header("connection"), say(&mut back, "/").status), (None, 200));
    assert_eq!(say(&mut staying, "/").status, 200);
}

#[test]
fn an_address_that_is_taken_refuses_the_whole_reload() {
    let origin = Origin::echo();
    let (second, third) = (quiet_address(), quiet_address());
    let taken = TcpListener::bind(third).unwrap();
    let gateway = start(&config(&format!("{PUBLIC}, {}", listener("second", second)), &origin.config()));
    let mut kept = Client::connect(second);
    assert_eq!(say(&mut kept, "/").status, 200);
    let next = config(&format!("{PUBLIC}, {}", listener("third", third)), &origin.config().replace("/**", "/only"));
    let refused = try_reload(&gateway, &next);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.json()["errors"].to_string().contains(&third.to_string()), "{}", refused.text());
    assert_eq!((gateway.get("/other").status, get(second, "/other").status, generation(&gateway)), (200, 200, 1));
    let answer = say(&mut kept, "/other");
    assert_eq!((answer.status, answer.header("connection")), (200, None));

    drop(taken);
    reload(&gateway, &next);
    assert_eq!((get(third, "/only").status, get(third, "/other").status), (200, 404));
    wait_until_refused(second);
}

#[test]
fn a_changed_limit_holds_from_the_next_request_of_a_connection_that_stays() {
    let origin = Origin::echo();
    let gateway = start(&config(PUBLIC, &origin.config()));
    let (mut large, mut small) = (Client::connect(gateway.address), Client::connect(gateway.address));
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Long: {}\r\n\r\n", "x".repeat(2000));
    assert_eq!(large.send(&request).read_answer("GET").status, 200);
    assert_eq!(say(&mut small, "/").status, 200);
    let sockets = listening(gateway.address);
    let limited = "{ name: public, bind: 127.0.0.1:0, limits: { header_bytes: 1KiB } }";
    let diff = reload(&gateway, &config(limited, &origin.config()));
    assert_eq!(diff["listeners"], json!({ "added": [], "removed": [], "changed": ["public"] }));
    assert_eq!(listening(gateway.address), sockets);
    let answer = large.send(&request).read_answer("GET");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (431, Some("headers_too_large")));
    let answer = say(&mut small, "/");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
}

/// A configuration with `count` routes that stay and one that tells the round.
fn thousands(count: usize, round: usize, origin: &Origin) -> String {
    let mut rest = String::from("routes:\n");
    for number in 0..count {
        writeln!(rest, "- {{ name: r{number}, match: {{ path: '/r{number}/{{id}}' }}, upstream: o }}").unwrap();
    }
    writeln!(rest, "- {{ name: round, match: {{ path: /round }}, filters: [{{ respond: {{ body: r{round} }} }}] }}").unwrap();
    writeln!(rest, "upstreams: [{{ name: o, endpoints: ['{}'] }}]", origin.address).unwrap();
    config(PUBLIC, &rest)
}

/// Asks on one connection until told to stop. Panics at the first request that fails.
fn keep_asking(address: SocketAddr, routes: usize, stop: &AtomicBool) -> usize {
    let mut client = Client::connect(address);
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = say(&mut client, &format!("/r{}/x", answered % routes));
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        answered += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    answered
}

fn resident_kib(gateway: &Pellucid) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn thousands_of_routes_are_reloaded_under_load_without_a_failed_request_or_growth() {
    let heavy = std::env::var_os("PELLUCID_HEAVY").is_some();
    let (routes, reloads) = if heavy { (10_000, 100) } else { (2_000, 15) };
    let origin = Origin::echo();
    let gateway = start(&thousands(routes, 0, &origin));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (address, stop) = (gateway.address, Arc::clone(&stop));
            std::thread::spawn(move || keep_asking(address, routes, &stop))
        })
        .collect();
    let (mut took, mut sizes, mut unread) = (Vec::new(), Vec::new(), 0);
    for round in 1..=reloads {
        let diff = reload(&gateway, &thousands(routes, round, &origin));
        assert_eq!(diff["routes"], json!({ "added": [], "removed": [], "changed": ["round"] }));
        assert_eq!(gateway.get("/round").text(), format!("r{round}"));
        sizes.push(resident_kib(&gateway));
        unread += 1;
        if unread == ENTRIES_READ || round == reloads {
            took.extend(history(&gateway).iter().take(unread).map(|entry| entry["duration_ms"].as_f64().unwrap()));
            unread = 0;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(answered > reloads, "{answered} requests are no load");
    assert_eq!((took.len(), generation(&gateway)), (reloads, reloads as u64 + 1));
    took.sort_by(f64::total_cmp);
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    let first = sizes[..5].iter().copied().fold(0.0, f64::max);
    let last = sizes[reloads - 5..].iter().sum::<f64>() / 5.0;
    println!("{routes} routes: {median:.1} ms a reload (median of {reloads}, longest {longest:.1} ms), {first} then {last} KiB");
    assert!(last <= first * 1.1 + GROWTH_KIB_MAX, "from {first} to {last} KiB: {sizes:?}");
    assert!(!heavy || longest < RELOAD_MS_MAX, "{took:?}");
}

#[test]
fn a_listener_that_comes_back_at_once_stays() {
    let origin = Origin::echo();
    let second = quiet_address();
    let both = config(&format!("{PUBLIC}, {}", listener("second", second)), &origin.config());
    let gateway = start(&both);
    for _ in 0..3 {
        reload(&gateway, &config(PUBLIC, &origin.config()));
        reload(&gateway, &both);
    }
    // Longer than idle connections of a listener that ends are given.
    let until = std::time::Instant::now() + Duration::from_millis(1500);
    while std::time::Instant::now() < until {
        assert_eq!(get(second, "/").status, 200);
        std::thread::sleep(Duration::from_millis(20));
    }
}
