//! A tree of path segments: finding a route costs the length of the path, not the number of routes.
//!
//! In: patterns with the index of their route. Out: for a path, the routes that fit, most specific first. Literal children
//! are tried before the parameter and that before the rest; a dead end falls back to the next choice.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::pattern::{PathPattern, Segment};

#[derive(Debug, Default)]
pub(super) struct Tree {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, Node, FixedState>,
    parameter: Option<Box<Node>>,
    /// Routes that end here.
    here: Vec<usize>,
    /// Routes that end here with `/**`.
    rest: Vec<usize>,
}

impl Tree {
    pub(super) fn insert(&mut self, pattern: &PathPattern, route: usize) {
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(literal) => node.literals.entry(literal.clone()).or_default(),
                Segment::Parameter => node.parameter.get_or_insert_default(),
                Segment::Rest => {
                    node.rest.push(route);
                    return;
                }
            };
        }
        node.here.push(route);
    }

    /// Shows the routes that fit `path` until `take` answers true.
    pub(super) fn visit(&self, path: &[u8], take: &mut dyn FnMut(usize) -> bool) -> bool {
        match path.strip_prefix(b"/") {
            Some(rest) => self.root.visit(Some(rest), take),
            // Only `*` has no slash; it fits nothing but `/**`.
            None => self.root.rest.iter().any(|route| take(*route)),
        }
    }

    pub(super) fn for_each_leaf(&mut self, look: &mut dyn FnMut(&mut Vec<usize>)) {
        self.root.for_each_leaf(look);
    }
}

impl Node {
    fn visit(&self, path: Option<&[u8]>, take: &mut dyn FnMut(usize) -> bool) -> bool {
        let Some(path) = path else {
            return self.here.iter().chain(&self.rest).any(|route| take(*route));
        };
        let (segment, below) = match memchr::memchr(b'/', path) {
            Some(at) => (&path[..at], Some(&path[at + 1..])),
            None => (path, None),
        };
        if self.literals.get(segment).is_some_and(|child| child.visit(below, take)) {
            return true;
        }
        if !segment.is_empty() && self.parameter.as_ref().is_some_and(|child| child.visit(below, take)) {
            return true;
        }
        self.rest.iter().any(|route| take(*route))
    }

    fn for_each_leaf(&mut self, look: &mut dyn FnMut(&mut Vec<usize>)) {
        look(&mut self.here);
        look(&mut self.rest);
        for child in self.literals.values_mut().chain(self.parameter.as_deref_mut()) {
            child.for_each_leaf(look);
        }
    }
}
