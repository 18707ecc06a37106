//! One connection: a socket, what was read and not yet used, and what is to be written.
//!
//! In: a connected socket. Out: bytes in the order of the wire, with back-pressure both ways. A leg that waits holds no buffer: they come
//! from and go back to the worker's [`Buffers`], the last used first, so that the few in use stay in the cache. Reader and writer of one leg live in one task, so plain cells suffice.
//! Not here: what the bytes mean.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::decoder::Decoder;
use crate::base::limits::{READ_LARGE_BYTES, READ_SMALL_BYTES, SPARE_BUFFERS_MAX, SPARE_LARGE_BUFFERS_MAX};

/// Room for what is written, to begin with: a head and a small body.
const OUTPUT_BYTES: usize = 2048;

/// Buffers of one worker that wait to be used again.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: RefCell<Vec<BytesMut>>,
    /// For bodies.
    spare_large: RefCell<Vec<BytesMut>>,
    spare_output: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    fn take(&self, room: usize) -> BytesMut {
        let large = (room > READ_SMALL_BYTES).then(|| self.spare_large.borrow_mut().pop()).flatten();
        large.or_else(|| self.spare.borrow_mut().pop()).unwrap_or_default()
    }

    fn take_output(&self) -> Vec<u8> {
        self.spare_output.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(OUTPUT_BYTES))
    }

    fn put_output(&self, buffer: Vec<u8>) {
        let mut spare = self.spare_output.borrow_mut();
        if spare.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= READ_SMALL_BYTES * 2 {
            spare.push(buffer);
        }
    }

    /// Keeps an empty buffer of one of the two common sizes. One whose bytes are still used elsewhere is given back; any other goes to the
    /// allocator.
    fn put(&self, mut buffer: BytesMut) -> Option<BytesMut> {
        buffer.clear();
        if !buffer.try_reclaim(READ_SMALL_BYTES) {
            return Some(buffer);
        }
        let is_large = buffer.try_reclaim(READ_LARGE_BYTES);
        let (spare, most) = if is_large { (&self.spare_large, SPARE_LARGE_BUFFERS_MAX) } else { (&self.spare, SPARE_BUFFERS_MAX) };
        let mut spare = spare.borrow_mut();
        if spare.len() < most && buffer.capacity() <= READ_LARGE_BYTES * 2 {
            spare.push(buffer);
        }
        None
    }
}

/// One end of the gateway: the client's connection, or one to an upstream.
#[derive(Debug)]
pub(crate) struct Leg {
    stream: RefCell<TcpStream>,
    input: RefCell<BytesMut>,
    output: RefCell<Output>,
    closed: Cell<bool>,
    /// A body is being read from here.
    reading: Cell<bool>,
    /// What comes in cannot be told apart any more: nothing behind it may be read.
    spoiled: Cell<bool>,
    /// The rest of a body that nobody read to its end.
    unread: RefCell<Option<Decoder>>,
    buffers: Rc<Buffers>,
}

/// What is to be written: encoded bytes, then perhaps one large piece of data, then the end of its chunk.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) encoded: Vec<u8>,
    /// How much of `encoded` is written already.
    written: usize,
    pub(crate) data: Bytes,
    pub(crate) after: &'static [u8],
}

impl Output {
    pub(crate) fn len(&self) -> usize {
        self.encoded.len() - self.written + self.data.len() + self.after.len()
    }

    /// Whether more may be encoded: what is encoded goes out before `data`, so it must not come after it.
    pub(crate) fn takes_more(&self, bytes_max: usize) -> bool {
        self.data.is_empty() && self.after.is_empty() && self.encoded.len() < bytes_max
    }

    fn advance(&mut self, mut written: usize) {
        let part = written.min(self.encoded.len() - self.written);
        self.written += part;
        written -= part;
        let part = written.min(self.data.len());
        self.data.advance(part);
        written -= part;
        self.after = &self.after[written..];
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
    }
}

impl Leg {
    pub(crate) fn new(stream: TcpStream, buffers: Rc<Buffers>) -> Self {
        Leg {
            stream: RefCell::new(stream),
            input: RefCell::default(),
            output: RefCell::default(),
            closed: Cell::new(false),
            reading: Cell::new(false),
            spoiled: Cell::new(false),
            unread: RefCell::default(),
            buffers,
        }
    }

    /// Reads once, with room for about `room` bytes. Zero says that the peer has closed its side.
    pub(crate) fn poll_fill(&self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut input = self.input.borrow_mut();
        if input.capacity() == 0 {
            *input = self.buffers.take(room);
        }
        if input.capacity() - input.len() < room.min(READ_SMALL_BYTES / 2) {
            input.reserve(room);
        }
        let mut stream = self.stream.borrow_mut();
        let Poll::Ready(read) = pin!(stream.read_buf(&mut *input)).poll(context) else {
            if input.is_empty() {
                *input = self.buffers.put(std::mem::take(&mut *input)).unwrap_or_default();
            }
            return Poll::Pending;
        };
        let read = read?;
        if read == 0 {
            self.closed.set(true);
        }
        Poll::Ready(Ok(read))
    }

    /// Ready when a read would tell something; takes no buffer.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow().poll_read_ready(context)
    }

    pub(crate) fn spoil(&self) {
        self.spoiled.set(true);
    }

    /// No further request can come from here.
    pub(crate) fn is_done_for(&self) -> bool {
        self.spoiled.get() || self.closed.get()
    }

    pub(crate) fn set_reading(&self, reading: bool) {
        self.reading.set(reading);
    }

    /// Somebody reads a body from here, so nobody else may read.
    pub(crate) fn is_being_read(&self) -> bool {
        self.reading.get()
    }

    /// Leaves the rest of a body behind for whoever owns the connection.
    pub(crate) fn leave_unread(&self, rest: Decoder) {
        *self.unread.borrow_mut() = Some(rest);
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.unread.borrow().is_some()
    }

    pub(crate) fn take_unread(&self) -> Option<Decoder> {
        self.unread.borrow_mut().take()
    }

    /// Looks at what was read and not yet used.
    pub(crate) fn with_input<T>(&self, look: impl FnOnce(&mut BytesMut) -> T) -> T {
        look(&mut self.input.borrow_mut())
    }

    pub(crate) fn has_input(&self) -> bool {
        !self.input.borrow().is_empty()
    }

    /// The peer has closed its sending side.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Adds to what is to be written.
    pub(crate) fn with_output<T>(&self, add: impl FnOnce(&mut Output) -> T) -> T {
        let mut output = self.output.borrow_mut();
        if output.encoded.capacity() == 0 {
            output.encoded = self.buffers.take_output();
        }
        add(&mut output)
    }

    /// Ready when all that was to be written is with the kernel.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.output.borrow_mut();
        let mut stream = self.stream.borrow_mut();
        while output.len() > 0 {
            let written = if output.data.is_empty() && output.after.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(context, &output.encoded[output.written..]))?
            } else {
                let parts = [IoSlice::new(&output.encoded[output.written..]), IoSlice::new(&output.data), IoSlice::new(output.after)];
                let first = parts.iter().position(|part| !part.is_empty()).unwrap_or(0);
                ready!(Pin::new(&mut *stream).poll_write_vectored(context, &parts[first..]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            output.advance(written);
        }
        output.written = 0;
        if output.encoded.capacity() > 0 {
            output.encoded.clear();
            self.buffers.put_output(std::mem::take(&mut output.encoded));
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that wait to be written.
    pub(crate) fn unsent(&self) -> usize {
        self.output.borrow().len()
    }

    /// Sends what is buffered and then the end of our side.
    pub(crate) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }

    /// Gives the buffer of what was read back, if all of that is used up.
    pub(crate) fn rest(&self) {
        let mut input = self.input.borrow_mut();
        if input.is_empty() && input.capacity() > 0 {
            // A buffer that is still in use elsewhere goes when that does.
            drop(self.buffers.put(std::mem::take(&mut *input)));
        }
    }

    /// Whether an idle connection still is what it was: nothing to read, not closed. Asks the kernel only if the poller saw something.
    pub(crate) fn is_quiet(&self) -> bool {
        let answer = self.stream.borrow().try_read(&mut [0]);
        !self.has_input() && matches!(answer, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Something came that nobody asked for. It is lost: the connection is of no use any more.
    pub(crate) fn has_spoken(&self) -> bool {
        matches!(self.stream.borrow().try_read(&mut [0]), Ok(count) if count > 0)
    }

    /// Makes the close of this connection a reset, so that the peer learns that a message is incomplete.
    pub(crate) fn reset_on_close(&self) {
        // The connection is torn down either way; a refusal changes only how the peer hears of it.
        let _ = self.stream.borrow().set_zero_linger();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (Leg, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Leg::new(accepted.unwrap().0, Rc::default()), peer.unwrap())
    }

    #[tokio::test]
    async fn a_leg_at_rest_holds_no_buffer_and_its_buffer_is_used_again() {
        let (leg, mut peer) = pair().await;
        for _ in 0..3 {
            peer.write_all(b"ping").await.unwrap();
            assert_eq!(poll_fn(|context| leg.poll_fill(context, READ_SMALL_BYTES)).await.unwrap(), 4);
            leg.with_input(|input| input.clear());
            leg.rest();
            assert_eq!(leg.input.borrow().capacity(), 0);
            assert_eq!(leg.buffers.spare.borrow().len(), 1);
        }
    }

    #[tokio::test]
    async fn an_idle_connection_that_was_closed_or_spoken_on_is_not_quiet() {
        let (leg, peer) = pair().await;
        assert!(leg.is_quiet());
        drop(peer);
        poll_fn(|context| leg.poll_readable(context)).await.unwrap();
        assert!(!leg.is_quiet());
    }

    #[tokio::test]
    async fn output_keeps_its_order_over_partial_writes() {
        let (leg, mut peer) = pair().await;
        let data = Bytes::from(vec![7u8; 4_000_000]);
        leg.with_output(|output| {
            output.encoded.extend_from_slice(b"head");
            output.data = data.clone();
            output.after = b"\r\n";
        });
        let mut received = vec![0; 4 + data.len() + 2];
        let (flushed, read) = tokio::join!(poll_fn(|context| leg.poll_flush(context)), peer.read_exact(&mut received));
        flushed.unwrap();
        read.unwrap();
        assert_eq!(
            (&received[..4], &received[4..received.len() - 2], &received[received.len() - 2..]),
            (&b"head"[..], &data[..], &b"\r\n"[..])
        );
    }
}
