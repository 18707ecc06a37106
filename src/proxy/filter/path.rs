//! Changes to a path.
//!
//! In: the target of a request. Out: another path, built from whole segments of the old one byte for byte, so that what was encoded
//! stays encoded. Not here: which route a path belongs to.

use crate::base::target::{BadTarget, Target};
use crate::proxy::route::pattern::{PathPattern, Segment};

/// A number of whole segments at the front of a path, such as `/api/v1`.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    segments: Vec<Box<[u8]>>,
}

/// A path made of literals, parameters of the route's pattern, and its rest.
#[derive(Clone, Debug)]
pub(crate) struct PathTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(Vec<u8>),
    /// The segment of this number, from zero.
    Segment(usize),
    /// All segments from this number on.
    Rest(usize),
}

impl Prefix {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let pattern = PathPattern::parse(text.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(text))?;
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) if !text.is_empty() => Ok(text.clone()),
            _ => Err("a path of literal segments, such as /api/v1".to_owned()),
        };
        Ok(Prefix { segments: pattern.segments().iter().map(literal).collect::<Result<_, _>>()? })
    }

    /// The target without the prefix; unchanged where it does not begin with it.
    pub(crate) fn strip(&self, target: &Target) -> Result<Target, BadTarget> {
        let mut normal = target.match_path().split(|byte| *byte == b'/').skip(1);
        if !self.segments.iter().all(|segment| normal.next() == Some(&**segment)) {
            return Ok(target.clone());
        }
        target.with_path(&from_segment(target.path(), self.segments.len()))
    }
}

impl PathTemplate {
    /// Reads `/new/{id}/**`, where names and rest are those of the route's own `pattern`.
    pub(crate) fn parse(text: &str, pattern: &PathPattern) -> Result<Self, String> {
        let Some(inside) = text.strip_prefix('/') else {
            return Err("a path that begins with /".to_owned());
        };
        let names: Vec<&str> = pattern.text()[1..].split('/').collect();
        let part = |segment: &str| {
            if segment == "**" {
                let at = names.iter().position(|name| *name == "**");
                return at.map(Part::Rest).ok_or_else(|| "no ** where the route's path has none".to_owned());
            }
            if segment.starts_with('{') {
                let at = names.iter().position(|name| *name == segment);
                return at.map(Part::Segment).ok_or_else(|| format!("a parameter of the route's path {}", pattern.text()));
            }
            let checked = PathPattern::parse(&format!("/{segment}"))?;
            match &checked.segments()[0] {
                Segment::Literal(_) => Ok(Part::Literal(segment.as_bytes().to_vec())),
                _ => Err("literals, {parameters} and **".to_owned()),
            }
        };
        let parts: Vec<Part> = inside.split('/').map(part).collect::<Result<_, _>>()?;
        if parts.iter().rev().skip(1).any(|part| matches!(part, Part::Rest(_))) {
            return Err("/** only at the end of a path".to_owned());
        }
        Ok(PathTemplate { parts })
    }

    /// The path for a request whose own path matched the route's pattern.
    pub(crate) fn fill(&self, target: &Target) -> Vec<u8> {
        let mut out = Vec::with_capacity(target.path().len() + 16);
        for part in &self.parts {
            match part {
                Part::Literal(text) => {
                    out.push(b'/');
                    out.extend_from_slice(text);
                }
                Part::Segment(index) => {
                    out.push(b'/');
                    let segment = target.path().split(|byte| *byte == b'/').nth(index + 1);
                    out.extend_from_slice(segment.unwrap_or_default());
                }
                Part::Rest(index) => out.extend_from_slice(&from_segment(target.path(), *index)),
            }
        }
        out
    }
}

/// The path from its segment of that number on, with the slash before it; `/` where there is none.
fn from_segment(path: &[u8], index: usize) -> Vec<u8> {
    let mut slashes = memchr::memchr_iter(b'/', path);
    match slashes.nth(index) {
        Some(at) => path[at..].to_vec(),
        None => b"/".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn target(text: &str) -> Target {
        Target::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn only_whole_segments_are_stripped() {
        let prefix = Prefix::parse("/api/v1/").unwrap();
        let strip = |text: &str| String::from_utf8(prefix.strip(&target(text)).unwrap().as_bytes().to_vec()).unwrap();
        assert_eq!(strip("/api/v1/x?q"), "/x?q");
        assert_eq!(strip("/api/%761/x"), "/x");
        assert_eq!(strip("/api/v1"), "/");
        assert_eq!(strip("/api/v1/"), "/");
        assert_eq!(strip("/api/v10/x"), "/api/v10/x");
        assert!(Prefix::parse("/{a}").is_err());
    }

    #[test]
    fn a_template_names_only_what_its_route_has() {
        let pattern = PathPattern::parse("/a/{id}/**").unwrap();
        let fill = |template: &str, path: &str| PathTemplate::parse(template, &pattern).unwrap().fill(&target(path));
        assert_eq!(fill("/x/{id}", "/a/7%2F8/c"), b"/x/7%2F8");
        assert_eq!(fill("/**", "/a/7/c/d"), b"/c/d");
        assert_eq!(fill("/y/**", "/a/7"), b"/y/");
        assert!(PathTemplate::parse("/{other}", &pattern).is_err());
        assert!(PathTemplate::parse("/**/x", &pattern).is_err());
    }
}
