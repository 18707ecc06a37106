//! Whether a failed attempt is followed by another.
//!
//! In: what became of an attempt. Out: settle, or try again. A request is sent again only if that is safe: nothing of it reached an
//! upstream, or it is idempotent and the connection it met was an old one that had gone stale (RFC 9110, section 9.2.2). A
//! body that has been read from the client is never sent twice. Not here: which endpoint the next attempt takes.

use http::Method;

use crate::base::limits::ATTEMPTS_MAX;

/// The retry policy of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// Attempts in all, the first included; 1 to [`ATTEMPTS_MAX`].
    pub(crate) attempts: u8,
}

/// What became of an attempt, as far as a retry is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is a response, or the failure is not one that another try could mend.
    Final,
    /// Nothing of the request was sent.
    Unsent,
    /// A reused connection broke before the first byte of a response, with the body unread.
    Stale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Settle,
    Again,
}

/// The tries of one exchange.
#[derive(Debug)]
pub(crate) struct Tries {
    left: u8,
    idempotent: bool,
}

impl Retry {
    pub(crate) fn begin(self, method: &Method) -> Tries {
        Tries { left: self.attempts.clamp(1, ATTEMPTS_MAX as u8) - 1, idempotent: is_idempotent(method) }
    }
}

impl Tries {
    pub(crate) fn next(&mut self, outcome: Outcome) -> Next {
        let safe = match outcome {
            Outcome::Final => false,
            Outcome::Unsent => true,
            Outcome::Stale => self.idempotent,
        };
        if !safe || self.left == 0 {
            return Next::Settle;
        }
        self.left -= 1;
        Next::Again
    }
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_is_tried_again_and_only_so_often() {
        let begin = |attempts, method: &Method| Retry { attempts }.begin(method);
        assert_eq!(begin(3, &Method::GET).next(Outcome::Final), Next::Settle);
        assert_eq!(begin(1, &Method::GET).next(Outcome::Unsent), Next::Settle);
        assert_eq!(begin(2, &Method::POST).next(Outcome::Unsent), Next::Again);
        assert_eq!(begin(2, &Method::POST).next(Outcome::Stale), Next::Settle);
        let mut tries = begin(3, &Method::PUT);
        assert_eq!(
            [tries.next(Outcome::Stale), tries.next(Outcome::Stale), tries.next(Outcome::Stale)],
            [Next::Again, Next::Again, Next::Settle]
        );
    }
}
