//! What a route does to a request before it is forwarded, and to the response before it goes back.
//!
//! In: a request or a response. Out: the same, changed; or an answer in place of the upstream's. Filters run in the order of the
//! configuration. Not here: headers that every exchange gets (`upstream` and the listener add those).

pub(crate) mod headers;
pub(crate) mod path;
mod lap;

use bytes::Bytes;
use http::{StatusCode, header};

use crate::base::clock::Clock;
use crate::base::target::{BadTarget, Target};
use crate::proxy::fields::Fields;
use crate::proxy::message::{Body, Request, Response};
use crate::telemetry::record::Record;
use crate::telemetry::record::filtered::FilterTag;
use headers::HeaderEdit;
use lap::Lap;
use path::PathTemplate;

/// The filters of one route.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    pub(crate) filters: Vec<Filter>,
}

#[derive(Debug)]
pub(crate) enum Filter {
    /// Takes a whole number of segments off the front of the path.
    StripPrefix(path::Prefix),
    Rewrite(PathTemplate),
    RequestHeaders(HeaderEdit),
    ResponseHeaders(HeaderEdit),
    Redirect(Redirect),
    Respond(Fixed),
    /// Breaks down, to see what becomes of it.
    #[cfg(test)]
    Panic,
}

/// Sends the client elsewhere. What is absent stays as it was.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) status: StatusCode,
    pub(crate) scheme: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) path: Option<PathTemplate>,
}

/// An answer from the configuration.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: Bytes,
}

/// What the filters decide about a request.
pub(crate) enum Verdict {
    Forward,
    Answer(Response),
}

impl Filters {
    /// Runs the request side. Fails where a rewritten path would be no valid one.
    pub(crate) fn request(&self, request: &mut Request, host: &[u8], record: &mut Record, clock: &Clock) -> Result<Verdict, BadTarget> {
        if self.filters.is_empty() {
            return Ok(Verdict::Forward);
        }
        record.open_filters(self.filters.len());
        let mut lap = Lap::begin(clock, record);
        let original = request.target.clone();
        for (index, filter) in self.filters.iter().enumerate().filter(|(_, filter)| filter.tag() != FilterTag::ResponseHeaders) {
            let answer = filter.request(request, &original, host)?;
            lap.ran(index, filter.tag());
            if let Some(answer) = answer {
                return Ok(Verdict::Answer(answer));
            }
        }
        Ok(Verdict::Forward)
    }

    /// Runs the response side, also over answers of our own.
    pub(crate) fn response(&self, headers: &mut Fields, record: &mut Record, clock: &Clock) {
        if !self.filters.iter().any(|filter| filter.tag() == FilterTag::ResponseHeaders) {
            return;
        }
        let mut lap = Lap::begin(clock, record);
        for (index, filter) in self.filters.iter().enumerate() {
            if let Filter::ResponseHeaders(edit) = filter {
                edit.apply(headers);
                lap.ran(index, filter.tag());
            }
        }
    }

    /// The filters answer by themselves: the route needs no upstream.
    pub(crate) fn answer_always(&self) -> bool {
        self.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_) | Filter::Respond(_)))
    }
}

impl Filter {
    /// What it makes of a request: the same, changed, or an answer.
    fn request(&self, request: &mut Request, original: &Target, host: &[u8]) -> Result<Option<Response>, BadTarget> {
        match self {
            Filter::StripPrefix(prefix) => request.target = prefix.strip(&request.target)?,
            Filter::Rewrite(template) => request.target = request.target.with_path(&template.fill(original))?,
            Filter::RequestHeaders(edit) => edit.apply(&mut request.headers),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => return Ok(Some(redirect.answer(original, host))),
            Filter::Respond(fixed) => return Ok(Some(fixed.answer())),
            #[cfg(test)]
            Filter::Panic => panic!("as a test wants it"),
        }
        Ok(None)
    }

    fn tag(&self) -> FilterTag {
        match self {
            Filter::StripPrefix(_) => FilterTag::StripPrefix,
            Filter::Rewrite(_) => FilterTag::Rewrite,
            Filter::RequestHeaders(_) => FilterTag::RequestHeaders,
            Filter::ResponseHeaders(_) => FilterTag::ResponseHeaders,
            Filter::Redirect(_) => FilterTag::Redirect,
            Filter::Respond(_) => FilterTag::Respond,
            #[cfg(test)]
            Filter::Panic => FilterTag::Respond,
        }
    }
}

impl Redirect {
    fn answer(&self, target: &Target, host: &[u8]) -> Response {
        let mut location = Vec::new();
        location.extend_from_slice(self.scheme.as_deref().unwrap_or("http").as_bytes());
        location.extend_from_slice(b"://");
        location.extend_from_slice(self.host.as_deref().map_or(host, str::as_bytes));
        match &self.path {
            Some(template) => location.extend_from_slice(&template.fill(target)),
            None => location.extend_from_slice(target.path()),
        }
        if let Some(query) = target.query() {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        // A target and a host hold visible ASCII only, so they always make a value.
        let headers = [(header::LOCATION, location)].into_iter().collect();
        Response { status: self.status, headers, body: Body::full(Bytes::new()) }
    }
}

impl Fixed {
    fn answer(&self) -> Response {
        Response { status: self.status, headers: self.headers.clone(), body: Body::full(self.body.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::route::pattern::PathPattern;
    use http::{Method, Version};

    fn request(target: &str) -> Request {
        Request {
            method: Method::GET,
            target: Target::parse(Bytes::copy_from_slice(target.as_bytes())).unwrap(),
            version: Version::HTTP_11,
            headers: Fields::new(),
            body: Body::empty(),
            interim: None,
            upgrade: None,
        }
    }

    #[test]
    fn filters_run_in_order_and_keep_the_query() {
        let pattern = PathPattern::parse("/api/users/{id}/**").unwrap();
        let filters = Filters {
            filters: vec![
                Filter::StripPrefix(path::Prefix::parse("/api").unwrap()),
                Filter::RequestHeaders(HeaderEdit {
                    set: vec![("x-from".parse().unwrap(), "edge".parse().unwrap())],
                    ..HeaderEdit::default()
                }),
            ],
        };
        let (mut record, clock) = (Record::empty(), Clock::system());
        let mut stripped = request("/api/users/7/a%2Fb?x=%20");
        assert!(matches!(filters.request(&mut stripped, b"h", &mut record, &clock), Ok(Verdict::Forward)));
        assert_eq!(stripped.target.as_bytes(), b"/users/7/a%2Fb?x=%20");
        assert_eq!(stripped.headers.values_of(b"x-from").collect::<Vec<_>>(), [b"edge"]);

        let ran: Vec<_> = record.filters().map(|(tag, _)| tag).collect();
        assert_eq!(ran, [FilterTag::StripPrefix, FilterTag::RequestHeaders]);

        let template = PathTemplate::parse("/people/{id}/all/**", &pattern).unwrap();
        let filters = Filters { filters: vec![Filter::Rewrite(template)] };
        let mut rewritten = request("/api/users/7/a%2Fb/c?x=1");
        assert!(matches!(filters.request(&mut rewritten, b"h", &mut record, &clock), Ok(Verdict::Forward)));
        assert_eq!(rewritten.target.as_bytes(), b"/people/7/all/a%2Fb/c?x=1");
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_change() {
        let redirect = Redirect { status: StatusCode::PERMANENT_REDIRECT, scheme: Some("https".into()), host: None, path: None };
        let filters = Filters { filters: vec![Filter::Redirect(redirect)] };
        match filters.request(&mut request("/a/b?c=d"), b"example.com", &mut Record::empty(), &Clock::system()) {
            Ok(Verdict::Answer(answer)) => {
                assert_eq!(answer.status, 308);
                assert_eq!(answer.headers.values_of(b"location").collect::<Vec<_>>(), [b"https://example.com/a/b?c=d"]);
            }
            _ => panic!("no answer"),
        }
    }
}
