//! `/api/v1/live`: what goes on, as server-sent events.
//!
//! In: a filter. Out: the overview every second, and the requests that pass as they end, a few times a second. A subscriber is served when its
//! socket takes more; what it was too slow for is counted, and who takes nothing loses its connection. Traffic is never slowed. Not here: what
//! is in an event (`process::views`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

use super::Admin;
use super::api::{Given, filter_in, refusal};
use super::serve::Line;
use crate::telemetry::process::recent::{Filter, News, Tail};

/// Subscribers at once.
const SUBSCRIBERS_MAX: u64 = 32;
/// How often requests are told of.
const ROWS_EVERY: Duration = Duration::from_millis(250);
/// How many at most each time.
const ROWS_MAX: usize = 50;
/// Events that wait for a subscriber's socket.
const EVENTS_MAX: usize = 4;
/// The window of the overview, in seconds.
const WINDOW_S: u32 = 60;

static SUBSCRIBERS: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Subscribers now, and requests that were not told of because a subscriber was too slow.
pub(super) fn counts() -> (u64, u64) {
    (SUBSCRIBERS.load(Ordering::Relaxed), LOST.load(Ordering::Relaxed))
}

/// A place among the subscribers, given up when dropped.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let before = SUBSCRIBERS.fetch_add(1, Ordering::Relaxed);
        let place = Place;
        (before < SUBSCRIBERS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        SUBSCRIBERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where subscribers are told from.
trait Source: Send + Sync + 'static {
    fn overview(&self) -> impl Future<Output = Option<Value>> + Send;
    fn news(&self, filter: Filter, tail: Tail) -> impl Future<Output = Option<News>> + Send;
}

impl Source for Admin {
    async fn overview(&self) -> Option<Value> {
        self.telemetry.overview(WINDOW_S).await
    }

    async fn news(&self, filter: Filter, tail: Tail) -> Option<News> {
        self.telemetry.tail(filter, tail).await
    }
}

pub(super) async fn live(State(admin): State<Admin>, Extension(line): Extension<Line>, given: Given) -> Response {
    let filter = match filter_in(&given) {
        Ok(filter) => Filter { limit: ROWS_MAX, ..filter },
        Err(bad) => return bad.into_response(),
    };
    match Place::take() {
        Some(place) => subscribe(admin, filter, line, place).await,
        None => refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", &format!("{SUBSCRIBERS_MAX} subscribers are served already")),
    }
}

/// What ends after the answer has begun is told: where the tail stands is asked first.
async fn subscribe<S: Source>(source: S, filter: Filter, line: Line, place: Place) -> Response {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    let waiting = Arc::new(AtomicU64::new(0));
    let events = Events { told: receiver, waiting: Arc::clone(&waiting) };
    let tail = source.news(filter.clone(), Tail::default()).await.map_or_else(Tail::default, |news| news.tail);
    let teller = Teller { events: sender, waiting, line, is_late: false, _place: place };
    tokio::spawn(tell(source, filter, tail, teller));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// An event with how many requests it tells of.
struct Told {
    event: Event,
    requests: u64,
}

/// The events of one subscriber, for its connection to take.
struct Events {
    told: mpsc::Receiver<Told>,
    waiting: Arc<AtomicU64>,
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(told) = ready!(self.told.poll_recv(context)) else { return Poll::Ready(None) };
        self.waiting.fetch_sub(told.requests, Ordering::Relaxed);
        Poll::Ready(Some(Ok(told.event)))
    }
}

/// The other end of them.
struct Teller {
    events: mpsc::Sender<Told>,
    /// Requests whose event the connection has not taken.
    waiting: Arc<AtomicU64>,
    line: Line,
    /// An event had to wait since requests were last looked at.
    is_late: bool,
    _place: Place,
}

/// The subscriber is.
struct Gone;

impl Teller {
    /// Waits where there is no room, for as long as a connection may take nothing; then the place is for another.
    async fn send(&mut self, name: &str, body: &Value, requests: u64) -> Result<(), Gone> {
        let told = Told { event: Event::default().event(name).data(body.to_string()), requests };
        let told = match self.events.try_send(told) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Gone),
            Err(TrySendError::Full(told)) => told,
        };
        self.is_late = true;
        match timeout(self.line.stall_timeout(), self.events.send(told)).await {
            Ok(sent) => sent.map_err(|_| Gone),
            Err(_) => {
                self.line.cut();
                Err(Gone)
            }
        }
    }

    async fn send_news(&mut self, news: &News) -> Result<(), Gone> {
        let rows = news.rows.len() as u64;
        self.waiting.fetch_add(rows, Ordering::Relaxed);
        // What does not fit into an event is no loss, unless it piled up while events waited.
        let late = if std::mem::take(&mut self.is_late) { news.skipped } else { 0 };
        LOST.fetch_add(news.lost + late, Ordering::Relaxed);
        if news.lost > 0 {
            self.send("lost", &json!({ "events": news.lost }), 0).await?;
        }
        if rows > 0 || news.skipped > 0 {
            self.send("requests", &json!({ "rows": news.rows, "skipped": news.skipped }), rows).await?;
        }
        if self.events.is_closed() { Err(Gone) } else { Ok(()) }
    }
}

/// Tells one subscriber, until it is gone. Who left by itself has missed nothing.
async fn tell<S: Source>(source: S, filter: Filter, mut tail: Tail, mut teller: Teller) {
    let Err(Gone) = follow(&source, &filter, &mut tail, &mut teller).await else { return };
    if teller.line.is_stalled() {
        let unseen = source.news(filter, tail).await.map_or(0, |news| news.rows.len() as u64 + news.skipped + news.lost);
        LOST.fetch_add(teller.waiting.load(Ordering::Relaxed) + unseen, Ordering::Relaxed);
    }
}

/// Sends whatever is new, in turns. It ends with an error only.
async fn follow<S: Source>(source: &S, filter: &Filter, tail: &mut Tail, teller: &mut Teller) -> Result<(), Gone> {
    let mut tick = tokio::time::interval(ROWS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0_u64.. {
        tick.tick().await;
        if turn % 4 == 0
            && let Some(overview) = source.overview().await
        {
            teller.send("overview", &overview, 0).await?;
        }
        let Some(news) = source.news(filter.clone(), *tail).await else { continue };
        *tail = news.tail;
        teller.send_news(&news).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::control::admin::serve::{Bounds, accept};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A gateway under load: each look finds as much as an event can hold, and more.
    struct Crowd;

    impl Source for Crowd {
        async fn overview(&self) -> Option<Value> {
            Some(json!({}))
        }

        async fn news(&self, _: Filter, tail: Tail) -> Option<News> {
            Some(News { tail, rows: vec![json!("x".repeat(40_000)); ROWS_MAX], skipped: 3, lost: 0 })
        }
    }

    async fn crowded(Extension(line): Extension<Line>) -> Response {
        subscribe(Crowd, Filter::default(), line, Place::take().unwrap()).await
    }

    #[tokio::test]
    async fn a_subscriber_that_takes_nothing_loses_its_connection_and_what_it_missed_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds { stall_timeout: Duration::from_millis(300), ..Bounds::ORDINARY };
        tokio::spawn(accept(listener, Router::new().route("/", get(crowded)), bounds));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let counted = async {
            // An event that was not taken, and what nobody looked at for it.
            while counts().1 < 2 * ROWS_MAX as u64 + 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, counted).await.expect("what it missed is counted");
        let mut taken = Vec::new();
        // The end may be a reset.
        let _ = timeout(PATIENCE, client.read_to_end(&mut taken)).await.expect("the connection has ended");
        let text = String::from_utf8_lossy(&taken);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        while counts().0 > 0 {
            tokio::task::yield_now().await;
        }
    }
}
