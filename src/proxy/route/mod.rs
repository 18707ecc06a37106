//! Which route takes a request.
//!
//! In: host, path, method and headers. Out: the one route that matches most specifically, or none. The order of the
//! configuration never matters: hosts are compared first (exact, then the longest wildcard, then any), then paths segment by segment
//! (literal, then parameter, then rest), then whether methods are named, then how many headers are.
//! Not here: what the route does with the request.

pub(crate) mod pattern;
mod tree;
pub(crate) mod split;

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Method};

use pattern::PathPattern;
use tree::Tree;

use super::fields::Fields;

/// The conditions of a route.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    /// Empty: any host.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) path: PathPattern,
    /// Empty: any method.
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HostPattern {
    Exact(String),
    /// `*.example.org`, held as `.example.org`: any number of labels before it, at least one.
    Suffix(String),
}

/// No route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoute;

/// Two routes that match the same requests equally well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tie {
    pub(crate) first: usize,
    pub(crate) second: usize,
}

/// All routes of a plan, by index.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<String, Tree>,
    suffix: HashMap<String, Tree>,
    any: Tree,
    conditions: Vec<Conditions>,
}

/// What is checked once host and path fit.
#[derive(Clone, Debug)]
struct Conditions {
    methods: Vec<Method>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Conditions {
    fn hold(&self, method: &Method, headers: &Fields) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && self.headers.iter().all(|(name, value)| headers.values_of(name.as_ref()).any(|sent| sent == value.as_bytes()))
    }

    /// The more of this, the more specific.
    fn rank(&self) -> (bool, usize) {
        (!self.methods.is_empty(), self.headers.len())
    }

    /// Some request satisfies both.
    fn overlap(&self, other: &Conditions) -> bool {
        let methods =
            self.methods.is_empty() || other.methods.is_empty() || self.methods.iter().any(|method| other.methods.contains(method));
        let contradicts = |(name, value): &(HeaderName, HeaderValue)| {
            other.headers.iter().any(|(other_name, other_value)| name == other_name && value != other_value)
        };
        methods && !self.headers.iter().any(contradicts)
    }
}

impl Table {
    /// Builds the table, or names every tie.
    pub(crate) fn build(matchers: &[Matcher]) -> Result<Self, Vec<Tie>> {
        let mut table = Table {
            conditions: matchers
                .iter()
                .map(|matcher| Conditions { methods: matcher.methods.clone(), headers: matcher.headers.clone() })
                .collect(),
            ..Table::default()
        };
        for (index, matcher) in matchers.iter().enumerate() {
            if matcher.hosts.is_empty() {
                table.any.insert(&matcher.path, index);
            }
            for host in &matcher.hosts {
                let tree = match host {
                    HostPattern::Exact(name) => table.exact.entry(name.clone()).or_default(),
                    HostPattern::Suffix(suffix) => table.suffix.entry(suffix.clone()).or_default(),
                };
                tree.insert(&matcher.path, index);
            }
        }
        let ties = table.sort_and_find_ties();
        if ties.is_empty() { Ok(table) } else { Err(ties) }
    }

    /// The most specific route for a request. `host` may carry a port and upper case.
    pub(crate) fn find(&self, host: &[u8], path: &[u8], method: &Method, headers: &Fields) -> Result<usize, NoRoute> {
        let mut found = None;
        self.visit(host, path, &mut |index| {
            if self.conditions[index].hold(method, headers) {
                found = Some(index);
            }
            found.is_some()
        });
        found.ok_or(NoRoute)
    }

    /// Every route whose host and path fit, from the most specific on, with whether methods and headers fit too.
    pub(crate) fn candidates(&self, host: &[u8], path: &[u8], method: &Method, headers: &Fields) -> Vec<(usize, bool)> {
        let mut all = Vec::new();
        self.visit(host, path, &mut |index| {
            all.push((index, self.conditions[index].hold(method, headers)));
            false
        });
        all
    }

    /// Shows candidates in order until `take` says that it has what it wants.
    fn visit(&self, host: &[u8], path: &[u8], take: &mut dyn FnMut(usize) -> bool) -> bool {
        let mut lowered = [0u8; 255];
        let name = if self.exact.is_empty() && self.suffix.is_empty() { None } else { host_name(host, &mut lowered) };
        if let Some(name) = name {
            if self.exact.get(name).is_some_and(|tree| tree.visit(path, take)) {
                return true;
            }
            let suffixes = name.char_indices().filter(|(_, character)| *character == '.').map(|(at, _)| &name[at..]);
            for tree in suffixes.filter(|_| !self.suffix.is_empty()).filter_map(|suffix| self.suffix.get(suffix)) {
                if tree.visit(path, take) {
                    return true;
                }
            }
        }
        self.any.visit(path, take)
    }

    fn sort_and_find_ties(&mut self) -> Vec<Tie> {
        let conditions = &self.conditions;
        let mut ties = Vec::new();
        let trees = self.exact.values_mut().chain(self.suffix.values_mut()).chain([&mut self.any]);
        for tree in trees {
            tree.for_each_leaf(&mut |leaf| {
                leaf.sort_by(|a, b| conditions[*b].rank().cmp(&conditions[*a].rank()).then(a.cmp(b)));
                for (at, &first) in leaf.iter().enumerate() {
                    let rivals = leaf[at + 1..].iter().take_while(|second| conditions[**second].rank() == conditions[first].rank());
                    for &second in rivals.filter(|second| conditions[**second].overlap(&conditions[first])) {
                        ties.push(Tie { first, second });
                    }
                }
            });
        }
        ties.sort_by_key(|tie| (tie.first, tie.second));
        ties.dedup();
        ties
    }
}

/// The host in lower case, without its port and a final dot. None where it is no possible name.
fn host_name<'b>(host: &[u8], lowered: &'b mut [u8; 255]) -> Option<&'b str> {
    let end = match host.first() {
        Some(b'[') => memchr::memchr(b']', host).map(|at| at + 1)?,
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    let name = host[..end].strip_suffix(b".").unwrap_or(&host[..end]);
    let target = lowered.get_mut(..name.len())?;
    target.copy_from_slice(name);
    target.make_ascii_lowercase();
    std::str::from_utf8(target).ok()
}

impl HostPattern {
    /// Reads `example.com` or `*.example.com`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let lowered = text.to_ascii_lowercase();
        let (name, wildcard) = match lowered.strip_prefix('*') {
            Some(rest) => (rest, true),
            None => (lowered.as_str(), false),
        };
        let labels = if wildcard { name.strip_prefix('.').unwrap_or("") } else { name };
        let fits = |label: &str| {
            !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        let inside = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|_| !wildcard);
        let address = inside.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok());
        if !address && (labels.is_empty() || labels.len() > 253 || !labels.split('.').all(fits)) {
            return Err("a host name such as api.example.com, or *.example.com, without scheme, port or path");
        }
        Ok(if wildcard { HostPattern::Suffix(name.to_owned()) } else { HostPattern::Exact(name.to_owned()) })
    }
}

#[cfg(test)]
mod tests;
