//! `explain` against the gateway itself: what it says is what happens.
//!
//! In: odd requests, each explained by the API and by the command, and sent as raw bytes to a gateway of the same configuration. Out: proof
//! that all three name the same route or the same refusal. Not here: how routes are chosen (`routing`), what is malformed (`strict_requests`).

use std::fmt::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::reload::{config, start, try_reload};
use crate::support::process::Pellucid;
use crate::support::stack::encoded;
use crate::support::{Answer, ask};

/// Each route answers with its name.
const ROUTES: &str = "routes:
- { name: good, match: { path: '/good/**' }, filters: [{ respond: { body: good } }] }
- { name: tenant, match: { path: /good/tenant, headers: { x-tenant: a } }, filters: [{ respond: { body: tenant } }] }
- { name: shop, match: { hosts: [shop.example] }, filters: [{ respond: { body: shop } }] }
- { name: teapot, match: { path: /teapot }, filters: [{ respond: { status: 418, body: teapot } }] }
";
const TIGHT: &str =
    "{ name: public, bind: 127.0.0.1:0, limits: { header_bytes: 4KiB, header_count: 20, target_bytes: 1KiB, body_bytes: 10 } }";

/// A request as one types it, and what becomes of it: a route or a status.
struct Case {
    method: &'static str,
    url: String,
    headers: Vec<String>,
    outcome: &'static str,
}

fn case(method: &'static str, url: &str, headers: &[&str], outcome: &'static str) -> Case {
    Case { method, url: url.to_owned(), headers: headers.iter().map(|header| (*header).to_owned()).collect(), outcome }
}

/// Of GET without headers.
fn plain_cases() -> Vec<Case> {
    let of_length = |length: usize| format!("http://x/good/{}", "a".repeat(length - "/good/".len()));
    let (longest, too_long, far_too_long) = (of_length(1024), of_length(1025), of_length(60_000));
    let all = [
        ("http://x/good/a", "good"),
        ("http://x/%67ood/a", "good"),
        ("http://x:/good/a", "good"),
        ("http://[::1]:80/good/a", "good"),
        ("http://SHOP.example:80/any", "shop"),
        ("http://shop.example", "shop"),
        ("http://x/teapot", "teapot"),
        ("http://x?q", "404"),
        ("http://x/nowhere", "404"),
        ("http://u:p@x/good/a", "400"),
        ("http://x:99999/good/a", "400"),
        ("http://[::1/good/a", "400"),
        ("http:///good/a", "400"),
        ("/good/a", "400"),
        ("http://x/good/../good/a", "400"),
        ("http://x/good/%2e%2e/a", "400"),
        ("http://x/good/%zz", "400"),
        ("http://x/good/a#b", "400"),
        ("http://x/good/a b", "400"),
        ("http://x/good/a\\b", "400"),
        ("http://x/good/\u{e9}", "400"),
        (longest.as_str(), "good"),
        (too_long.as_str(), "414"),
        (far_too_long.as_str(), "414"),
    ];
    all.map(|(url, outcome)| case("GET", url, &[], outcome)).into()
}

fn cases() -> Vec<Case> {
    let good = "http://x/good/tenant";
    let long = format!("a: {}", "b".repeat(5000));
    let mut all = plain_cases();
    all.extend([
        case("CONNECT", "http://x/good/a", &[], "400"),
        case("BREW", good, &[], "good"),
        case("GET", good, &["x-tenant: a"], "tenant"),
        case("GET", good, &["connection: x-tenant", "x-tenant: a"], "good"),
        case("GET", good, &["host: shop.example"], "shop"),
        case("GET", "http://x/any", &["host: shop.example"], "shop"),
        case("GET", "/good/a", &["host: x"], "good"),
        case("GET", good, &["host: x", "host: x"], "400"),
        case("POST", good, &["content-length: 10"], "good"),
        case("POST", good, &["content-length: 11"], "413"),
        case("POST", good, &["content-length: ten"], "400"),
        case("POST", good, &["content-length: 1", "transfer-encoding: chunked"], "400"),
        case("GET", good, &[long.as_str()], "431"),
        case("GET", good, &["a: b"; 19], "good"),
        case("GET", good, &["a: b"; 20], "431"),
    ]);
    all
}

impl Case {
    /// As a client sends it.
    fn raw(&self) -> String {
        let (host, target) = match self.url.strip_prefix("http://") {
            Some(rest) => {
                let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (Some(host), if target.starts_with('/') { target.to_owned() } else { format!("/{target}") })
            }
            None => (None, self.url.clone()),
        };
        let mut raw = format!("{} {target} HTTP/1.1\r\n", self.method);
        let has_host = self.headers.iter().any(|header| header.starts_with("host:"));
        if let Some(host) = host.filter(|_| !has_host) {
            let _ = write!(raw, "Host: {host}\r\n");
        }
        for header in &self.headers {
            let _ = write!(raw, "{header}\r\n");
        }
        raw + "\r\n"
    }

    fn asked(&self, gateway: &Pellucid) -> Value {
        let headers: String = self.headers.iter().map(|header| format!("&header={}", encoded(header))).collect();
        gateway.api(&format!("/api/v1/explain?method={}&url={}{headers}", self.method, encoded(&self.url)))
    }

    /// What the command prints.
    fn told(&self, gateway: &Pellucid) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
        command.arg("explain").arg(&gateway.config).args([self.method, &self.url]).stdin(Stdio::null());
        for header in &self.headers {
            command.args(["-H", header]);
        }
        let output = command.output().unwrap();
        let code = output.status.code().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(code, i32::from(!text.contains("\n  route ")), "{text}");
        text
    }
}

/// The route or the status that an explanation names.
fn outcome_of(explained: &Value) -> String {
    if let Some(route) = explained["route"].as_str() {
        return route.to_owned();
    }
    let text = explained["text"].as_str().unwrap_or_else(|| panic!("{explained}"));
    let after = ["refused with ", "no route matches: "].iter().find_map(|words| text.split_once(words));
    let (_, after) = after.unwrap_or_else(|| panic!("no outcome in {text}"));
    after[..3].to_owned()
}

/// The route or the status that the gateway answered with.
fn outcome_on_the_wire(answer: &Answer) -> String {
    let body = answer.text();
    if body.starts_with('{') { answer.status.to_string() } else { body }
}

#[test]
fn what_explain_says_is_what_the_gateway_does() {
    let gateway = start(&config(TIGHT, ROUTES));
    for case in cases() {
        let shown: String = format!("{} {} {:?}", case.method, case.url, case.headers).chars().take(200).collect();
        let explained = case.asked(&gateway);
        assert_eq!(explained["matched"], explained["route"].is_string(), "{shown}: {explained}");
        let outcomes = [outcome_of(&explained), outcome_on_the_wire(&ask(gateway.address, case.raw()))];
        assert_eq!(outcomes, [case.outcome, case.outcome], "{shown}: {explained}");
        assert_eq!(case.told(&gateway).trim_end(), explained["text"].as_str().unwrap().trim_end(), "{shown}");
    }
}

/// The text without its first line, in single spaces.
fn lines(gateway: &Pellucid, url: &str) -> Vec<String> {
    let explained = case("GET", url, &[], "").asked(gateway);
    let text = explained["text"].as_str().unwrap_or_else(|| panic!("{explained}"));
    text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn explain_says_why_and_where_a_request_is_refused() {
    let narrow = "{ name: narrow, bind: 127.0.0.1:0, limits: { target_bytes: 64 } }";
    let gateway = start(&config(&format!("{{ name: public, bind: 127.0.0.1:0 }}, {narrow}"), ROUTES));
    let long = |length: usize| lines(&gateway, &format!("http://x/good/{}", "a".repeat(length)));
    let some = long(100);
    assert_eq!(some[0], "route good");
    assert_eq!(some.last().unwrap(), "elsewhere refused with 414: the request target is too long (listener narrow)");
    assert_eq!(long(10_000), ["refused with 414: the request target is too long (listener public, narrow)"]);
    let pathless = ["refused with 400: an HTTP/1.1 request needs a Host", "a path alone names no host: ask for http://host/path"];
    assert_eq!(lines(&gateway, "/good/a"), pathless);
    assert_eq!(lines(&gateway, "http://u:p@x/good/a"), ["refused with 400: Host is no host name, address or host:port"]);
    assert!(lines(&gateway, "http://x/teapot").contains(&"answered with 418 by a filter".to_owned()));
}

#[test]
fn explain_never_mixes_two_configurations() {
    let route = |name: &str| format!("{{ name: {name}, match: {{ path: /{name} }}, filters: [{{ respond: {{ body: {name} }} }}] }}");
    let listener = "{ name: public, bind: 127.0.0.1:0 }";
    let yaml = |names: &[&str]| {
        let routes: Vec<String> = names.iter().map(|name| route(name)).collect();
        config(listener, &format!("routes: [{}]\n", routes.join(", ")))
    };
    let orders = [yaml(&["a", "b", "c"]), yaml(&["c", "a", "d", "b"])];
    let gateway = start(&orders[0]);
    let question = case("GET", "http://x/a", &[], "a");
    std::thread::scope(|scope| {
        let reloads = scope.spawn(|| (1..=40).for_each(|turn| assert_eq!(try_reload(&gateway, &orders[turn % 2]).status, 200)));
        while !reloads.is_finished() {
            assert_eq!(outcome_of(&question.asked(&gateway)), "a");
        }
    });
}
