//! The demo's three services: one with a slow endpoint, one failing now and then, one that asks the other two through the gateway.
//!
//! In: requests from the gateway. Out: JSON. They know nothing of Pellucid but its address, and pass `traceparent` on as any
//! instrumented service would; the labels of `labelled` are for profiles of a process that they share with a gateway. Not here: who calls
//! them (`traffic`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Router, middleware};

use super::{basket, labelled};
use crate::base::draw::Draw;
use crate::telemetry::record::{labels, names};

/// One request in so many is slow, or fails, or buys wholesale. Half of the catalog's requests go to its slow endpoint, so that the p99 of
/// its route is lifted, and its p95 is not, which tells what counts as slow.
const SLOW_ONE_IN: u32 = 20;
const FAILED_ONE_IN: u32 = 15;
const WHOLESALE_ONE_IN: u32 = 4;
/// How long the shop waits for an answer through the gateway, whose own timeouts are shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose endpoints there are, in the order of their ports. The catalog has two, and the latter is the slow one.
pub(super) const NAMES: [&str; 4] = ["shop", "catalog", "payments", "catalog"];

/// The services, from the moment when their sockets are open.
pub(super) struct Services {
    /// In the order of [`NAMES`].
    pub(super) addresses: [SocketAddr; NAMES.len()],
    gateway: Arc<OnceLock<String>>,
}

/// An endpoint that is not served yet.
pub(super) struct Stall {
    socket: TcpListener,
    router: Router,
}

#[derive(Clone)]
struct Shared {
    draw: Arc<Mutex<Draw>>,
    /// Its URL, without a slash at the end.
    gateway: Arc<OnceLock<String>>,
    client: reqwest::Client,
}

impl Services {
    /// Tells the shop the URL of the gateway.
    pub(super) fn meet(&self, gateway: String) {
        // Called once; a second gateway would not be listened to.
        let _ = self.gateway.set(gateway);
    }
}

/// All of them on ports of the system's choice, on a thread of their own.
pub(super) fn start() -> io::Result<Services> {
    let (services, stalls) = open(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-services".to_owned()).spawn(move || runtime.block_on(serve(stalls)))?;
    Ok(services)
}

/// Opens their sockets: on `first_port` and those that follow it, or on ports of the system's choice where it is zero.
pub(super) fn open(bind: IpAddr, first_port: u16) -> io::Result<(Services, Vec<Stall>)> {
    let gateway = Arc::new(OnceLock::new());
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).build().map_err(io::Error::other)?;
    let shared = Shared { draw: Arc::new(Mutex::new(Draw::from_system())), gateway: Arc::clone(&gateway), client };
    let mut stalls = Vec::new();
    for (index, router) in (0..).zip(routers(shared)) {
        let address = SocketAddr::new(bind, if first_port == 0 { 0 } else { first_port.saturating_add(index) });
        let socket = TcpListener::bind(address).map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        socket.set_nonblocking(true)?;
        stalls.push(Stall { socket, router });
    }
    let address = |index: usize| stalls[index].socket.local_addr();
    let addresses = [address(0)?, address(1)?, address(2)?, address(3)?];
    Ok((Services { addresses, gateway }, stalls))
}

/// In the order of [`NAMES`].
fn routers(shared: Shared) -> [Router; NAMES.len()] {
    let [shop_name, catalog_name, payments_name, slow_name] = NAMES;
    [
        stall(shop_name, Router::new().route("/shop/{item}", get(shop)).with_state(shared.clone())),
        stall(catalog_name, Router::new().route("/catalog/{item}", get(catalog)).with_state(shared.clone())),
        stall(payments_name, Router::new().route("/payments", post(payments)).with_state(shared.clone())),
        stall(slow_name, Router::new().route("/catalog/{item}", get(slow_catalog)).with_state(shared)),
    ]
}

/// A service's work is labelled; being asked whether it is ready is nobody's request.
fn stall(service: &str, routes: Router) -> Router {
    routes.layer(middleware::from_fn_with_state(labels::number(service), labelled::label)).route("/readyz", get(ready))
}

/// Answers requests, and does not end by itself.
pub(super) async fn serve(stalls: Vec<Stall>) {
    let mut serving = tokio::task::JoinSet::new();
    for Stall { socket, router } in stalls {
        serving.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(socket)?;
            axum::serve(listener, router).await
        });
    }
    while serving.join_next().await.is_some() {}
}

impl Shared {
    fn one_in(&self, count: u32) -> bool {
        self.draw.lock().unwrap_or_else(PoisonError::into_inner).below(count) == 0
    }

    fn millis(&self, from: u32, to: u32) -> Duration {
        let extra = self.draw.lock().unwrap_or_else(PoisonError::into_inner).below(to - from);
        Duration::from_millis(u64::from(from + extra))
    }
}

/// For health checks: `pellucid health --admin http://…:9101`.
async fn ready() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Reckons the price, looks the item up and pays for it, the latter two through the gateway.
async fn shop(State(shared): State<Shared>, Path(item): Path<String>, headers: HeaderMap) -> (StatusCode, String) {
    let Some(gateway) = shared.gateway.get() else { return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()) };
    let lines = if shared.one_in(WHOLESALE_ONE_IN) { basket::WHOLESALE_LINES } else { basket::LINES };
    let cents = basket::price_basket(&item, lines);
    let passed_on: HeaderMap = [names::HEADER_TRACEPARENT, names::HEADER_TRACESTATE]
        .into_iter()
        .filter_map(|name| Some((name.parse().ok()?, headers.get(name)?.clone())))
        .collect();
    let lookup = shared.client.get(format!("{gateway}/catalog/{item}")).headers(passed_on.clone()).send();
    let payment = shared.client.post(format!("{gateway}/payments")).headers(passed_on).body(format!("{{\"cents\":{cents}}}")).send();
    match tokio::join!(lookup, payment) {
        (Ok(found), Ok(paid)) if found.status().is_success() && paid.status().is_success() => {
            (StatusCode::OK, format!("{{\"sold\":\"{item}\",\"cents\":{cents}}}\n"))
        }
        _ => (StatusCode::BAD_GATEWAY, "{\"error\":\"a service behind the shop failed\"}\n".to_owned()),
    }
}

async fn catalog(State(shared): State<Shared>, Path(item): Path<String>) -> String {
    tokio::time::sleep(shared.millis(1, 6)).await;
    listing(&item)
}

/// The other endpoint of the same service.
async fn slow_catalog(State(shared): State<Shared>, Path(item): Path<String>) -> String {
    let pause = if shared.one_in(SLOW_ONE_IN) { shared.millis(250, 900) } else { shared.millis(1, 6) };
    tokio::time::sleep(pause).await;
    listing(&item)
}

fn listing(item: &str) -> String {
    format!("{{\"item\":\"{item}\",\"price\":1}}\n")
}

async fn payments(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    tokio::time::sleep(shared.millis(2, 9)).await;
    if shared.one_in(FAILED_ONE_IN) {
        return (StatusCode::SERVICE_UNAVAILABLE, "{\"error\":\"the bank does not answer\"}\n");
    }
    (StatusCode::OK, "{\"paid\":true}\n")
}
