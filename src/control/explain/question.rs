//! A question for `explain`, as the bytes that a client would send.
//!
//! In: a method, a URL and headers as one types them. Out: a request, or the answer that refuses it: the parser and the limits are those of
//! the listeners. Not here: which route takes it.

use std::fmt::{self, Display, Formatter, Write};

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Method, header};

use crate::control::config::schema::Config;
use crate::proxy::error::ProxyError;
use crate::proxy::http1::framing::Framing;
use crate::proxy::http1::head::{BadHead, HeadLimits, HeadScanner, RequestHead, parse_request};
use crate::proxy::response::Fault;
use crate::proxy::snapshot::{ListenerLimits, ListenerPolicy};

/// Characters of a question that its answer repeats.
const SHOWN_CHARS_MAX: usize = 200;

/// A request as one types it.
#[derive(Debug)]
pub(crate) struct Question {
    shown: String,
    /// A whole head, up to and with its empty line.
    head: String,
    names_host: bool,
}

/// A listener as `explain` sees it.
#[derive(Clone, Debug)]
pub(crate) struct ListenerInfo {
    pub(crate) name: String,
    pub(crate) limits: ListenerLimits,
}

impl ListenerInfo {
    /// `policies` are in the order of the file.
    pub(crate) fn all(config: &Config, policies: &[ListenerPolicy]) -> Vec<Self> {
        let pairs = config.listeners.iter().zip(policies);
        pairs.map(|(source, policy)| ListenerInfo { name: source.name.value.clone(), limits: policy.limits }).collect()
    }
}

impl Question {
    /// Reads `http://host/path`, or a path alone, which names no host. A `Host` among the headers stands in place of the URL's.
    pub(crate) fn new(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("found `{method}`, expected a method such as GET"))?;
        if url.contains(['\r', '\n']) {
            return Err("found a line break in the URL, expected a URL such as http://host/path".to_owned());
        }
        let (host, target) = split(url)?;
        let fields = headers.iter().map(|header| field(header)).collect::<Result<Vec<_>, _>>()?;
        let has_host_field = fields.iter().any(|(name, _)| *name == header::HOST);
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        // Writing to a String does not fail.
        if let Some(host) = host.filter(|_| !has_host_field) {
            let _ = write!(head, "Host: {host}\r\n");
        }
        for (name, value) in fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        let whole = host.map_or_else(|| format!("{method} {target}"), |host| format!("{method} http://{host}{target}"));
        Ok(Question { shown: shortened(&whole), head, names_host: host.is_some() || has_host_field })
    }

    /// What a listener with these limits makes of it.
    pub(super) fn read(&self, limits: &ListenerLimits) -> Result<RequestHead, Fault> {
        let head = self.parse(&limits.head).map_err(|bad| ProxyError::from(bad).fault())?;
        match (head.framing, limits.body_bytes) {
            (Framing::Length(length), Some(most)) if length > most => Err(ProxyError::BodyTooLarge.fault()),
            _ => Ok(head),
        }
    }

    pub(super) fn names_host(&self) -> bool {
        self.names_host
    }

    fn parse(&self, limits: &HeadLimits) -> Result<RequestHead, BadHead> {
        let mut input = BytesMut::from(self.head.as_str());
        let length = HeadScanner::default().find(&mut input, limits.bytes)?.ok_or(BadHead::Malformed("the head has no end"))?;
        parse_request(input.split_to(length).freeze(), limits)
    }
}

impl Display for Question {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The host and the target of a URL.
fn split(url: &str) -> Result<(Option<&str>, String), String> {
    if url.starts_with('/') {
        return Ok((None, url.to_owned()));
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| format!("found `{}`, expected a URL such as http://host/path", shortened(url)))?;
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let root = if target.starts_with('/') { "" } else { "/" };
    Ok((Some(host), format!("{root}{target}")))
}

fn field(header: &str) -> Result<(HeaderName, &str), String> {
    let (name, value) = header.split_once(':').ok_or_else(|| format!("found the header `{header}`, expected `name: value`"))?;
    let name: HeaderName = name.trim().parse().map_err(|_| format!("found the header name `{name}`, expected a token"))?;
    let value = value.trim();
    HeaderValue::from_str(value).map_err(|_| format!("found the header value `{value}`, expected visible text"))?;
    Ok((name, value))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(url: &str, headers: &[&str]) -> Result<String, String> {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        Question::new("GET", url, &headers).map(|question| question.head)
    }

    #[test]
    fn a_question_is_what_a_client_would_send() {
        let questions: [(&str, &[&str], &str); 4] = [
            ("http://x/a?b", &[], "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("https://x:1?b", &["X-A:  1 "], "GET /?b HTTP/1.1\r\nHost: x:1\r\nx-a: 1\r\n\r\n"),
            ("http://x", &["host: y"], "GET / HTTP/1.1\r\nhost: y\r\n\r\n"),
            ("/a", &[], "GET /a HTTP/1.1\r\n\r\n"),
        ];
        for (url, headers, expected) in questions {
            assert_eq!(head(url, headers), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn a_question_cannot_hold_a_second_one() {
        let questions: [(&str, &[&str]); 4] =
            [("http://x/ HTTP/1.1\r\nA: b\r\n\r\n", &[]), ("x/a", &[]), ("http://x/", &["a: b\r\nc: d"]), ("/", &["a"])];
        for (url, headers) in questions {
            assert!(head(url, headers).unwrap_err().starts_with("found "), "{url:?} {headers:?}");
        }
    }

    #[test]
    fn a_long_question_is_repeated_in_part() {
        let question = Question::new("GET", &format!("http://x/{}", "é".repeat(SHOWN_CHARS_MAX)), &[]).unwrap();
        assert_eq!(question.to_string().chars().count(), SHOWN_CHARS_MAX + 1);
        assert!(question.to_string().ends_with('…'));
    }
}
