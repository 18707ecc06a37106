//! `/api/v1/live`: what goes on, as server-sent events.
//!
//! In: a filter. Out: the overview every second, and the requests that pass as they end, a few times a second. A subscriber is served when its
//! socket takes more; what it was too slow for is counted and told to it. Traffic is never slowed. Not here: what is in an event (`process::views`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::json;
use tokio::sync::mpsc;

use super::Admin;
use super::api::{Asked, RequestsQuery, filter_in};
use crate::telemetry::process::recent::{Filter, Tail};

/// Subscribers at once.
const SUBSCRIBERS_MAX: u64 = 32;
/// How often requests are told of.
const ROWS_EVERY: Duration = Duration::from_millis(250);
/// How many at most each time.
const ROWS_MAX: usize = 50;
/// Events that wait for a subscriber's socket.
const EVENTS_MAX: usize = 4;
/// How long a subscriber may take nothing.
const STALL_MAX: Duration = Duration::from_secs(30);
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

/// The events of one subscriber.
struct Events(mpsc::Receiver<Event>);

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}

pub(super) async fn live(State(admin): State<Admin>, query: Asked<RequestsQuery>) -> Response {
    let filter = match filter_in(query) {
        Ok(filter) => Filter { limit: ROWS_MAX, ..filter },
        Err(bad) => return bad.into_response(),
    };
    let Some(place) = Place::take() else {
        let message = format!("{SUBSCRIBERS_MAX} subscribers are served already");
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "busy", "message": message }))).into_response();
    };
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(tell(admin, filter, events, place));
    Sse::new(Events(receiver)).keep_alive(KeepAlive::default()).into_response()
}

/// Tells one subscriber, until it is gone.
async fn tell(admin: Admin, filter: Filter, events: mpsc::Sender<Event>, _place: Place) {
    let mut tail = Tail::default();
    let mut tick = tokio::time::interval(ROWS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0_u64.. {
        tick.tick().await;
        if turn % 4 == 0
            && let Some(overview) = admin.telemetry.overview(WINDOW_S).await
            && !send(&events, event("overview", &overview)).await
        {
            return;
        }
        let Some(news) = admin.telemetry.tail(filter.clone(), tail).await else { continue };
        tail = news.tail;
        if news.lost > 0 {
            LOST.fetch_add(news.lost, Ordering::Relaxed);
            if !send(&events, event("lost", &json!({ "events": news.lost }))).await {
                return;
            }
        }
        let silent = news.rows.is_empty() && news.skipped == 0;
        if !silent && !send(&events, event("requests", &json!({ "rows": news.rows, "skipped": news.skipped }))).await {
            return;
        }
        if events.is_closed() {
            return;
        }
    }
}

/// False where the subscriber is gone, or has not taken anything for so long that its place is for another.
async fn send(events: &mpsc::Sender<Event>, event: Event) -> bool {
    matches!(tokio::time::timeout(STALL_MAX, events.send(event)).await, Ok(Ok(())))
}

fn event(name: &str, body: &serde_json::Value) -> Event {
    Event::default().event(name).data(body.to_string())
}
