//! Metrics, exemplars, the access log and the accounts, as Prometheus, promtool and the file system got them.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::{Collector, Prometheus, tool};
use crate::support::{ask, temp_dir, wait_for};

const OPENMETRICS: &str = "GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n";

fn with_collector(origin: &Origin, collector: &Collector, rest: &str) -> String {
    format!("{}telemetry: {{ {}, traces: {{ sample: 1.0 }}, {rest} }}\n", origin.config(), collector.otlp())
}

#[test]
fn promtool_finds_nothing_to_mend() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    for path in ["/", "/status/500", "/status/404"] {
        gateway.get(path);
    }
    gateway.record(|record| record["path"] == "/status/404");
    let mut promtool = Command::new(tool("promtool-0.315.0"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(gateway.metrics().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{}", gateway.metrics());
}

#[test]
fn every_request_is_in_the_metrics_under_its_labels() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    for path in ["/", "/", "/status/503", "/a/../b"] {
        gateway.get(path);
    }
    ask(gateway.address, "BREW / HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for("all records", || (gateway.api("/api/v1/requests")["requests"].as_array()?.len() == 5).then_some(()));
    let text = gateway.metrics();
    let line = |start: &str, parts: &[&str]| {
        let found = text.lines().find(|line| line.starts_with(start) && parts.iter().all(|part| line.contains(part)));
        found.unwrap_or_else(|| panic!("{start} {parts:?} in\n{text}")).rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let server = "http_server_request_duration_seconds_count";
    assert_eq!(
        line(
            server,
            &[
                "http_request_method=\"GET\"",
                "http_response_status_code=\"200\"",
                "http_route=\"/**\"",
                "url_scheme=\"http\"",
                "network_protocol_version=\"1.1\"",
                "error_type=\"\""
            ]
        ),
        2.0
    );
    assert_eq!(line(server, &["http_response_status_code=\"503\"", "error_type=\"503\""]), 1.0);
    assert_eq!(line(server, &["http_response_status_code=\"400\"", "error_type=\"malformed_request\"", "http_route=\"\""]), 1.0);
    assert_eq!(line(server, &["http_request_method=\"_OTHER\""]), 1.0);
    let client = "http_client_request_duration_seconds_count";
    assert_eq!(
        line(
            client,
            &[
                "server_address=\"127.0.0.1\"",
                &format!("server_port=\"{}\"", origin.address.port()),
                "http_response_status_code=\"503\"",
                "pellucid_upstream=\"origin\""
            ]
        ),
        1.0
    );
    assert_eq!(line("pellucid_requests_total", &["pellucid_route=\"all\"", "outcome=\"ok\""]), 3.0);
    assert_eq!(line("pellucid_requests_total", &["pellucid_route=\"all\"", "outcome=\"server_error\""]), 1.0);
    assert_eq!(line("pellucid_requests_total", &["pellucid_route=\"\"", "outcome=\"client_error\""]), 1.0);
    assert_eq!(line("pellucid_phase_seconds_count", &["phase=\"wait\""]), 4.0);
    assert_eq!(line("pellucid_self_time_seconds_count", &["pellucid_route=\"all\""]), 4.0);
    assert!(line("process_resident_memory_bytes", &[]) > 1e6);
}

#[test]
fn exemplars_point_only_at_traces_that_were_kept() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let yaml =
        format!("{}telemetry: {{ {}, traces: {{ sample: 0, keep: {{ slower_than: 100ms }} }} }}\n", origin.config(), collector.otlp());
    let gateway = Pellucid::start(&yaml);
    for _ in 0..20 {
        gateway.get("/fast");
    }
    let slow = gateway.get("/sleep/150").header("x-trace-id").unwrap();
    let text = wait_for("an exemplar", || Some(ask(gateway.admin, OPENMETRICS).text()).filter(|text| text.contains("trace_id=")));
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| line.contains("trace_id=\"")) {
        assert!(line.contains(&format!("# {{trace_id=\"{slow}\"")), "{line}");
    }
    collector.span("the trace that the exemplar names", |span| span.text("traceId") == slow);
}

#[test]
fn prometheus_scrapes_the_gateway_with_exemplars_and_takes_its_metrics_over_otlp() {
    let origin = Origin::echo();
    let receiver = Prometheus::start(None);
    let collector = Collector::start(None, Some(receiver.port));
    let gateway = Pellucid::start(&with_collector(&origin, &collector, "metrics: { push_interval: 1s }"));
    let scraper = Prometheus::start(Some(gateway.admin));
    let trace_id = gateway.get("/scraped").header("x-trace-id").unwrap();
    let counted = scraper.query("/api/v1/query?query=http_server_request_duration_seconds_count%7Bpellucid_route%3D%22all%22%7D");
    assert_eq!(counted["result"][0]["value"][1], "1");
    let exemplars = scraper.query("/api/v1/query_exemplars?query=http_server_request_duration_seconds_bucket&start=0&end=9999999999");
    assert_eq!(exemplars[0]["exemplars"][0]["labels"]["trace_id"], trace_id.as_str());
    let pushed = receiver.query("/api/v1/query?query=http_server_request_duration_seconds_count%7Bpellucid_route%3D%22all%22%7D");
    assert_eq!(pushed["result"][0]["metric"]["http_route"], "/**");
    let signals = gateway.api("/api/v1/telemetry")["signals"]["metrics"].clone();
    assert!(signals["exported"].as_u64().unwrap() > 0, "{signals}");
}

#[test]
fn the_access_log_has_one_json_object_a_request_and_is_reopened_on_a_signal() {
    let origin = Origin::echo();
    let (log, moved) = (temp_dir().join("access.log"), temp_dir().join("access.log.1"));
    let gateway = Pellucid::start(&format!("{}telemetry: {{ access_log: {{ to: {} }} }}\n", origin.config(), log.display()));
    let lines = |path: &std::path::Path, count: usize| {
        wait_for("the log lines", || {
            let text = std::fs::read_to_string(path).ok()?;
            let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (lines.len() >= count).then_some(lines)
        })
    };
    let answer = ask(gateway.address, "GET /x?password=p&a=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: \"quoted\\\"\r\n\r\n");
    let first = lines(&log, 1).remove(0);
    assert_eq!(first["trace_id"].as_str(), answer.header("x-trace-id").as_deref());
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/x"),
        ("url.query", "password=REDACTED&a=1"),
        ("user_agent.original", "\"quoted\\\""),
        ("pellucid.route", "all"),
        ("pellucid.upstream", "origin"),
    ] {
        assert_eq!(first[key], value, "{key}");
    }
    assert_eq!((first["http.response.status_code"].as_u64(), first["span_id"].as_str().map(str::len)), (Some(200), Some(16)));
    std::fs::rename(&log, &moved).unwrap();
    gateway.signal("USR1");
    wait_for("the new file", || log.exists().then_some(()));
    gateway.get("/after");
    assert_eq!(lines(&log, 1)[0]["url.path"], "/after");
    assert_eq!(lines(&moved, 1).len(), 1);
    let logs = gateway.api("/api/v1/telemetry")["signals"]["logs"].clone();
    assert_eq!((logs["produced"].as_u64(), logs["exported"].as_u64(), logs["queued"].as_u64()), (Some(2), Some(2), Some(0)));
}

#[test]
fn a_log_that_cannot_be_written_costs_no_request_and_is_counted() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!("{}telemetry: {{ access_log: {{ to: /dev/full }} }}\n", origin.config()));
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200);
    }
    wait_for("the loss to be counted", || {
        let logs = gateway.api("/api/v1/telemetry")["signals"]["logs"].clone();
        (logs["dropped"]["sink_failed"] == 20 && logs["queued"] == 0 && logs["produced"] == 20).then_some(())
    });
}

#[test]
fn a_hostile_client_cannot_grow_the_series_past_their_budget() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!("{}telemetry: {{ metrics: {{ series_max: 30 }} }}\n", origin.config()));
    for status in 200..300 {
        gateway.get(&format!("/status/{status}"));
    }
    for number in 0..50 {
        ask(gateway.address, format!("M{number} /p{number} HTTP/1.1\r\nHost: h{number}.example\r\nUser-Agent: {number}\r\n\r\n"));
    }
    let text = wait_for("the folded series", || Some(gateway.metrics()).filter(|text| text.contains("http_route=\"_other\"")));
    assert!(text.contains("pellucid_metrics_series 30\n"), "{text}");
    let number = |start: &str| {
        text.lines()
            .filter(|line| line.starts_with(start))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum::<f64>()
    };
    assert!(number("pellucid_metrics_folded_total") > 0.0);
    assert_eq!(number("http_server_request_duration_seconds_count"), 150.0, "folded, not lost");
}

#[test]
fn the_admin_plane_shows_configuration_routes_upstreams_and_reloads() {
    let origin = Origin::echo();
    let yaml = format!(
        "{}telemetry: {{ otlp: {{ endpoint: 'http://127.0.0.1:1', headers: {{ authorization: 'Bearer s3cret' }} }} }}\n",
        origin.config()
    );
    let gateway = Pellucid::start(&yaml);
    assert_eq!(crate::support::get(gateway.admin, "/healthz").status, 200);
    assert_eq!(crate::support::get(gateway.admin, "/readyz").status, 200);
    let config = gateway.api("/api/v1/config");
    assert!(
        !config.to_string().contains("s3cret") && config["config"]["telemetry"]["otlp"]["headers"]["authorization"] == "***",
        "{config}"
    );
    let routes = gateway.api("/api/v1/routes");
    assert_eq!(
        (routes["generation"].as_u64(), routes["routes"][0]["name"].as_str(), routes["routes"][0]["match"]["path"].as_str()),
        (Some(1), Some("all"), Some("/**"))
    );
    assert_eq!(gateway.api("/api/v1/upstreams")["upstreams"][0]["endpoints"][0]["address"], origin.address.to_string());
    assert_eq!(crate::support::get(gateway.admin, "/api/v1/requests?limit=0").status, 400);

    let text = std::fs::read_to_string(&gateway.config).unwrap();
    std::fs::write(&gateway.config, text.replace("upstream: origin", "upstream: orign")).unwrap();
    let reload = "POST /api/v1/reload HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let refused = ask(gateway.admin, reload);
    assert!(refused.status == 422 && refused.json()["errors"][0].as_str().unwrap().contains("did you mean `origin`?"), "{refused:?}");
    assert_eq!(gateway.get("/").status, 200);
    std::fs::write(&gateway.config, text.replace("path: '/**'", "path: '/only'")).unwrap();
    assert_eq!(ask(gateway.admin, reload).json()["generation"], 2);
    assert_eq!((gateway.get("/only").status, gateway.get("/other").status), (200, 404));
    std::fs::write(&gateway.config, text).unwrap();
    gateway.signal("HUP");
    wait_for("the reload", || (gateway.get("/other").status == 200).then_some(()));
    assert!(gateway.metrics().contains("pellucid_config_generation 3\n"));
}
