//! YAML as a tree in which every node knows its place.
//!
//! In: text. Out: scalars, lists and maps, with `${NAME}` and `${NAME:-default}` replaced in scalars, so that places stay right. Repeated keys
//! and a second document are mistakes. Aliases are copies, bounded in number. Not here: what the keys mean.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Mark, Problems};

/// Nodes of one file, aliases expanded.
const NODES_MAX: usize = 5_000_000;
const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What it is, for a message.
    pub(crate) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Scalar(text) if text.chars().count() > 60 => format!("`{}...`", text.chars().take(60).collect::<String>()),
            Content::Scalar(text) => format!("`{text}`"),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }

    fn size(&self) -> usize {
        1 + match &self.content {
            Content::Null | Content::Scalar(_) => 0,
            Content::List(items) => items.iter().map(Node::size).sum(),
            Content::Map(pairs) => pairs.iter().map(|(key, value)| key.size() + value.size()).sum(),
        }
    }
}

/// The tree of the one document in `text`; an empty file is an empty map.
pub(crate) fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) -> Option<Node> {
    let mut reader = Reader { parser: Parser::new_from_str(text), environment, problems, anchors: HashMap::new(), nodes: 0 };
    reader.document()
}

struct Reader<'r, 'input> {
    parser: Parser<'input, saphyr_parser::StrInput<'input>>,
    environment: &'r dyn Fn(&str) -> Option<String>,
    problems: &'r mut Problems,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'input> Reader<'_, 'input> {
    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
                (Event::DocumentStart(_), span) if root.is_some() => {
                    self.problems.add(mark(&span), "found a second document, expected one");
                    return None;
                }
                (Event::DocumentStart(_), _) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, &span, 0)?);
                }
                _ => {}
            }
        }
        Some(root.unwrap_or(Node { mark: Mark { line: 1, column: 1 }, content: Content::Map(Vec::new()) }))
    }

    fn next(&mut self) -> Option<(Event<'input>, Span)> {
        match self.parser.next_event()? {
            Ok(event) => Some(event),
            Err(error) => {
                let place = Mark { line: error.marker().line(), column: error.marker().col() + 1 };
                self.problems.add(place, format!("this is no valid YAML: {}", error.info()));
                None
            }
        }
    }

    fn node(&mut self, event: Event<'input>, span: &Span, depth: usize) -> Option<Node> {
        let mark = mark(span);
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return self.too_much(mark);
        }
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (self.scalar(&text, style, mark), anchor),
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    self.problems.add(mark, "found an alias inside what it names, expected a value");
                    return None;
                };
                self.nodes += node.size();
                if self.nodes > NODES_MAX {
                    return self.too_much(mark);
                }
                return Some(node.clone());
            }
            _ => return None,
        };
        let node = Node { mark, content };
        if anchor > 0 {
            self.nodes += node.size();
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn too_much(&mut self, mark: Mark) -> Option<Node> {
        self.problems.add(mark, format!("nested deeper than {DEPTH_MAX}, or more than {NODES_MAX} values, aliases counted"));
        None
    }

    fn list(&mut self, depth: usize) -> Option<Content> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(Content::List(items)),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Option<Content> {
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Some(Content::Map(pairs));
            }
            let key = self.node(event, &span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            if let Content::Scalar(name) = &key.content
                && !seen.insert(name.clone())
            {
                self.problems.add(key.mark, format!("found the key `{name}` a second time"));
            }
            pairs.push((key, value));
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, mark: Mark) -> Content {
        if style == ScalarStyle::Plain && matches!(text, "" | "~" | "null") {
            return Content::Null;
        }
        Content::Scalar(self.expand(text, mark))
    }

    /// Replaces `${NAME}` and `${NAME:-default}`; `$${` stands for `${`.
    fn expand(&mut self, text: &str, mark: Mark) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at]);
                out.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            let Some(end) = rest[at..].find('}') else {
                self.problems.add(mark, "found `${` without `}`");
                break;
            };
            out.push_str(&rest[..at]);
            let inside = &rest[at + 2..at + end];
            let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
            match (self.environment)(name).filter(|value| !value.is_empty() || default.is_none()).or(default.map(str::to_owned)) {
                Some(value) => out.push_str(&value),
                None => self.problems.add(
                    mark,
                    format!("the environment has no `{name}`; expected it to be set, or a default as in `${{{name}:-default}}`"),
                ),
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        out
    }
}

fn mark(span: &Span) -> Mark {
    Mark { line: span.start.line(), column: span.start.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Problems::default();
        let environment = |name: &str| (name == "HOST").then(|| "h:1".to_owned());
        let node = parse(text, &environment, &mut problems);
        (node, problems.lines("f"))
    }

    fn scalar_of(text: &str) -> String {
        match read(&format!("k: {text}")).0.unwrap().content {
            Content::Map(pairs) => match &pairs[0].1.content {
                Content::Scalar(value) => value.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_environment_is_expanded_in_scalars() {
        assert_eq!(scalar_of("http://${HOST}/x"), "http://h:1/x");
        assert_eq!(scalar_of("${NO:-d}${HOST}"), "dh:1");
        assert_eq!(scalar_of("$${HOST}"), "${HOST}");
        assert_eq!(read("k: ${NO}").1.len(), 1);
        assert_eq!(read("k: ${NO").1.len(), 1);
    }

    #[test]
    fn mistakes_of_form_have_their_place() {
        assert_eq!(read("a: 1\na: 2").1, ["f:2:1: found the key `a` a second time"]);
        assert!(read("a: [1").1[0].starts_with("f:2:1: this is no valid YAML") || read("a: [1").1[0].starts_with("f:1:"));
        assert_eq!(read("a: 1\n---\nb: 2").1.len(), 1);
        assert!(read("").0.is_some());
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..10 {
            text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(",")));
        }
        let (node, problems) = read(&text);
        assert!(node.is_none() && !problems.is_empty());
    }
}
