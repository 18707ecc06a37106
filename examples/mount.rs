//! An axum app of one's own, with Pellucid behind every path that the app does not serve itself.
//!
//! `cargo run --example mount -- http://127.0.0.1:3000`, then `curl http://127.0.0.1:8000/own` and any other path.

use axum::Router;
use axum::routing::get;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = std::env::args().nth(1).ok_or("expected the URL of an upstream")?;
    let gateway = pellucid::Gateway::from_yaml(&format!(
        "listeners: [{{ name: unused, bind: 127.0.0.1:0 }}]
admin: {{ bind: 127.0.0.1:0 }}
routes: [{{ name: rest, match: {{ path: '/**' }}, upstream: app }}]
upstreams: [{{ name: app, endpoints: ['{upstream}'] }}]
telemetry: {{ access_log: {{ to: stdout }} }}"
    ))?;
    let app = Router::new().route("/own", get(async || "served by the app itself\n")).fallback_service(gateway.service());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    axum::serve(listener, app).await?;
    Ok(())
}
