//! Who may talk to the admin plane: who has the token, where there is one, and through somebody's browser nobody but its own pages.
//!
//! In: every request. Out: the request, or a refusal, counted: 421 for a host that is not ours (DNS rebinding), 401 without the token, 403 for
//! what another site's page sends (CSRF; a browser sends a password that it knows by itself), unless it is a link that somebody follows. Not
//! here: which pages there are.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Admin;
use crate::control::config::schema;
use crate::control::config::values::Secret;

/// What asks for nothing: probes of orchestrators have no token, and learn nothing but a word.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Between two lines about requests without the token.
const LINE_PAUSE_NS: u64 = 1_000_000_000;

/// Those of this process.
static REFUSED: Refusals = Refusals::new();

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The host that was found.
    Host(String),
    NoToken,
    OtherToken,
    /// Another site's page asks for a change.
    FromElsewhere,
    /// Another site's page asks for something without going there.
    FromWithin,
}

/// Refusals so far.
struct Refusals {
    hosts: AtomicU64,
    tokens: AtomicU64,
    sites: AtomicU64,
    /// Of those for want of the token, the ones that no line has told of.
    untold: AtomicU64,
    told_unix_nanos: AtomicU64,
}

pub(super) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let judged = {
        let current = admin.control.current();
        judge(&request, &current.config.admin)
    };
    let Some(refusal) = judged else { return next.run(request).await };
    REFUSED.count(&refusal);
    if let Refusal::NoToken | Refusal::OtherToken = refusal {
        let clock = &admin.control.clock;
        tell(&refusal, &request, clock.wall_offset() + clock.now().0);
    }
    refusal.into_response()
}

/// Requests that were refused, by reason.
pub(super) fn refused() -> [(&'static str, u64); 3] {
    [("host", &REFUSED.hosts), ("token", &REFUSED.tokens), ("csrf", &REFUSED.sites)]
        .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
}

/// Says that strangers may look, at the start and after a change.
pub(super) fn warn_if_open(admin: &Admin) {
    let has_token = admin.control.current().config.admin.token.is_some();
    if !admin.is_local && !has_token {
        tracing::warn!("the admin plane can be reached from elsewhere and asks for no token: set admin.token, or bind it to loopback");
    }
}

/// The host comes first: a browser must not be asked for a password by a page that pretends to be this one.
fn judge(request: &Request, rules: &schema::Admin) -> Option<Refusal> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_ours(host, &rules.hosts) {
        return Some(Refusal::Host(host.to_owned()));
    }
    if let Some(token) = rules.token.as_ref().filter(|_| !OPEN_PATHS.contains(&request.uri().path()))
        && let Err(refusal) = check(token, headers)
    {
        return Some(refusal);
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        (is_from_another_site(headers) && !follows_a_link(headers)).then_some(Refusal::FromWithin)
    } else {
        is_from_elsewhere(headers, host).then_some(Refusal::FromElsewhere)
    }
}

fn check(token: &Secret, headers: &HeaderMap) -> Result<(), Refusal> {
    match given(headers) {
        Some(given) if token.is(&given) => Ok(()),
        Some(_) => Err(Refusal::OtherToken),
        None => Err(Refusal::NoToken),
    }
}

/// The token of a request: a bearer's (RFC 6750, section 2.1), or the password of any user (RFC 7617, section 2). None where two of them might
/// be meant.
fn given(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (all.next()?, all.next()) else { return None };
    let (scheme, rest) = only.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.as_bytes().to_vec());
    }
    let pair = STANDARD.decode(rest).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = memchr::memchr(b':', &pair)?;
    Some(pair[colon + 1..].to_vec())
}

/// A line at most once a second, whatever somebody tries.
fn tell(refusal: &Refusal, request: &Request, now_unix_nanos: u64) {
    let Some(count) = REFUSED.to_tell(now_unix_nanos) else { return };
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.to_string()).unwrap_or_default();
    let (path, found) = (request.uri().path(), if *refusal == Refusal::NoToken { "no token" } else { "another token" });
    tracing::warn!(client, path, found, count, "the admin plane was asked without its token");
}

impl Refusals {
    const fn new() -> Self {
        Refusals {
            hosts: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            sites: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            told_unix_nanos: AtomicU64::new(0),
        }
    }

    fn count(&self, refusal: &Refusal) {
        let count = match refusal {
            Refusal::Host(_) => &self.hosts,
            Refusal::NoToken | Refusal::OtherToken => &self.tokens,
            Refusal::FromElsewhere | Refusal::FromWithin => &self.sites,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests without the token a line is to tell of; none where one was written just now. The time is a wall clock's, because
    /// all gateways of a process share it; one that is set back delays no line for longer than usual.
    fn to_tell(&self, now_unix_nanos: u64) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let told = self.told_unix_nanos.load(Ordering::Relaxed);
        let is_due = now_unix_nanos.abs_diff(told) >= LINE_PAUSE_NS;
        let is_mine = is_due && self.told_unix_nanos.compare_exchange(told, now_unix_nanos, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_mine.then(|| self.untold.swap(0, Ordering::Relaxed))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let expected = "expected the one in admin.token: as `Authorization: Bearer TOKEN`, or as the password of any user";
        match self {
            Refusal::Host(host) => {
                let why = format!(
                    "found the host `{host}`, expected an address, a name without dots, or one of admin.hosts: a page from elsewhere could have sent this\n"
                );
                (StatusCode::MISDIRECTED_REQUEST, why).into_response()
            }
            Refusal::NoToken => challenge(format!("found no token, {expected}\n"), "Bearer realm=\"Pellucid\""),
            Refusal::OtherToken => {
                challenge(format!("found another token, {expected}\n"), "Bearer realm=\"Pellucid\", error=\"invalid_token\"")
            }
            Refusal::FromElsewhere => (StatusCode::FORBIDDEN, "a page of another site may not change anything here\n").into_response(),
            Refusal::FromWithin => {
                let why = "a page of another site may link to this, but neither embed nor fetch it: open it in a tab of its own\n";
                (StatusCode::FORBIDDEN, why).into_response()
            }
        }
    }
}

/// A browser takes the first challenge that it knows, which is the one with a dialog.
fn challenge(why: String, bearer: &'static str) -> Response {
    let mut response = (StatusCode::UNAUTHORIZED, why).into_response();
    for value in ["Basic realm=\"Pellucid\", charset=\"UTF-8\"", bearer] {
        response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
    }
    response
}

/// Names that only a resolver close by can have given: addresses, names without dots, `.localhost` (RFC 6761, section 6.3), and those that
/// are configured. What somebody registered far away has dots.
fn is_ours(host: &str, known: &[String]) -> bool {
    // Before HTTP/1.1 there may be none; a browser always sends one.
    if host.is_empty() {
        return true;
    }
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
        || known.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

/// As the browser says itself (Fetch Metadata, and the `Origin` of RFC 6454).
fn is_from_elsewhere(headers: &HeaderMap, host: &str) -> bool {
    let origin = text(headers, "origin");
    is_from_another_site(headers)
        || origin.is_some_and(|origin| origin.split_once("://").is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host)))
}

/// Another port of the same machine is another site here: what is served there need not be ours.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// Somebody leaves that page for this one and sees it, which neither a frame does nor a browser that loads a link in advance.
fn follows_a_link(headers: &HeaderMap) -> bool {
    let goes = text(headers, "sec-fetch-mode") == Some("navigate") && text(headers, "sec-fetch-dest") == Some("document");
    goes && !headers.contains_key("sec-purpose") && !headers.contains_key("purpose")
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_else_can_own_is_not_ours() {
        let known = ["admin.example.org".to_owned()];
        for host in ["127.0.0.1:9901", "[::1]:9901", "localhost:9901", "pellucid:9901", "x.localhost", "Admin.Example.org:80", ""] {
            assert!(is_ours(host, &known), "{host}");
        }
        for host in ["evil.example.org", "127.0.0.1.nip.io:9901", "admin.example.org.evil", "user@evil.com", "a b"] {
            assert!(!is_ours(host, &known), "{host}");
        }
    }

    #[test]
    fn a_change_is_only_taken_from_our_own_pages_or_from_no_page_at_all() {
        let elsewhere = |pairs: &[(&'static str, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect();
            is_from_elsewhere(&headers, "127.0.0.1:9901")
        };
        assert!(!elsewhere(&[]));
        assert!(!elsewhere(&[("origin", "http://127.0.0.1:9901"), ("sec-fetch-site", "same-origin")]));
        assert!(elsewhere(&[("origin", "http://evil.example")]));
        assert!(elsewhere(&[("origin", "null")]));
        assert!(elsewhere(&[("sec-fetch-site", "cross-site")]));
        assert!(elsewhere(&[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn another_site_may_link_here_and_take_nothing() {
        let rules = schema::Admin::default();
        let asked = |method: &str, fields: &[(&str, &str)]| {
            let request = http::Request::builder().method(method).uri("/debug/pprof/profile?seconds=1").header("host", "localhost");
            let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            judge(&request.body(axum::body::Body::empty()).unwrap(), &rules)
        };
        for site in ["cross-site", "same-site"] {
            let from = ("sec-fetch-site", site);
            let link = [from, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
            assert_eq!((asked("GET", &link), asked("HEAD", &link)), (None, None));
            assert_eq!(asked("POST", &link), Some(Refusal::FromElsewhere));
            for fields in [
                vec![from],
                vec![from, ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
                vec![from, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
                vec![from, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
                vec![link[0], link[1], link[2], ("sec-purpose", "prefetch;prerender")],
            ] {
                assert_eq!(asked("GET", &fields), Some(Refusal::FromWithin), "{fields:?}");
            }
        }
        for site in ["same-origin", "none"] {
            assert_eq!(asked("GET", &[("sec-fetch-site", site), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]), None);
        }
        assert_eq!(asked("GET", &[]), None);
    }

    const TOKEN: &str = "correct-horse-battery-staple";

    fn rules() -> schema::Admin {
        schema::Admin { token: Secret::parse(TOKEN), ..schema::Admin::default() }
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    /// What becomes of a request with these fields.
    fn asked(method: &str, path: &str, fields: &[(&str, &str)]) -> Option<Refusal> {
        let request = http::Request::builder().method(method).uri(path).header("host", "127.0.0.1:9901");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        judge(&request.body(axum::body::Body::empty()).unwrap(), &rules())
    }

    #[test]
    fn the_token_opens_as_a_bearers_and_as_a_password() {
        for good in [
            format!("Bearer {TOKEN}"),
            format!("bearer  {TOKEN}"),
            basic(&format!("any:{TOKEN}")),
            basic(&format!(":{TOKEN}")),
            basic(&format!("ä:{TOKEN}")).replace("Basic", "BASIC"),
        ] {
            assert_eq!(asked("GET", "/metrics", &[("authorization", &good)]), None, "{good}");
        }
    }

    #[test]
    fn nothing_else_opens() {
        let bearer = format!("Bearer {TOKEN}");
        let (joined, user, late) = (format!("Bearer{TOKEN}"), basic(TOKEN), basic(&format!("a:b:{TOKEN}")));
        for (value, expected) in [
            (TOKEN, Refusal::NoToken),
            (joined.as_str(), Refusal::NoToken),
            (user.as_str(), Refusal::NoToken),
            ("Basic !", Refusal::NoToken),
            ("Digest x", Refusal::NoToken),
            ("Bearer ", Refusal::OtherToken),
            ("Bearer correct-horse-battery-stapl", Refusal::OtherToken),
            (late.as_str(), Refusal::OtherToken),
        ] {
            assert_eq!(asked("GET", "/metrics", &[("authorization", value)]), Some(expected), "{value}");
        }
        assert_eq!(asked("GET", "/metrics", &[]), Some(Refusal::NoToken));
        let twice = [("authorization", bearer.as_str()); 2];
        assert_eq!(asked("GET", "/metrics", &twice), Some(Refusal::NoToken));
    }

    #[test]
    fn probes_need_no_token_and_nobody_gets_past_them() {
        assert_eq!(OPEN_PATHS.map(|path| asked("GET", path, &[])), [None, None]);
        for path in ["/", "/healthz/", "/healthz/../metrics", "//healthz", "/%68ealthz", "/console/", "/debug/pprof/", "/nowhere"] {
            assert_eq!(asked("GET", path, &[]), Some(Refusal::NoToken), "{path}");
        }
    }

    #[test]
    fn the_host_is_looked_at_first_and_the_site_last() {
        let bearer = format!("Bearer {TOKEN}");
        let evil = http::Request::builder().uri("/").header("host", "evil.example").body(axum::body::Body::empty()).unwrap();
        assert_eq!(judge(&evil, &rules()), Some(Refusal::Host("evil.example".to_owned())));
        let from = ("sec-fetch-site", "cross-site");
        assert_eq!(asked("POST", "/api/v1/reload", &[from]), Some(Refusal::NoToken));
        assert_eq!(asked("POST", "/api/v1/reload", &[from, ("authorization", &bearer)]), Some(Refusal::FromElsewhere));
        assert_eq!(asked("POST", "/api/v1/reload", &[("authorization", &bearer)]), None);
    }

    #[test]
    fn a_refusal_names_both_ways_in_and_no_token() {
        let basic = "Basic realm=\"Pellucid\", charset=\"UTF-8\"";
        for (refusal, bearer) in
            [(Refusal::NoToken, "Bearer realm=\"Pellucid\""), (Refusal::OtherToken, "Bearer realm=\"Pellucid\", error=\"invalid_token\"")]
        {
            let response = refusal.into_response();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let found: Vec<_> = response.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
            assert_eq!(found, [basic, bearer]);
        }
    }

    #[test]
    fn a_line_a_second_tells_of_all_attempts() {
        let refused = Refusals::new();
        let start = 1_700_000_000 * LINE_PAUSE_NS;
        let told = [start, start + 1, start + 2, start + LINE_PAUSE_NS, start + 1].map(|now| refused.to_tell(now));
        assert_eq!(told, [Some(1), None, None, Some(3), None]);
        assert_eq!(refused.to_tell(start - LINE_PAUSE_NS), Some(2), "a clock that is set back");
        refused.count(&Refusal::OtherToken);
        assert_eq!(refused.tokens.load(Ordering::Relaxed), 1);
    }
}
