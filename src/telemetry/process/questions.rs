//! The telemetry thread, seen from the control plane.
//!
//! In: questions and orders, in a queue with a bound. Out: answers. A question that finds the queue full gets none. Not here: what is looked
//! up (`views`), and the thread itself.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::keep::Policy;
use super::{Parts, Thread};
use crate::telemetry::export::ledger::Ledger;
use crate::telemetry::export::metrics::Family;
use crate::telemetry::export::standing::Standings;
use crate::telemetry::record::legend::Legends;
use crate::telemetry::record::series::Budget;

/// Questions that wait for the thread.
const QUESTIONS_MAX: usize = 64;

/// What the control plane may ask.
pub(super) enum Question {
    /// Something that is looked up on the thread itself.
    Look(Box<dyn FnOnce(&mut Thread) + Send>),
    Metrics(oneshot::Sender<Vec<Family>>),
    /// Drains, so that what ended before is accounted for.
    Flush(oneshot::Sender<()>),
    Keep(Policy),
    /// From now until this long after.
    Timeline(Duration, oneshot::Sender<Vec<u8>>),
    ReopenLog,
    Stop(oneshot::Sender<()>),
}

/// The thread, seen from the control plane.
#[derive(Clone)]
pub(crate) struct Telemetry {
    questions: SyncSender<Question>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) standings: Arc<Standings>,
    pub(super) budget: Arc<Budget>,
    pub(super) legends: Arc<Legends>,
}

impl Telemetry {
    /// `standings` are only shown: what exports writes them.
    pub(crate) fn start(parts: Parts, standings: Arc<Standings>) -> std::io::Result<Self> {
        let (questions, received) = sync_channel(QUESTIONS_MAX);
        let (ledger, budget, legends) = (Arc::clone(&parts.ledger), Arc::clone(&parts.budget), Arc::clone(&parts.legends));
        let mut thread = Thread::new(parts);
        std::thread::Builder::new().name("pellucid-telem".to_owned()).spawn(move || thread.run(&received))?;
        Ok(Telemetry { questions, ledger, standings, budget, legends })
    }

    /// What `look` finds on the thread; nothing where the queue is full or the thread has ended.
    pub(super) async fn look<T: Send + 'static>(&self, look: impl FnOnce(&mut Thread) -> T + Send + 'static) -> Option<T> {
        let (answer, wait) = oneshot::channel();
        // An asker that is gone does not need its answer.
        self.ask(Question::Look(Box::new(move |thread| drop(answer.send(look(thread))))));
        wait.await.ok()
    }

    pub(crate) async fn metrics(&self) -> Vec<Family> {
        let (answer, wait) = oneshot::channel();
        self.ask(Question::Metrics(answer));
        wait.await.unwrap_or_default()
    }

    /// After this, every exchange that had ended before is in the accounts.
    pub(crate) async fn flush(&self) {
        let (answer, wait) = oneshot::channel();
        self.ask(Question::Flush(answer));
        let _ = wait.await;
    }

    /// Requests and polls of the coming time; none where too many are being drawn.
    pub(crate) async fn timeline(&self, length: Duration) -> Option<Vec<u8>> {
        let (answer, wait) = oneshot::channel();
        self.ask(Question::Timeline(length, answer));
        wait.await.ok()
    }

    pub(crate) fn set_keep(&self, policy: Policy) {
        self.ask(Question::Keep(policy));
    }

    pub(crate) fn reopen_log(&self) {
        self.ask(Question::ReopenLog);
    }

    /// Drains what is left, hands on what is batched, and ends the thread.
    pub(crate) async fn stop(&self) {
        let (answer, wait) = oneshot::channel();
        self.ask(Question::Stop(answer));
        let _ = wait.await;
    }

    /// A full queue drops the question; whoever waits for its answer gets an empty one.
    fn ask(&self, question: Question) {
        let _ = self.questions.try_send(question);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::SpanId;
    use crate::telemetry::process::recent::Filter;
    use crate::telemetry::process::whole::RequestId;

    #[tokio::test]
    async fn a_full_queue_gives_no_answer_and_not_an_empty_one() {
        let (questions, _received) = sync_channel(1);
        questions.try_send(Question::ReopenLog).unwrap();
        let telemetry = Telemetry {
            questions,
            ledger: Arc::default(),
            standings: Arc::default(),
            budget: Arc::new(Budget::new(16)),
            legends: Arc::new(Legends::new()),
        };
        let id = RequestId { began_unix_nanos: 1, span_id: SpanId([1; 8]) };
        assert_eq!(telemetry.recent(Filter::default()).await, None);
        assert_eq!(telemetry.whole(id, None).await, None);
        telemetry.flush().await;
    }
}
