//! The admin plane's API: what its document says is what it does.
//!
//! In: a running gateway and `/api/v1/openapi.json` as it serves it. Out: assertions on real answers, by the schemas of that document. A field
//! that it does not name is an error here, so that the two cannot drift apart.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Answer, Client, ask, get, temp_dir, wait_for};

/// Where the routes are declared.
const ROUTERS: [&str; 2] = [include_str!("../../src/control/admin/mod.rs"), include_str!("../../src/control/admin/debug/mod.rs")];
/// Subscribers of `/api/v1/live` at once.
const SUBSCRIBERS_MAX: usize = 32;
/// Pages without parameters that take any: probes and scrapers send their own, and so may Go's tools.
const INDIFFERENT: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/cmdline"];
/// Its query, or its body, is no list of parameters but one of addresses.
const SYMBOL: &str = "/debug/pprof/symbol";

fn config(origin: &Origin, rest: &str) -> String {
    format!(
        "routes:\n\
         - {{ name: all, match: {{ path: '/**', methods: [GET] }}, upstream: origin }}\n\
         - {{ name: tenant, match: {{ path: '/tenant/**', headers: {{ x-tenant: a }} }}, upstream: origin }}\n\
         - {{ name: refused, match: {{ path: '/refused' }}, upstream: gone, retry: {{ attempts: 1 }} }}\n\
         upstreams: [{{ name: origin, endpoints: ['{}'] }}, {{ name: gone, endpoints: ['127.0.0.1:1'] }}]\n{rest}",
        origin.address
    )
}

/// One request of each sort.
fn send_some(gateway: &Pellucid) {
    for path in ["/", "/status/500", "/sleep/300", "/refused"] {
        gateway.get(path);
    }
    ask(gateway.address, "POST /nowhere HTTP/1.1\r\nHost: h\r\nUser-Agent: probe/1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    wait_for_records(gateway, 5);
}

fn wait_for_records(gateway: &Pellucid, count: usize) {
    let all = || (gateway.api("/api/v1/requests?limit=2048")["requests"].as_array()?.len() == count).then_some(());
    wait_for("all records", all);
}

fn rows(gateway: &Pellucid, query: &str) -> Vec<Value> {
    gateway.api(&format!("/api/v1/requests?{query}"))["requests"].as_array().unwrap().clone()
}

fn texts<'v>(rows: &'v [Value], field: &str) -> Vec<&'v str> {
    rows.iter().map(|row| row[field].as_str().unwrap()).collect()
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

fn media_of(answer: &Answer) -> String {
    answer.header("content-type").unwrap_or_default().split(';').next().unwrap().trim().to_owned()
}

/// No browser takes it for anything else than it says.
fn expect_no_sniffing(answer: &Answer, what: &str) {
    let found: Vec<_> = answer.head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-content-type-options:")).collect();
    assert_eq!(found, ["x-content-type-options: nosniff"], "{what}: {}", answer.head);
}

/// `/api/v1/openapi.json`.
struct Document(Value);

impl Document {
    fn of(gateway: &Pellucid) -> Self {
        Document(gateway.api("/api/v1/openapi.json"))
    }

    /// Each operation with its path and method.
    fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            operations.extend(item.as_object().unwrap().iter().map(|(method, what)| (path.as_str(), method.as_str(), what)));
        }
        operations
    }

    fn resolve<'d>(&'d self, node: &'d Value) -> &'d Value {
        let Some(reference) = node["$ref"].as_str() else { return node };
        let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is elsewhere"));
        self.0.pointer(place).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// The value is what the component says.
    fn expect(&self, component: &str, value: &Value) {
        let schema = &self.0["components"]["schemas"][component];
        assert!(schema.is_object(), "there is no schema {component}");
        let bad = self.violations(schema, value, component);
        assert!(bad.is_empty(), "{}\nin {value}", bad.join("\n"));
    }

    fn violations(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        let mut bad = Vec::new();
        for (keyword, rule) in schema.as_object().unwrap() {
            let holds = match keyword.as_str() {
                "description" | "format" | "default" | "properties" | "additionalProperties" => true,
                "type" => is_of_type(value, rule),
                "enum" => rule.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
                "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
                "anyOf" => rule.as_array().unwrap().iter().any(|choice| self.violations(choice, value, at).is_empty()),
                "required" => {
                    let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                    !value.is_object() || rule.as_array().unwrap().iter().all(has)
                }
                "items" => {
                    let items = value.as_array().into_iter().flatten().enumerate();
                    bad.extend(items.flat_map(|(index, item)| self.violations(rule, item, &format!("{at}[{index}]"))));
                    true
                }
                other => panic!("{at}: this test does not know the keyword {other}"),
            };
            if !holds {
                bad.push(format!("{at}: found {value}, expected {keyword} {rule}"));
            }
        }
        for (name, field) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(rule), _) => bad.extend(self.violations(rule, field, &at)),
                (None, Some(rule)) if rule.is_object() => bad.extend(self.violations(rule, field, &at)),
                (None, Some(rule)) => assert_eq!(rule, true, "{at}"),
                (None, None) if schema.get("properties").is_some() => bad.push(format!("{at}: the document does not name it")),
                (None, None) => {}
            }
        }
        bad
    }
}

fn is_of_type(value: &Value, types: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

/// A path with what it needs to be asked.
fn target(path: &str, operation: &Value, id: &str) -> String {
    let mut pairs = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query") {
        let name = parameter["name"].as_str().unwrap();
        match parameter["example"].as_str() {
            Some(example) if parameter["required"] == true => pairs.push(format!("{name}={}", encoded(example))),
            // Nobody waits for half a minute.
            None if name == "seconds" => pairs.push("seconds=1".to_owned()),
            _ => assert_ne!(parameter["required"], true, "{path}: {name} has no example"),
        }
    }
    let path = path.replace("{id}", id);
    if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
}

#[test]
fn every_page_answers_as_the_document_says() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    send_some(&gateway);
    let document = Document::of(&gateway);
    let all = rows(&gateway, "");
    let ids = texts(&all, "id");
    let mut asked = 0;
    for (path, _, operation) in document.operations().into_iter().filter(|(_, method, _)| *method == "get") {
        let content = document.resolve(&operation["responses"]["200"])["content"].as_object().unwrap();
        let target = target(path, operation, ids[0]);
        let mut client = Client::connect(gateway.admin);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        let answer = if content.contains_key("text/event-stream") {
            let head = client.read_head().unwrap();
            Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: Vec::new() }
        } else {
            client.read_answer("GET")
        };
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        expect_no_sniffing(&answer, &target);
        let media = media_of(&answer);
        if media == "image/svg+xml" {
            let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'self'";
            assert_eq!(answer.header("content-security-policy").as_deref(), Some(policy), "{target}");
        }
        let found = content.get(&media).unwrap_or_else(|| panic!("{target}: found {media}, expected one of {:?}", content.keys()));
        if media == "application/json" {
            let bad = document.violations(&found["schema"], &answer.json(), path);
            assert!(bad.is_empty(), "{}\nin {}", bad.join("\n"), answer.text());
        }
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    for id in ids {
        document.expect("WholeRequest", &gateway.api(&format!("/api/v1/requests/{id}")));
    }
}

/// The parameters that a refusal of `name` lists.
fn expected_in<'t>(refusal: &'t str, name: &str) -> BTreeSet<&'t str> {
    let opening = format!("found the parameter `{name}`, expected ");
    let expected = refusal.trim().strip_prefix(opening.as_str()).unwrap_or_else(|| panic!("{refusal}"));
    let Some(names) = expected.strip_prefix("one of ") else {
        assert_eq!(expected, "none", "{refusal}");
        return BTreeSet::new();
    };
    names.split(", ").collect()
}

#[test]
fn the_document_names_every_parameter_that_a_page_knows_and_no_other() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    let mut asked = 0;
    for (path, method, operation) in document.operations() {
        let parameters = operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query");
        let told: BTreeSet<_> = parameters.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        if path == SYMBOL {
            assert!(told.is_empty(), "{method} {path}: {told:?}");
            continue;
        }
        let target = format!("{}?nope=1", path.replace("{id}", "1-0000000000000001"));
        let line = format!("{} {target} HTTP/1.1", method.to_uppercase());
        let answer = ask(gateway.admin, format!("{line}\r\nHost: test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        expect_no_sniffing(&answer, &target);
        if INDIFFERENT.contains(&path) {
            assert_eq!((answer.status, told.len()), (200, 0), "{method} {target}");
            continue;
        }
        assert_eq!(answer.status, 400, "{method} {target}: {}", answer.text());
        let content = &document.resolve(&operation["responses"]["400"])["content"];
        let media = media_of(&answer);
        assert!(content[&media].is_object(), "{method} {target}: found 400 as {media}, expected one of {content}");
        let refusal = match media.as_str() {
            "application/json" => {
                let bad = document.violations(&content[&media]["schema"], &answer.json(), &target);
                assert!(bad.is_empty(), "{}\nin {}", bad.join("\n"), answer.text());
                answer.json()["message"].as_str().unwrap().to_owned()
            }
            _ => answer.text(),
        };
        assert_eq!(told, expected_in(&refusal, "nope"), "{method} {path}");
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
}

#[test]
fn the_document_names_every_page_and_no_other() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    let mut declared = BTreeSet::new();
    for part in ROUTERS.iter().flat_map(|source| source.split(".route(").skip(1)) {
        let (path, rest) = part.trim_start().strip_prefix('"').and_then(|text| text.split_once('"')).expect("a path");
        let handlers = rest.split("\n        .").next().unwrap();
        let is_told = ["/api/", "/debug/pprof/", "/healthz", "/readyz", "/metrics"].iter().any(|start| path.starts_with(start));
        for method in ["get", "post", "put", "delete"].into_iter().filter(|method| is_told && handlers.contains(&format!("{method}("))) {
            declared.insert((path, method));
        }
    }
    let told: BTreeSet<_> = document.operations().into_iter().map(|(path, method, _)| (path, method)).collect();
    assert!(declared.len() > 20, "{declared:?}");
    assert_eq!(told, declared);
}

#[test]
fn the_document_is_sound() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    assert_eq!(document.0["openapi"], "3.1.0");
    let mut pending = vec![&document.0];
    while let Some(node) = pending.pop() {
        document.resolve(node);
        pending.extend(node.as_array().into_iter().flatten());
        pending.extend(node.as_object().into_iter().flat_map(|fields| fields.values()));
    }
    let mut names = BTreeSet::new();
    for (path, method, operation) in document.operations() {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        for part in path.split('{').skip(1) {
            let name = part.split('}').next().unwrap();
            let mut parameters = operation["parameters"].as_array().unwrap().iter();
            assert!(parameters.any(|parameter| parameter["in"] == "path" && parameter["name"] == name), "{path}: {name}");
        }
    }
}

#[test]
fn a_query_that_cannot_be_read_says_what_was_expected() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    for target in [
        "requests?limit=0",
        "requests?limit=1&limit=2",
        "requests?lmit=1",
        "requests?status=9xx",
        "requests?min_ms=x",
        "requests?trace_id=12",
        "requests?before=zz",
        "requests?q=status:x",
        "requests/histogram?q=status:x",
        "requests/zz",
        "live?q=status:x",
        "overview?window=4",
        "overview?windw=60",
        "overview?span=60",
        "overview?window=60&window=60",
        "history?span=3601",
        "history?spn=60",
        "history?window=60",
        "topology?window=x",
        "topology?windw=60",
        "topology?route=all",
        "requests/histogram?limit=5",
        "requests/1-0000000000000001?x=1",
        "live?limit=1",
        "live?before=1-0000000000000001",
        "config?x=1",
        "telemetry?x=1",
        "explain",
        "explain?url=nonsense",
        "explain?url=/&header=x",
        "explain?url=/&bogus=1",
        "explain?url=/&url=/",
    ] {
        let answer = get(gateway.admin, &format!("/api/v1/{target}"));
        assert_eq!((answer.status, media_of(&answer).as_str()), (400, "application/json"), "{target}: {}", answer.text());
        document.expect("Error", &answer.json());
        assert_eq!(answer.json()["error"], "bad_query", "{target}");
        assert!(!answer.text().contains("deserialize"), "{target}: {}", answer.text());
    }
    let unknown = get(gateway.admin, "/api/v1/requests/1-0000000000000001");
    document.expect("Error", &unknown.json());
    assert_eq!((unknown.status, &unknown.json()["error"]), (404, &"no_such_request".into()));
    let profile = get(gateway.admin, "/debug/pprof/profile?secs=1");
    assert!(profile.status == 400 && profile.text().contains("found the parameter `secs`"), "{profile:?}");
}

#[test]
fn what_is_not_there_is_said_as_json() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    let send = |method: &str, path: &str| {
        ask(gateway.admin, format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    };
    for path in ["/api/", "/api/v1/", "/api/v1/nothing?x=1", "/api/v2/config", "/api/v1/requests/1/2"] {
        let answer = send("GET", path);
        assert_eq!((answer.status, &answer.json()["error"]), (404, &"no_such_page".into()), "{path}");
        expect_no_sniffing(&answer, path);
        document.expect("Error", &answer.json());
    }
    for (method, path, allowed) in [("POST", "/api/v1/overview", "GET,HEAD"), ("GET", "/api/v1/reload", "POST")] {
        let answer = send(method, path);
        assert_eq!((answer.status, &answer.json()["error"]), (405, &"wrong_method".into()), "{path}");
        assert_eq!(answer.header("allow").as_deref(), Some(allowed), "{path}");
        document.expect("Error", &answer.json());
    }
    let (page, method) = (send("GET", "/nothing"), send("POST", "/metrics"));
    assert_eq!((page.status, media_of(&page).as_str(), method.status), (404, "text/plain", 405));
    let file = send("GET", "/console/nothing.js");
    assert_eq!((file.status, media_of(&file).as_str()), (404, "text/plain"));
    let stranger = ask(gateway.admin, "GET /api/v1/config HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n");
    assert_eq!(stranger.status, 421);
    for (answer, what) in [(&page, "a page"), (&method, "a method"), (&file, "a file"), (&stranger, "a host")] {
        expect_no_sniffing(answer, what);
    }
}

#[test]
fn a_page_of_another_site_may_link_to_everything_and_fetch_nothing() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let send = |path: &str, mode: &str, dest: &str| {
        let site = format!("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n");
        ask(gateway.admin, format!("GET {path} HTTP/1.1\r\nHost: test\r\n{site}Connection: close\r\n\r\n")).status
    };
    for path in ["/", "/console/", "/api/v1/overview", "/debug/pprof/flamegraph?seconds=1"] {
        assert_eq!(send(path, "navigate", "document"), 200, "{path}");
    }
    for path in ["/", "/metrics", "/api/v1/live", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=1"] {
        for (mode, dest) in [("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")] {
            assert_eq!(send(path, mode, dest), 403, "{path}: {mode}, {dest}");
        }
    }
    assert_eq!(gateway.api("/api/v1/telemetry")["live"]["subscribers"], 0);
}

#[test]
fn paging_visits_every_request_once() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    for number in 0..25 {
        gateway.get(&format!("/page/{number}"));
    }
    wait_for_records(&gateway, 25);
    let mut visited: Vec<String> = Vec::new();
    let mut before = String::new();
    loop {
        let page = gateway.api(&format!("/api/v1/requests?limit=4{before}"));
        let found = page["requests"].as_array().unwrap();
        assert!(!found.is_empty() && found.len() <= 4 && visited.len() <= 25, "{page}");
        visited.extend(texts(found, "id").into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(found.len(), 4);
        before = format!("&before={next}");
    }
    assert_eq!(visited, texts(&rows(&gateway, "limit=2048"), "id"));
    assert_eq!(visited.iter().collect::<BTreeSet<_>>().len(), 25);
}

#[test]
fn filters_find_what_they_name_and_nothing_else() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    send_some(&gateway);
    let paths = |query: &str| {
        let found = rows(&gateway, query);
        let mut paths: Vec<String> = texts(&found, "path").into_iter().map(str::to_owned).collect();
        paths.sort();
        paths
    };
    for (query, expected) in [
        ("route:refused", vec!["/refused"]),
        ("status:5xx", vec!["/refused", "/status/500"]),
        ("status:5xx -route:refused", vec!["/status/500"]),
        ("-method:GET", vec!["/nowhere"]),
        ("error:connect_refused", vec!["/refused"]),
        ("verdict:upstream_refused", vec!["/refused"]),
        ("verdict:no_route", vec!["/nowhere"]),
        ("endpoint:127.0.0.1:1", vec!["/refused"]),
        ("path:/sle", vec!["/sleep/300"]),
        ("path:/absent", vec![]),
    ] {
        let query = format!("q={}", encoded(query));
        assert_eq!(paths(&query), expected, "{query}");
        let histogram = gateway.api(&format!("/api/v1/requests/histogram?{query}"));
        let counted: u64 = histogram["buckets"].as_array().unwrap().iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
        let numbers = [counted, histogram["matched"].as_u64().unwrap(), histogram["seen"].as_u64().unwrap()];
        assert_eq!(numbers, [expected.len() as u64, expected.len() as u64, 5], "{query}");
    }
    assert_eq!(paths("status=404"), ["/nowhere"]);
    assert_eq!(paths("route=refused&status=5xx"), ["/refused"]);
    for query in ["min_ms=299".to_owned(), format!("q={}", encoded("duration:>=299ms"))] {
        let found = rows(&gateway, &query);
        assert!(texts(&found, "path").contains(&"/sleep/300"), "{query}");
        assert!(found.iter().all(|row| row["duration_ms"].as_f64().unwrap() >= 299.0), "{query}: {found:?}");
    }
    let one = &rows(&gateway, "route=refused")[0];
    assert_eq!(paths(&format!("trace_id={}", one["trace_id"].as_str().unwrap())), ["/refused"]);
}

/// A subscriber of `/api/v1/live`.
struct Events {
    client: Client,
    text: String,
}

impl Events {
    /// Returns once it is served.
    fn subscribe(admin: SocketAddr, query: &str) -> Self {
        let mut client = Client::connect(admin);
        let head = client.send(format!("GET /api/v1/live{query} HTTP/1.1\r\nHost: test\r\n\r\n")).read_head().unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        Events { client, text: String::new() }
    }

    /// Returns once all requests that begin from now on will be told: what has passed before is told to nobody.
    fn listening(admin: SocketAddr, query: &str) -> Self {
        let mut events = Self::subscribe(admin, query);
        for _ in 0..2 {
            while events.receive().0 != "overview" {}
        }
        events
    }

    /// The next event with its data.
    fn receive(&mut self) -> (String, Value) {
        loop {
            if let Some(at) = self.text.find("\n\n") {
                let event: String = self.text.drain(..at + 2).collect();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                // The rest are comments that keep the connection open.
                if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                    return (name.to_owned(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let size = usize::from_str_radix(&self.client.read_line(), 16).unwrap();
            assert!(size > 0, "the events ended");
            self.text.push_str(std::str::from_utf8(&self.client.read_exact(size)).unwrap());
            assert_eq!(self.client.read_line(), "");
        }
    }
}

#[test]
fn live_tells_of_requests_before_the_next_overviews() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    let query = format!("?q={}", encoded("status:5xx"));
    let mut events = Events::listening(gateway.admin, &query);
    gateway.get("/");
    gateway.get("/status/500");
    let mut overviews = 0;
    let told = loop {
        let (name, body) = events.receive();
        match name.as_str() {
            "overview" => document.expect("Overview", &body),
            _ => break body,
        }
        overviews += 1;
        // One comes every second, and requests four times as often.
        assert!(overviews <= 2, "no request was told of");
    };
    document.expect("LiveRequests", &told);
    assert_eq!(texts(told["rows"].as_array().unwrap(), "path"), ["/status/500"]);
    let counted = wait_for("an overview that counts both", || {
        let (name, body) = events.receive();
        (name == "overview" && body["total"]["count"] == 2).then_some(body)
    });
    assert_eq!(counted["routes"][0]["route"], "all");
}

#[test]
fn subscribers_that_never_read_cost_the_others_nothing_and_there_are_so_many_at_most() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    let silent: Vec<Events> = (1..SUBSCRIBERS_MAX).map(|_| Events::subscribe(gateway.admin, "")).collect();
    let mut reader = Events::listening(gateway.admin, &format!("?q={}", encoded("path:/counted")));
    let refused = get(gateway.admin, "/api/v1/live");
    assert_eq!((refused.status, &refused.json()["error"]), (503, &"busy".into()));
    document.expect("Error", &refused.json());

    for _ in 0..300 {
        assert_eq!(gateway.get("/counted").status, 200);
    }
    let mut told = 0;
    while told < 300 {
        let (name, body) = reader.receive();
        assert_ne!(name, "lost", "{body}");
        if name == "requests" {
            document.expect("LiveRequests", &body);
            told += body["rows"].as_array().unwrap().len() as u64 + body["skipped"].as_u64().unwrap();
        }
    }
    assert_eq!(told, 300, "each once");
    let live = || gateway.api("/api/v1/telemetry")["live"].clone();
    assert_eq!((live()["subscribers"].as_u64(), live()["lost"].as_u64()), (Some(SUBSCRIBERS_MAX as u64), Some(0)));
    drop(silent);
    wait_for("the places of those that left", || (live()["subscribers"] == 1).then_some(()));
    Events::subscribe(gateway.admin, "");
}

#[test]
fn explain_says_which_route_takes_a_request_and_why_none_does() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    let explain = |query: &str| {
        let body = gateway.api(&format!("/api/v1/explain?{query}"));
        document.expect("Explained", &body);
        (body["matched"].as_bool().unwrap(), body["route"].as_str().map(str::to_owned), body["text"].as_str().unwrap().to_owned())
    };
    let url = |path: &str| format!("url={}", encoded(&format!("http://shop.example{path}")));
    let (matched, route, text) = explain(&url("/x?y=1"));
    assert!(matched && route.as_deref() == Some("all"), "{text}");
    assert!(text.contains(&format!("origin: {}", origin.address)), "{text}");
    let headers = format!("{}&header={}&header={}", url("/tenant/1"), encoded("x-other: b"), encoded("x-tenant: a"));
    assert_eq!(explain(&headers).1.as_deref(), Some("tenant"));
    let (matched, route, text) = explain(&format!("method=POST&{}", url("/tenant/1")));
    assert!(!matched && route.is_none(), "{text}");
    assert!(text.contains("wants the header x-tenant: a") && text.contains("wants the method GET"), "{text}");
}

#[test]
fn a_page_from_elsewhere_gets_nothing_and_changes_nothing() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&config(&origin, ""));
    let document = Document::of(&gateway);
    let paths = &document.0["paths"];
    for path in ["/api/v1/requests", "/metrics", "/debug/pprof/", "/console/"] {
        let answer = ask(gateway.admin, format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.status, 421, "{path}");
        assert!(path == "/console/" || paths[path]["get"]["responses"]["421"].is_object(), "{path}");
    }
    let reload = |fields: &str| {
        ask(gateway.admin, format!("POST /api/v1/reload HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"))
    };
    let documented = &paths["/api/v1/reload"]["post"]["responses"];
    for fields in ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(reload(fields).status, 403, "{fields}");
    }
    assert!(documented["403"].is_object());
    assert!(gateway.api("/api/v1/config")["reloads"].as_array().unwrap().is_empty(), "nothing was read again");
    for fields in ["", "Origin: http://test\r\nSec-Fetch-Site: same-origin\r\n"] {
        let answer = reload(fields);
        assert_eq!(answer.status, 200, "{fields}: {}", answer.text());
        document.expect("Reloaded", &answer.json());
    }
    let text = std::fs::read_to_string(&gateway.config).unwrap();
    std::fs::write(&gateway.config, text.replace("upstream: gone", "upstream: gon")).unwrap();
    let answer = reload("");
    assert_eq!(answer.status, 422, "{}", answer.text());
    document.expect("ReloadRefused", &answer.json());
    assert_eq!(answer.json()["error"], "refused");
    document.expect("Config", &gateway.api("/api/v1/config"));
}

#[test]
fn a_refused_upstream_is_said_in_the_list_in_the_log_and_in_the_spans() {
    let origin = Origin::echo();
    let log = temp_dir().join("access.log");
    let gateway = Pellucid::start(&config(&origin, &format!("telemetry: {{ access_log: {{ to: {} }} }}\n", log.display())));
    assert_eq!(gateway.get("/refused").status, 502);
    let row = gateway.record(|row| row["path"] == "/refused");
    let verdict = &row["verdict"];
    assert_eq!((verdict["code"].as_str(), verdict["confidence"].as_str()), (Some("upstream_refused"), Some("certain")), "{row}");
    assert!(verdict["text"].as_str().unwrap().contains("127.0.0.1:1"), "{verdict}");
    let line: Value = wait_for("the log line", || serde_json::from_str(std::fs::read_to_string(&log).ok()?.lines().next()?).ok());
    assert_eq!((&line["pellucid.verdict"], &line["pellucid.verdict.code"]), (&verdict["text"], &verdict["code"]));
    let whole = gateway.api(&format!("/api/v1/requests/{}", row["id"].as_str().unwrap()));
    assert_eq!((&whole["request"], &whole["log"]), (&row, &line));
    let attributes = whole["span"][0]["attributes"].as_array().unwrap();
    let said = attributes.iter().find(|pair| pair["key"] == "pellucid.verdict").unwrap();
    assert_eq!(said["value"]["stringValue"], verdict["text"]);
}
