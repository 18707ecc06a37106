//! `pellucid explain`: which route takes a request, and why; or how the gateway refuses it.
//!
//! In: a compiled configuration and a request. Out: text. It asks the very parser, limits, table and filters that serve requests. Not here:
//! sending anything.

mod question;

use std::fmt::Write;

use super::compile::{Compiled, RouteInfo, UpstreamInfo};
use crate::base::clock::Clock;
use crate::proxy::error::ProxyError;
use crate::proxy::fields::Known;
use crate::proxy::filter::Verdict;
use crate::proxy::http1::head::RequestHead;
use crate::proxy::message::{Body, Request};
use crate::proxy::response::Fault;
use crate::proxy::snapshot::{Route, Snapshot};
use crate::telemetry::record::Record;
use crate::telemetry::record::reason::Reason;

pub(crate) use question::{ListenerInfo, Question};

/// Other routes, or listeners, that are listed at most.
const OTHERS_MAX: usize = 10;

/// A configuration as far as it is explained.
pub(crate) struct Explained<'c> {
    pub(crate) snapshot: &'c Snapshot,
    pub(crate) routes: &'c [RouteInfo],
    pub(crate) upstreams: &'c [UpstreamInfo],
    pub(crate) listeners: &'c [ListenerInfo],
    /// Filters take time.
    pub(crate) clock: &'c Clock,
}

impl<'c> Explained<'c> {
    pub(crate) fn of(compiled: &'c Compiled, listeners: &'c [ListenerInfo], clock: &'c Clock) -> Self {
        Explained { snapshot: &compiled.snapshot, routes: &compiled.routes, upstreams: &compiled.upstreams, listeners, clock }
    }
}

/// What the listeners make of a question: their limits may differ.
struct Readings<'c> {
    /// As those read it that take it.
    head: Option<RequestHead>,
    /// Each way of refusing it, with the listeners that do so.
    refusals: Vec<(Fault, Vec<&'c str>)>,
}

impl<'c> Readings<'c> {
    fn of(listeners: &'c [ListenerInfo], question: &Question) -> Self {
        let mut readings = Readings { head: None, refusals: Vec::new() };
        for listener in listeners {
            match question.read(&listener.limits) {
                Ok(head) => readings.head = Some(head),
                Err(fault) => readings.refuse(fault, &listener.name),
            }
        }
        readings
    }

    fn refuse(&mut self, fault: Fault, listener: &'c str) {
        match self.refusals.iter_mut().find(|(known, _)| *known == fault) {
            Some((_, listeners)) => listeners.push(listener),
            None => self.refusals.push((fault, vec![listener])),
        }
    }

    fn refusals(&self) -> impl Iterator<Item = String> {
        self.refusals.iter().map(|(fault, listeners)| match fault.reason {
            // What cannot be read is refused by each of them.
            Reason::MalformedRequest => refusal(*fault),
            _ => format!("{} (listener {})", refusal(*fault), listed(listeners)),
        })
    }
}

/// The answer, and the route that takes the request.
pub(crate) fn explain(compiled: &Explained<'_>, question: &Question) -> (String, Option<String>) {
    let mut out = format!("{question}\n");
    let readings = Readings::of(compiled.listeners, question);
    let Some(head) = &readings.head else {
        for refusal in readings.refusals() {
            let _ = writeln!(out, "  {refusal}");
        }
        if !question.names_host() {
            let _ = writeln!(out, "  a path alone names no host: ask for http://host/path");
        }
        return (out, None);
    };
    let route = choose(&mut out, compiled, head);
    for refusal in readings.refusals() {
        let _ = writeln!(out, "  elsewhere    {refusal}");
    }
    (out, route)
}

fn refusal(fault: Fault) -> String {
    format!("refused with {}: {}", fault.status.as_u16(), fault.message)
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(OTHERS_MAX);
    let first = names.iter().take(OTHERS_MAX).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

/// Tells which route takes the request, and which others came close.
fn choose(out: &mut String, compiled: &Explained<'_>, head: &RequestHead) -> Option<String> {
    let normal = String::from_utf8_lossy(head.target.match_path());
    if normal.as_bytes() != head.target.path() {
        let _ = writeln!(out, "  matched as   {normal}");
    }
    let host = head.headers.get(Known::Host).unwrap_or_default();
    let candidates = compiled.snapshot.table.candidates(host, head.target.match_path(), &head.method, &head.headers);
    let winner = candidates.iter().find(|(_, holds)| *holds).map(|(index, _)| *index);
    match winner {
        Some(index) => {
            describe_winner(out, compiled, index);
            if let Some(answer) = answered(&compiled.snapshot.routes[index], head, host, compiled.clock) {
                let _ = writeln!(out, "  {answer}");
            }
        }
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
        let why = if *holds { "matches too, but less specifically".to_owned() } else { misses(route, head) };
        let _ = writeln!(out, "    {:<20} {why}", route.name);
    }
    winner.map(|index| compiled.routes[index].name.clone())
}

/// What the filters answer in place of an upstream.
fn answered(route: &Route, head: &RequestHead, host: &[u8], clock: &Clock) -> Option<String> {
    let mut request = Request {
        method: head.method.clone(),
        target: head.target.clone(),
        version: head.version,
        headers: head.headers.clone(),
        body: Body::empty(),
        interim: None,
        upgrade: None,
    };
    match route.filters.request(&mut request, host, &mut Record::empty(), clock) {
        Ok(Verdict::Forward) => None,
        Ok(Verdict::Answer(response)) => Some(format!("answered     with {} by a filter", response.status.as_u16())),
        Err(bad) => Some(format!("{} (as a filter makes it)", refusal(ProxyError::from(bad).fault()))),
    }
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
fn misses(route: &RouteInfo, head: &RequestHead) -> String {
    let matches = &route.source.r#match;
    let method_holds = matches.methods.is_empty() || matches.methods.iter().any(|method| method.value == head.method.as_str());
    if !method_holds {
        let methods: Vec<_> = matches.methods.iter().map(|method| method.value.as_str()).collect();
        return format!("wants the method {}", methods.join(" or "));
    }
    let missing = matches
        .headers
        .pairs
        .iter()
        .find(|(name, value)| !head.headers.values_of(name.value.as_bytes()).any(|sent| sent == value.value.as_bytes()));
    missing.map_or_else(String::new, |(name, value)| format!("wants the header {}: {}", name.value, value.value))
}
