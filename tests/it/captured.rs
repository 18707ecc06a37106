//! Captured request headers: where they are told, what is hidden, where they end.
//!
//! In: requests with headers. Out: the same values from the API, the filters, the access log and a real Collector; and proof that a secret's value is
//! in none of them.

use serde_json::json;

use crate::reload;
use crate::support::ask;
use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::{Collector, encoded};

const SECRET: &str = "s3cret-value";

fn telemetry(names: &str) -> String {
    format!("telemetry: {{ capture_headers: {names} }}\n")
}

fn request(headers: &str) -> String {
    format!("GET /sleep/1 HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n")
}

#[test]
fn captured_headers_are_told_by_every_signal_and_secrets_by_none() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let log = collector.access_log();
    let gateway = Pellucid::start(&format!(
        "{}telemetry: {{ {}, traces: {{ sample: 1.0 }}, access_log: {{ to: {} }}, capture_headers: [X-Tenant, authorization, x-tag] }}\n",
        origin.config(),
        collector.otlp(),
        log.display(),
    ));
    let headers = format!("x-tag: one\r\nX-TENANT: <b>ac\"me</b>\r\nauthorization: Bearer {SECRET}\r\nX-Tag: two\r\nx-other: {SECRET}\r\n");
    let trace_id = ask(gateway.address, request(&headers)).header("x-trace-id").unwrap();
    ask(gateway.address, request("x-tenant: globex\r\n"));

    let row = gateway.record(|row| row["trace_id"] == trace_id);
    assert_eq!(row["headers"], json!({ "x-tenant": "<b>ac\"me</b>", "authorization": "REDACTED", "x-tag": "one, two" }));
    for (query, found) in [
        ("header.x-tenant:\"<b>ac\\\"me</b>\"", 1),
        ("header.X-Tenant:*", 2),
        ("header.x-tenant:globex", 1),
        ("header.x-tag:two", 1),
        ("header.authorization:*", 1),
        (&*format!("header.authorization:*{SECRET}*"), 0),
        ("header.x-other:*", 0),
    ] {
        let rows = gateway.api(&format!("/api/v1/requests?q={}", encoded(query)));
        assert_eq!(rows["requests"].as_array().unwrap().len(), found, "{query}: {rows}");
    }
    let whole = gateway.api(&format!("/api/v1/requests/{}", row["id"].as_str().unwrap())).to_string();
    assert!(whole.contains("http.request.header.x-tenant") && !whole.contains(SECRET), "{whole}");

    let server = collector.span("the server span", |span| span.text("traceId") == trace_id && span.kind() == 2);
    let values = |name: &str| server.attribute(&format!("http.request.header.{name}")).cloned().unwrap();
    assert_eq!(values("x-tag"), json!({ "values": [{ "stringValue": "one" }, { "stringValue": "two" }] }));
    assert_eq!(values("authorization"), json!({ "values": [{ "stringValue": "REDACTED" }] }));
    let line = crate::support::wait_for("the log line", || {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        lines.lines().find(|line| line.contains(&trace_id)).map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["http.request.header.x-tenant"], json!(["<b>ac\"me</b>"]));
    assert_eq!(line["http.request.header.authorization"], json!(["REDACTED"]));
    for text in [std::fs::read_to_string(&log).unwrap(), server.json.to_string(), gateway.log()] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn long_and_many_values_are_cut_where_the_limits_say() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!("{}{}", origin.config(), telemetry("[x-long, x-many]")));
    let many: String = (0..40).map(|number| format!("x-many: {number}\r\n")).collect();
    let trace_id = ask(gateway.address, request(&format!("x-long: {}\r\n{many}", "é".repeat(4000)))).header("x-trace-id").unwrap();
    let row = gateway.record(|row| row["trace_id"] == trace_id);
    let long = row["headers"]["x-long"].as_str().unwrap();
    assert!(long.ends_with('…') && long.chars().filter(|character| *character == 'é').count() == 60, "{long}");
    assert_eq!(row["headers"]["x-many"].as_str().unwrap().split(", ").count(), 15);
    assert_eq!(origin.last().headers("x-many").len(), 40, "the upstream gets them all");
}

#[test]
fn a_reload_changes_which_headers_are_captured_and_refuses_what_is_none() {
    let origin = Origin::echo();
    let config = |names: &str| reload::config(reload::PUBLIC, &format!("{}{}", origin.config(), telemetry(names)));
    let gateway = reload::start(&config("[x-a]"));
    let captured = || {
        let trace_id = ask(gateway.address, request("x-a: 1\r\nx-b: 2\r\n")).header("x-trace-id").unwrap();
        gateway.record(|row| row["trace_id"] == trace_id)["headers"].clone()
    };
    assert_eq!(captured(), json!({ "x-a": "1" }));
    reload::reload(&gateway, &config("[x-b, x-a]"));
    assert_eq!(captured(), json!({ "x-b": "2", "x-a": "1" }));
    reload::reload(&gateway, &config("[]"));
    assert_eq!(captured(), json!({}));
    for (names, wrong) in [
        ("[x-a, X-A]", "found the captured header `x-a` a second time"),
        ("['x a']", "found `x a`, expected the name of a header field"),
        ("[a, b, c, d, e, f, g, h, i]", "found 9 headers to capture, expected at most 8"),
    ] {
        let answer = reload::try_reload(&gateway, &config(names));
        assert!(answer.status == 422 && answer.text().contains(wrong), "{}", answer.text());
    }
}
