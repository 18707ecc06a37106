//! Path patterns: literal segments, `{name}` for one segment, and a final `/**` for the rest.
//!
//! In: the text of a pattern. Out: its segments. Literals are held in the normal form of [`Target`], the form that paths are matched in.

use bytes::Bytes;

use crate::base::target::Target;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    Literal(Box<[u8]>),
    Parameter,
    Rest,
}

impl PathPattern {
    /// Reads a pattern, or says what a pattern looks like.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(inside) = text.strip_prefix('/') else {
            return Err("a path that begins with /".to_owned());
        };
        let count = inside.split('/').count();
        let segments: Result<Vec<_>, String> =
            inside.split('/').enumerate().map(|(index, segment)| parse_segment(segment, index + 1 == count)).collect();
        let mut names: Vec<&str> = inside.split('/').filter(|segment| segment.starts_with('{')).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("each parameter once, not {} twice", pair[0]));
        }
        Ok(PathPattern { text: text.to_owned(), segments: segments? })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The rule of the tree written down a second time, one pattern at a time; for tests and the fuzzer.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let Some(rooted) = path.strip_prefix(b"/") else {
            return self.segments == [Segment::Rest];
        };
        let mut path = rooted.split(|byte| *byte == b'/');
        for segment in &self.segments {
            let fits = match (segment, path.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(literal), Some(part)) => **literal == *part,
                (Segment::Parameter, Some(part)) => !part.is_empty(),
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        path.next().is_none()
    }

    /// Orders patterns that match the same path: the smaller, the more specific.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn specificity(&self) -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Parameter => 1,
            Segment::Rest => 2,
        };
        self.segments.iter().map(rank).collect()
    }
}

fn parse_segment(segment: &str, is_last: bool) -> Result<Segment, String> {
    if segment == "**" {
        return if is_last { Ok(Segment::Rest) } else { Err("/** only at the end of a path".to_owned()) };
    }
    if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        return if is_name { Ok(Segment::Parameter) } else { Err("a parameter such as {id}: letters, digits, _ and -".to_owned()) };
    }
    if segment.contains(['{', '}', '*']) {
        return Err("a parameter that fills its whole segment, such as /users/{id}, or a final /**".to_owned());
    }
    if segment.contains('?') {
        return Err("a path without a query".to_owned());
    }
    let target = Target::parse(Bytes::from(format!("/{segment}"))).map_err(|bad| format!("a valid path: {}", bad.message()))?;
    Ok(Segment::Literal(target.match_path()[1..].into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_or_refused_with_what_was_expected() {
        let segments = PathPattern::parse("/a%7e/{id}/**").unwrap().segments;
        assert_eq!(segments, [Segment::Literal((*b"a~").into()), Segment::Parameter, Segment::Rest]);
        for bad in ["", "a", "/**/a", "/a*", "/{}", "/{a b}", "/x{a}", "/a?b", "/../a", "/a b", "/a#b", "/a/{*rest}"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
