//! Changes to a header section.
//!
//! In: headers. Out: the same with fields removed, set and added, in that order. Not here: which names are allowed (the configuration
//! is checked for that when it is loaded).

use http::{HeaderMap, HeaderName, HeaderValue};

#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderEdit {
    pub(crate) remove: Vec<HeaderName>,
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    pub(crate) add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdit {
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let pair = |name: &str, value: &str| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        let mut headers: HeaderMap = [pair("cookie", "s=1"), pair("x", "old"), pair("y", "1")].into_iter().collect();
        let edit = HeaderEdit { remove: vec!["cookie".parse().unwrap()], set: vec![pair("x", "new")], add: vec![pair("y", "2")] };
        edit.apply(&mut headers);
        assert!(!headers.contains_key("cookie"));
        assert_eq!(headers["x"], "new");
        assert_eq!(headers.get_all("y").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
