//! Reloading: what changes, what stays, what is refused, and what is told of it.
//!
//! In: files that are rewritten, `POST /api/v1/reload`, SIGHUP. Out: proof that requests, connections and pools go on as they were, and
//! that each outcome shows in the answer, the history, the metrics, the log and a span. Watching is off, so that each reload is asked for.
//! Not here: listeners and load (`reload2`), how a changed file is noticed (`watch`), new processes (`restart`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::{Collector, attribute};
use crate::support::{Answer, Client, ask, get, wait_for};

pub(crate) const PUBLIC: &str = "{ name: public, bind: 127.0.0.1:0 }";
const RELOAD: &str = "POST /api/v1/reload HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Entries of the history.
const HISTORY_LEN: u64 = 16;

/// A configuration that nothing watches, with these listeners.
pub(crate) fn config(listeners: &str, rest: &str) -> String {
    format!("listeners: [{listeners}]\nadmin: {{ bind: 127.0.0.1:0 }}\nruntime: {{ workers: 2, watch: false }}\n{rest}")
}

/// A configuration of one route that answers with `body`.
fn says(body: &str) -> String {
    config(PUBLIC, &format!("routes: [{{ name: all, filters: [{{ respond: {{ body: {body} }} }}] }}]\n"))
}

pub(crate) fn start(yaml: &str) -> Pellucid {
    Pellucid::start_config(yaml, &[])
}

/// Writes the file and asks for it.
pub(crate) fn try_reload(gateway: &Pellucid, yaml: &str) -> Answer {
    std::fs::write(&gateway.config, yaml).unwrap();
    ask(gateway.admin, RELOAD)
}

/// The same where it must be applied. Returns the diff.
pub(crate) fn reload(gateway: &Pellucid, yaml: &str) -> Value {
    let answer = try_reload(gateway, yaml);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["reloaded"], true, "{told}");
    told["diff"].clone()
}

/// The reloads that the admin plane remembers, newest first.
pub(crate) fn history(gateway: &Pellucid) -> Vec<Value> {
    gateway.api("/api/v1/config")["reloads"].as_array().expect("a history").clone()
}

pub(crate) fn generation(gateway: &Pellucid) -> u64 {
    gateway.api("/api/v1/config")["generation"].as_u64().unwrap()
}

/// Reloads that had this outcome.
pub(crate) fn counted(gateway: &Pellucid, outcome: &str) -> f64 {
    let start = format!("pellucid_config_reloads_total{{outcome=\"{outcome}\"}} ");
    gateway.metrics().lines().find_map(|line| line.strip_prefix(&start)).map_or(0.0, |count| count.parse().unwrap())
}

/// An origin that answers with its name; `/hold` has to wait until the gate is open.
pub(crate) fn held(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let origin = Origin::answering(move |seen| {
        // A test that failed opens nothing: half a minute is enough for those that do.
        for _ in 0..6000 {
            if seen.path() != "/hold" || open.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into_bytes()
    });
    (origin, gate)
}

/// Waits until the origin has the request that it holds.
pub(crate) fn wait_until_held(origin: &Origin) {
    wait_for("the held request to be with its origin", || origin.seen().iter().any(|seen| seen.path() == "/hold").then_some(()));
}

/// One request on a connection that stays.
pub(crate) fn say(client: &mut Client, path: &str) -> Answer {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).read_answer("GET")
}

/// The inodes of the sockets that listen at an address.
pub(crate) fn listening(address: SocketAddr) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The columns: number, local address, remote address, state (0A: listening), three of queues and timers, user, timeout, inode.
    let mut found: Vec<String> = rows.filter(|row| row[1].ends_with(&port) && row[3] == "0A").map(|row| row[9].to_owned()).collect();
    found.sort();
    assert!(!found.is_empty(), "nobody listens at {address}");
    found
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_every_mistake_is_told() {
    let origin = Origin::echo();
    let good = config(PUBLIC, &origin.config());
    let gateway = start(&good);
    let bad = good.replace("upstream: origin", "upstream: orign").replace("workers: 2", "workers: many") + "listners: []\n";
    let refused = try_reload(&gateway, &bad);
    let told = refused.json();
    assert_eq!((refused.status, &told["reloaded"]), (422, &json!(false)));
    let errors: Vec<&str> = told["errors"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for wrong in ["`orign`", "`many`", "`listners`"] {
        assert_eq!(errors.iter().filter(|line| line.contains(wrong)).count(), 1, "{wrong} in {errors:?}");
        wait_for("the mistake in the log", || gateway.log().contains(wrong).then_some(()));
    }
    let entry = history(&gateway).remove(0);
    assert_eq!((&entry["trigger"], &entry["result"]), (&json!("api"), &json!("refused")), "{entry}");
    assert_eq!(entry["errors"], told["errors"]);
    assert_eq!((counted(&gateway, "refused"), counted(&gateway, "applied")), (1.0, 0.0));
    assert_eq!((gateway.get("/").status, generation(&gateway)), (200, 1));
    assert!(gateway.metrics().contains("pellucid_config_generation 1\n"));

    reload(&gateway, &good.replace("/**", "/only"));
    assert_eq!((gateway.get("/only").status, gateway.get("/other").status, generation(&gateway)), (200, 404, 2));
    assert_eq!((counted(&gateway, "refused"), counted(&gateway, "applied")), (1.0, 1.0));
}

#[test]
fn what_takes_a_restart_is_refused_with_all_else_in_the_file() {
    let origin = Origin::echo();
    let good = config(PUBLIC, &origin.config());
    let gateway = start(&good);
    let far = good.replace("admin: { bind: 127.0.0.1:0 }", "admin: { bind: 127.0.0.1:1 }").replace("workers: 2", "workers: 1");
    let refused = try_reload(&gateway, &(far.replace("/**", "/only") + "telemetry: { service_name: other }\n"));
    assert_eq!(refused.status, 422, "{}", refused.text());
    let errors = refused.json()["errors"].to_string();
    for what in ["admin", "workers", "telemetry"] {
        assert!(errors.contains(what), "{what} in {errors}");
    }
    assert_eq!((gateway.get("/other").status, generation(&gateway)), (200, 1));
    // Traces are the part of telemetry that a reload may change, and drain times the part of `runtime`.
    let diff = reload(&gateway, &(good.clone() + "telemetry: { traces: { sample: 1.0 } }\n"));
    assert_eq!(diff["other"], json!(["telemetry"]));
    reload(&gateway, &good.replace("workers: 2", "workers: 2, drain_timeout: 5s"));
    assert_eq!(generation(&gateway), 3);
}

#[test]
fn a_request_in_flight_ends_on_what_it_began_with_and_the_next_gets_the_new() {
    let ((a, gate), (b, _)) = (held("a"), held("b"));
    let yaml = |name: &str, origin: &Origin| {
        let address = origin.address;
        let rest = format!("routes: [{{ name: all, upstream: {name} }}]\nupstreams: [{{ name: {name}, endpoints: ['{address}'] }}]\n");
        config(PUBLIC, &rest)
    };
    let gateway = start(&yaml("a", &a));
    let address = gateway.address;
    let mut kept = Client::connect(address);
    assert_eq!(say(&mut kept, "/").text(), "a");
    let slow = std::thread::spawn(move || get(address, "/hold"));
    wait_until_held(&a);
    let diff = reload(&gateway, &yaml("b", &b));
    assert_eq!(diff["upstreams"], json!({ "added": ["b"], "removed": ["a"], "changed": [] }));
    assert_eq!(diff["routes"], json!({ "added": [], "removed": [], "changed": ["all"] }));
    assert_eq!((gateway.get("/").text().as_str(), say(&mut kept, "/").text().as_str()), ("b", "b"));
    assert!(!slow.is_finished());
    gate.store(true, Ordering::SeqCst);
    let answer = slow.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
    let record = gateway.record(|record| record["path"] == "/hold");
    assert_eq!((record["upstream"].as_str(), record["attempts"][0]["endpoint"].as_str()), (Some("a"), Some(&*a.address.to_string())));
    assert_eq!((a.seen().len(), b.seen().len()), (2, 2));
}

#[test]
fn what_did_not_change_keeps_its_sockets_connections_and_counters() {
    let origin = Origin::echo();
    let yaml = |number: u32| {
        let routes = format!("{{ name: all, upstream: o }}, {{ name: extra, match: {{ path: /extra-{number} }}, upstream: o }}");
        let upstreams = format!("{{ name: o, endpoints: ['{}'] }}, {{ name: u{number}, endpoints: ['127.0.0.1:1'] }}", origin.address);
        config(PUBLIC, &format!("routes: [{routes}]\nupstreams: [{upstreams}]\n"))
    };
    let gateway = start(&yaml(0));
    let mut client = Client::connect(gateway.address);
    assert_eq!(say(&mut client, "/").status, 200);
    let sockets = listening(gateway.address);
    for number in 1..=5 {
        let diff = reload(&gateway, &yaml(number));
        assert_eq!((&diff["listeners"]["changed"], &diff["upstreams"]["changed"]), (&json!([]), &json!([])), "{diff}");
        assert_eq!(say(&mut client, &format!("/extra-{number}")).status, 200);
        assert_eq!(gateway.record(|record| record["path"] == format!("/extra-{number}"))["route"], "extra");
    }
    assert_eq!(listening(gateway.address), sockets);
    assert_eq!(origin.connections(), 1);
    let upstreams = gateway.api("/api/v1/upstreams")["upstreams"].clone();
    let upstream = upstreams.as_array().unwrap().iter().find(|upstream| upstream["name"] == "o").unwrap();
    assert_eq!(upstream["endpoints"][0]["connects"], 1, "{upstream}");
    assert!(gateway.metrics().contains("pellucid_connections_accepted_total 1\n"), "the client's one connection");
}

#[test]
fn the_answer_and_the_history_say_what_was_added_removed_and_changed() {
    let before = "routes:
- { name: stays, match: { path: /stays }, upstream: kept }
- { name: goes, match: { path: /goes }, upstream: left }
- { name: turns, match: { path: /turns }, filters: [{ respond: { body: before } }] }
upstreams:
- { name: kept, endpoints: ['127.0.0.1:1'] }
- { name: left, endpoints: ['127.0.0.1:2'] }
- { name: tuned, endpoints: ['127.0.0.1:3'] }
";
    let after = "routes:
- { name: comes, match: { path: /comes }, upstream: fresh }
- { name: turns, match: { path: /turns }, filters: [{ respond: { body: after } }] }
- { name: stays, match: { path: /stays }, upstream: kept }
upstreams:
- { name: fresh, endpoints: ['127.0.0.1:2'] }
- { name: kept, endpoints: ['127.0.0.1:1'] }
- { name: tuned, endpoints: ['127.0.0.1:3'], pool: { pending: 7 } }
telemetry: { traces: { sample: 0.5 } }
";
    let second = "{ name: second, bind: 127.0.0.1:0 }";
    let gateway = start(&config(&format!("{PUBLIC}, {second}"), before));
    let public = "{ name: public, bind: 127.0.0.1:0, limits: { idle_timeout: 30s } }";
    let diff = reload(&gateway, &config(&format!("{}, {public}", second.replace("second", "third")), after));
    assert_eq!(diff["listeners"], json!({ "added": ["third"], "removed": ["second"], "changed": ["public"] }));
    assert_eq!(diff["routes"], json!({ "added": ["comes"], "removed": ["goes"], "changed": ["turns"] }));
    assert_eq!(diff["upstreams"], json!({ "added": ["fresh"], "removed": ["left"], "changed": ["tuned"] }));
    assert_eq!(diff["other"], json!(["telemetry"]));
    let details = [
        "~ listener public: limits.idle_timeout 75s -> 30s",
        "~ route turns: filters[0].respond.body before -> after",
        "~ upstream tuned: pool.pending 1024 -> 7",
        "~ telemetry: traces.sample 0.01 -> 0.5",
    ];
    assert_eq!(diff["details"], json!(details));
    let entry = history(&gateway).remove(0);
    assert_eq!((&entry["diff"], &entry["generation"], &entry["errors"]), (&diff, &json!(2), &json!([])));
    assert_eq!(gateway.get("/turns").text(), "after");
}

#[test]
fn the_history_says_when_how_and_with_what_result() {
    let gateway = start(&says("one"));
    wait_for("some age", || gateway.api("/api/v1/config")["age_seconds"].as_f64().filter(|age| *age >= 1.0));
    // A remark moves every line and changes nothing.
    let same = try_reload(&gateway, &format!("# A remark.\n{}", says("one")));
    assert_eq!((same.status, history(&gateway)[0]["result"].as_str(), generation(&gateway)), (200, Some("unchanged"), 1));
    let before = Instant::now();
    reload(&gateway, &says("two"));
    let age = gateway.api("/api/v1/config")["age_seconds"].as_f64().unwrap();
    assert!(age <= before.elapsed().as_secs_f64() + 0.5, "{age} s old");
    std::fs::write(&gateway.config, says("three")).unwrap();
    gateway.signal("HUP");
    wait_for("the reload by signal", || (history(&gateway).len() == 3).then_some(()));
    assert_eq!((gateway.get("/").text().as_str(), generation(&gateway)), ("three", 3));
    let entries = history(&gateway);
    let told: Vec<_> = entries.iter().map(|entry| (entry["trigger"].as_str().unwrap(), entry["result"].as_str().unwrap())).collect();
    assert_eq!(told, [("signal", "applied"), ("api", "applied"), ("api", "unchanged")]);
    for entry in &entries {
        assert!(entry["at"].as_str().unwrap().ends_with('Z') && entry["duration_ms"].as_f64().unwrap() >= 0.0, "{entry}");
    }
    assert_eq!((counted(&gateway, "applied"), counted(&gateway, "unchanged"), counted(&gateway, "refused")), (2.0, 1.0, 0.0));
    let text = gateway.metrics();
    let loaded = text.lines().find_map(|line| line.strip_prefix("pellucid_config_loaded_timestamp_seconds ")).expect("when it was loaded");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - 60.0..=now + 1.0).contains(&loaded.parse::<f64>().unwrap()), "{loaded} at {now}");
}

#[test]
fn the_history_forgets_what_is_old() {
    let gateway = start(&says("v0"));
    for number in 1..=HISTORY_LEN + 4 {
        reload(&gateway, &says(&format!("v{number}")));
    }
    let generations: Vec<u64> = history(&gateway).iter().map(|entry| entry["generation"].as_u64().unwrap()).collect();
    let last = HISTORY_LEN + 5;
    assert_eq!(generations, (last - HISTORY_LEN + 1..=last).rev().collect::<Vec<_>>());
}

#[test]
fn a_reload_is_a_span_of_the_control_plane() {
    let collector = Collector::start(None, None);
    let telemetry = format!("telemetry: {{ service_name: edge, {} }}\n", collector.otlp());
    let gateway = start(&(says("one") + &telemetry));
    reload(&gateway, &(says("two") + &telemetry));
    let span = collector.span("the reload's span", |span| span.text("name") == "config.reload");
    assert_eq!(attribute(&span.resource["attributes"], "service.name").unwrap(), "edge");
    assert!(span.text("endTimeUnixNano").parse::<u64>().unwrap() > span.text("startTimeUnixNano").parse::<u64>().unwrap());
}
