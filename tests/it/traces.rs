//! Traces as a real Collector and a real Jaeger got them.
//!
//! In: requests. Out: assertions on the files that the Collector wrote and on what Jaeger's query API gives back; never on our own structures.

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::{Collector, Jaeger, attribute};
use crate::support::{ask, free_port, temp_dir, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traced(origin: &Origin, collector: &Collector, traces: &str) -> String {
    format!("{}telemetry: {{ service_name: edge, {}, traces: {{ {traces} }} }}\n", origin.config(), collector.otlp())
}

#[test]
fn a_request_is_a_server_span_and_a_client_span_with_the_conventions_attributes() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let gateway = Pellucid::start_with(
        &traced(&origin, &collector, "sample: 1.0"),
        &[("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")],
    );
    let request =
        "POST /sleep/30?q=1&token=s3cret HTTP/1.1\r\nHost: shop.example:8443\r\nUser-Agent: probe/1\r\nContent-Length: 5\r\n\r\nhello";
    let trace_id = ask(gateway.address, request).header("x-trace-id").unwrap();
    let server = collector.span("the server span", |span| span.text("traceId") == trace_id && span.kind() == 2);
    assert_eq!(server.text("name"), "POST /**");
    assert_eq!(server.text("parentSpanId"), "");
    for (key, value) in [
        ("http.request.method", "POST"),
        ("url.path", "/sleep/30"),
        ("url.query", "q=1&token=REDACTED"),
        ("url.scheme", "http"),
        ("server.address", "shop.example"),
        ("http.route", "/**"),
        ("pellucid.route", "all"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "probe/1"),
        ("pellucid.keep_reason", "sampled"),
    ] {
        assert_eq!(server.string(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!((server.number("http.response.status_code"), server.number("server.port")), (Some(200.0), Some(8443.0)));
    assert_eq!(server.number("http.request.body.size"), Some(5.0));
    assert!(server.attribute("error.type").is_none() && server.json["status"]["code"].is_null());
    let resource = |key: &str| attribute(&server.resource["attributes"], key).and_then(|value| value.as_str()).map(str::to_owned);
    assert_eq!((resource("service.name").as_deref(), resource("deployment.environment.name").as_deref()), (Some("edge"), Some("test")));

    let client = collector.span("the client span", |span| span.text("traceId") == trace_id && span.kind() == 3);
    assert_eq!((client.text("name"), client.text("parentSpanId")), ("POST", server.text("spanId")));
    assert_eq!(client.string("url.full"), Some(format!("http://{}/sleep/30?q=1&token=REDACTED", origin.address)));
    assert_eq!(
        (client.string("server.address").as_deref(), client.number("server.port")),
        (Some("127.0.0.1"), Some(f64::from(origin.address.port())))
    );
    let phases: Vec<f64> = ["queue", "dns", "connect", "send", "wait", "body"]
        .iter()
        .map(|phase| client.number(&format!("pellucid.phase.{phase}_ms")).unwrap())
        .collect();
    let millis = |span: &crate::support::stack::Span| {
        (span.text("endTimeUnixNano").parse::<f64>().unwrap() - span.text("startTimeUnixNano").parse::<f64>().unwrap()) / 1e6
    };
    assert!(phases[4] >= 29.0, "{phases:?}");
    assert!(phases.iter().sum::<f64>() <= millis(&client) + 0.5, "{phases:?} in {}", millis(&client));
    let own = server.number("pellucid.self_time_ms").unwrap();
    assert!(own > 0.0 && own + phases[4] <= millis(&server) + 0.5, "{own} in {}", millis(&server));
    assert_eq!(
        origin.last().header("traceparent"),
        Some(format!("00-{trace_id}-{}-03", client.text("spanId"))),
        "the origin hears of the client span"
    );
}

#[test]
fn an_incoming_trace_is_continued_restarted_or_ignored_as_the_listener_says() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let listeners = ["continue", "restart", "ignore"]
        .map(|policy| format!("{{ name: {policy}, bind: 127.0.0.1:0, trace_context: {policy} }}"))
        .join(", ");
    let yaml = format!("listeners: [{listeners}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}", traced(&origin, &collector, "sample: 1.0"));
    let gateway = Pellucid::start_config(&yaml, &[]);
    let log = gateway.log();
    let address = |name: &str| {
        let line = log.lines().find(|line| line.contains(&format!("listener={name}"))).unwrap();
        line.split("address=").nth(1).unwrap().trim().parse().unwrap()
    };
    let headers = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\ntracestate: b=2\r\nbaggage: user=7, bad key=1\r\n");
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");

    assert_eq!(ask(address("continue"), request("/c")).header("x-trace-id").as_deref(), Some(TRACE));
    let seen = origin.last();
    assert!(
        seen.header("traceparent").unwrap().starts_with(&format!("00-{TRACE}-")) && !seen.header("traceparent").unwrap().contains(PARENT)
    );
    assert_eq!((seen.header("tracestate").as_deref(), seen.header("baggage").as_deref()), (Some("a=1,b=2"), Some("user=7")));
    let span = collector.span("the continued span", |span| span.string("url.path").as_deref() == Some("/c") && span.kind() == 2);
    assert_eq!((span.text("parentSpanId"), span.text("traceState")), (PARENT, "a=1,b=2"));

    let restarted = ask(address("restart"), request("/r")).header("x-trace-id").unwrap();
    assert_ne!(restarted, TRACE);
    let seen = origin.last();
    assert_eq!((seen.header("tracestate"), seen.header("baggage")), (None, None));
    let span = collector.span("the restarted span", |span| span.string("url.path").as_deref() == Some("/r") && span.kind() == 2);
    assert_eq!((span.text("traceId"), span.text("parentSpanId")), (restarted.as_str(), ""));
    assert_eq!((&span.json["links"][0]["traceId"], &span.json["links"][0]["spanId"]), (&TRACE.into(), &PARENT.into()));

    assert_ne!(ask(address("ignore"), request("/i")).header("x-trace-id").as_deref(), Some(TRACE));
    let span = collector.span("the ignoring span", |span| span.string("url.path").as_deref() == Some("/i") && span.kind() == 2);
    assert!(span.json["links"].is_null() && span.text("parentSpanId").is_empty());
}

#[test]
fn every_request_has_a_valid_trace_and_only_what_matters_is_kept() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let gateway = Pellucid::start(&traced(&origin, &collector, "sample: 0, keep: { slower_than: 200ms }"));
    let plain = gateway.get("/plain").header("x-trace-id").unwrap();
    assert!(origin.last().header("traceparent").unwrap().starts_with(&format!("00-{plain}-")));
    assert!(origin.last().header("traceparent").unwrap().ends_with("-02"), "not sampled, random");
    let failed = gateway.get("/status/503").header("x-trace-id").unwrap();
    let slow = gateway.get("/sleep/300").header("x-trace-id").unwrap();
    for (trace_id, reason) in [(&failed, "error"), (&slow, "slow")] {
        let span = collector.span(reason, |span| span.text("traceId") == trace_id && span.kind() == 2);
        assert_eq!(span.string("pellucid.keep_reason").as_deref(), Some(reason));
    }
    let span = collector.span("the failed client span", |span| span.text("traceId") == failed && span.kind() == 3);
    assert_eq!((span.string("error.type").as_deref(), span.json["status"]["code"].as_i64()), (Some("503"), Some(2)));
    assert!(collector.spans().iter().all(|span| span.text("traceId") != plain));
    let records = gateway.api("/api/v1/requests");
    let kept = |path: &str| records["requests"].as_array().unwrap().iter().find(|record| record["path"] == path).unwrap()["kept"].as_bool();
    assert_eq!(["/plain", "/status/503", "/sleep/300"].map(kept), [Some(false), Some(true), Some(true)]);
}

#[test]
fn an_unsampled_caller_is_followed_and_a_forged_flag_is_limited() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let gateway = Pellucid::start(&traced(&origin, &collector, "sample: 0, keep: { per_second: 3 }"));
    for number in 1..=40 {
        let request = format!("GET /forged HTTP/1.1\r\nHost: h\r\ntraceparent: 00-{number:032x}-{PARENT}-01\r\n\r\n");
        ask(gateway.address, request);
        assert!(origin.last().header("traceparent").unwrap().ends_with("-01"));
    }
    let signals = wait_for("the limit to be counted", || {
        let traces = gateway.api("/api/v1/telemetry")["signals"]["traces"].clone();
        (traces["dropped"]["rate_limited"].as_u64()? > 0).then_some(traces)
    });
    assert!(signals["dropped"]["rate_limited"].as_u64().unwrap() >= 40, "{signals}");
}

#[test]
fn spans_arrive_over_http_protobuf_and_gzip_as_well() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    for (path, protocol, port) in [("/h", "http/protobuf", collector.http), ("/g", "grpc", collector.grpc)] {
        let yaml = format!(
            "{}telemetry: {{ traces: {{ sample: 1.0 }}, otlp: {{ endpoint: 'http://127.0.0.1:{port}', protocol: {protocol}, compression: gzip }} }}\n",
            origin.config()
        );
        let gateway = Pellucid::start(&yaml);
        gateway.get(path);
        collector.span(path, |span| span.string("url.path").as_deref() == Some(path));
        collector.span("the control plane's span", |span| span.text("name") == "gateway.start");
    }
    wait_for("the control plane's log lines", || collector.lines("logs.jsonl").contains("the admin plane is up").then_some(()));
}

#[test]
fn the_environment_says_where_telemetry_goes_and_who_speaks() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let endpoint = format!("http://127.0.0.1:{}", collector.http);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SERVICE_NAME", "named-by-environment"),
    ];
    let gateway =
        Pellucid::start_with(&format!("{}telemetry: {{ service_name: file, traces: {{ sample: 1.0 }} }}\n", origin.config()), &environment);
    gateway.get("/env");
    let span = collector.span("the span", |span| span.string("url.path").as_deref() == Some("/env") && span.kind() == 2);
    assert_eq!(attribute(&span.resource["attributes"], "service.name").unwrap(), "named-by-environment");
}

#[test]
fn jaeger_gives_a_whole_tree_back() {
    let jaeger = Jaeger::start();
    let collector = Collector::start(Some(jaeger.otlp), None);
    let port = free_port();
    // A shop that asks for stock through the gateway, as an instrumented service would.
    let origin = Origin::answering(move |seen| {
        if seen.path() == "/shop" {
            let traceparent = seen.header("traceparent").unwrap();
            ask(([127, 0, 0, 1], port).into(), format!("GET /stock HTTP/1.1\r\nHost: h\r\ntraceparent: {traceparent}\r\n\r\n"));
        }
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let yaml = format!(
        "listeners: [{{ name: p, bind: '127.0.0.1:{port}' }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}",
        traced(&origin, &collector, "sample: 1.0")
    );
    let gateway = Pellucid::start_config(&yaml, &[]);
    let trace_id = gateway.get("/shop").header("x-trace-id").unwrap();
    let spans = jaeger.trace(&trace_id, 4);
    assert_eq!(spans.len(), 4, "two servers, two clients");
    let parent = |span: &serde_json::Value| span["references"][0]["spanID"].as_str().map(str::to_owned);
    let root = spans.iter().find(|span| parent(span).is_none()).expect("one root");
    let mut depth = 1;
    let mut id = root["spanID"].as_str().unwrap().to_owned();
    while let Some(child) = spans.iter().find(|span| parent(span).as_deref() == Some(&id)) {
        id = child["spanID"].as_str().unwrap().to_owned();
        depth += 1;
    }
    assert_eq!(depth, 4, "a chain of four: {spans:?}");
}

#[test]
fn a_dead_collector_costs_no_request_and_export_resumes_by_itself() {
    let origin = Origin::echo();
    let (grpc, http, dir) = (free_port(), free_port(), temp_dir());
    let yaml = format!("{}telemetry: {{ traces: {{ sample: 1.0 }}, otlp: {{ endpoint: 'http://127.0.0.1:{grpc}' }} }}\n", origin.config());
    let gateway = Pellucid::start(&yaml);
    for _ in 0..50 {
        assert_eq!(gateway.get("/down").status, 200);
    }
    let traces = |gateway: &Pellucid| {
        let traces = gateway.api("/api/v1/telemetry")["signals"]["traces"].clone();
        let number = |key: &str| traces[key].as_u64().unwrap();
        let dropped: u64 = traces["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(number("produced"), number("exported") + number("rejected") + dropped + number("queued"), "{traces}");
        traces
    };
    // On a machine that is slow enough, the first ones have been tried as often as they may be by now, and are dropped.
    let down = traces(&gateway);
    assert!(down["produced"].as_u64().unwrap() >= 100 && down["exported"] == 0, "{down}");
    let collector = Collector::start_on(grpc, http, None, None, dir);
    gateway.get("/up");
    collector.span("a span after the Collector came up", |span| span.string("url.path").as_deref() == Some("/up"));
    let settled = wait_for("the queue to empty", || Some(traces(&gateway)).filter(|traces| traces["queued"] == 0));
    let dropped = settled["dropped"]["retries_exhausted"].as_u64().unwrap_or(0);
    assert!(settled["exported"].as_u64().unwrap() + dropped >= 102, "{settled}");
    wait_for("what the account calls exported in the Collector's file", || {
        (collector.spans().len() as u64 == traces(&gateway)["exported"].as_u64()?).then_some(())
    });
}
