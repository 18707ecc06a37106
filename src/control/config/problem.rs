//! Mistakes in a configuration, each with its place.
//!
//! In: what was found and what was expected. Out: lines that an editor can jump to, in the order of the file.

use std::fmt;

/// A place in the file; both count from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) mark: Mark,
    pub(crate) message: String,
}

/// All mistakes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems {
    list: Vec<Problem>,
}

/// A control character as its escape: a message is one line and does nothing to a terminal.
fn visible(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

/// Past this many the rest is only counted.
const PROBLEMS_MAX: usize = 1000;

impl Problems {
    pub(crate) fn add(&mut self, mark: Mark, message: impl Into<String>) {
        if self.list.len() < PROBLEMS_MAX {
            let message = message.into().chars().flat_map(visible).collect();
            self.list.push(Problem { mark, message });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes up what another step found.
    pub(crate) fn join(&mut self, other: Problems) {
        self.list.extend(other.list);
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// One line a mistake: `file:line:column: message`.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        let mut sorted = self.list.clone();
        sorted.sort_by_key(|problem| problem.mark);
        sorted.iter().map(|problem| format!("{file}:{problem}")).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.mark.line, self.mark.column, self.message)
    }
}
