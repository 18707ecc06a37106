//! Carrying encoded requests to the Collector.
//!
//! In: requests with the number of their items. Out: each item's fate in the ledger, and how each try went in the standing. One request is
//! under way at a time; others wait in a queue that is bounded in bytes. A failed request is tried again with a growing pause, for so many
//! times, then dropped and counted. Partial success counts what the Collector rejected (OTLP specification, "Partial Success").

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use prost::Message;
use tokio::sync::mpsc;

use super::super::ledger::{Drop, Ledger, Signal};
use super::super::standing::Standing;
use super::message::ExportBody;
use super::{Protocol, Target};
use crate::base::limits::{OTLP_ANSWER_BYTES_MAX, OTLP_TRIES_MAX};
use crate::base::text::with_causes;

/// Requests in the queue; their bytes are bounded by the standing.
const QUEUE_LEN_MAX: usize = 1024;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// One encoded export request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: u64,
}

/// The queue's entrance.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Request>,
    standing: Arc<Standing>,
    ledger: Arc<Ledger>,
}

/// The queue's exit: run it on the control runtime.
pub(crate) struct Sender {
    signal: Signal,
    target: Target,
    client: reqwest::Client,
    queue: mpsc::Receiver<Request>,
    standing: Arc<Standing>,
    ledger: Arc<Ledger>,
}

/// What became of one try.
enum Fate {
    /// Taken, but for so many items; with what the Collector had to say to that.
    Taken { rejected: u64, message: String },
    /// Refused for good.
    Refused(String),
    /// May go better later.
    Failed(String, Option<Duration>),
}

impl Outbox {
    /// Takes a request whose items are counted as produced. Never waits.
    pub(crate) fn send(&self, request: Request) {
        let (bytes, items) = (request.bytes.len(), request.items);
        let fits = self.standing.enter(items, bytes);
        if fits && self.queue.try_send(request).is_ok() {
            return;
        }
        if fits {
            self.standing.leave(items, bytes);
        }
        self.ledger.dropped(self.standing.signal(), Drop::QueueFull, items);
    }
}

/// A queue to one target, for the signal of its standing.
pub(crate) fn channel(target: Target, standing: Arc<Standing>, ledger: Arc<Ledger>) -> Result<(Outbox, Sender), reqwest::Error> {
    let (sender, receiver) = mpsc::channel(QUEUE_LEN_MAX);
    // A redirect would turn an export into a request for a page, whose answer is no confirmation.
    let builder = reqwest::Client::builder().timeout(target.timeout).connect_timeout(target.timeout).no_proxy();
    let mut builder = builder.redirect(reqwest::redirect::Policy::none());
    if target.protocol == Protocol::Grpc {
        builder = builder.http2_prior_knowledge();
    }
    let outbox = Outbox { queue: sender, standing: Arc::clone(&standing), ledger: Arc::clone(&ledger) };
    Ok((outbox, Sender { signal: standing.signal(), target, client: builder.build()?, queue: receiver, standing, ledger }))
}

impl Sender {
    /// Sends until the entrance is gone and the queue is empty.
    pub(crate) async fn run(mut self) {
        while let Some(request) = self.queue.recv().await {
            let (items, bytes) = (request.items, request.bytes.len());
            self.deliver(request).await;
            self.standing.leave(items, bytes);
        }
    }

    async fn deliver(&self, request: Request) {
        let items = request.items;
        let body = self.pack(request.bytes);
        let mut pause = PAUSE_FIRST;
        for attempt in 1..=OTLP_TRIES_MAX {
            let (why, wanted_pause) = match self.try_once(body.clone()).await {
                Fate::Taken { rejected, message } => {
                    let rejected = rejected.min(items);
                    self.ledger.rejected(self.signal, rejected);
                    self.ledger.exported(self.signal, items - rejected);
                    self.note_taken(items, rejected, &message);
                    return;
                }
                Fate::Refused(why) => {
                    let why = self.standing.failed(&why);
                    tracing::warn!(signal = self.signal.label(), endpoint = self.standing.endpoint(), items, %why, "the Collector refused an export");
                    self.ledger.rejected(self.signal, items);
                    return;
                }
                Fate::Failed(why, wanted_pause) => (why, wanted_pause),
            };
            let why = self.standing.failed(&why);
            tracing::warn!(signal = self.signal.label(), endpoint = self.standing.endpoint(), attempt, %why, "an export failed");
            if attempt < OTLP_TRIES_MAX {
                tokio::time::sleep(wanted_pause.unwrap_or(pause).min(PAUSE_MAX)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        self.ledger.dropped(self.signal, Drop::RetriesExhausted, items);
    }

    /// A Collector that takes all may still have something to say (OTLP specification, "Partial Success").
    fn note_taken(&self, items: u64, rejected: u64, message: &str) {
        match (rejected, message) {
            (0, "") => self.standing.succeeded(),
            _ => self.standing.complained(&format!("the Collector rejected {rejected} of {items} items: {message}")),
        }
    }

    /// The body of the HTTP request: gzip if wanted, and the length prefix of gRPC.
    fn pack(&self, bytes: Vec<u8>) -> ExportBody {
        let bytes = if self.target.gzip { gzip(&bytes) } else { bytes };
        match self.target.protocol {
            Protocol::HttpProtobuf => ExportBody::plain(bytes),
            Protocol::Grpc => ExportBody::grpc(bytes, self.target.gzip),
        }
    }

    async fn try_once(&self, body: ExportBody) -> Fate {
        let url = match self.target.protocol {
            Protocol::Grpc => format!("{}{}", self.target.url, grpc_path(self.signal)),
            Protocol::HttpProtobuf => self.target.url.clone(),
        };
        let mut request = self.client.post(url).body(reqwest::Body::wrap(body));
        request = match (self.target.protocol, self.target.gzip) {
            (Protocol::Grpc, gzip) => {
                let request = request.header("content-type", "application/grpc").header("te", "trailers");
                if gzip { request.header("grpc-encoding", "gzip") } else { request }
            }
            (Protocol::HttpProtobuf, gzip) => {
                let request = request.header("content-type", "application/x-protobuf");
                if gzip { request.header("content-encoding", "gzip") } else { request }
            }
        };
        for (name, value) in &self.target.headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(response) if self.target.protocol == Protocol::Grpc => grpc_fate(response).await,
            Ok(response) => http_fate(response).await,
            // The standing tells the URL, without what may be secret in it.
            Err(error) => Fate::Failed(with_causes(&error.without_url()), None),
        }
    }
}

fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Profiles => "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
    }
}

/// gRPC status codes that the OTLP specification calls retryable.
const GRPC_RETRYABLE: [i32; 7] = [1, 4, 8, 10, 11, 14, 15];

async fn grpc_fate(response: reqwest::Response) -> Fate {
    let http_status = response.status();
    let response: http::Response<reqwest::Body> = response.into();
    let in_head = grpc_status(response.headers());
    let collected = match Limited::new(response.into_body(), OTLP_ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => collected,
        Err(error) => return Fate::Failed(with_causes(&*error), None),
    };
    let status = in_head.or_else(|| collected.trailers().and_then(grpc_status));
    let message = collected.to_bytes();
    match status {
        Some((0, _)) => taken(message.get(5..).unwrap_or_default()),
        Some((code, text)) if GRPC_RETRYABLE.contains(&code) => Fate::Failed(format!("grpc-status {code}: {text}"), None),
        Some((code, text)) => Fate::Refused(format!("grpc-status {code}: {text}")),
        None => Fate::Failed(format!("HTTP {http_status} without grpc-status"), None),
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<(i32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let text = headers.get("grpc-message").map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    Some((code, text))
}

async fn http_fate(response: reqwest::Response) -> Fate {
    let status = response.status();
    let pause = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    let response: http::Response<reqwest::Body> = response.into();
    let body = Limited::new(response.into_body(), OTLP_ANSWER_BYTES_MAX).collect().await;
    // The status alone says that it was taken.
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    match status.as_u16() {
        200..=299 => taken(&body),
        429 | 502 | 503 | 504 => Fate::Failed(format!("HTTP {status}"), pause),
        _ => Fate::Refused(format!("HTTP {status}")),
    }
}

/// `partial_success` with its count and its message stands in the same place in the answers of all signals.
fn taken(answer: &[u8]) -> Fate {
    let answer = opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    Fate::Taken { rejected: u64::try_from(partial.rejected_spans).unwrap_or(0), message: partial.error_message }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::fast());
    // Writing to a Vec does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
