//! How the admin plane's connections are served: so many at once, and none for longer than its client takes part.
//!
//! In: a listening socket and the router. Out: requests for the router, each with its client's address and its connection (`Line`). A head, a
//! body, an idle connection and an answer that nobody takes have their time each. Not here: pages, and who may ask (`guard`).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::{BoxError, Router};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

/// Bytes of a head, and of an answer that waits for its socket.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes that the kernel holds unsent, so that a client that takes nothing is noticed before megabytes wait for it.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;
/// How long accepting pauses when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections at once; the next is closed as soon as it is accepted.
const CONNECTIONS_MAX: usize = 256;
/// From the first byte of a head to its last; for the first head from the beginning of the connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a page waits for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// From one answer to the first byte of the next head.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may take nothing of what waits for it. An answer that takes its time costs nothing of it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that were closed at once, because there were so many already.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// The limits above, which tests make shorter.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) head_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) stall_timeout: Duration,
}

impl Bounds {
    pub(super) const ORDINARY: Bounds = Bounds {
        connections_max: CONNECTIONS_MAX,
        head_timeout: HEAD_TIMEOUT,
        body_timeout: BODY_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        stall_timeout: STALL_TIMEOUT,
    };
}

/// Serves until it is dropped, which ends all connections.
pub(crate) async fn serve(socket: std::net::TcpListener, router: Router) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    accept(listener, router, Bounds::ORDINARY).await;
    Ok(())
}

/// Connections that were refused so far, over all gateways of the process.
pub(super) fn refused() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

pub(super) async fn accept(listener: TcpListener, router: Router, bounds: Bounds) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Without descriptors the next try would fail as well, at once.
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() >= bounds.connections_max {
            REFUSED.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        connections.spawn(connection(stream, client, router.clone(), bounds));
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, router: Router, bounds: Bounds) {
    // Without these two it is slower to tell and slower to notice, and works all the same.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    let line = Line::new(bounds.stall_timeout);
    let io = TokioIo::new(Watched::new(stream, line.clone(), bounds));
    let asked = line.clone();
    let service = service_fn(move |request: Request<Incoming>| answer(request, client, router.clone(), asked.clone(), bounds));
    // The time for a head runs while a connection is idle, too: here it bounds that, and `Watched` a head that has begun.
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.idle_timeout)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(io, service);
    tokio::select! {
        // A client that errs has been told, and one that left is no news.
        _ = serving => {}
        () = line.0.cut.notified() => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    client: SocketAddr,
    mut router: Router,
    line: Line,
    bounds: Bounds,
) -> Result<Response<Answer>, Infallible> {
    let open = Open::begin(&line);
    let mut request = request.map(|body| Timely::wrap(body, bounds.body_timeout));
    request.extensions_mut().insert(ConnectInfo(client));
    request.extensions_mut().insert(line);
    let response = router.call(request).await?;
    Ok(response.map(|body| Answer { body, _open: open }))
}

/// What a page knows of the connection that it answers on.
#[derive(Clone)]
pub(super) struct Line(Arc<Hold>);

struct Hold {
    /// Requests that have begun so far.
    begun: AtomicU64,
    /// Requests that are being answered.
    open: AtomicU64,
    is_stalled: AtomicBool,
    cut: Notify,
    stall_timeout: Duration,
}

impl Line {
    fn new(stall_timeout: Duration) -> Self {
        let (begun, open) = (AtomicU64::new(0), AtomicU64::new(0));
        Line(Arc::new(Hold { begun, open, is_stalled: AtomicBool::new(false), cut: Notify::new(), stall_timeout }))
    }

    /// How long its client may take nothing.
    pub(super) fn stall_timeout(&self) -> Duration {
        self.0.stall_timeout
    }

    /// Its client has taken nothing for that long; the connection is about to end.
    pub(super) fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Ordering::Relaxed)
    }

    /// Ends the connection, because its client takes too little.
    pub(super) fn cut(&self) {
        self.0.is_stalled.store(true, Ordering::Relaxed);
        self.0.cut.notify_one();
    }

    fn is_answering(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }
}

/// A request that is being answered, until its answer has ended.
struct Open(Line);

impl Open {
    fn begin(line: &Line) -> Self {
        line.0.begun.fetch_add(1, Ordering::Relaxed);
        line.0.open.fetch_add(1, Ordering::Relaxed);
        Open(line.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, which keeps its request open.
struct Answer {
    body: Body,
    _open: Open,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, for as long as a page waits for it.
struct Timely {
    body: Incoming,
    until: Pin<Box<Sleep>>,
}

impl Timely {
    fn wrap(body: Incoming, timeout: Duration) -> Body {
        if body.is_end_stream() { Body::empty() } else { Body::new(Timely { body, until: Box::pin(sleep(timeout)) }) }
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        ready!(self.until.as_mut().poll(context));
        Poll::Ready(Some(Err("found a part of the body, expected all of it by now".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that fails once its client lets a head wait that it has begun, or an answer.
struct Watched {
    stream: TcpStream,
    line: Line,
    bounds: Bounds,
    /// Runs while a head has begun and is not whole.
    head: Option<Pin<Box<Sleep>>>,
    /// Requests that had begun when bytes were last asked for.
    begun: u64,
    /// Runs while something waits to be written.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn new(stream: TcpStream, line: Line, bounds: Bounds) -> Self {
        Watched { stream, line, bounds, head: Some(Box::pin(sleep(bounds.head_timeout))), begun: 0, stall: None }
    }

    /// A request that has begun since was the head that time ran for.
    fn forget_head(&mut self) {
        let begun = self.line.0.begun.load(Ordering::Relaxed);
        if begun != self.begun {
            self.begun = begun;
            self.head = None;
        }
    }

    fn written(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let timeout = self.bounds.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stall.as_mut().poll(context));
        self.line.0.is_stalled.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for Watched {
    /// After an ordinary close the kernel would go on for minutes to offer what such a client does not take.
    fn drop(&mut self) {
        if self.line.is_stalled() {
            // A socket that refuses the option still closes.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.forget_head();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.line.is_answering() {
            return read;
        }
        if buffer.filled().len() > before && this.head.is_none() {
            this.head = Some(Box::pin(sleep(this.bounds.head_timeout)));
        }
        match &mut this.head {
            Some(head) if read.is_pending() => {
                ready!(head.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            _ => read,
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(written, context)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);
    /// Nothing here ends a connection.
    const PATIENT: Bounds = Bounds { connections_max: 8, head_timeout: LONG, body_timeout: LONG, idle_timeout: LONG, stall_timeout: LONG };

    /// Bodies that never end by themselves and have been let go.
    static LET_GO: AtomicU64 = AtomicU64::new(0);

    struct Endless;

    impl Drop for Endless {
        fn drop(&mut self) {
            LET_GO.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))))
        }
    }

    async fn client_of(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
        client.ip().to_string()
    }

    async fn late() -> &'static str {
        sleep(SHORT * 4).await;
        "late"
    }

    async fn echo(body: String) -> String {
        body
    }

    async fn endless() -> Body {
        Body::new(Endless)
    }

    async fn start(bounds: Bounds) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router =
            Router::new().route("/", get(client_of)).route("/late", get(late)).route("/echo", post(echo)).route("/endless", get(endless));
        tokio::spawn(accept(listener, router, bounds));
        address
    }

    async fn ask(address: SocketAddr, text: &str) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(text.as_bytes()).await.unwrap();
        client
    }

    /// What comes until the connection ends.
    async fn rest(client: &mut TcpStream) -> String {
        let mut all = Vec::new();
        // A reset ends it as well.
        let _ = timeout(LONG, client.read_to_end(&mut all)).await.expect("the connection ends");
        String::from_utf8_lossy(&all).into_owned()
    }

    /// What comes until the answer of the first page is whole.
    async fn answer_of(client: &mut TcpStream) -> String {
        let mut all = Vec::new();
        while !all.ends_with(b"127.0.0.1") {
            assert!(client.read_buf(&mut all).await.unwrap() > 0, "the connection has ended");
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_keeps_no_connection() {
        let address = start(Bounds { head_timeout: SHORT, ..PATIENT }).await;
        for begun in ["", "GET / HTTP/1.1\r\nHo"] {
            assert_eq!(rest(&mut ask(address, begun).await).await, "", "{begun:?}");
        }
        let mut client = ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        answer_of(&mut client).await;
        // Longer than a head may take: what is idle has more time.
        sleep(SHORT * 3).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(answer_of(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.write_all(b"GET /").await.unwrap();
        assert_eq!(rest(&mut client).await, "");
    }

    #[tokio::test]
    async fn an_idle_connection_ends() {
        let address = start(Bounds { idle_timeout: SHORT, ..PATIENT }).await;
        let answer = rest(&mut ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("127.0.0.1"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let address = start(Bounds { body_timeout: SHORT, ..PATIENT }).await;
        let answer = rest(&mut ask(address, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[tokio::test]
    async fn an_answer_may_take_its_time() {
        let hasty = Bounds { head_timeout: SHORT, body_timeout: SHORT, idle_timeout: SHORT, stall_timeout: SHORT, ..PATIENT };
        let address = start(hasty).await;
        let answer = rest(&mut ask(address, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n").await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("late"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_loses_its_connection() {
        let address = start(Bounds { stall_timeout: SHORT, ..PATIENT }).await;
        let mut client = ask(address, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let let_go = async {
            while LET_GO.load(Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, let_go).await.expect("the answer is let go");
        rest(&mut client).await;
    }

    #[tokio::test]
    async fn there_are_so_many_connections_at_most() {
        let address = start(Bounds { connections_max: 1, ..PATIENT }).await;
        let mut first = ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        answer_of(&mut first).await;
        let before = refused();
        assert_eq!(rest(&mut TcpStream::connect(address).await.unwrap()).await, "");
        assert!(refused() > before);
        first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(rest(&mut first).await.starts_with("HTTP/1.1 200 OK\r\n"), "the one that is served stays so");
        let mut answer = String::new();
        while answer.is_empty() {
            let mut next = TcpStream::connect(address).await.unwrap();
            // Its place may not be free yet, and who is refused may not even be able to write.
            let _ = next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            answer = rest(&mut next).await;
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}
