//! The gateway as a `tower::Service`, to be mounted in anyone's axum app.
//!
//! In: requests on any thread. Out: responses. Each exchange is handed to a worker over a channel, so that the pipeline need not be `Send`.
//! Pellucid's own listeners do not come this way. Not here: anything that the pipeline does.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};

use crate::base::limits::MOUNT_FRAMES_MAX;
use crate::base::target::Target;
use crate::proxy::activity::Activity;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Exchange, Peer};
use crate::proxy::fields::{Fields, Known};
use crate::proxy::http1::framing::Framing;
use crate::proxy::http1::{hop, host};
use crate::proxy::message::{Body, Request};
use crate::proxy::pipeline::{BrokenOff, Outbound, Pipeline};
use crate::telemetry::record::labels::{Work, turn_to};
use crate::telemetry::record::names;
use crate::telemetry::record::reason::Reason;

/// A request on its way to a worker.
pub(crate) struct Job {
    head: http::request::Parts,
    body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>,
    client: SocketAddr,
    answer: oneshot::Sender<http::Response<MountedBody>>,
}

/// A gateway that is called instead of connected to. Cheap to clone.
///
/// The client's address is taken from a [`SocketAddr`] or an axum `ConnectInfo<SocketAddr>` among the request's extensions; without
/// either it is `0.0.0.0`. Policies are those of the configuration's first listener.
#[derive(Clone)]
pub struct Service {
    workers: Arc<[mpsc::Sender<Job>]>,
    turn: Arc<AtomicUsize>,
}

/// The body of a response that comes from a worker.
pub struct MountedBody {
    frames: mpsc::Receiver<Result<Frame<Bytes>, io::Error>>,
    length: Option<u64>,
    ended: bool,
}

impl Service {
    pub(crate) fn new(workers: Vec<mpsc::Sender<Job>>) -> Self {
        Service { workers: workers.into(), turn: Arc::default() }
    }
}

impl<B> tower_service::Service<http::Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = http::Response<MountedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let worker = self.workers[turn % self.workers.len()].clone();
        let (head, body) = request.into_parts();
        let client = head.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0);
        let client = client.or_else(|| head.extensions.get::<SocketAddr>().copied());
        Box::pin(async move {
            let (answer, wait) = oneshot::channel();
            let body = Box::pin(IoErrors(Box::pin(body)));
            let client = client.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
            let sent = worker.send(Job { head, body, client, answer }).await;
            Ok(match (sent, wait.await) {
                (Ok(()), Ok(response)) => response,
                (Ok(()), Err(_)) => bare(StatusCode::INTERNAL_SERVER_ERROR),
                (Err(_), _) => bare(StatusCode::SERVICE_UNAVAILABLE),
            })
        })
    }
}

/// An answer where no worker gives one: it broke down over the request (500), or the gateway has stopped (503).
fn bare(status: StatusCode) -> http::Response<MountedBody> {
    let (_, frames) = mpsc::channel(1);
    let mut response = http::Response::new(MountedBody { frames, length: Some(0), ended: true });
    *response.status_mut() = status;
    response
}

impl http_body::Body for MountedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.frames.poll_recv(context);
        if let Poll::Ready(None) = polled {
            self.ended = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body whose errors are those of I/O.
struct IoErrors<B>(Pin<Box<B>>);

impl<B> http_body::Body for IoErrors<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.as_mut().poll_frame(context).map_err(io::Error::other)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Serves one job on its worker, and times it as a connection's task is timed.
pub(crate) async fn serve(pipeline: Rc<Pipeline>, job: Job) {
    let activity = Activity::new(job.client);
    let worker = Rc::clone(&pipeline.worker);
    worker.activities.enter(&activity);
    let work = Box::pin(exchange(pipeline, job, Rc::clone(&activity)));
    // If it broke down, the caller's end of the answer says so.
    let _ = worker.timed(work, &activity).await;
}

async fn exchange(pipeline: Rc<Pipeline>, job: Job, activity: Rc<Activity>) {
    let Job { head, body, client, mut answer } = job;
    let peer = Peer {
        address: client,
        address_text: client.ip().to_canonical().to_string().into(),
        listener: 0,
        port: 0,
        activity: Rc::clone(&activity),
        drain: Rc::default(),
    };
    let began = activity.woken_at();
    let outbound = match request_of(head, body) {
        Ok(mut request) => {
            let mut handling = std::pin::pin!(pipeline.handle(&mut request, &peer, began));
            let answered = poll_fn(|context| match handling.as_mut().poll(context) {
                Poll::Ready(outbound) => Poll::Ready(Some(outbound)),
                Poll::Pending => answer.poll_closed(context).map(|()| None),
            });
            match answered.await {
                Some(outbound) => outbound,
                None => return,
            }
        }
        Err(error) => Outbound::failed(Exchange::open(&pipeline.worker, &Request::unreadable(), &peer, began), &error),
    };
    stream(outbound, answer).await;
}

fn request_of(
    head: http::request::Parts,
    body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>,
) -> Result<Request, ProxyError> {
    let mut headers: Fields = head.headers.iter().collect();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = Target::parse(Bytes::copy_from_slice(target.as_bytes()))?;
    if let (Some(authority), false) = (head.uri.authority(), headers.has(Known::Host)) {
        headers.append(Known::Host.text().as_bytes(), authority.as_str().as_bytes());
    }
    host::check(&headers, head.version)?;
    hop::remove_nominated(&mut headers)?;
    Ok(Request { method: head.method, target, version: head.version, headers, body: Body::boxed(body), interim: None, upgrade: None })
}

/// Passes the answer on, frame by frame, as fast as it is taken.
async fn stream(mut outbound: Outbound, answer: oneshot::Sender<http::Response<MountedBody>>) {
    let (frames, receiver) = mpsc::channel(MOUNT_FRAMES_MAX);
    let length = match outbound.body.framing() {
        Framing::Length(length) => Some(length),
        Framing::None => Some(0),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let mut response = http::Response::new(MountedBody { frames: receiver, length, ended: length == Some(0) });
    *response.status_mut() = outbound.status;
    *response.headers_mut() = end_to_end(&outbound.headers);
    if outbound.exchange.policy().tell_trace_id
        && let Ok(trace_id) = http::HeaderValue::from_bytes(&outbound.exchange.trace_id().hex())
    {
        response.headers_mut().insert(names::HEADER_TRACE_ID, trace_id);
    }
    if answer.send(response).is_err() {
        outbound.client_gone(Reason::ClientGone);
        return outbound.finish(0, false);
    }
    let mut sent = 0;
    loop {
        let permit = match room(&mut outbound, &frames).await {
            Ok(permit) => permit,
            Err(reason) => {
                outbound.client_gone(reason);
                return outbound.finish(sent, false);
            }
        };
        match next_frame(&mut outbound, &frames).await {
            None => return outbound.finish(sent, true),
            Some(Ok(frame)) => {
                sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                outbound.exchange.peer.activity.has_sent(sent);
                permit.send(Ok(frame));
            }
            Some(Err(BrokenOff)) => {
                permit.send(Err(io::ErrorKind::ConnectionReset.into()));
                return outbound.finish(sent, false);
            }
        }
    }
}

type Frames = mpsc::Sender<Result<Frame<Bytes>, io::Error>>;

/// Room for one more frame, once the caller has taken one: within the write timeout and the route's deadline.
async fn room<'f>(outbound: &mut Outbound, frames: &'f Frames) -> Result<mpsc::Permit<'f, Result<Frame<Bytes>, io::Error>>, Reason> {
    let write_timeout = outbound.exchange.policy().limits.write_timeout;
    let late = outbound.exchange.worker.clock.now().after(write_timeout);
    turn_to(Work::Deliver);
    let deadline = outbound.exchange.deadline;
    match outbound.exchange.alarm().guard(late.min(deadline), frames.reserve()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(Reason::ClientGone),
        Err(_late) => Err(if deadline <= late { Reason::ExchangeTimeout } else { Reason::ClientWriteTimeout }),
    }
}

/// The next frame; broken off where the caller has left meanwhile.
async fn next_frame(outbound: &mut Outbound, frames: &Frames) -> Option<Result<Frame<Bytes>, BrokenOff>> {
    turn_to(Work::Body);
    let mut left = std::pin::pin!(frames.closed());
    poll_fn(|context| match outbound.poll_frame(context) {
        Poll::Pending if left.as_mut().poll(context).is_ready() => {
            outbound.client_gone(Reason::ClientGone);
            Poll::Ready(Some(Err(BrokenOff)))
        }
        polled => polled,
    })
    .await
}

/// What the mounted service's own server passes on.
fn end_to_end(headers: &Fields) -> HeaderMap {
    hop::end_to_end(headers).map(|field| (field.name, field.value)).collect::<Fields>().to_map()
}
