//! A service's work, done under the labels of the request that it is for, so that profiles tell whose time on the CPU it was.
//!
//! In: a request with its `traceparent`, and what answers it. Out: the answer. The thread wears the labels during each poll, and nothing of
//! ours between two. Not here: what labels are (`telemetry::record::labels`), and taking samples.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::telemetry::record::labels::{self, LabelName, Labels, Work};
use crate::telemetry::record::names;
use crate::telemetry::record::propagation::TraceParent;

/// A future that is polled under labels.
struct Labelled<F> {
    labels: Labels,
    inner: Pin<Box<F>>,
}

/// Takes the labels off however a poll ends: one that panics leaves none behind.
struct Worn;

/// Answers a request of the service of this name, as a layer of its router.
pub(super) async fn label(State(service): State<LabelName>, request: Request, next: Next) -> Response {
    let labels = of(service, request.headers());
    Labelled { labels, inner: Box::pin(next.run(request)) }.await
}

/// The labels of a service's work. Route and upstream have its name in the demo's gateway.
fn of(service: LabelName, headers: &HeaderMap) -> Labels {
    let values = headers.get_all(names::HEADER_TRACEPARENT).iter().map(HeaderValue::as_bytes);
    let caller = TraceParent::extract(values).map(|caller| (caller.trace_id, caller.span_id));
    let (trace_id, span_id) = caller.unwrap_or_default();
    Labels { work: Work::Handler, route: service, upstream: service, trace_id, span_id }
}

impl<F: Future> Future for Labelled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        labels::wear(&self.labels);
        let _worn = Worn;
        self.inner.as_mut().poll(context)
    }
}

impl Drop for Worn {
    fn drop(&mut self) {
        labels::take_off();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::base::ids::{SpanId, TraceId, hex_text};

    #[test]
    fn a_request_is_worked_for_under_its_labels_and_only_while_it_is_polled() {
        let service = labels::number("labelled-test");
        let mut headers = HeaderMap::new();
        headers.insert(names::HEADER_TRACEPARENT, HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let labels = of(service, &headers);
        assert_eq!(hex_text(&labels.trace_id.hex()), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex_text(&labels.span_id.hex()), "b7ad6b7169203331");
        let polls = Cell::new(0);
        let inner = std::future::poll_fn(|_| {
            assert_eq!(labels::worn(), labels);
            polls.set(polls.get() + 1);
            if polls.get() < 3 { Poll::Pending } else { Poll::Ready(7) }
        });
        let mut future = std::pin::pin!(Labelled { labels, inner: Box::pin(inner) });
        let mut context = Context::from_waker(std::task::Waker::noop());
        let answer = loop {
            let polled = future.as_mut().poll(&mut context);
            assert_eq!(labels::worn(), Labels::NONE);
            if let Poll::Ready(answer) = polled {
                break answer;
            }
        };
        assert_eq!((answer, polls.get()), (7, 3));
    }

    #[test]
    fn a_request_without_a_trace_has_its_service_only() {
        let service = labels::number("labelled-test");
        let labels = of(service, &HeaderMap::new());
        assert_eq!((labels.route, labels.upstream, labels.work), (service, service, Work::Handler));
        assert_eq!((labels.trace_id, labels.span_id), (TraceId::default(), SpanId::default()));
    }

    #[test]
    fn a_panic_leaves_no_labels_behind() {
        let labels = of(labels::number("labelled-test"), &HeaderMap::new());
        let ended = std::thread::spawn(move || {
            let poll = std::panic::catch_unwind(move || {
                let inner = Box::pin(std::future::poll_fn(|_| -> Poll<()> { panic!("a handler that fails") }));
                let mut future = std::pin::pin!(Labelled { labels, inner });
                let _ = future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
            });
            (poll.is_err(), labels::worn())
        });
        assert_eq!(ended.join().unwrap(), (true, Labels::NONE));
    }
}
