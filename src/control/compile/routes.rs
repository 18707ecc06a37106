//! Routes: patterns, filters, shares, and ties between them.
//!
//! In: the `routes` section and the names of the upstreams. Out: the route table and what each route does, or the mistakes.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::super::config::decode::{Pairs, Placed};
use super::super::config::filters::{FilterEntry, HeaderRules, RedirectRule, RespondRule};
use super::super::config::problem::{Mark, Problems};
use super::super::config::schema;
use super::check_route_count;
use crate::base::spelling::meant;
use crate::proxy::fields::Fields;
use crate::proxy::filter::headers::HeaderEdit;
use crate::proxy::filter::path::{PathTemplate, Prefix};
use crate::proxy::filter::{Filter, Filters, Fixed, Redirect};
use crate::proxy::resilience;
use crate::proxy::route::pattern::PathPattern;
use crate::proxy::route::split::Split;
use crate::proxy::route::{HostPattern, Matcher, Table};
use crate::proxy::snapshot::Route;
use crate::telemetry::record::labels;
use crate::telemetry::record::legend::Legends;

pub(super) struct Routes {
    pub(super) table: Table,
    pub(super) routes: Vec<Route>,
}

type UpstreamNames<'n> = HashMap<&'n str, usize>;

pub(super) fn compile(
    sources: &[schema::Route],
    upstreams: &UpstreamNames<'_>,
    legends: &Legends,
    problems: &mut Problems,
) -> Option<Routes> {
    check_route_count(sources.len(), problems);
    super::unique(sources.iter().map(|route| (route.name.value.as_str(), route.name.mark)), "route", problems);
    let before = problems.len();
    let mut matchers = Vec::with_capacity(sources.len());
    let mut routes = Vec::with_capacity(sources.len());
    for source in sources {
        let matcher = matcher(&source.r#match, problems);
        let pattern = matcher.as_ref().map(|matcher| matcher.path.clone());
        let filters = filters(&source.filters, pattern.as_ref(), problems);
        let split = split(source, &filters, upstreams, problems);
        if let Some(matcher) = matcher {
            routes.push(Route {
                id: legends.route(&source.name.value, matcher.path.text()),
                label: labels::number(&source.name.value),
                filters,
                split,
                timeout: source.timeout.map(|span| span.0),
                upgrades: source.upgrade.iter().map(|protocol| protocol.token()).collect(),
                retry: resilience::Retry { attempts: source.retry.attempts.0 as u8 },
            });
            matchers.push(matcher);
        }
    }
    if problems.len() > before {
        return None;
    }
    match Table::build(&matchers) {
        Ok(table) => Some(Routes { table, routes }),
        Err(ties) => {
            for tie in ties {
                let (first, second) = (&sources[tie.first], &sources[tie.second]);
                let message = format!(
                    "the routes `{}` and `{}` match the same requests equally well; expected one to be more specific in host, path, methods or headers",
                    first.name.value, second.name.value
                );
                problems.add(second.name.mark, message);
            }
            None
        }
    }
}

fn matcher(source: &schema::Match, problems: &mut Problems) -> Option<Matcher> {
    let hosts: Vec<Option<HostPattern>> =
        source.hosts.iter().map(|host| read(host, HostPattern::parse(&host.value).map_err(str::to_owned), problems)).collect();
    for (index, host) in source.hosts.iter().enumerate() {
        if source.hosts[..index].iter().any(|earlier| earlier.value.eq_ignore_ascii_case(&host.value)) {
            problems.add(host.mark, format!("found the host `{}` a second time, expected each once", host.value));
        }
    }
    let path = read(&source.path, PathPattern::parse(&source.path.value), problems);
    let methods: Vec<Option<Method>> = source.methods.iter().map(|method| read(method, parse_method(&method.value), problems)).collect();
    let headers = header_pairs(&source.headers, false, problems);
    Some(Matcher {
        hosts: hosts.into_iter().collect::<Option<_>>()?,
        path: path?,
        methods: methods.into_iter().collect::<Option<_>>()?,
        headers,
    })
}

/// Methods are case-sensitive (RFC 9110, section 9.1); a lower-case known one is a slip of the pen.
fn parse_method(text: &str) -> Result<Method, String> {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];
    let method = Method::from_bytes(text.as_bytes()).ok();
    match method {
        Some(method) if !text.bytes().any(|byte| byte.is_ascii_lowercase()) => Ok(method),
        _ => Err(format!("a method such as GET or POST{}", meant(text, known))),
    }
}

fn read<T>(source: &Placed<String>, value: Result<T, String>, problems: &mut Problems) -> Option<T> {
    value.map_err(|expected| problems.add(source.mark, format!("found `{}`, expected {expected}", source.value))).ok()
}

fn split(source: &schema::Route, filters: &Filters, upstreams: &UpstreamNames<'_>, problems: &mut Problems) -> Option<Split> {
    let mark = source.name.mark;
    let name = &source.name.value;
    match (&source.upstream, &source.split) {
        (Some(_), Some(_)) => {
            problems.add(mark, format!("the route `{name}` has both `upstream` and `split`, expected one of them"));
            None
        }
        (None, None) => {
            if !filters.answer_always() && filters.filters.len() == source.filters.len() {
                problems.add(
                    mark,
                    format!("the route `{name}` leads nowhere, expected `upstream`, `split`, or a filter `redirect` or `respond`"),
                );
            }
            None
        }
        (Some(upstream), None) => find(upstream, upstreams, problems).map(|index| Split::new(vec![(index, 1)])),
        (None, Some(parts)) => {
            let found: Vec<_> = parts.iter().map(|part| Some((find(&part.upstream, upstreams, problems)?, part.weight.0 as u32))).collect();
            if parts.iter().all(|part| part.weight.0 == 0) {
                problems.add(mark, format!("the `split` of the route `{name}` has no weight above 0, expected one"));
            }
            found.into_iter().collect::<Option<_>>().map(Split::new)
        }
    }
}

fn find(name: &Placed<String>, upstreams: &UpstreamNames<'_>, problems: &mut Problems) -> Option<usize> {
    let found = upstreams.get(name.value.as_str()).copied();
    if found.is_none() {
        let hint = meant(&name.value, upstreams.keys().copied());
        problems.add(name.mark, format!("found the unknown upstream `{}`, expected the name of one in `upstreams`{hint}", name.value));
    }
    found
}

fn filters(sources: &[FilterEntry], pattern: Option<&PathPattern>, problems: &mut Problems) -> Filters {
    let compiled = sources.iter().filter_map(|source| match source {
        FilterEntry::StripPrefix(path) => read(path, Prefix::parse(&path.value), problems).map(Filter::StripPrefix),
        FilterEntry::Rewrite(path) => template(path, pattern, problems).map(Filter::Rewrite),
        FilterEntry::RequestHeaders(rules) => Some(Filter::RequestHeaders(header_edit(rules, problems))),
        FilterEntry::ResponseHeaders(rules) => Some(Filter::ResponseHeaders(header_edit(rules, problems))),
        FilterEntry::Redirect(rule) => redirect(rule, pattern, problems).map(Filter::Redirect),
        FilterEntry::Respond(rule) => respond(rule, problems).map(Filter::Respond),
    });
    Filters { filters: compiled.collect() }
}

fn template(path: &Placed<String>, pattern: Option<&PathPattern>, problems: &mut Problems) -> Option<PathTemplate> {
    read(path, PathTemplate::parse(&path.value, pattern?), problems)
}

fn redirect(rule: &RedirectRule, pattern: Option<&PathPattern>, problems: &mut Problems) -> Option<Redirect> {
    let code = rule.status.value.0;
    if ![301, 302, 303, 307, 308].contains(&code) {
        problems.add(rule.status.mark, format!("found {code}, expected 301, 302, 303, 307 or 308"));
    }
    if let Some(scheme) = rule.scheme.as_ref().filter(|scheme| !["http", "https"].contains(&scheme.value.as_str())) {
        problems.add(scheme.mark, format!("found `{}`, expected http or https", scheme.value));
    }
    if let Some(host) = rule.host.as_ref().filter(|host| !super::is_authority(&host.value)) {
        problems.add(host.mark, format!("found `{}`, expected a host name, with a port if it needs one", host.value));
    }
    let path = match &rule.path {
        Some(path) => Some(template(path, pattern, problems)?),
        None => None,
    };
    Some(Redirect {
        status: StatusCode::from_u16(code as u16).ok()?,
        scheme: rule.scheme.as_ref().map(|scheme| scheme.value.clone()),
        host: rule.host.as_ref().map(|host| host.value.clone()),
        path,
    })
}

fn respond(rule: &RespondRule, problems: &mut Problems) -> Option<Fixed> {
    let mut headers: Fields = header_pairs(&rule.headers, true, problems).into_iter().collect();
    if !rule.body.is_empty() && headers.values_of(CONTENT_TYPE.as_ref()).next().is_none() {
        headers.append(CONTENT_TYPE.as_ref(), b"text/plain; charset=utf-8");
    }
    Some(Fixed { status: StatusCode::from_u16(rule.status.0 as u16).ok()?, headers, body: Bytes::from(rule.body.clone()) })
}

fn header_edit(rules: &HeaderRules, problems: &mut Problems) -> HeaderEdit {
    let remove = rules.remove.iter().filter_map(|name| header_name(&name.value, name.mark, true, problems)).collect();
    HeaderEdit { remove, set: header_pairs(&rules.set, true, problems), add: header_pairs(&rules.add, true, problems) }
}

/// The fields of a map. `changes` says that they change messages, which some fields must not.
pub(super) fn header_pairs(pairs: &Pairs, changes: bool, problems: &mut Problems) -> Vec<(HeaderName, HeaderValue)> {
    let read = pairs.pairs.iter().filter_map(|(name, value)| {
        let read_name = header_name(&name.value, name.mark, changes, problems);
        let read_value = HeaderValue::from_str(&value.value).ok();
        if read_value.is_none() {
            problems.add(value.mark, format!("the value of `{}` holds a control character, expected visible text", name.value));
        }
        read_name.zip(read_value)
    });
    read.collect()
}

/// Fields that frame a message or belong to a connection are not the configuration's to change.
const UNTOUCHABLE: [&str; 8] =
    ["content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection"];

fn header_name(text: &str, mark: Mark, changes: bool, problems: &mut Problems) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        problems.add(mark, format!("found `{text}`, expected the name of a header field"));
        return None;
    };
    if changes && UNTOUCHABLE.contains(&name.as_str()) {
        problems.add(mark, format!("found `{text}`, which frames messages, expected another header field"));
    }
    if changes && name == http::header::HOST {
        problems.add(mark, "found `host`, expected the `host` of the upstream to be set instead");
    }
    Some(name)
}
