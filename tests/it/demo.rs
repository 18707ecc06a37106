//! The demo: alive by itself, in a pipe, for as long as it is told.

use std::process::Command;

#[test]
fn the_demo_shows_every_route_and_ends_by_itself() {
    let run = Command::new(env!("CARGO_BIN_EXE_pellucid"))
        .args(["demo", "--for", "5s", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&run.stderr));
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with("Open http://127.0.0.1:") && first.contains("/console/ "), "{first}");
    assert!(text.contains("/api/v1/requests") && !text.contains('\u{1b}'), "{text}");
    for route in ["shop", "catalog", "payments", "hello"] {
        let row = text.lines().rev().find(|line| line.starts_with(&format!("{route} "))).unwrap_or_else(|| panic!("{route} in {text}"));
        let rate: f64 = row.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(rate > 0.0, "{row}");
    }
}

#[test]
fn health_says_whether_a_gateway_is_ready() {
    let gateway = crate::support::process::Pellucid::start("routes: [{ name: r, filters: [{ respond: { status: 204 } }] }]");
    let health = |url: String| Command::new(env!("CARGO_BIN_EXE_pellucid")).args(["health", "--admin", &url]).status().unwrap().code();
    assert_eq!(health(format!("http://{}", gateway.admin)), Some(0));
    assert_eq!(health("http://127.0.0.1:1".to_owned()), Some(1));
}
