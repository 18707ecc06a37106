//! `pellucid explain`: which route a request takes, and why.
//!
//! In: a compiled configuration and a request. Out: text. It asks the very table that serves requests. Not here: sending anything.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use super::compile::{Compiled, RouteInfo, UpstreamInfo};
use crate::base::target::Target;
use crate::proxy::fields::Fields;
use crate::proxy::snapshot::Snapshot;

/// A request as one types it.
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) headers: Fields,
}

/// Other routes that are listed at most.
const OTHERS_MAX: usize = 10;

impl Question {
    /// Reads `http://host/path`, or a path alone.
    pub(crate) fn new(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("found `{method}`, expected a method such as GET"))?;
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let (host, target) = match rest {
            Some(rest) => {
                let split = rest.find(['/', '?']).unwrap_or(rest.len());
                (
                    rest[..split].to_owned(),
                    if rest[split..].starts_with('/') { rest[split..].to_owned() } else { format!("/{}", &rest[split..]) },
                )
            }
            None if url.starts_with('/') => (String::new(), url.to_owned()),
            None => return Err(format!("found `{url}`, expected a URL such as http://host/path")),
        };
        let mut map = Fields::new();
        for header in headers {
            let (name, value) = header.split_once(':').ok_or_else(|| format!("found the header `{header}`, expected `name: value`"))?;
            let name: HeaderName = name.trim().parse().map_err(|_| format!("found the header name `{name}`, expected a token"))?;
            let value: HeaderValue =
                value.trim().parse().map_err(|_| format!("found the header value `{value}`, expected visible text"))?;
            map.append(name.as_ref(), value.as_ref());
        }
        Ok(Question { method, host, target, headers: map })
    }
}

/// A configuration as far as it is explained.
pub(crate) struct Explained<'c> {
    pub(crate) snapshot: &'c Snapshot,
    pub(crate) routes: &'c [RouteInfo],
    pub(crate) upstreams: &'c [UpstreamInfo],
}

impl<'c> Explained<'c> {
    pub(crate) fn of(compiled: &'c Compiled) -> Self {
        Explained { snapshot: &compiled.snapshot, routes: &compiled.routes, upstreams: &compiled.upstreams }
    }
}

/// The answer, and whether a route takes the request.
pub(crate) fn explain(compiled: &Explained<'_>, question: &Question) -> (String, Option<String>) {
    let mut out = format!("{} http://{}{}\n", question.method, question.host, question.target);
    let target = match Target::parse(Bytes::from(question.target.clone())) {
        Ok(target) => target,
        Err(bad) => {
            let _ = writeln!(out, "  refused with 400: {}", bad.message());
            return (out, None);
        }
    };
    let normal = String::from_utf8_lossy(target.match_path());
    if normal.as_bytes() != target.path() {
        let _ = writeln!(out, "  matched as   {normal}");
    }
    let table = &compiled.snapshot.table;
    let candidates = table.candidates(question.host.as_bytes(), target.match_path(), &question.method, &question.headers);
    let winner = candidates.iter().find(|(_, holds)| *holds).map(|(index, _)| *index);
    match winner {
        Some(index) => describe_winner(&mut out, compiled, index),
        None => {
            let _ = writeln!(out, "  no route matches: 404 no_route");
        }
    }
    let others: Vec<_> = candidates.iter().filter(|(index, _)| Some(*index) != winner).take(OTHERS_MAX).collect();
    if !others.is_empty() {
        let _ = writeln!(out, "  came close:");
    }
    for (index, holds) in others {
        let route = &compiled.routes[*index];
        let _ = writeln!(
            out,
            "    {:<20} {}",
            route.name,
            if *holds { "matches too, but less specifically".to_owned() } else { misses(route, question) }
        );
    }
    (out, winner.map(|index| compiled.routes[index].name.clone()))
}

fn describe_winner(out: &mut String, compiled: &Explained<'_>, index: usize) {
    let route = &compiled.routes[index];
    let source = &route.source;
    let _ = writeln!(out, "  route        {}", route.name);
    let hosts: Vec<_> = source.r#match.hosts.iter().map(|host| host.value.as_str()).collect();
    let _ = writeln!(
        out,
        "  because      host {}, path {}{}",
        if hosts.is_empty() { "any".to_owned() } else { hosts.join(" or ") },
        source.r#match.path.value,
        conditions(route)
    );
    for filter in &source.filters {
        let text = serde_json::to_string(filter).unwrap_or_default();
        let _ = writeln!(out, "  filter       {text}");
    }
    if let Some(split) = &compiled.snapshot.routes[index].split {
        for (upstream, weight) in split.parts() {
            let info = &compiled.upstreams[*upstream];
            let endpoints: Vec<_> = info.endpoints.iter().map(|endpoint| endpoint.authority.to_str().unwrap_or_default()).collect();
            let share = if split.parts().len() > 1 { format!(" (weight {weight})") } else { String::new() };
            let _ = writeln!(out, "  upstream     {}{share}: {}", info.name, endpoints.join(", "));
        }
    }
    if let Some(timeout) = compiled.snapshot.routes[index].timeout {
        let _ = writeln!(out, "  timeout      {timeout:?}");
    }
}

fn conditions(route: &RouteInfo) -> String {
    let matches = &route.source.r#match;
    let mut out = String::new();
    if !matches.methods.is_empty() {
        let methods: Vec<_> = matches.methods.iter().map(|method| method.value.as_str()).collect();
        let _ = write!(out, ", method {}", methods.join(" or "));
    }
    for (name, value) in &matches.headers.pairs {
        let _ = write!(out, ", header {}: {}", name.value, value.value);
    }
    out
}

/// Which condition does not hold.
fn misses(route: &RouteInfo, question: &Question) -> String {
    let matches = &route.source.r#match;
    let method_holds = matches.methods.is_empty() || matches.methods.iter().any(|method| method.value == question.method.as_str());
    if !method_holds {
        let methods: Vec<_> = matches.methods.iter().map(|method| method.value.as_str()).collect();
        return format!("wants the method {}", methods.join(" or "));
    }
    let missing = matches
        .headers
        .pairs
        .iter()
        .find(|(name, value)| !question.headers.values_of(name.value.as_bytes()).any(|sent| sent == value.value.as_bytes()));
    missing.map_or_else(String::new, |(name, value)| format!("wants the header {}: {}", name.value, value.value))
}
