//! Who may talk to the admin plane through somebody's browser: nobody but its own pages.
//!
//! In: every request. Out: the request, or a refusal: 421 for a host that is not ours (DNS rebinding), 403 for a change that another site asks for
//! (CSRF). Requests without a browser are not touched by the second. Not here: which pages there are.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Admin;

pub(super) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_ours(host, &admin.control.current().config.admin.hosts) {
        let why = format!(
            "found the host `{host}`, expected an address, a name without dots, or one of admin.hosts: a page from elsewhere could have sent this\n"
        );
        return (StatusCode::MISDIRECTED_REQUEST, why).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) && is_from_elsewhere(headers, host) {
        return (StatusCode::FORBIDDEN, "a page of another site may not change anything here\n").into_response();
    }
    next.run(request).await
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
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let origin = text("origin").is_some_and(|origin| origin.split_once("://").is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host)));
    site || origin
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
}
