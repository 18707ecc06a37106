//! What the filter language promises to whoever types it.

use proptest::prelude::*;

use super::*;
use crate::base::clock::Tick;
use crate::base::ids::{SpanId, TraceId};
use crate::telemetry::process::verdict::Code;
use crate::telemetry::record::captured::{Captured, HIDDEN, capture};
use crate::telemetry::record::legend::{EndpointId, EndpointLegend, HeaderLegend, Legends, RouteLegend};
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{MethodTag, Record};
use std::sync::Arc;

/// A retried request with everything in it, and what its ids stand for.
struct Scene {
    record: Record,
    routes: Vec<Arc<RouteLegend>>,
    endpoints: Vec<Arc<EndpointLegend>>,
    kept: Option<KeepReason>,
    verdict: Option<&'static str>,
    headers: Vec<Arc<HeaderLegend>>,
}

impl Scene {
    fn new() -> Self {
        let legends = Legends::new();
        let route = legends.route("Users", "/api/users/{id}");
        let endpoints = [legends.endpoint("users", "127.0.0.1", 9001), legends.endpoint("users", "::1", 9002)];
        let (routes, legend_endpoints) = legends.tables();
        let mut record = Record::empty();
        record.trace_id = TraceId::from_hex(b"4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
        (record.began, record.ended, record.self_ns) = (Tick(1_000_000), Tick(432_000_000), 180_000);
        (record.method, record.status, record.reason) = (MethodTag::Get, 502, Some(Reason::UpstreamStatus));
        record.route = route;
        record.client = "[::ffff:10.1.2.3]:5000".parse().unwrap();
        record.path = record.text.keep(b"/api/users/7/Orders.js", 100);
        record.host = record.text.keep(b"API.example.com:8080", 100);
        for (index, id) in endpoints.into_iter().enumerate() {
            let attempt = record.open_attempt(SpanId([index as u8 + 1; 8]), Tick(1_100_000));
            (attempt.endpoint, attempt.reused) = (id, index == 1);
            attempt.phases.add(Phase::Wait, 200_000_000);
        }
        record.last_attempt().unwrap().status = 502;
        let mut scene = Scene { record, routes, endpoints: legend_endpoints, kept: None, verdict: None, headers: Vec::new() };
        scene.first_attempt_failed();
        scene
    }

    /// `open_attempt` is the only way in, so the first attempt is written a second time.
    fn first_attempt_failed(&mut self) {
        let second = self.record.attempts()[1];
        self.record.attempt_count = 1;
        self.record.last_attempt().unwrap().reason = Some(Reason::ConnectRefused);
        *self.record.open_attempt(second.span_id, second.began) = second;
    }

    fn is_found_by(&self, query: &str) -> bool {
        let seen = Seen {
            record: &self.record,
            route: &self.routes[self.record.route.0 as usize],
            endpoints: &self.endpoints,
            kept: self.kept,
            verdict: self.verdict,
            headers: Captured::of(&self.record, &self.headers),
        };
        Query::parse(query).unwrap_or_else(|bad| panic!("{query}: {bad:?}")).matches(&seen)
    }

    fn check(&self, found: &[&str], not_found: &[&str]) {
        for query in found {
            assert!(self.is_found_by(query), "{query}");
            assert!(!self.is_found_by(&format!("-{query}")), "-{query}");
        }
        for query in not_found {
            assert!(!self.is_found_by(query), "{query}");
            assert!(self.is_found_by(&format!("-{query}")), "-{query}");
        }
    }
}

#[test]
fn names_and_paths_are_compared_as_they_are_and_hosts_and_methods_in_any_case() {
    Scene::new().check(
        &["route:Users", "route:U*", "route:*s*", "route:*", "upstream:users", "endpoint:127.0.0.1:9001", "endpoint:127.0.0.1"],
        &["route:users", "route:User", "route:\"\"", "upstream:Users", "upstream:user", "endpoint:127.0.0.1:9002", "endpoint:127"],
    );
    Scene::new().check(
        &["endpoint:[::1]:9002", "endpoint:::1", "endpoint:*:9002", "method:GET", "method:get", "method:g*", "host:api.EXAMPLE.com"],
        &["endpoint:*:9003", "method:POST", "method:ge", "method:_OTHER", "host:example.com", "host:api.example.com:80"],
    );
    Scene::new().check(
        &["host:api.example.com:8080", "host:*.example.com", "host:api.*:8080"],
        &["host:*.example.org", "host:\"\"", "route:\"U\\*\""],
    );
}

#[test]
fn a_path_is_a_beginning_and_with_a_star_the_whole() {
    Scene::new().check(
        &["path:/api", "path:/api/users/7/Orders.js", "path:/api/*/Orders.js", "path:*.js", "path:/*7*", "path:\"/api/users\"", "path:*"],
        &[
            "path:/apis",
            "path:users",
            "path:/api/*/Orders",
            "path:*.JS",
            "path:/api/*/*/*/*",
            "path:\"*\\*\"",
            "path:/api/users/7/Orders.js/",
        ],
    );
}

#[test]
fn clients_are_found_by_address_network_port_and_pattern() {
    Scene::new().check(
        &[
            "client:10.1.2.3",
            "client:10.0.0.0/8",
            "client:10.1.2.3:5000",
            "client:10.1.*",
            "client:0.0.0.0/0",
            "client:::ffff:10.0.0.0/104",
        ],
        &["client:10.1.2.4", "client:11.0.0.0/8", "client:10.1.2.3:5001", "client:10.2.*", "client:::/0", "client:10.1.2.3/31*"],
    );
}

#[test]
fn numbers_are_bounds() {
    Scene::new().check(
        &[
            "status:502",
            "status:5xx",
            "status:5XX",
            "status:>=500",
            "status:<503",
            "status:=502",
            "attempts:2",
            "attempts:>1",
            "attempts:<=2",
        ],
        &["status:503", "status:4xx", "status:>502", "status:<500", "attempts:1", "attempts:>2", "attempts:0"],
    );
    Scene::new().check(
        &["duration:431", "duration:>430.999ms", "duration:<0.5s", "duration:<=431ms", "duration:>=0.431s", "self:<1ms", "self:>=180us"],
        &["duration:>431", "duration:<431", "duration:>1m", "self:>=181us", "duration:>99h"],
    );
    // Of both attempts.
    Scene::new().check(&["wait:400", "queue:<1", "connect:<=0", "dns:0"], &["wait:>400", "send:1ns", "body:>0"]);
}

#[test]
fn errors_of_the_request_and_of_its_attempts_are_told_apart() {
    Scene::new().check(
        &["error:*", "error:502", "error:upstream_status", "error:UPSTREAM_*", "attempt_error:connect_refused", "attempt_error:502"],
        &["error:connect_refused", "error:503", "error:connect_*", "attempt_error:503", "attempt_error:no_route"],
    );
    let mut fine = Scene::new();
    (fine.record.reason, fine.record.status) = (None, 200);
    fine.check(&["attempt_error:*"], &["error:*", "error:502"]);
}

#[test]
fn what_was_decided_about_a_request_finds_it() {
    let mut scene = Scene::new();
    scene.check(&["kept:false", "reused:true", "reused:FALSE"], &["kept:true", "kept:error", "verdict:*", "verdict:unknown"]);
    (scene.kept, scene.verdict) = (Some(KeepReason::Retry), Some("slow_upstream"));
    scene.check(
        &[
            "kept:true",
            "kept:retry",
            "verdict:*",
            "verdict:slow_upstream",
            "verdict:slow_*",
            "trace:4bf9",
            "trace:4BF92F3577B34DA6A3CE929D0E0E4736",
        ],
        &["kept:false", "kept:slow", "kept:error", "kept:sampled", "verdict:slow_dns", "trace:bf9"],
    );
    scene.record.attempt_count = 1;
    scene.check(&["reused:false"], &["reused:true"]);
}

#[test]
fn captured_headers_are_found_by_their_value() {
    let mut scene = Scene::new();
    let sent: [(&str, &[u8]); 5] =
        [("x-tenant", b"acme"), ("x-tag", b"one"), ("x-tag", b"two words"), ("x-raw", b"\xff*\""), ("cookie", HIDDEN.as_bytes())];
    scene.headers = capture(&mut scene.record, &sent);
    scene.check(
        &[
            "header.x-tenant:acme",
            "header.X-Tenant:a*",
            "header.x-tag:two*",
            "header.x-tag:\"two words\"",
            "header.x-tag:one",
            "header.x-raw:*",
            "header.cookie:*",
        ],
        &["header.x-tenant:Acme", "header.x-tenant:acm", "header.x-other:*", "header.x-tag:words"],
    );
    scene.check(&["header.x-raw:\"*\\*\\\"\""], &["header.x-raw:\"*\\*\""]);
}

#[test]
fn a_bare_word_is_looked_for_where_it_may_be() {
    Scene::new().check(
        &["orders", "/API/users", "user", "4bf92f35", "4BF92F35", "upstream_stat", "502", "users*orders", "\"orders\"", "/api/*/7"],
        &["\"order:s\"", "4bf92f3", "bf92f357", "connect", "503", "orders*users", "\"users orders\"", "GET"],
    );
}

#[test]
fn all_terms_have_to_hold() {
    let scene = Scene::new();
    assert!(scene.is_found_by(""));
    assert!(scene.is_found_by(" \t route:Users  status:5xx -method:POST duration:>200ms  "));
    assert!(!scene.is_found_by("route:Users status:5xx method:POST"));
    assert!(!scene.is_found_by("route:Users -status:5xx"));
}

#[test]
fn a_query_prints_as_it_is_understood() {
    for (text, printed) in [
        ("  route:users   -status:5XX ", "route:users -status:5xx"),
        (
            "duration:200 self:<=1500us wait:>1.5s body:>0.25 queue:>90m",
            "duration:>=200ms self:<=1500us wait:>1500ms body:>250us queue:>5400s",
        ),
        ("METHOD:get Host:A.b Path:/A", "method:get host:a.b path:/A"),
        ("a**b \"a b\" \"\"", "a*b \"a b\" \"\""),
        ("path:\"/a\\*\" path:\"/a*\" \"-x\" -\"a:b\" /a:b", "path:\"/a\\*\" path:/a* \"-x\" -\"a:b\" /a:b"),
        ("client:10.0.0.7/32 client:10.0.0.0/8 client:[::1]:80", "client:10.0.0.7 client:10.0.0.0/8 client:[::1]:80"),
        ("trace:ABC kept:RETRY reused:True attempts:=1 status:>=500", "trace:abc kept:retry reused:true attempts:1 status:>=500"),
        ("header.X-Tenant:Acme verdict:Slow_*", "header.x-tenant:Acme verdict:slow_*"),
        ("\"!a\" -\"||\" \"&&\" \"OR\" \"!*\" a!", "\"!a\" -\"||\" \"&&\" or \"!*\" a!"),
        ("duration:>200 \"ms\"", "duration:>200ms ms"),
    ] {
        assert_eq!(Query::parse(text).unwrap().to_string(), printed);
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_column() {
    for (text, at, message) in [
        ("rout:x", 0, "found the key `rout`, expected one of route, upstream"),
        ("status:200 -ducation:>1s", 12, "found the key `ducation`"),
        ("header.:x", 0, "found the key `header.`"),
        ("é status:6xx", 9, "status: found `6xx`, expected a status such as 503"),
        ("status:>=5xx", 7, "status: found `>=5xx`"),
        ("status:99", 7, "status: found `99`"),
        ("route:", 6, "route: found nothing, expected the name of a route"),
        ("route: users", 6, "route: found nothing"),
        ("duration:fast", 9, "duration: found `fast`, expected a bound"),
        ("duration:=5ms", 9, "duration: found `=5ms`"),
        ("duration:>1.s", 9, "duration: found `>1.s`"),
        ("wait:>99999999999999999999h", 5, "wait: found"),
        ("error:bogus", 6, "error: found `bogus`, expected * for any, a reason"),
        ("error:200", 6, "error: found `200`"),
        ("kept:maybe", 5, "kept: found `maybe`, expected true, false"),
        ("attempts:+1", 9, "attempts: found `+1`"),
        ("reused:perhaps", 7, "reused: found `perhaps`"),
        ("trace:xyz", 6, "trace: found `xyz`"),
        ("client:10.0.0.0/33", 7, "client: found `10.0.0.0/33`"),
        ("client:me", 7, "client: found `me`, expected an address"),
        ("verdict:a-b", 8, "verdict: found `a-b`"),
        ("verdict:slow", 8, "verdict: found `slow`"),
        ("verdict:slwo_*", 8, "verdict: found `slwo_*`"),
        ("verdict:\"\"", 8, "verdict: found ``"),
        ("-", 0, "found `-` with no term behind it"),
        ("a - b", 2, "found `-` with no term behind it"),
        ("--x", 0, "found `-` with no term behind it"),
        ("route:\"a", 6, "found a quote that nothing closes"),
        ("route:\"a\"b", 9, "found `b` behind the closing quote"),
    ] {
        let bad = Query::parse(text).expect_err(text);
        assert!(bad.at == at && bad.message.starts_with(message), "{text}: {bad:?}");
    }
}

#[test]
fn a_misspelt_word_is_refused_with_the_one_that_may_have_been_meant() {
    for (text, at, meant) in [
        ("route:x verdict:slow_upsteam", 16, Some("slow_upstream")),
        ("verdict:Upstream_Rest", 8, Some("upstream_reset")),
        ("verdict:nothing_like_it", 8, None),
        ("error:conect_refused", 6, Some("connect_refused")),
        ("attempt_error:dns_faild", 14, Some("dns_failed")),
        ("kept:sampeld", 5, Some("sampled")),
        ("vredict:*", 0, Some("verdict")),
        ("status:6xx", 7, None),
    ] {
        let bad = Query::parse(text).expect_err(text);
        let asks = meant.map(|word| format!("; did you mean `{word}`?"));
        let told = asks.map_or(!bad.message.contains("did you mean"), |asks| bad.message.ends_with(&asks));
        assert!(bad.at == at && told, "{text}: {bad:?}");
    }
    for (_, label) in Code::LABELS {
        assert!(Query::parse(&format!("verdict:{label}")).is_ok(), "{label}");
    }
}

#[test]
fn what_joins_negates_or_measures_in_other_languages_is_no_word() {
    let alternative = "expected a term: all of them have to hold, so ask for each alternative by itself";
    let spaces = "expected a term: all of them have to hold, with only spaces between them";
    let before = "expected `-` directly before the term to negate, such as `-route:x`";
    let minus = "expected `-` to negate a term, such as `-route:x`";
    for (text, at, found, expected) in [
        ("status:500 OR status:503", 11, "OR", alternative),
        ("é || b", 2, "||", alternative),
        ("-OR", 1, "OR", alternative),
        ("a AND b", 2, "AND", spaces),
        ("a &&", 2, "&&", spaces),
        ("NOT route:x", 0, "NOT", before),
        ("a !route:x", 2, "!", minus),
        ("!", 0, "!", minus),
        ("-!\"a b\"", 1, "!", minus),
        ("duration:>200 ms", 14, "ms", "expected the unit directly behind its number: `>200ms`"),
        ("-self:<=1.5  S -x", 13, "S", "expected the unit directly behind its number: `<=1.5s`"),
        ("wait:\">3\" us", 10, "us", "expected the unit directly behind its number: `>3us`"),
        ("body:20 m", 8, "m", "expected the unit directly behind its number: `20m`"),
    ] {
        let bad = Query::parse(text).expect_err(text);
        let message = format!("found `{found}`, {expected}; what is meant as a word stands in quotes");
        assert_eq!((bad.at, bad.message), (at, message), "{text}");
    }
}

#[test]
fn words_that_only_look_alike_stay_words() {
    for text in [
        "\"OR\" \"AND\" \"NOT\" \"||\" \"&&\" \"!a\"",
        "or Or and not ORDER a||b a! /a!b OR*",
        "route:OR path:!a",
        "ms s",
        "duration:>200ms ms",
        "duration:>200 \"ms\"",
        "duration:>200 -ms",
        "duration:>200 msg",
        "duration:>200 a ms",
        "status:500 s",
        "attempts:>1 m",
    ] {
        assert!(Query::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn a_query_is_bounded() {
    assert!(Query::parse(&"a".repeat(QUERY_BYTES_MAX)).is_ok());
    let long = Query::parse(&"é".repeat(QUERY_BYTES_MAX)).unwrap_err();
    assert_eq!((long.at, long.message.as_str()), (QUERY_BYTES_MAX / 2, "found a query of 2048 bytes, expected at most 1024"));
    assert!(Query::parse(&"a ".repeat(QUERY_TERMS_MAX)).is_ok());
    let many = Query::parse(&"a ".repeat(QUERY_TERMS_MAX + 1)).unwrap_err();
    assert_eq!((many.at, many.message.as_str()), (2 * QUERY_TERMS_MAX, "found more terms, expected at most 32"));
}

#[test]
fn every_key_that_is_offered_can_be_read() {
    for (key, _) in KEYS {
        let key = key.replace("NAME", "x-name");
        let read = ["*", ">1", "200", "true", "10.0.0.1"].iter().any(|value| Query::parse(&format!("{key}:{value}")).is_ok());
        assert!(read, "{key}");
    }
}

#[test]
fn stars_that_nearly_fit_everywhere_cost_no_more_than_one_pass() {
    let mut scene = Scene::new();
    scene.record.path = scene.record.text.keep(&[b'a'; 192], 192);
    let stars = "*a".repeat(180);
    assert!(scene.is_found_by(&format!("path:{stars}*")));
    assert!(!scene.is_found_by(&format!("path:{stars}*b")));
    assert!(!scene.is_found_by(&format!("{stars}*b")));
}

#[test]
fn ids_that_stand_for_nothing_match_nothing() {
    let mut scene = Scene::new();
    scene.record.last_attempt().unwrap().endpoint = EndpointId(99);
    scene.endpoints.clear();
    scene.check(&["reused:true"], &["upstream:*", "endpoint:*"]);
}

/// The definition of a pattern, with all its backtracking.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', behind)), _) => fits(behind, text) || text.split_first().is_some_and(|(_, rest)| fits(pattern, rest)),
        (Some((one, behind)), Some((other, rest))) => one == other && fits(behind, rest),
        _ => false,
    }
}

/// Terms as people write them, and as they mistype them.
fn terms() -> impl Strategy<Value = String> {
    let keys = proptest::sample::select(KEYS.map(|(key, _)| key.replace("NAME", "x-y")).to_vec());
    let value = "(>|<|>=|<=|=)?[0-9]{1,4}(\\.[0-9]{1,3})?(ns|us|ms|s|m|xx)?|[a-zA-Z*_/:.-]{1,8}|\"[a-z \\\\\"*]{0,6}\"|true|error|no_route|10.0.0.0/8|::1";
    let keyed = (keys, value).prop_map(|(key, value)| format!("{key}:{value}"));
    let term = prop_oneof![4 => keyed, 1 => "\\PC{0,8}", 1 => "[a-c*\"\\\\:-]{1,6}"];
    proptest::collection::vec(("-?", term), 0..5)
        .prop_map(|terms| terms.into_iter().map(|(minus, term)| format!("{minus}{term} ")).collect())
}

proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_read_or_refused(text in "\\PC{0,200}|(?s).{0,200}") {
        match Query::parse(&text) {
            Ok(query) => { Scene::new().is_found_by(&query.to_string()); }
            Err(bad) => prop_assert!(bad.at <= text.chars().count() && !bad.message.is_empty()),
        }
    }

    #[test]
    fn a_printed_query_reads_as_the_same(text in terms()) {
        if let Ok(query) = Query::parse(&text) {
            prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
        }
    }

    #[test]
    fn a_minus_means_all_other_requests(text in terms()) {
        let scene = Scene::new();
        if let Ok(Query { terms }) = Query::parse(&text) {
            for term in terms {
                let (plain, negated) = (Term { negated: false, ..term.clone() }, Term { negated: true, ..term });
                let found = |term: Term| scene.is_found_by(&Query { terms: vec![term] }.to_string());
                prop_assert_ne!(found(plain), found(negated));
            }
        }
    }

    #[test]
    fn a_pattern_fits_what_its_definition_says(pattern in "[ab*]{1,9}", text in "[abAB]{0,12}") {
        let mut scene = Scene::new();
        let path = format!("*{pattern}");
        scene.record.path = scene.record.text.keep(text.as_bytes(), 20);
        prop_assert_eq!(scene.is_found_by(&format!("path:{path}")), fits(path.as_bytes(), text.as_bytes()));
        let lower = text.to_ascii_lowercase();
        scene.record.host = scene.record.path;
        prop_assert_eq!(scene.is_found_by(&format!("host:{pattern}")), fits(pattern.as_bytes(), lower.as_bytes()));
        // Neither the route nor the trace holds such letters.
        scene.record.reason = None;
        prop_assert_eq!(scene.is_found_by(&pattern), fits(format!("*{pattern}*").as_bytes(), lower.as_bytes()));
    }
}
