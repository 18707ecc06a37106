//! The demo's steady traffic.
//!
//! In: the gateway's URL, and the pause between two requests. Out: requests of several kinds, until told to stop, and a count of what
//! became of them. Its answers are read and thrown away. A gateway that is not there costs it nothing but counts. Not here: who reads
//! the counts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::base::draw::Draw;

/// Between two requests of the demo in one process.
const PAUSE: Duration = Duration::from_millis(30);
/// How long an answer is awaited.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait for their answer. Those that would be more are skipped.
const IN_FLIGHT_MAX: usize = 512;

/// Who the requests are for, in a header that the demo's configuration captures.
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

pub(super) struct Traffic {
    client: reqwest::Client,
    /// Its URL, without a slash at the end.
    gateway: String,
    tally: Arc<Tally>,
    room: Arc<Semaphore>,
}

/// What became of the requests.
#[derive(Default)]
pub(super) struct Tally {
    answered: AtomicU64,
    /// Of the answered ones, those with a 5xx status.
    failed: AtomicU64,
    unanswered: AtomicU64,
    /// Not sent, because too many waited already.
    skipped: AtomicU64,
}

/// Traffic from this process, on a thread of its own.
pub(super) fn start(gateway: SocketAddr, stop: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let traffic = Traffic::new(format!("http://{gateway}"))?;
    let run = move || runtime.block_on(traffic.run(PAUSE, &stop));
    std::thread::Builder::new().name("demo-traffic".to_owned()).spawn(run)?;
    Ok(())
}

impl Traffic {
    pub(super) fn new(gateway: String) -> io::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().user_agent("pellucid-demo").timeout(ANSWER_TIMEOUT);
        let client = client.build().map_err(io::Error::other)?;
        Ok(Traffic { client, gateway, tally: Arc::default(), room: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) })
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sends requests until told to stop.
    pub(super) async fn run(&self, pause: Duration, stop: &AtomicBool) {
        let mut draw = Draw::from_system();
        let mut tick = tokio::time::interval(pause);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            let request = self.request(&mut draw);
            let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
                self.tally.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let tally = Arc::clone(&self.tally);
            tokio::spawn(async move {
                tally.note(answer_to(request).await);
                drop(place);
            });
        }
    }

    /// Six in ten to the shop, two to the catalog, one to the bank, one that the gateway answers itself.
    fn request(&self, draw: &mut Draw) -> reqwest::RequestBuilder {
        let (gateway, item) = (&self.gateway, draw.below(1000));
        let request = match draw.below(10) {
            0..6 => self.client.get(format!("{gateway}/shop/{item}")),
            6..8 => self.client.get(format!("{gateway}/catalog/{item}")),
            8 => self.client.post(format!("{gateway}/payments")).body("{\"cents\":2}"),
            _ => self.client.get(format!("{gateway}/")),
        };
        request.header("x-tenant", TENANTS[draw.below(TENANTS.len() as u32) as usize])
    }
}

/// The status of an answer that was read to its end.
async fn answer_to(request: reqwest::RequestBuilder) -> reqwest::Result<reqwest::StatusCode> {
    let response = request.send().await?;
    let status = response.status();
    response.bytes().await?;
    Ok(status)
}

impl Tally {
    /// A failed answer is part of the show.
    fn note(&self, answer: reqwest::Result<reqwest::StatusCode>) {
        let Ok(status) = answer else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(status.is_server_error()), Ordering::Relaxed);
    }

    /// What happened since this was last asked, in a line.
    pub(super) fn line(&self) -> String {
        let [answered, failed, unanswered, skipped] =
            [&self.answered, &self.failed, &self.unanswered, &self.skipped].map(|count| count.swap(0, Ordering::Relaxed));
        format!("{answered} answered ({failed} with 5xx), {unanswered} unanswered, {skipped} not sent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    #[test]
    fn every_request_is_counted_once_and_each_line_begins_anew() {
        let tally = Tally::default();
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY] {
            tally.note(Ok(status));
        }
        tally.skipped.fetch_add(1, Ordering::Relaxed);
        assert_eq!(tally.line(), "3 answered (1 with 5xx), 0 unanswered, 1 not sent");
        assert_eq!(tally.line(), "0 answered (0 with 5xx), 0 unanswered, 0 not sent");
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_counted_and_no_more() {
        // A port that was just free refuses.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let traffic = Traffic::new(format!("http://127.0.0.1:{port}")).unwrap();
        let stop = AtomicBool::new(false);
        let counted = async {
            while traffic.tally.unanswered.load(Ordering::Relaxed) < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.store(true, Ordering::Relaxed);
        };
        tokio::join!(traffic.run(Duration::from_millis(1), &stop), counted);
        assert_eq!(traffic.tally.answered.load(Ordering::Relaxed), 0);
    }
}
