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

use super::fields::Fields;
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
}

enum Source {
    Empty,
    Full(Bytes),
    Http1(Incoming),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error>>>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Body { framing: Framing::None, source: Source::Empty }
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Body { framing: Framing::Length(bytes.len() as u64), source: Source::Full(bytes) }
    }

    pub(crate) fn http1(incoming: Incoming, framing: Framing) -> Self {
        let source = if incoming.is_done() { Source::Empty } else { Source::Http1(incoming) };
        Body { framing, source }
    }

    pub(crate) fn boxed(body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error>>>) -> Self {
        if body.is_end_stream() {
            return Body::empty();
        }
        let framing = body.size_hint().exact().map_or(Framing::Chunked, Framing::Length);
        Body { framing, source: Source::Boxed(body) }
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
            Source::Http1(incoming) => incoming.poll_frame(context),
            Source::Boxed(body) => body.as_mut().poll_frame(context).map_err(Broken::Io),
        }
    }
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
            encode::fields(&mut output.encoded, headers, super::http1::hop::end_to_end(headers));
            encode::end_of_head(&mut output.encoded);
        });
        // A client that is gone is noticed by whoever reads from it or sends the final response.
        let _ = self.leg.poll_flush(context);
    }
}
