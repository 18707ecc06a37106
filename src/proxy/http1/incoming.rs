//! A body as it comes in on a leg.
//!
//! In: a leg behind a parsed head. Out: frames, read only as fast as they are taken.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::decoder::{BadBody, Decoded, Decoder};
use super::framing::Framing;
use super::leg::Leg;
use crate::base::limits::{READ_LARGE_BYTES, READ_SMALL_BYTES};

/// The body cannot be read to its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It breaks the rules of its framing.
    Malformed(BadBody),
    /// The connection closed before the body's end.
    Closed,
    Io(io::Error),
    /// It is longer than it may be.
    TooLarge,
}

/// An incoming body and the leg that it comes on.
#[derive(Debug)]
pub(crate) struct Incoming {
    leg: Rc<Leg>,
    decoder: Decoder,
}

impl Incoming {
    pub(crate) fn new(leg: Rc<Leg>, framing: Framing) -> Self {
        Self::resume(leg, Decoder::new(framing))
    }

    /// Takes up a body that was left unread.
    pub(crate) fn resume(leg: Rc<Leg>, decoder: Decoder) -> Self {
        leg.set_reading(!decoder.is_done());
        Incoming { leg, decoder }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    pub(crate) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if self.decoder.is_done() {
                return Poll::Ready(None);
            }
            let closed = self.leg.is_closed();
            let decoded = self.leg.with_input(|input| self.decoder.decode(input, false));
            self.leg.set_reading(!self.decoder.is_done());
            match decoded {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) if closed => return Poll::Ready(self.end_with_connection()),
                Ok(Decoded::More) => {}
                Err(bad) => {
                    self.leg.spoil();
                    return Poll::Ready(Some(Err(Broken::Malformed(bad))));
                }
            }
            if let Err(error) = ready!(self.leg.poll_fill(context, self.room())) {
                return Poll::Ready(Some(Err(Broken::Io(error))));
            }
        }
    }

    fn end_with_connection(&mut self) -> Option<Result<Frame<Bytes>, Broken>> {
        if matches!(self.decoder, Decoder::UntilClose) {
            self.decoder = Decoder::Done;
            return None;
        }
        Some(Err(Broken::Closed))
    }

    /// How much to read at once: what is still to come, within bounds.
    fn room(&self) -> usize {
        let remaining = self.remaining().map_or(READ_LARGE_BYTES, |left| usize::try_from(left).unwrap_or(usize::MAX));
        remaining.clamp(READ_SMALL_BYTES, READ_LARGE_BYTES)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.decoder.is_done() {
            self.leg.set_reading(false);
            self.leg.leave_unread(std::mem::replace(&mut self.decoder, Decoder::Done));
        }
    }
}
