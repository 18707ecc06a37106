//! A request target: the bytes that are sent on, and the one normal form that is matched.
//!
//! In: the origin-form of RFC 9112, section 3.2.1. Out: path and query byte for byte as they came, and the path with percent-encoded
//! unreserved characters decoded (RFC 3986, section 6.2.2.2), by which routes are chosen: the two are equivalent. A path that could be read
//! as another one (dot segments, also when encoded, behind encoded slashes or before parameters) is refused. An encoded slash is data, never a separator.

use bytes::Bytes;

/// Path and query of a request.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    text: Bytes,
    path_len: usize,
    /// The normal form of the path, where it differs from the path.
    normal: Option<Bytes>,
}

/// Why a target is refused. The client sees 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadTarget {
    NotAPath,
    Character,
    Escape,
    DotSegment,
}

impl BadTarget {
    pub(crate) fn message(self) -> &'static str {
        match self {
            BadTarget::NotAPath => "the request target is no path",
            BadTarget::Character => "the request target holds a control, a space, a fragment, a backslash or a byte that is no ASCII",
            BadTarget::Escape => "the request target holds a % that no two hexadecimal digits follow, or an encoded NUL",
            BadTarget::DotSegment => "the path holds a . or .. segment",
        }
    }
}

impl Target {
    /// Reads `/path?query`, or `*`.
    pub(crate) fn parse(text: Bytes) -> Result<Self, BadTarget> {
        if text.first() != Some(&b'/') && text[..] != b"*"[..] {
            return Err(BadTarget::NotAPath);
        }
        if !text.iter().all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'\\')) {
            return Err(BadTarget::Character);
        }
        let path_len = memchr::memchr(b'?', &text).unwrap_or(text.len());
        let path = &text[..path_len];
        let normal = match memchr::memchr(b'%', path) {
            Some(_) => Some(normalize(path)?),
            None => None,
        };
        let suspicious = normal.as_deref().unwrap_or(path);
        if memchr::memchr(b'.', suspicious).is_some() && has_dot_segment(suspicious) {
            return Err(BadTarget::DotSegment);
        }
        let normal = normal.filter(|normal| normal[..] != path[..]).map(Bytes::from);
        Ok(Target { text, path_len, normal })
    }

    /// Path and query as they came.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.text[..self.path_len]
    }

    /// What stands behind the first `?`.
    pub(crate) fn query(&self) -> Option<&[u8]> {
        self.text.get(self.path_len + 1..)
    }

    /// The path in the form that routes are matched by.
    pub(crate) fn match_path(&self) -> &[u8] {
        self.normal.as_deref().unwrap_or_else(|| self.path())
    }

    /// The same query behind another path.
    pub(crate) fn with_path(&self, path: &[u8]) -> Result<Self, BadTarget> {
        let mut text = Vec::with_capacity(path.len() + self.text.len() - self.path_len);
        text.extend_from_slice(path);
        text.extend_from_slice(&self.text[self.path_len..]);
        Self::parse(Bytes::from(text))
    }
}

/// Decodes percent-encoded unreserved characters and upper-cases the digits of the other escapes.
fn normalize(path: &[u8]) -> Result<Vec<u8>, BadTarget> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, behind)) = rest.split_first() {
        if first != b'%' {
            out.push(first);
            rest = behind;
            continue;
        }
        let value = behind.get(..2).and_then(escape_value).filter(|value| *value != 0).ok_or(BadTarget::Escape)?;
        if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
            out.push(value);
        } else {
            out.extend_from_slice(&[b'%', behind[0].to_ascii_uppercase(), behind[1].to_ascii_uppercase()]);
        }
        rest = &behind[2..];
    }
    Ok(out)
}

fn escape_value(digits: &[u8]) -> Option<u8> {
    let high = char::from(digits[0]).to_digit(16)?;
    let low = char::from(digits[1]).to_digit(16)?;
    Some((high << 4 | low) as u8)
}

/// Whether a segment of a normal form is `.` or `..`, where an encoded slash or backslash also ends a segment, and a `;` begins
/// parameters: servers differ in whether they decode or cut those before they look for dots.
fn has_dot_segment(normal: &[u8]) -> bool {
    let mut start = 0;
    let mut at = 0;
    while at <= normal.len() {
        let rest = &normal[at..];
        let width = match rest {
            [] | [b'/', ..] => 1,
            [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..] => 3,
            _ => 0,
        };
        if width > 0 {
            let segment = &normal[start..at];
            let name = &segment[..memchr::memchr(b';', segment).unwrap_or(segment.len())];
            if matches!(name, b"." | b"..") {
                return true;
            }
            start = at + width;
        }
        at += width.max(1);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Target, BadTarget> {
        Target::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn path_and_query_stay_byte_for_byte() {
        let text = "/a%2Fb//c;d=1/%7euser?q=a+b&c=%20&&x=[1]|{}\"^`<>?";
        let target = parse(text).unwrap();
        assert_eq!(target.as_bytes(), text.as_bytes());
        assert_eq!(target.match_path(), b"/a%2Fb//c;d=1/~user");
        assert_eq!(target.query().unwrap(), &text.as_bytes()[text.find('?').unwrap() + 1..]);
        assert_eq!(parse("/x?").unwrap().query(), Some(&b""[..]));
        assert_eq!(parse("/x").unwrap().query(), None);
    }

    #[test]
    fn a_path_that_could_be_read_as_another_is_refused() {
        for bad in
            ["/..", "/a/../b", "/a/./b", "/a/.", "/%2e%2E/b", "/a/.%2e/b", "/a/..%2fb", "/a%2f..%2fb", "/a%5c..%5cb", "/a/..;x/b", "/.;/b"]
        {
            assert_eq!(parse(bad).unwrap_err(), BadTarget::DotSegment, "{bad}");
        }
        for good in ["/...", "/a..b/c", "/.well-known/x", "/a/..b", "/x?p=/../y", "/v1.2/.."] {
            assert_eq!(parse(good).is_ok(), !good.ends_with("/.."), "{good}");
        }
    }

    #[test]
    fn bytes_that_no_target_may_hold_are_refused() {
        for bad in ["/a#b", "/a\\b", "/a\u{1}", "/a b", "/é", "/\u{7f}"] {
            assert_eq!(parse(bad).unwrap_err(), BadTarget::Character, "{bad}");
        }
        for bad in ["/%", "/%4", "/%zz", "/%00"] {
            assert_eq!(parse(bad).unwrap_err(), BadTarget::Escape, "{bad}");
        }
        for bad in ["", "a", "http://x/", "?q"] {
            assert_eq!(parse(bad).unwrap_err(), BadTarget::NotAPath, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_normal_form(text in "/[a-z0-9%./A-F~_-]{0,40}") {
            if let Ok(target) = parse(&text) {
                let again = Target::parse(Bytes::copy_from_slice(target.match_path())).unwrap();
                prop_assert_eq!(again.match_path(), target.match_path());
            }
        }
    }
}
