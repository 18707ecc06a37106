//! The console in a real browser: what a reader sees is what the API says, soon, by any input, in any light, whatever strangers send.
//!
//! In: gateways with an origin, a Collector beside one of them, and the demo. Out: the checks of `tests/browser/console.mjs`, which drives
//! Chromium. `tests/install` has put that browser's driver into the cache; a test that does not find it fails with that advice.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::{self, Collector, Span};
use crate::support::{Client, temp_dir, wait_for};

/// A scenario that hangs is ended by then. Each wait inside it has a shorter deadline of its own.
const SCENARIO_SECONDS: &str = "300";

/// One browser at a time: several would starve each other and the gateways, and time is part of what is tested.
static BROWSER: Mutex<()> = Mutex::new(());

/// The folder that holds the driver's `node_modules`, named after the lock file that it was made from.
fn browser_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("PELLUCID_BROWSER") {
        return PathBuf::from(dir);
    }
    let said = Command::new("cksum").arg(stack::repository("tests/browser/package-lock.json")).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let sum = text.split(' ').next().expect("cksum begins with the sum");
    stack::tool("").with_file_name(format!("browser-{sum}"))
}

/// Runs one scenario and fails with every check that did not hold. Answers with what each check found.
fn browse(admin: SocketAddr, data: SocketAddr, scenario: &str) -> Vec<Value> {
    browse_beside(admin, data, scenario, &Value::Null)
}

/// The same for a scenario that compares the pages with `facts`: what another witness saw.
fn browse_beside(admin: SocketAddr, data: SocketAddr, scenario: &str, facts: &Value) -> Vec<Value> {
    let (dir, home) = (browser_dir(), temp_dir());
    let witness = home.join("facts.json");
    std::fs::write(&witness, facts.to_string()).unwrap();
    assert!(dir.join("node_modules/playwright-core").exists(), "{} is missing: run tests/install", dir.display());
    let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let run = Command::new("timeout")
        // The browser driver takes its time over a signal that asks.
        .args(["--kill-after", "10"])
        .args([SCENARIO_SECONDS, "node"])
        .arg(stack::repository("tests/browser/console.mjs"))
        .args([format!("http://{admin}"), format!("http://{data}"), scenario.to_owned()])
        .env("PELLUCID_BROWSER", &dir)
        .env("PELLUCID_FACTS", &witness)
        // Nothing that a browser remembers comes from elsewhere or stays.
        .env("HOME", &home)
        .output()
        .unwrap();
    let (out, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let checks: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect();
    let failed: Vec<String> = checks.iter().filter(|check| check["ok"] != true).map(Value::to_string).collect();
    assert!(failed.is_empty() && run.status.success(), "{scenario} ended with {}:\n{}\n{errors}", run.status, failed.join("\n"));
    assert!(checks.len() > 1, "{scenario} checked nothing:\n{out}\n{errors}");
    checks
}

/// A gateway in front of an origin that answers, fails and sleeps as its path says.
fn browse_gateway(scenario: &str) -> Vec<Value> {
    browse_gateway_with(scenario, "")
}

/// The same with a `telemetry` section.
fn browse_gateway_with(scenario: &str, telemetry: &str) -> Vec<Value> {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!("{}{telemetry}", origin.config()));
    browse(gateway.admin, gateway.address, scenario)
}

/// Answers the first request of a connection, late where the path says so. Hangs up on the second after a while, so that it is sent again.
fn hanging_up() -> Origin {
    Origin::scripted(|talk| {
        let Some(first) = talk.read_request() else { return };
        if first.path() == "/again" {
            std::thread::sleep(Duration::from_millis(150));
        }
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if talk.read_request().is_some() {
            std::thread::sleep(Duration::from_millis(80));
        }
    })
}

/// The server span of a trace and its client spans, one after the other, once the Collector has written all of them.
fn spans_of(collector: &Collector, trace_id: &str, attempts: usize) -> Value {
    let server = collector.span("the server span", |span| span.text("traceId") == trace_id && span.kind() == 2);
    let mut clients = wait_for("the client spans", || {
        let of_trace = |span: &Span| span.text("traceId") == trace_id && span.kind() == 3;
        let found: Vec<Span> = collector.spans().into_iter().filter(of_trace).collect();
        (found.len() >= attempts).then_some(found)
    });
    clients.sort_by_key(|span| span.text("startTimeUnixNano").parse::<u64>().unwrap());
    json!({ "server": server.json, "clients": clients.into_iter().map(|span| span.json).collect::<Vec<Value>>() })
}

fn demo() -> Pellucid {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    command.args(["demo", "--for", "5m", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    Pellucid::spawn(command, PathBuf::new())
}

#[test]
fn a_request_shows_within_a_second_and_opens_into_the_numbers_of_the_api() {
    browse_gateway("live");
}

#[test]
fn a_filter_filters_survives_a_reload_and_says_what_it_cannot_read() {
    browse_gateway("filter");
}

#[test]
fn every_page_is_reached_by_the_keyboard_alone() {
    browse_gateway("keyboard");
}

#[test]
fn no_page_has_a_serious_fault_of_accessibility_in_light_dark_or_on_a_phone() {
    browse_gateway("access");
}

#[test]
fn what_strangers_send_stays_text_on_every_page() {
    browse_gateway("hostile");
}

/// The walk of docs/console.md.
#[test]
fn a_new_user_of_the_demo_finds_the_failing_service_the_slow_endpoint_and_the_hot_function_within_two_minutes() {
    let gateway = demo();
    browse(gateway.admin, gateway.address, "demo");
}

#[test]
fn the_waterfall_of_a_slow_retried_request_has_the_numbers_of_the_spans_that_the_collector_got() {
    let (origin, collector) = (hanging_up(), Collector::start(None, None));
    let kept = format!("telemetry: {{ {}, traces: {{ sample: 0, keep: {{ slower_than: 100ms }} }} }}\n", collector.otlp());
    let gateway = Pellucid::start(&format!("{}{kept}", origin.config()));
    let mut client = Client::connect(gateway.address);
    // The first one leaves a connection behind that the second finds going stale.
    client.send("GET /first HTTP/1.1\r\nHost: h\r\n\r\n").read_answer("GET");
    let answer = client.send("GET /again HTTP/1.1\r\nHost: h\r\n\r\n").read_answer("GET");
    let trace_id = answer.header("x-trace-id").unwrap();
    let facts = spans_of(&collector, &trace_id, 2);
    browse_beside(gateway.admin, gateway.address, "spans", &facts);
}

#[test]
fn captured_headers_are_shown_and_found_and_a_credential_is_neither() {
    browse_gateway_with("headers", "telemetry: { capture_headers: [x-tenant, authorization] }\n");
}

#[test]
fn the_page_of_a_request_tells_of_the_cpu_samples_inside_it() {
    browse_gateway_with("samples", "telemetry: { profiles: { continuous: true, hz: 199 } }\n");
}

/// Pictures are taken by hand, with `tests/browser/screens.mjs --docs`: a name that it does not make is a hole in a page.
#[test]
fn every_picture_that_the_docs_show_is_there() {
    let mut missing = Vec::new();
    for (document, folder) in [("README.md", ""), ("docs/console.md", "docs/")] {
        let text = stack::repository_text(document);
        let mut shown = text.split(['(', ')', '"']).filter(|part| part.ends_with(".png")).peekable();
        assert!(shown.peek().is_some(), "{document} shows no picture");
        let absent = shown.filter(|name| !stack::repository(&format!("{folder}{name}")).exists());
        missing.extend(absent.map(|name| format!("{document}: {name}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Told, not judged: how soon something is seen depends on the machine. The sizes are judged beside the assets.
#[test]
fn first_paint_and_the_size_of_all_assets_are_reported() {
    let checks = browse_gateway("speed");
    println!("the console: {}", checks[0]["found"]);
}
