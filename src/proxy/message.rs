//! Requests and responses as the rooms see them, whatever protocol they came by.
//!
//! In: heads and bodies from a leg, from a mounted service, or made here. Out: one [`Body`] type that is pulled frame by frame.
//! Not here: bytes on the wire (`http1` has them).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::Frame;

use super::fields::{Fields, Known};
use super::http1::encode;
use super::http1::framing::Framing;
use super::http1::incoming::{Broken, Incoming};
use super::http1::leg::Leg;
use crate::base::target::Target;

/// A request on its way through the rooms.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
    /// Where interim responses go, if the client takes them.
    pub(crate) interim: Option<Interim>,
    /// The protocol that it asks to switch to, if its route allows that.
    pub(crate) upgrade: Option<&'static str>,
}

impl Request {
    /// Stands for a request whose head could not be read.
    pub(crate) fn unreadable() -> Self {
        Request {
            method: Method::from_bytes(b"UNREADABLE").expect("a token"),
            target: Target::parse(Bytes::from_static(b"/")).expect("a path"),
            version: Version::HTTP_11,
            headers: Fields::new(),
            body: Body::empty(),
            interim: None,
            upgrade: None,
        }
    }
}

/// A response on its way back.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
}

/// A body with the framing it came in.
pub(crate) struct Body {
    framing: Framing,
    source: Source,
    /// Bytes that it may still have.
    allowance: u64,
}

enum Source {
    Empty,
    Full(Bytes),
    Http1(Incoming),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error>>>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Body { framing: Framing::None, source: Source::Empty, allowance: u64::MAX }
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Body { framing: Framing::Length(bytes.len() as u64), source: Source::Full(bytes), allowance: u64::MAX }
    }

    pub(crate) fn http1(incoming: Incoming, framing: Framing) -> Self {
        let source = if incoming.is_done() { Source::Empty } else { Source::Http1(incoming) };
        Body { framing, source, allowance: u64::MAX }
    }

    pub(crate) fn boxed(body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error>>>) -> Self {
        if body.is_end_stream() {
            return Body::empty();
        }
        let framing = body.size_hint().exact().map_or(Framing::Chunked, Framing::Length);
        Body { framing, source: Source::Boxed(body), allowance: u64::MAX }
    }

    /// Bounds it. False where it announces more than that already.
    pub(crate) fn limit(&mut self, bytes: u64) -> bool {
        self.allowance = bytes;
        !matches!(self.framing, Framing::Length(length) if length > bytes)
    }

    /// How the body is announced on the next leg.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Full(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                self.source = Source::Empty;
                Poll::Ready(Some(Ok(frame)))
            }
            Source::Http1(incoming) => Poll::Ready(counted(&mut self.allowance, std::task::ready!(incoming.poll_frame(context)))),
            Source::Boxed(body) => {
                let frame = std::task::ready!(body.as_mut().poll_frame(context));
                Poll::Ready(counted(&mut self.allowance, frame.map(|frame| frame.map_err(Broken::Io))))
            }
        }
    }
}

/// A frame, if its data fits into the allowance.
fn counted(allowance: &mut u64, frame: Option<Result<Frame<Bytes>, Broken>>) -> Option<Result<Frame<Bytes>, Broken>> {
    let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(|frame| frame.data_ref().map_or(0, Bytes::len) as u64)) else {
        return frame;
    };
    match allowance.checked_sub(data) {
        Some(rest) => *allowance = rest,
        None => return Some(Err(Broken::TooLarge)),
    }
    frame
}

/// The way by which 1xx responses reach an HTTP/1.1 client before its final one.
#[derive(Clone)]
pub(crate) struct Interim {
    leg: Rc<Leg>,
}

impl Interim {
    pub(crate) fn new(leg: Rc<Leg>) -> Self {
        Interim { leg }
    }

    /// Passes one interim response on. It goes out at once if the client takes it, else before the final response.
    pub(crate) fn relay(&self, status: StatusCode, headers: &Fields, context: &mut Context<'_>) {
        self.leg.with_output(|output| {
            encode::status_line(&mut output.encoded, Version::HTTP_11, status);
            // An interim response has no body, whatever it says (RFC 9110, section 8.6).
            let fields = super::http1::hop::end_to_end_without(headers, Known::ContentLength.bit());
            encode::fields(&mut output.encoded, headers, fields);
            encode::end_of_head(&mut output.encoded);
        });
        // A client that is gone is noticed by whoever reads from it or sends the final response.
        let _ = self.leg.poll_flush(context);
    }
}
