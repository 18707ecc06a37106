//! The demo's steady traffic.
//!
//! In: the gateway's address. Out: some thirty requests a second of several kinds, until told to stop. Its answers are read and thrown away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::draw::Draw;

const PAUSE: Duration = Duration::from_millis(30);

pub(super) fn start(gateway: SocketAddr, stop: Arc<AtomicBool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder().no_proxy().user_agent("pellucid-demo").build().map_err(std::io::Error::other)?;
    std::thread::Builder::new().name("demo-traffic".to_owned()).spawn(move || runtime.block_on(run(gateway, client, stop)))?;
    Ok(())
}

async fn run(gateway: SocketAddr, client: reqwest::Client, stop: Arc<AtomicBool>) {
    let mut draw = Draw::from_system();
    let mut tick = tokio::time::interval(PAUSE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let item = draw.below(1000);
        let request = match draw.below(10) {
            0..6 => client.get(format!("http://{gateway}/shop/{item}")),
            6..8 => client.get(format!("http://{gateway}/catalog/{item}")),
            8 => client.post(format!("http://{gateway}/payments")).body("{\"amount\":2}"),
            _ => client.get(format!("http://{gateway}/")),
        };
        tokio::spawn(async move {
            // A failed answer is part of the show.
            if let Ok(response) = request.send().await {
                let _ = response.bytes().await;
            }
        });
    }
}
