//! What one request shows of itself.

use super::*;
use crate::base::clock::Tick;
use crate::base::ids::{SpanId, TraceId};
use crate::telemetry::record::captured::capture;
use crate::telemetry::record::legend::{EndpointId, HeaderLegend, Legends, RouteLegend};
use crate::telemetry::record::names;
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Caller, MethodTag, Phase, Record, VersionTag};

const OFFSET: u64 = 1_790_000_000_000_000_000;

struct Scene {
    record: Record,
    routes: Vec<Arc<RouteLegend>>,
    endpoints: Vec<Arc<EndpointLegend>>,
    kept: Option<KeepReason>,
    headers: Vec<Arc<HeaderLegend>>,
}

impl Scene {
    /// Refused by one endpoint, answered by the other.
    fn retried() -> Self {
        let legends = Legends::new();
        let route = legends.route("users", "/users/{id}");
        let ids = [legends.endpoint("users", "127.0.0.1", 9003), legends.endpoint("users", "127.0.0.1", 9001)];
        let (routes, endpoints) = legends.tables();
        let mut record = Record::empty();
        (record.trace_id, record.span_id) = (TraceId([0xab; 16]), SpanId([0x0c; 8]));
        (record.began, record.head_read, record.ended) = (Tick(1_000_000), Tick(3_000_000), Tick(44_000_000));
        (record.self_ns, record.status, record.method, record.route) = (300_000, 200, MethodTag::Post, route);
        (record.client, record.listener_port) = ("10.0.0.7:4000".parse().unwrap(), 8080);
        (record.request_bytes, record.response_bytes) = (5, 512);
        record.path = record.text.keep(b"/users/7", 192);
        record.host = record.text.keep(b"api.example.com", 64);
        record.user_agent = record.text.keep(b"it's me", 96);
        record.query = record.text.keep(b"token=abc&q=[1]", 96);
        record.flags.sampled = true;
        let refused = record.open_attempt(SpanId([1; 8]), Tick(3_000_000));
        (refused.endpoint, refused.reason, refused.ended) = (ids[0], Some(Reason::ConnectRefused), Tick(4_100_000));
        refused.phases.add(Phase::Connect, 1_000_000);
        let answered = record.open_attempt(SpanId([2; 8]), Tick(4_150_000));
        (answered.endpoint, answered.status, answered.reused, answered.ended) = (ids[1], 200, true, Tick(44_000_000));
        (answered.request_bytes, answered.response_bytes) = (5, 512);
        answered.phases.add(Phase::Send, 50_000);
        answered.phases.add(Phase::Wait, 39_000_000);
        answered.phases.add(Phase::Body, 800_000);
        Scene { record, routes, endpoints, kept: Some(KeepReason::Retry), headers: Vec::new() }
    }

    fn told(&self) -> Told<'_> {
        let endpoint = self.record.attempts().last().and_then(|attempt| self.endpoints.get(attempt.endpoint.0 as usize));
        let route = &self.routes[self.record.route.0 as usize];
        let entry = Entry {
            record: &self.record,
            route,
            endpoint: endpoint.map(|legend| &**legend),
            headers: &self.headers,
            wall_offset: OFFSET,
            profiled: true,
            verdict: None,
        };
        Told { entry, kept: self.kept, verdict: None, endpoints: &self.endpoints }
    }

    fn whole(&self) -> Value {
        whole(&self.told(), Value::Null, None)
    }

    /// Name, kind, depth, begin and end of each bar.
    fn bars(&self) -> Vec<String> {
        let rows = self.whole()["waterfall"].as_array().unwrap().clone();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let bar =
            |row: &Value| format!("{} {} {} {}-{}", row["depth"], text(row, "name"), text(row, "kind"), row["begin_ms"], row["end_ms"]);
        rows.iter().map(bar).collect()
    }

    fn curl(&self) -> (String, Vec<String>) {
        let whole = self.whole();
        let notes = whole["curl_notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned());
        (whole["curl"].as_str().unwrap().to_owned(), notes.collect())
    }
}

#[test]
fn a_retried_request_shows_where_each_attempt_spent_its_time() {
    assert_eq!(
        Scene::retried().bars(),
        [
            "0 read head client 0.0-2.0",
            "0 attempt 1 127.0.0.1:9003 attempt 2.0-3.1",
            "1 route and filters self 2.0-2.1",
            "1 connect phase 2.1-3.1",
            "0 gateway self 3.1-3.15",
            "0 attempt 2 127.0.0.1:9001 attempt 3.15-43.0",
            "1 send phase 3.15-3.2",
            "1 wait phase 3.2-42.2",
            "1 body phase 42.2-43.0",
        ]
    );
    let whole = Scene::retried().whole();
    let detail = &whole["waterfall"][5]["detail"];
    assert_eq!((&detail["status"], &detail["error"], &detail["reused"]), (&json!(200), &Value::Null, &json!(true)));
    assert_eq!(whole["waterfall"][1]["detail"]["error"], "connect_refused");
    assert_eq!(whole["waterfall"][6]["detail"], json!({ "bytes": 5, "includes": "route and filters" }));
}

#[test]
fn an_answer_of_our_own_is_own_work_unless_it_waited_for_the_client() {
    let mut scene = Scene::retried();
    scene.record.attempt_count = 0;
    (scene.record.head_read, scene.record.ended) = (Tick(1_000_000), Tick(1_200_000));
    assert_eq!(scene.bars(), ["0 answer self 0.0-0.2"]);
    scene.record.ended = Tick(9_000_000);
    assert_eq!(scene.bars(), ["0 answer client 0.0-8.0"]);
}

#[test]
fn a_client_that_leaves_during_the_wait_for_a_connection_leaves_an_attempt_without_an_end() {
    let mut scene = Scene::retried();
    scene.record.attempt_count = 0;
    scene.record.reason = Some(Reason::ClientGone);
    let attempt = scene.record.open_attempt(SpanId([1; 8]), Tick(3_000_000));
    attempt.reason = Some(Reason::ClientGone);
    attempt.phases.add(Phase::Queue, 1_000_000);
    assert_eq!(
        scene.bars(),
        [
            "0 read head client 0.0-2.0",
            "0 attempt 1 127.0.0.1:9003 attempt 2.0-43.0",
            "1 queue phase 2.0-3.0",
            "1 queue or connect phase 3.0-43.0"
        ]
    );
}

#[test]
fn bars_never_leave_the_request_whatever_the_facts_say() {
    let mut scene = Scene::retried();
    scene.record.last_attempt().unwrap().phases.add(Phase::Body, u64::MAX / 4);
    scene.record.last_attempt().unwrap().endpoint = EndpointId(99);
    (scene.record.head_read, scene.record.ended) = (Tick(0), Tick(44_000_000));
    for row in scene.whole()["waterfall"].as_array().unwrap() {
        let (begin, end) = (row["begin_ms"].as_f64().unwrap(), row["end_ms"].as_f64().unwrap());
        assert!(0.0 <= begin && begin <= end && end <= 43.0, "{row}");
    }
}

#[test]
fn the_row_has_all_that_lists_show() {
    let mut scene = Scene::retried();
    scene.headers = capture(&mut scene.record, &[("x-tenant", b"acme"), ("x-tag", b"a"), ("x-tag", b"\xff\"")]);
    let mut told = scene.told();
    told.verdict = Some(Judgement { code: "retried_and_recovered", text: "refused by users", confidence: "certain" });
    let row = row(&told);
    assert_eq!(row["id"], format!("{}-0c0c0c0c0c0c0c0c", OFFSET + 1_000_000));
    assert_eq!((&row["began_ms"], &row["start"]), (&json!(1_790_000_000_001u64), &json!("2026-09-21T14:13:20.001000Z")));
    assert_eq!((&row["host"], &row["user_agent"], &row["upstream"]), (&json!("api.example.com"), &json!("it's me"), &json!("users")));
    assert_eq!(row["headers"], json!({ "x-tenant": "acme", "x-tag": "a, \u{fffd}\"" }));
    assert_eq!(row["verdict"], json!({ "code": "retried_and_recovered", "text": "refused by users", "confidence": "certain" }));
    assert_eq!((&row["kept"], &row["keep_reason"], &row["profile"]), (&json!(true), &json!("retry"), &Value::Null));
    assert_eq!((&row["duration_ms"], &row["self_ms"], &row["error"]), (&json!(43.0), &json!(0.3), &Value::Null));
    let first = &row["attempts"][0];
    assert_eq!(
        (&first["endpoint"], &first["status"], &first["error"]),
        (&json!("127.0.0.1:9003"), &Value::Null, &json!("connect_refused"))
    );
    assert_eq!(first["phases_ms"], json!({ "queue": 0.0, "dns": 0.0, "connect": 1.0, "send": 0.0, "wait": 0.0, "body": 0.0, "tls": 0.0 }));
}

#[test]
fn an_id_is_read_as_it_was_written_and_nothing_else_is_one() {
    let scene = Scene::retried();
    let id = RequestId::of(&scene.told().entry);
    assert_eq!(RequestId::parse(&id.to_string()), Some(id));
    for bad in ["", "-", "1", "1-", "-0c0c0c0c0c0c0c0c", "+1-0c0c0c0c0c0c0c0c", "1-0c0c", "1-0000000000000000", "1-0c0c0c0c0c0c0c0c0"] {
        assert_eq!(RequestId::parse(bad), None, "{bad}");
    }
}

#[test]
fn the_command_repeats_the_request_and_says_what_it_lacks() {
    let mut scene = Scene::retried();
    let sent: [(&str, &[u8]); 5] =
        [("x-tenant", b"a b"), ("content-length", b"5"), ("x-empty", b""), ("host", b"evil"), ("authorization", b"REDACTED")];
    scene.headers = capture(&mut scene.record, &sent);
    let (command, notes) = scene.curl();
    assert_eq!(
        command,
        "curl --globoff --request POST --user-agent 'it'\\''s me' --header 'x-tenant: a b' --header 'x-empty;' \
         --header 'authorization: REDACTED' 'http://api.example.com/users/7?token=REDACTED&q=[1]'"
    );
    assert_eq!(notes, ["secret values are hidden: REDACTED stands for them", "the body of 5 bytes is not remembered"]);
}

#[test]
fn plain_requests_have_plain_commands() {
    let mut scene = Scene::retried();
    let none = crate::base::text::Piece::EMPTY;
    (scene.record.query, scene.record.user_agent, scene.record.request_bytes, scene.record.method) = (none, none, 0, MethodTag::Get);
    assert_eq!(scene.curl(), ("curl http://api.example.com/users/7".to_owned(), Vec::new()));
    scene.record.method = MethodTag::Head;
    assert_eq!(scene.curl().0, "curl --head http://api.example.com/users/7");
    (scene.record.version, scene.record.host, scene.record.method) = (VersionTag::Http10, none, MethodTag::Other);
    scene.record.method_text = scene.record.text.keep(b"PURGE'`$x", 24);
    assert_eq!(scene.curl().0, "curl --request 'PURGE'\\''`$x' --http1.0 http://localhost:8080/users/7");
    scene.record.path = scene.record.text.keep(b"*", 24);
    assert!(scene.curl().0.starts_with("curl --request-target '*' ") && scene.curl().0.ends_with(" http://localhost:8080/"));
    scene.record.path = none;
    assert_eq!(scene.whole()["curl"], Value::Null);
}

#[test]
fn a_hostile_client_writes_no_command_of_its_own() {
    let mut scene = Scene::retried();
    scene.record.path = scene.record.text.keep(b"/';reboot;'$(x)`y`|&<>!", 100);
    scene.record.user_agent = scene.record.text.keep(b"\x1b[2J\n-o/etc/passwd '", 100);
    scene.record.query = scene.record.text.keep(&[b'q'; 200], 96);
    scene.headers = capture(&mut scene.record, &[("x-a", b"'\t\x9b$(x)\n@/etc/passwd")]);
    let (command, notes) = scene.curl();
    assert!(!command.chars().any(char::is_control));
    assert_eq!(notes[0], "the query was longer than what is remembered of it");
    let shell = std::process::Command::new("sh").arg("-c").arg(format!("curl() {{ printf '%s\\n' \"$@\"; }}; {command}")).output().unwrap();
    let words = String::from_utf8(shell.stdout).unwrap();
    let words: Vec<_> = words.lines().collect();
    assert_eq!(words[..6], ["--request", "POST", "--user-agent", " [2J -o/etc/passwd '", "--header", "x-a: ' \u{fffd}$(x) @/etc/passwd"]);
    assert!(words[6].starts_with("http://api.example.com/';reboot;'$(x)`y`|&<>!?qqq") && words.len() == 7, "{words:?}");
}

#[test]
fn the_log_object_is_the_line_that_the_access_log_has() {
    let scene = Scene::retried();
    let mut line = Vec::new();
    access_log::write_line(&mut line, scene.told().entry, Format::Json);
    let log = scene.whole()["log"].clone();
    assert_eq!(log, serde_json::from_slice::<Value>(&line).unwrap());
    assert_eq!(log[names::URL_QUERY], "token=REDACTED&q=[1]");
}

#[test]
fn a_request_that_was_not_kept_has_the_same_spans_but_for_the_reason() {
    let mut scene = Scene::retried();
    let kept = scene.whole()["span"].clone();
    scene.kept = None;
    let dropped = scene.whole()["span"].clone();
    let mut expected = kept.clone();
    expected[0]["attributes"].as_array_mut().unwrap().retain(|pair| pair["key"] != names::PELLUCID_KEEP_REASON);
    assert_ne!(kept, dropped);
    assert_eq!(expected, dropped);
}

/// `collector.jsonl` is what the file exporter of `otelcol` 0.159.0 wrote when it was sent the bytes of this very request, one span a line.
#[test]
fn spans_are_what_a_collector_writes_byte_for_byte_but_for_the_zero_behind_a_point() {
    let mut scene = Scene::retried();
    scene.record.parent = Some(Caller { trace_id: TraceId([9; 16]), span_id: SpanId([8; 8]), is_link: true });
    scene.record.trace_state = scene.record.text.keep(b"a=1", 10);
    scene.record.status = 503;
    let whole = scene.whole();
    let lines = whole["span"].as_array().unwrap().iter().map(|span| span.to_string().replace(".0}", "}"));
    assert!(lines.eq(include_str!("collector.jsonl").lines()), "{}", whole["span"]);
}

#[test]
fn where_profiles_run_the_request_leads_to_what_was_sampled_meanwhile() {
    let scene = Scene::retried();
    let whole = whole(&scene.told(), json!({ "count": 3 }), None);
    assert_eq!(whole["flamegraph"], "/debug/pprof/flamegraph?from=1790000000001&until=1790000000045");
    assert_eq!(whole["typical"], json!({ "count": 3 }));
}

#[test]
fn a_request_that_was_kept_links_to_its_trace_where_there_is_one() {
    let link = |linked: Linked<'_>| format!("{}/{}?{}-{}", linked.trace_id, linked.span_id, linked.begin_ms, linked.end_ms);
    let mut scene = Scene::retried();
    let linked = whole(&scene.told(), Value::Null, Some(&link));
    let (trace, span) = ("ab".repeat(16), "0c".repeat(8));
    assert_eq!(linked["trace_url"], format!("{trace}/{span}?1790000000001-1790000000045"));
    assert_eq!(scene.whole()["trace_url"], Value::Null, "nothing exports spans");
    scene.kept = None;
    assert_eq!(whole(&scene.told(), Value::Null, Some(&link))["trace_url"], Value::Null, "it was not kept");
}
