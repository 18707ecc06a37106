//! Changes to a header section.
//!
//! In: headers. Out: the same with fields removed, set and added, in that order. Not here: which names are allowed (the configuration
//! is checked for that when it is loaded).

use http::{HeaderName, HeaderValue};

use crate::proxy::fields::Fields;

#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderEdit {
    pub(crate) remove: Vec<HeaderName>,
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    pub(crate) add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdit {
    pub(crate) fn apply(&self, headers: &mut Fields) {
        for name in &self.remove {
            headers.remove(name.as_ref());
        }
        for (name, value) in &self.set {
            headers.set(name.as_ref(), value.as_ref());
        }
        for (name, value) in &self.add {
            headers.append(name.as_ref(), value.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let pair = |name: &str, value: &str| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        let mut headers: Fields = [pair("cookie", "s=1"), pair("x", "old"), pair("y", "1")].into_iter().collect();
        let edit = HeaderEdit { remove: vec!["cookie".parse().unwrap()], set: vec![pair("x", "new")], add: vec![pair("y", "2")] };
        edit.apply(&mut headers);
        assert_eq!(headers.values_of(b"cookie").count(), 0);
        assert_eq!(headers.values_of(b"x").collect::<Vec<_>>(), [b"new"]);
        assert_eq!(headers.values_of(b"y").collect::<Vec<_>>(), [b"1", b"2"]);
    }
}
