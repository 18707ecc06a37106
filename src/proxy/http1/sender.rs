//! A body as it goes out on a leg.
//!
//! In: frames, pulled only as fast as the peer takes them. Out: bytes in the framing that the head announced. Small frames are
//! collected behind the head, so that a small message is one write; large ones are written without a copy.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::encode::{self, COPY_BYTES_MAX};
use super::framing::Framing;
use super::leg::{Leg, Output};

/// Why a body could not be sent.
#[derive(Debug)]
pub(crate) enum SendError<E> {
    /// The source of the frames failed.
    Body(E),
    /// The body is longer or shorter than the head announced.
    Length,
    Peer(io::Error),
}

/// The state of one outgoing body.
#[derive(Debug)]
pub(crate) struct Sender {
    framing: Framing,
    finished: bool,
    sent: u64,
}

impl Sender {
    pub(crate) fn new(framing: Framing) -> Self {
        Sender { framing, finished: framing == Framing::None, sent: 0 }
    }

    /// Body bytes taken so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Moves frames from `body` to `leg` until the body is over and flushed.
    pub(crate) fn poll_send<E>(
        &mut self,
        context: &mut Context<'_>,
        leg: &Leg,
        mut body: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Result<(), SendError<E>>> {
        loop {
            let mut starved = false;
            while !self.finished && !starved && leg.with_output(|output| output.takes_more(COPY_BYTES_MAX)) {
                match body(context) {
                    Poll::Pending => starved = true,
                    Poll::Ready(Some(Ok(frame))) => leg.with_output(|output| self.encode(frame, output))?,
                    Poll::Ready(Some(Err(error))) => {
                        // What came before the failure still goes out, as far as the peer takes it at once.
                        let _ = leg.poll_flush(context);
                        return Poll::Ready(Err(SendError::Body(error)));
                    }
                    Poll::Ready(None) => leg.with_output(|output| self.finish(output))?,
                }
            }
            ready!(leg.poll_flush(context)).map_err(SendError::Peer)?;
            if self.finished {
                return Poll::Ready(Ok(()));
            }
            if starved {
                return Poll::Pending;
            }
        }
    }

    fn encode<E>(&mut self, frame: Frame<Bytes>, output: &mut Output) -> Result<(), SendError<E>> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let (Framing::Chunked, Some(trailers)) = (self.framing, frame.trailers_ref()) {
                    encode::last_chunk(&mut output.encoded, Some(trailers));
                    self.finished = true;
                }
                return Ok(());
            }
        };
        if data.is_empty() {
            return Ok(());
        }
        self.sent += data.len() as u64;
        if matches!(self.framing, Framing::Length(length) if self.sent > length) {
            return Err(SendError::Length);
        }
        let chunked = self.framing == Framing::Chunked;
        if chunked {
            encode::chunk_size(&mut output.encoded, data.len());
        }
        let after: &'static [u8] = if chunked { b"\r\n" } else { b"" };
        if data.len() <= COPY_BYTES_MAX {
            output.encoded.extend_from_slice(&data);
            output.encoded.extend_from_slice(after);
        } else {
            output.data = data;
            output.after = after;
        }
        Ok(())
    }

    fn finish<E>(&mut self, output: &mut Output) -> Result<(), SendError<E>> {
        self.finished = true;
        match self.framing {
            Framing::Length(length) if self.sent < length => Err(SendError::Length),
            Framing::Chunked => {
                encode::last_chunk(&mut output.encoded, None);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
