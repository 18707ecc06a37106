//! The admin plane behind a token, and its links to a trace store.
//!
//! In: gateways with `admin.token` and `admin.trace_url`, the built command, requests with and without the token. Out: who gets in, what is told
//! to whom, and that no output has the token in it. Not here: hosts and other sites' pages by themselves (`api`).

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Answer, Client, ask, get, temp_dir, wait_for};

const VARIABLE: &str = "PELLUCID_ADMIN_TOKEN";
const TOKEN: &str = "it-correct-horse+battery/staple==";
const OTHER: &str = "it-another-horse.battery_staple";
/// Pages that answer 200 at once.
const PAGES: [&str; 10] = [
    "/",
    "/metrics",
    "/api/v1/config",
    "/api/v1/requests",
    "/api/v1/overview",
    "/api/v1/openapi.json",
    "/console/",
    "/console/app.js",
    "/debug/pprof/",
    "/debug/pprof/cmdline",
];

fn yaml(admin: &str) -> String {
    format!(
        "listeners: [{{ name: public, bind: 127.0.0.1:0 }}]\nadmin: {{ {admin} }}\nruntime: {{ watch: false }}\n\
         routes: [{{ name: all, filters: [{{ respond: {{ body: here }} }}] }}]\n"
    )
}

fn with_token(token: &str) -> String {
    yaml(&format!("bind: '127.0.0.1:0', token: '{token}'"))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn basic(token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("any:{token}")))
}

fn get_with(admin: SocketAddr, path: &str, authorization: &str) -> Answer {
    ask(admin, format!("GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"))
}

fn reload(admin: SocketAddr, fields: &str) -> Answer {
    ask(admin, format!("POST /api/v1/reload HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"))
}

fn refused(gateway: &Pellucid, reason: &str) -> f64 {
    let start = format!("pellucid_admin_refused_total{{reason=\"{reason}\"}} ");
    let metrics = get_with(gateway.admin, "/metrics", &bearer(TOKEN)).text();
    metrics.lines().find_map(|line| line.strip_prefix(&start)).expect("the metric").parse().unwrap()
}

#[test]
fn without_the_token_only_the_probes_are_answered() {
    let gateway = Pellucid::start_config(&with_token(TOKEN), &[]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(gateway.admin, path).status, 200, "{path}");
    }
    for path in PAGES.into_iter().chain(["/api/v1/live", "/debug/pprof/heap", "/nowhere", "/healthz/"]) {
        let wrong = [bearer(OTHER), basic(OTHER), TOKEN.to_owned(), format!("Basic {TOKEN}"), bearer("")];
        let answers = [get(gateway.admin, path)].into_iter().chain(wrong.iter().map(|wrong| get_with(gateway.admin, path, wrong)));
        for answer in answers {
            assert_eq!(answer.status, 401, "{path}: {}", answer.text());
            assert_eq!(answer.header("www-authenticate").unwrap(), "Basic realm=\"Pellucid\", charset=\"UTF-8\"", "{path}");
            assert!(answer.head.contains("Bearer realm=\"Pellucid\""), "{}", answer.head);
            assert!(answer.text().contains("Authorization: Bearer TOKEN") && !answer.text().contains(TOKEN), "{}", answer.text());
        }
    }
    for authorization in [bearer(TOKEN), basic(TOKEN)] {
        for path in PAGES {
            let answer = get_with(gateway.admin, path, &authorization);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
        assert_eq!(get_with(gateway.admin, "/nowhere", &authorization).status, 404);
    }
    assert_eq!(gateway.get("/").text(), "here", "clients are asked for nothing");
}

#[test]
fn what_goes_on_is_told_live_to_who_has_the_password() {
    let gateway = Pellucid::start_config(&with_token(TOKEN), &[]);
    let mut client = Client::connect(gateway.admin);
    client.send(format!("GET /api/v1/live HTTP/1.1\r\nHost: test\r\nAuthorization: {}\r\n\r\n", basic(TOKEN)));
    let head = client.read_head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
    let size = usize::from_str_radix(&client.read_line(), 16).unwrap();
    let event = String::from_utf8(client.read_exact(size)).unwrap();
    assert!(event.starts_with("event: ") && event.contains("data: {"), "{event}");
}

#[test]
fn a_browser_that_knows_the_password_still_cannot_be_used_by_another_site() {
    let gateway = Pellucid::start_config(&with_token(TOKEN), &[]);
    let login = format!("Authorization: {}\r\n", basic(TOKEN));
    assert_eq!(reload(gateway.admin, "").status, 401);
    assert_eq!(reload(gateway.admin, "Sec-Fetch-Site: cross-site\r\n").status, 401);
    for fields in ["Sec-Fetch-Site: cross-site\r\n", "Origin: http://evil.example\r\n"] {
        assert_eq!(reload(gateway.admin, &format!("{login}{fields}")).status, 403, "{fields}");
    }
    assert_eq!(reload(gateway.admin, &format!("{login}Origin: http://test\r\nSec-Fetch-Site: same-origin\r\n")).status, 200);
    for login in ["", login.as_str()] {
        let answer = ask(gateway.admin, format!("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n{login}Connection: close\r\n\r\n"));
        assert_eq!((answer.status, answer.header("www-authenticate")), (421, None));
    }
    assert_eq!(["token", "csrf", "host"].map(|reason| refused(&gateway, reason)), [2.0, 2.0, 2.0]);
}

#[test]
fn a_reload_changes_the_token_and_no_output_shows_it() {
    let gateway = Pellucid::start_config(&yaml("bind: '127.0.0.1:0', token: '${PELLUCID_ADMIN_TOKEN}'"), &[(VARIABLE, TOKEN)]);
    let mut told = vec![get_with(gateway.admin, "/api/v1/config", &bearer(TOKEN)).text()];
    let config: Value = serde_json::from_str(&told[0]).unwrap();
    assert_eq!(config["config"]["admin"]["token"], "***", "{config}");
    assert_eq!(get_with(gateway.admin, "/metrics", &bearer(OTHER)).status, 401);
    // The file has it in plain now.
    std::fs::write(&gateway.config, with_token(OTHER)).unwrap();
    let answer = reload(gateway.admin, &format!("Authorization: {}\r\n", bearer(TOKEN)));
    assert_eq!((answer.status, &answer.json()["diff"]["other"]), (200, &json!(["admin"])), "{}", answer.text());
    told.push(answer.text());
    assert_eq!(get_with(gateway.admin, "/metrics", &bearer(TOKEN)).status, 401);
    assert_eq!(get_with(gateway.admin, "/metrics", &basic(OTHER)).status, 200);
    // One that is refused is not shown either, and the one before stays.
    std::fs::write(&gateway.config, with_token("short-and-sweet")).unwrap();
    let answer = reload(gateway.admin, &format!("Authorization: {}\r\n", bearer(OTHER)));
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("found a secret of 15 characters that is not shown, expected 16 to 1024"), "{}", answer.text());
    told.push(answer.text());
    told.extend(["/api/v1/config", "/debug/pprof/cmdline", "/metrics"].map(|path| get_with(gateway.admin, path, &bearer(OTHER)).text()));
    let line = wait_for("the line about it", || {
        gateway.log().lines().find(|line| line.contains("the admin plane was asked without its token")).map(str::to_owned)
    });
    assert!(line.contains("WARN") && line.contains("client=\"127.0.0.1:") && line.contains("path=\"/metrics\""), "{line}");
    assert!(line.contains("found=\"another token\"") && line.contains("count=1"), "{line}");
    told.push(gateway.log());
    for text in told {
        for secret in [TOKEN, OTHER, "short-and-sweet"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// The command with these arguments, and with this token in its environment.
fn pellucid(arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    command.args(arguments).stdin(Stdio::null()).env_remove(VARIABLE);
    command.envs(token.map(|token| (VARIABLE, token))).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_commands_take_the_token_from_the_environment_or_say_so() {
    let gateway = Pellucid::start_config(&with_token(TOKEN), &[]);
    let admin = format!("http://{}", gateway.admin);
    let encoded = TOKEN.replace('/', "%2F").replace('=', "%3D");
    let with_password = |password: &str| format!("http://any:{password}@{}", gateway.admin);
    for command in [&["top", "--once"][..], &["profile", "--kind", "goroutine"]] {
        let run = |admin: &str, token: Option<&str>, code: i32| {
            let output = pellucid(&[command, &["--admin", admin]].concat(), token);
            let said = errors(&output);
            assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
            for secret in [TOKEN, encoded.as_str(), OTHER] {
                assert!(!said.contains(secret), "{said}");
            }
            said
        };
        run(&admin, Some(TOKEN), 0);
        run(&with_password(&encoded), None, 0);
        run(&with_password(&encoded), Some(OTHER), 0);
        let said = run(&admin, None, 1);
        assert!(said.contains("admin.token") && said.contains("set PELLUCID_ADMIN_TOKEN to its token"), "{said}");
        let said = run(&admin, Some(OTHER), 1);
        assert!(said.contains("the value of PELLUCID_ADMIN_TOKEN is not its token"), "{said}");
        let said = run(&with_password(OTHER), Some(TOKEN), 1);
        assert!(said.contains("the password in the URL is not its token"), "{said}");
        let said = run(&admin, Some("short"), 1);
        assert!(said.contains("PELLUCID_ADMIN_TOKEN: found a value that cannot be a token, expected 16 to 1024"), "{said}");
    }
    for admin in [admin, with_password(OTHER)] {
        assert_eq!(pellucid(&["health", "--admin", &admin], None).status.code(), Some(0));
    }
}

#[test]
fn check_takes_no_token_that_can_be_guessed_and_shows_none() {
    let file = temp_dir().join("pellucid.yaml");
    let check = |admin: &str| {
        std::fs::write(&file, yaml(admin)).unwrap();
        let output = pellucid(&["check", file.to_str().unwrap()], None);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
        (output.status.code(), said)
    };
    let (code, said) = check(&format!("token: '{TOKEN}'"));
    assert!(code == Some(0) && !said.contains(TOKEN), "{said}");
    for bad in ["fifteen-letters", "with a space in it", "and-an-ümlaut-in-it"] {
        let (code, said) = check(&format!("token: '{bad}'"));
        assert!(code == Some(2) && said.contains(":2:17: found a secret of") && !said.contains(bad), "{said}");
    }
    let (code, said) = check("token: '${PELLUCID_ADMIN_TOKEN}'");
    assert!(code == Some(2) && said.contains("the environment has no `PELLUCID_ADMIN_TOKEN`"), "{said}");
    let (code, said) = check("trace_url: 'http://h/{trace}'");
    assert!(code == Some(2) && said.contains("2:21: found `http://h/{trace}`, expected no braces but those of `{trace_id}`"), "{said}");
    let schema: Value = serde_json::from_slice(&pellucid(&["schema"], None).stdout).unwrap();
    assert_eq!(schema["properties"]["admin"]["properties"]["token"]["writeOnly"], true);
}

#[test]
fn an_admin_plane_that_strangers_reach_is_warned_of() {
    let warning = "the admin plane can be reached from elsewhere and asks for no token";
    let open = Pellucid::start_config(&yaml("bind: '0.0.0.0:0'"), &[]);
    wait_for("the warning", || open.log().contains(warning).then_some(()));
    for admin in [format!("bind: '0.0.0.0:0', token: '{TOKEN}'"), "bind: '127.0.0.1:0'".to_owned()] {
        let gateway = Pellucid::start_config(&yaml(&admin), &[]);
        assert_eq!(get(gateway.admin, "/healthz").status, 200);
        assert!(!gateway.log().contains(warning), "{admin}");
    }
    // A token is no switch for the debug pages.
    let gateway = Pellucid::start_config(&yaml(&format!("bind: '0.0.0.0:0', token: '{TOKEN}'")), &[]);
    assert_eq!(get_with(gateway.admin, "/debug/pprof/", &bearer(TOKEN)).status, 403);
    // Taking the token away is warned of as well.
    let yaml = std::fs::read_to_string(&gateway.config).unwrap();
    std::fs::write(&gateway.config, yaml.replace(&format!(", token: '{TOKEN}'"), "")).unwrap();
    assert_eq!(reload(gateway.admin, &format!("Authorization: {}\r\n", bearer(TOKEN))).status, 200);
    wait_for("the warning", || gateway.log().contains(warning).then_some(()));
    assert_eq!(get(gateway.admin, "/metrics").status, 200);
}

/// One request whole, by its path.
fn whole(gateway: &Pellucid, path: &str) -> Value {
    let row = gateway.record(|row| row["path"] == path);
    gateway.api(&format!("/api/v1/requests/{}", row["id"].as_str().unwrap()))
}

/// A gateway before this origin that keeps what fails, with more under `admin` and under `telemetry`.
fn traced(origin: &Origin, admin: &str, telemetry: &str) -> String {
    format!(
        "listeners: [{{ name: public, bind: 127.0.0.1:0 }}]\nadmin: {{ bind: '127.0.0.1:0'{admin} }}\n\
         routes: [{{ name: all, upstream: origin }}]\nupstreams: [{{ name: origin, endpoints: ['{}'] }}]\n\
         telemetry: {{ traces: {{ sample: 0, keep: {{ slower_than: 1h }} }}{telemetry} }}\nruntime: {{ watch: false }}\n",
        origin.address
    )
}

#[test]
fn a_request_that_was_exported_links_to_its_trace() {
    let origin = Origin::echo();
    let config = |admin: &str| traced(&origin, admin, ", otlp: { endpoint: 'http://127.0.0.1:1' }");
    let gateway = Pellucid::start_config(&config(""), &[]);
    gateway.get("/status/500");
    gateway.get("/good");
    for path in ["/status/500", "/good"] {
        assert_eq!(whole(&gateway, path)["trace_url"], Value::Null, "nothing is configured");
    }
    let template = "http://127.0.0.1:16686/trace/{trace_id}?uiFind={span_id}&from={begin_ms}&to={end_ms}";
    std::fs::write(&gateway.config, config(&format!(", trace_url: '{template}'"))).unwrap();
    assert_eq!(reload(gateway.admin, "").status, 200);
    let (failed, good) = (whole(&gateway, "/status/500"), whole(&gateway, "/good"));
    let request = &failed["request"];
    assert_eq!((&request["kept"], &good["request"]["kept"]), (&json!(true), &json!(false)));
    let link = failed["trace_url"].as_str().unwrap();
    let (start, end) = link.split_once("&to=").unwrap();
    let (trace, span, begin) = (&request["trace_id"], &request["span_id"], &request["began_ms"]);
    let expected = format!("http://127.0.0.1:16686/trace/{}?uiFind={}&from={begin}", trace.as_str().unwrap(), span.as_str().unwrap());
    assert_eq!(start, expected);
    assert!(end.parse::<u64>().unwrap() > begin.as_u64().unwrap(), "{link}");
    assert_eq!(good["trace_url"], Value::Null, "its spans are nowhere");
}

#[test]
fn where_nothing_is_exported_no_request_links_to_a_trace() {
    let origin = Origin::echo();
    let gateway = Pellucid::start_config(&traced(&origin, ", trace_url: 'http://127.0.0.1:16686/trace/{trace_id}'", ""), &[]);
    gateway.get("/status/500");
    let failed = whole(&gateway, "/status/500");
    assert_eq!((&failed["request"]["kept"], &failed["trace_url"]), (&json!(true), &Value::Null));
}
