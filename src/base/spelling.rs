//! Which word may have been meant by one that nobody knows.
//!
//! In: what was found, and the words that are known. Out: a question that ends a message, or nothing where no word is near. Not here: what
//! is known, and where.

/// Characters of a word that are compared.
const WORD_CHARS_MAX: usize = 64;

/// `; did you mean …?` with the nearest word, unless every word would need more than a third of it, or two characters, changed.
pub(crate) fn meant<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let near = |word: &'k str| {
        let changes = changes(found, word);
        (changes <= (word.len() / 3).max(2) && changes < word.len()).then_some((changes, word))
    };
    known.into_iter().filter_map(near).min().map_or_else(String::new, |(_, word)| format!("; did you mean `{word}`?"))
}

/// Characters to be added, left out, replaced or swapped with their neighbour, to make one word of the other (the optimal string alignment
/// distance, after Damerau, 1964). Row by row: what of `one` has been read against each beginning of `other`.
fn changes(one: &str, other: &str) -> usize {
    let characters = |word: &str| -> Vec<char> { word.chars().take(WORD_CHARS_MAX).map(|letter| letter.to_ascii_lowercase()).collect() };
    let (one, other) = (characters(one), characters(other));
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, wanted) in other.iter().enumerate() {
            let replaced = last[j] + usize::from(letter != wanted);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && one[i - 1] == *wanted && *letter == other[j - 1] {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_one_letter_at_a_time() {
        let pairs = [("", "", 0), ("a", "", 1), ("", "ab", 2), ("abc", "abc", 0), ("abc", "ABD", 1), ("abcd", "acbd", 1), ("ca", "abc", 3)];
        for (one, other, count) in pairs {
            assert_eq!((changes(one, other), changes(other, one)), (count, count), "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_word_is_asked_about_and_none_that_is_far() {
        let known = ["slow_upstream", "slow_dns", "internal"];
        assert_eq!(meant("slow_upsteam", known), "; did you mean `slow_upstream`?");
        assert_eq!(meant("Slow_dsn", known), "; did you mean `slow_dns`?");
        assert_eq!(meant("slow", known), "");
        assert_eq!(meant(&"x".repeat(1000), known), "");
        let known = ["listeners", "routes", "upstreams"];
        assert_eq!(meant("listner", known), "; did you mean `listeners`?");
        assert_eq!(meant("rotues", known), "; did you mean `routes`?");
        assert_eq!(meant("banana", known), "");
    }
}
