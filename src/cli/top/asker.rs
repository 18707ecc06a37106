//! Asks the admin plane, once or every second.
//!
//! In: an address and the [`Question`] of the moment. Out: an [`Answer`], or in words why there is none.
//! Not here: for how long an answer is worth showing.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::super::admin::AdminPlane;
use super::answer::{Answer, Plain, Requests};
use crate::base::text::with_causes;

/// How often a running screen asks.
const PAUSE: Duration = Duration::from_secs(1);
/// A gateway that takes longer is shown as one that does not answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Of one answer: a hundred routes with their sparks take 100 kB.
const ANSWER_BYTES_MAX: usize = 8 << 20;
const WINDOW_S: u32 = 60;
const ROWS_LEN_MAX: u32 = 30;
/// Requests that no route took, in the filter language. The parameter `route` cannot say it: empty, it means any.
const NO_ROUTE: &str = "route:\"\"";

/// What the tail is to show. A new `number` is asked at once, even while paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) number: u64,
    pub(super) paused: bool,
    pub(super) query: String,
    pub(super) route: Option<String>,
}

/// The server could not read the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: Plain,
    /// The column of the filter, where the server names one.
    pub(super) at: Option<u64>,
}

/// What was answered, and to which question.
pub(super) struct Told {
    pub(super) number: u64,
    pub(super) answer: Result<Answer, String>,
}

#[derive(Clone)]
pub(super) struct Asker {
    client: Client,
    admin: AdminPlane,
}

#[derive(Deserialize)]
struct RefusalBody {
    message: Option<Plain>,
    error: Option<Plain>,
    at: Option<u64>,
}

impl Asker {
    pub(super) fn new(admin: &AdminPlane) -> Result<Self, String> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(|error| reason(&error))?;
        Ok(Asker { client, admin: admin.clone() })
    }

    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, String> {
        let overview = self.url("overview", &[("window", WINDOW_S.to_string())])?;
        let wanted = wanted(question);
        let requests = self.url("requests", &wanted)?;
        let (overview, tail) = tokio::join!(self.get(&overview), self.get(&requests));
        let (status, body) = overview?;
        let overview = read(status, &body).map_err(|why| format!("{}/api/v1/overview: {why}", self.admin))?;
        let (status, body) = tail?;
        let tail = match status {
            StatusCode::BAD_REQUEST => Err(refusal(&body)),
            _ => Ok(read::<Requests>(status, &body).map_err(|why| format!("{}/api/v1/requests: {why}", self.admin))?.requests),
        };
        Ok(Answer { overview, tail })
    }

    /// Asks until nobody listens. A question that changes while its answer is awaited is asked anew.
    pub(super) async fn keep_asking(self, mut questions: watch::Receiver<Question>, told: mpsc::Sender<Told>) {
        let mut asked = questions.borrow_and_update().number;
        loop {
            let question = questions.borrow_and_update().clone();
            let is_due = if question.number != asked {
                true
            } else {
                tokio::select! {
                    changed = questions.changed() => { if changed.is_err() { return; } false }
                    () = tokio::time::sleep(PAUSE), if !question.paused => true,
                }
            };
            if !is_due {
                continue;
            }
            let answer = tokio::select! {
                changed = questions.changed() => { if changed.is_err() { return; } continue; }
                answer = self.ask(&question) => answer,
            };
            asked = question.number;
            if told.send(Told { number: question.number, answer }).await.is_err() {
                return;
            }
        }
    }

    fn url(&self, what: &str, query: &[(&str, String)]) -> Result<Url, String> {
        let text = format!("{}/api/v1/{what}", self.admin);
        Url::parse_with_params(&text, query).map_err(|error| format!("{text}: {error}"))
    }

    async fn get(&self, url: &Url) -> Result<(StatusCode, Vec<u8>), String> {
        let trouble = |error: reqwest::Error| format!("{url}: {}", reason(&error.without_url()));
        let mut response = self.admin.get(&self.client, url.clone())?.send().await.map_err(trouble)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(format!("{url}: {}", self.admin.unauthorized()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(trouble)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(format!("{url}: found more than {ANSWER_BYTES_MAX} bytes, expected at most that"));
            }
        }
        Ok((response.status(), body))
    }
}

/// The parameters that ask for the tail.
pub(super) fn wanted(question: &Question) -> Vec<(&'static str, String)> {
    let mut wanted = vec![("limit", ROWS_LEN_MAX.to_string())];
    let mut query = question.query.clone();
    match question.route.as_deref() {
        // Behind what the user wrote, so that a column of a mistake is one of theirs.
        Some("") => query = format!("{query} {NO_ROUTE}"),
        Some(route) => wanted.push(("route", route.to_owned())),
        None => {}
    }
    if !query.trim().is_empty() {
        wanted.push(("q", query));
    }
    wanted
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, String> {
    if !status.is_success() {
        return Err(format!("found status {status}, expected 200; is this the admin plane of a gateway?"));
    }
    serde_json::from_slice(body).map_err(|error| Plain::of(&format!("cannot be read: {error}")).to_string())
}

fn refusal(body: &[u8]) -> Refusal {
    let unread = RefusalBody { message: None, error: None, at: None };
    let body: RefusalBody = serde_json::from_slice(body).unwrap_or(unread);
    let message = body.message.or(body.error).unwrap_or_else(|| Plain::of("the gateway cannot read this filter"));
    Refusal { message, at: body.at }
}

fn reason(error: &dyn Error) -> String {
    Plain::of(&with_causes(error)).to_string()
}
