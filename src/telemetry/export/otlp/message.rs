//! The body of an export: encoded bytes, behind the prefix of a gRPC message where one is wanted.
//!
//! In: what was encoded. Out: a body that can be sent again, without another copy of the bytes: a megabyte of them a thousand requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// Prefix and message; either may be empty.
#[derive(Clone, Debug)]
pub(super) struct ExportBody {
    parts: [Bytes; 2],
}

impl ExportBody {
    pub(super) fn plain(message: Vec<u8>) -> Self {
        ExportBody { parts: [Bytes::new(), message.into()] }
    }

    /// A length-prefixed message of gRPC: a flag for compression, and the length.
    pub(super) fn grpc(message: Vec<u8>, compressed: bool) -> Self {
        let mut prefix = BytesMut::with_capacity(5);
        prefix.put_u8(u8::from(compressed));
        prefix.put_u32(message.len() as u32);
        ExportBody { parts: [prefix.freeze(), message.into()] }
    }
}

impl Body for ExportBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.parts.iter_mut().find(|part| !part.is_empty());
        Poll::Ready(next.map(|part| Ok(Frame::data(std::mem::take(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.parts.iter().map(|part| part.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_message_has_its_prefix_and_can_be_sent_twice() {
        let body = ExportBody::grpc(vec![7; 300], true);
        for _ in 0..2 {
            assert_eq!(body.size_hint().exact(), Some(305));
            let sent = body.clone().collect().await.unwrap().to_bytes();
            assert_eq!((&sent[..5], &sent[5..]), (&[1, 0, 0, 1, 44][..], &[7; 300][..]));
        }
        assert_eq!(ExportBody::plain(vec![1, 2]).collect().await.unwrap().to_bytes(), [1, 2][..]);
    }
}
