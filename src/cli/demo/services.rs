//! The demo's three services: one slow now and then, one failing now and then, one that asks the other two through the gateway.
//!
//! In: requests from the gateway. Out: JSON. They know nothing of Pellucid but its address, and pass `traceparent` on as any
//! instrumented service would. Not here: who calls them (`traffic`).

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};

use crate::base::draw::Draw;
use crate::telemetry::record::names;

/// One request in so many is slow, or fails.
const SLOW_ONE_IN: u32 = 25;
const FAILED_ONE_IN: u32 = 15;

/// The running services.
pub(super) struct Services {
    /// Shop, catalog, payments.
    pub(super) addresses: [SocketAddr; 3],
    gateway: Arc<OnceLock<SocketAddr>>,
}

#[derive(Clone)]
struct Shared {
    draw: Arc<Mutex<Draw>>,
    gateway: Arc<OnceLock<SocketAddr>>,
    client: reqwest::Client,
}

impl Services {
    /// Tells the shop where the gateway is.
    pub(super) fn meet(&self, gateway: SocketAddr) {
        // Called once; a second gateway would not be listened to.
        let _ = self.gateway.set(gateway);
    }
}

pub(super) fn start() -> std::io::Result<Services> {
    let gateway = Arc::new(OnceLock::new());
    let client = reqwest::Client::builder().no_proxy().build().map_err(std::io::Error::other)?;
    let shared = Shared { draw: Arc::new(Mutex::new(Draw::from_system())), gateway: Arc::clone(&gateway), client };
    let routers = [
        Router::new().route("/shop/{item}", get(shop)).with_state(shared.clone()),
        Router::new().route("/catalog/{item}", get(catalog)).with_state(shared.clone()),
        Router::new().route("/payments", post(payments)).with_state(shared),
    ];
    let mut sockets = Vec::new();
    for router in routers {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        sockets.push((socket, router));
    }
    let addresses = [sockets[0].0.local_addr()?, sockets[1].0.local_addr()?, sockets[2].0.local_addr()?];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-services".to_owned()).spawn(move || runtime.block_on(serve(sockets)))?;
    Ok(Services { addresses, gateway })
}

async fn serve(sockets: Vec<(TcpListener, Router)>) {
    let mut serving = tokio::task::JoinSet::new();
    for (socket, router) in sockets {
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

/// Looks the item up and pays for it, both through the gateway.
async fn shop(State(shared): State<Shared>, Path(item): Path<String>, headers: HeaderMap) -> (StatusCode, String) {
    let Some(gateway) = shared.gateway.get() else { return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()) };
    let passed_on: HeaderMap = [names::HEADER_TRACEPARENT, names::HEADER_TRACESTATE]
        .into_iter()
        .filter_map(|name| Some((name.parse().ok()?, headers.get(name)?.clone())))
        .collect();
    let lookup = shared.client.get(format!("http://{gateway}/catalog/{item}")).headers(passed_on.clone()).send();
    let payment = shared.client.post(format!("http://{gateway}/payments")).headers(passed_on).body("{\"amount\":1}").send();
    match tokio::join!(lookup, payment) {
        (Ok(found), Ok(paid)) if found.status().is_success() && paid.status().is_success() => {
            (StatusCode::OK, format!("{{\"sold\":\"{item}\"}}\n"))
        }
        _ => (StatusCode::BAD_GATEWAY, "{\"error\":\"a service behind the shop failed\"}\n".to_owned()),
    }
}

async fn catalog(State(shared): State<Shared>, Path(item): Path<String>) -> String {
    let pause = if shared.one_in(SLOW_ONE_IN) { shared.millis(250, 900) } else { shared.millis(1, 6) };
    tokio::time::sleep(pause).await;
    format!("{{\"item\":\"{item}\",\"price\":1}}\n")
}

async fn payments(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    tokio::time::sleep(shared.millis(2, 9)).await;
    if shared.one_in(FAILED_ONE_IN) {
        return (StatusCode::SERVICE_UNAVAILABLE, "{\"error\":\"the bank does not answer\"}\n");
    }
    (StatusCode::OK, "{\"paid\":true}\n")
}
