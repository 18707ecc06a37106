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

/// Says which of `known` is meant by `found`, if one is near.
pub(crate) fn nearest<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let close = known
        .into_iter()
        .map(|name| (distance(found, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(2) && *distance < name.len().max(1))
        .min();
    close.map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// Changes of one character between two words (Levenshtein, 1966). A swap of neighbours counts as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().take(64).collect(), b.to_lowercase().chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_nothing_far() {
        let known = ["listeners", "routes", "upstreams"];
        assert_eq!(nearest("listner", known), "; did you mean `listeners`?");
        assert_eq!(nearest("rotues", known), "; did you mean `routes`?");
        assert_eq!(nearest("banana", known), "");
    }
}
