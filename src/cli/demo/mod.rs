//! `pellucid demo`: a gateway, three services and steady traffic in one process, so that there is something to see with nothing else installed.
//!
//! In: how long. Out: a live summary by route, what to open, and commands to try. The gateway is the real one; the services and the traffic
//! are ordinary clients of it, and can run apart from it (`apart`). Not here: anything that a real deployment would use.

mod apart;
mod basket;
mod labelled;
mod services;
mod summary;
mod traffic;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::{FAILED, complain, run, say};
use crate::cli::signals::Signals;
use crate::control::sockets::Inherited;
use crate::control::swap::Source;
use crate::gateway::Gateway;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DemoArguments {
    #[command(subcommand)]
    part: Option<apart::Part>,
    /// End by itself after this time, such as 20s.
    #[arg(long = "for", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// The address that the gateway listens on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The address of the admin plane.
    #[arg(long, default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::control::config::values::parse_span(text).ok_or_else(|| "expected a duration such as 20s or 2m".to_owned())
}

pub(super) fn demo(arguments: &DemoArguments) -> ExitCode {
    match &arguments.part {
        Some(part) => apart::run(part),
        None => together(arguments),
    }
}

/// What the demo logs: the console is its first line, and stays in sight. Uses of the debug pages are told by every gateway.
const LINES: &str = "warn,pellucid::control::admin::debug=info";

/// All of it in this process.
fn together(arguments: &DemoArguments) -> ExitCode {
    let failed = |why: String| {
        complain(&[format!("pellucid demo: {why}")]);
        ExitCode::from(FAILED)
    };
    let services = match services::start() {
        Ok(services) => services,
        Err(error) => return failed(format!("the demo services cannot be started: {error}")),
    };
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(format!("cannot listen for signals: {error}")),
    };
    let gateway = match Gateway::start(Source::Text(configuration(arguments, &services)), Some(LINES), Inherited::none()) {
        Ok(gateway) => gateway,
        Err(error) => return run::refuse(&error),
    };
    services.meet(format!("http://{}", gateway.listeners()[0]));
    introduce(&gateway);
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = traffic::start(gateway.listeners()[0], Arc::clone(&stop)) {
        return failed(format!("the traffic cannot be started: {error}"));
    }
    signals.serve(gateway, false, async |gateway| {
        let _stop = StopTraffic(stop);
        watch(gateway, arguments.duration).await;
    })
}

/// Ends the traffic however the demo ends.
struct StopTraffic(Arc<AtomicBool>);

impl Drop for StopTraffic {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Shows the summary until the time is up.
async fn watch(gateway: &Gateway, duration: Option<Duration>) {
    let time_is_up = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = summary::show(gateway) => {}
        () = time_is_up => {}
    }
}

fn configuration(arguments: &DemoArguments, services: &services::Services) -> String {
    let (listen, admin) = (arguments.listen, arguments.admin);
    let [shop, catalog, payments, slow_catalog] = services.addresses;
    format!(
        "listeners: [{{ name: demo, bind: '{listen}', trace_context: continue }}]
admin: {{ bind: '{admin}' }}
routes:
  - {{ name: shop, match: {{ path: '/shop/{{item}}' }}, upstream: shop, timeout: 5s }}
  - {{ name: catalog, match: {{ path: '/catalog/{{item}}' }}, upstream: catalog, timeout: 2s }}
  - {{ name: payments, match: {{ path: /payments, methods: [POST] }}, upstream: payments, timeout: 2s }}
  - {{ name: hello, match: {{ path: / }}, filters: [{{ respond: {{ body: 'Pellucid demo: try /shop/7\\n' }} }}] }}
upstreams:
  - {{ name: shop, endpoints: ['{shop}'] }}
  - {{ name: catalog, endpoints: ['{catalog}', '{slow_catalog}'] }}
  - {{ name: payments, endpoints: ['{payments}'] }}
telemetry: {{ service_name: pellucid-demo, traces: {{ sample: 1.0 }}, profiles: {{ continuous: true }}, capture_headers: [x-tenant] }}
"
    )
}

fn introduce(gateway: &Gateway) {
    let (data, admin) = (gateway.listeners()[0], gateway.admin());
    say(&format!(
        "Open http://{admin}/console/   the console: what is going on, and why one request was slow

Pellucid demo: a gateway on http://{data}, three services behind it, and traffic of three tenants.

  catalog   has two endpoints, of which one is slow now and then
  payments  fails now and then
  shop      asks both of them through the gateway, so that traces have depth

Or try:
  pellucid top --admin http://{admin}                       the same in the terminal
  curl -i http://{data}/shop/7                              an answer, with its x-trace-id
  curl -s 'http://{admin}/api/v1/requests?min_ms=200&limit=3'   slow requests, phase by phase
  curl -s 'http://{admin}/api/v1/requests?status=5xx&limit=3'   failed ones
  curl -s http://{admin}/metrics                            Prometheus metrics
  curl -s http://{admin}/api/v1/telemetry                   what became of every span and log line
  http://{admin}/debug/pprof/flamegraph?seconds=5           where the CPU goes, by route and function
  go tool pprof 'http://{admin}/debug/pprof/profile?seconds=5'   the same samples, in pprof
"
    ));
}
