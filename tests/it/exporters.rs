//! What `/api/v1/telemetry` says of the ways out and of the series: whether a Collector is there, why not, what waits, who uses the budget.
//!
//! In: gateways whose Collector is missing, comes, refuses or complains, access logs, and a route with many series. Out: states, errors, queues and
//! routes, as the admin plane tells them. Not here: what became of each item (`telemetry_faults`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use serde_json::Value;

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::Collector;
use crate::support::{free_port, get, temp_dir, wait_for};

/// All traces, and no metrics.
const TRACES: &str = "traces: { sample: 1.0 }, metrics: { push_interval: 0 }";

fn exporters(gateway: &Pellucid) -> Vec<Value> {
    gateway.api("/api/v1/telemetry")["exporters"].as_array().unwrap().clone()
}

fn exporter(gateway: &Pellucid, signal: &str, sink: &str) -> Value {
    let found = exporters(gateway).into_iter().find(|row| row["signal"] == signal && row["sink"] == sink);
    found.unwrap_or_else(|| panic!("{signal} to {sink} in {:?}", exporters(gateway)))
}

/// The exporter once it is in this state, and its last error holds these words.
fn wait_for_state(gateway: &Pellucid, (signal, sink): (&str, &str), state: &str, error: &str) -> Value {
    wait_for(&format!("{signal} to {sink} to be {state} with the error {error:?}"), || {
        let row = exporter(gateway, signal, sink);
        (row["state"] == state && row["last_error"].as_str().unwrap_or_default().contains(error)).then_some(row)
    })
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().unwrap_or_else(|| panic!("{field} in {row}"))
}

fn taken_but(rejected_spans: i64) -> Vec<u8> {
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message: "one too many".to_owned() });
    let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

#[test]
fn a_collector_that_is_not_there_is_told_with_its_error_and_the_queue_until_it_comes() {
    let (origin, port) = (Origin::echo(), free_port());
    let endpoint = format!("http://someone:s3cret-word@127.0.0.1:{port}/v1/traces?token=s3cret-query");
    let environment = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=Bearer%20s3cret-header"),
    ];
    let gateway = Pellucid::start_with(&format!("{}telemetry: {{ {TRACES} }}\n", origin.config()), &environment);
    let states: Vec<Value> =
        exporters(&gateway).into_iter().filter(|row| row["signal"] != "traces").map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["off", "off", "off"]);

    let failing = wait_for("an export to fail and others to wait", || {
        assert_eq!(gateway.get("/").status, 200);
        let row = exporter(&gateway, "traces", "otlp");
        let refused = row["last_error"].as_str().is_some_and(|error| error.contains("refused"));
        (row["state"] == "failing" && refused && row["queued"] != 0 && row["queued_bytes"] != 0).then_some(row)
    });
    assert_eq!(
        (failing["protocol"].as_str(), failing["endpoint"].as_str()),
        (Some("http/protobuf"), Some(format!("http://127.0.0.1:{port}/v1/traces").as_str()))
    );
    assert!(number(&failing, "failing_since") <= number(&failing, "last_error_at"), "{failing}");
    assert!(number(&failing, "failures") > 0 && failing["last_success_at"].is_null(), "{failing}");
    assert!(number(&failing, "queued_bytes") < number(&failing, "queue_max_bytes"), "{failing}");

    let _collector = Collector::start_on(free_port(), port, None, None, temp_dir());
    let ok = wait_for("an export to be taken", || {
        gateway.get("/");
        let row = exporter(&gateway, "traces", "otlp");
        (row["state"] == "ok" && row["queued"] == 0 && row["queued_bytes"] == 0).then_some(row)
    });
    assert!(ok["failing_since"].is_null() && ok["failures"] == 0, "{ok}");
    assert!(number(&ok, "last_success_at") >= number(&failing, "failing_since") && ok["last_error"].is_string(), "{ok}");
    let said = get(gateway.admin, "/api/v1/telemetry").text();
    assert!(!said.contains("s3cret") && !said.contains("someone"), "{said}");
}

#[test]
fn what_a_collector_refuses_or_complains_of_is_told() {
    let (refuses, origin) = (Arc::new(AtomicBool::new(true)), Origin::echo());
    let now = Arc::clone(&refuses);
    let collector = Origin::answering(move |_| {
        if now.load(Ordering::Relaxed) { b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec() } else { taken_but(1) }
    });
    let otlp = format!("otlp: {{ endpoint: 'http://{}', protocol: http/protobuf }}", collector.address);
    let gateway = Pellucid::start(&format!("{}telemetry: {{ {TRACES}, {otlp} }}\n", origin.config()));
    // The control plane's own span goes the same way, and may be told of in between.
    let told = |state: &str, error: &str| {
        wait_for(error, || {
            gateway.get("/");
            let row = exporter(&gateway, "traces", "otlp");
            (row["state"] == state && row["last_error"].as_str().is_some_and(|said| said.starts_with(error))).then_some(row)
        })
    };
    told("failing", "HTTP 400 Bad Request");
    refuses.store(false, Ordering::Relaxed);
    let complained = told("ok", "the Collector rejected 1 of ");
    assert!(complained["last_error"].as_str().unwrap().ends_with(" items: one too many"), "{complained}");
}

#[test]
fn a_collector_that_takes_everything_makes_every_signal_ok_but_those_that_send_nothing() {
    let (collector, origin) = (Collector::start(None, None), Origin::echo());
    let log = temp_dir().join("access.log");
    let gateway = Pellucid::start(&format!(
        "{}telemetry: {{ traces: {{ sample: 1.0 }}, metrics: {{ push_interval: 1s }}, access_log: {{ to: '{}' }}, {} }}\n",
        origin.config(),
        log.display(),
        collector.otlp()
    ));
    gateway.get("/");
    for way in [("traces", "otlp"), ("metrics", "otlp"), ("logs", "access_log"), ("logs", "otlp")] {
        let row = wait_for_state(&gateway, way, "ok", "");
        assert!(row["failing_since"].is_null(), "{row}");
    }
    assert_eq!(exporter(&gateway, "profiles", "otlp")["state"], "idle");
    let row = exporter(&gateway, "logs", "access_log");
    assert_eq!((row["endpoint"].as_str(), row["protocol"].is_null()), (log.to_str(), true));
    let order: Vec<Value> = exporters(&gateway).into_iter().map(|row| row["signal"].clone()).collect();
    assert_eq!(order, ["traces", "metrics", "logs", "logs", "profiles"]);
}

#[test]
fn an_access_log_that_cannot_be_written_is_told() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!("{}telemetry: {{ access_log: {{ to: /dev/full }} }}\n", origin.config()));
    assert_eq!(exporter(&gateway, "logs", "access_log")["state"], "idle");
    gateway.get("/");
    wait_for_state(&gateway, ("logs", "access_log"), "failing", "No space left on device");
}

#[test]
fn the_route_that_spends_the_series_is_named() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!(
        "routes:\n\
         - {{ name: calm, match: {{ path: '/calm' }}, upstream: origin }}\n\
         - {{ name: noisy, match: {{ path: '/status/**' }}, upstream: origin }}\n\
         upstreams: [{{ name: origin, endpoints: ['{}'] }}]\n\
         telemetry: {{ metrics: {{ series_max: 30 }} }}\n",
        origin.address
    ));
    gateway.get("/calm");
    let calm = wait_for("the first route's series", || {
        let series = gateway.api("/api/v1/telemetry")["series"].clone();
        (series["worst"].as_array().unwrap().len() == 1).then_some(series)
    });
    assert!(calm["folded"] == 0 && number(&calm, "used") < 30 && calm["max"] == 30, "{calm}");
    for status in 200..300 {
        gateway.get(&format!("/status/{status}"));
    }
    let series = wait_for("the budget to be spent", || {
        let series = gateway.api("/api/v1/telemetry")["series"].clone();
        (series["used"] == 30 && series["folded"] != 0).then_some(series)
    });
    let worst = series["worst"].as_array().unwrap();
    let routes: Vec<&Value> = worst.iter().map(|row| &row["route"]).collect();
    assert_eq!(routes, ["noisy", "calm"], "{series}");
    // One of its durations and one of its self-time.
    assert_eq!(worst[1]["series"], 2, "{series}");
    assert!((3..=28).contains(&number(&worst[0], "series")), "{series}");
}
