//! `/console/`: the built-in page, from files inside the binary.
//!
//! In: a path. Out: the file, compressed where the browser takes that, under a policy that lets the page talk to this server and run nothing that is
//! not one of these files. Not here: what the page shows (`console/`), and the API that it asks.

use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

/// Paths below `console/` with their gzipped contents, gathered by the build script.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

/// Nothing from elsewhere, nothing inline, and nobody may frame it but itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; \
                      frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

struct Asset {
    kind: &'static str,
    gzipped: &'static [u8],
    /// Both change with the content. A strong tag belongs to one coding (RFC 9110, section 8.8.3.3).
    plain_tag: String,
    gzipped_tag: String,
}

/// The trailer of gzip: a checksum and the length (RFC 1952, section 2.3.1).
const TRAILER_BYTES: usize = 8;

static ASSETS: LazyLock<HashMap<&'static str, Asset>> =
    LazyLock::new(|| FILES.iter().map(|(name, gzipped)| (*name, Asset::new(name, gzipped))).collect());

impl Asset {
    fn new(name: &str, gzipped: &'static [u8]) -> Self {
        let trailer = &gzipped[gzipped.len().saturating_sub(TRAILER_BYTES)..];
        let tag = trailer.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        Asset { kind, gzipped, plain_tag: format!("\"{tag}\""), gzipped_tag: format!("\"{tag}-gzip\"") }
    }

    /// For who does not take gzip.
    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        // The build script wrote it, so it can be read.
        let _ = flate2::read::GzDecoder::new(self.gzipped).read_to_end(&mut plain);
        plain
    }
}

pub(super) async fn to_index() -> Redirect {
    Redirect::permanent("/console/")
}

pub(super) async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.get(name) else { return (StatusCode::NOT_FOUND, "no such file of the console\n").into_response() };
    let is_gzipped = takes_gzip(headers);
    let tag = if is_gzipped { &asset.gzipped_tag } else { &asset.plain_tag };
    let common = [
        (header::CONTENT_TYPE, asset.kind),
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if has_already(headers, tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    if is_gzipped {
        return (common, [(header::CONTENT_ENCODING, "gzip")], asset.gzipped).into_response();
    }
    (common, asset.plain()).into_response()
}

/// Whether gzip is acceptable, and not less welcome than no coding (RFC 9110, section 12.5.3). Who says nothing may not know it. Where nothing
/// at all is acceptable, the plain file is better than none.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let members: Vec<_> = lines(headers, &header::ACCEPT_ENCODING).flat_map(|line| line.split(',')).map(weighed).collect();
    let weight = |coding: &str| members.iter().find(|(name, _)| name.eq_ignore_ascii_case(coding)).map(|(_, weight)| *weight);
    // The second is the same by an older name (section 8.4.1.3).
    let gzip = weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).unwrap_or(0.0);
    gzip > 0.0 && weight("identity").is_none_or(|plain| plain <= gzip)
}

/// A coding with its weight: 1 where it has none, and 0, which refuses it, where that is no weight.
fn weighed(member: &str) -> (&str, f32) {
    let (coding, parameters) = member.split_once(';').unwrap_or((member, ""));
    let mut pairs = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let found = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let weight = found.map_or(Some(1.0), |(_, value)| value.trim().parse::<f32>().ok());
    (coding.trim(), weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0))
}

/// Tags are compared weakly here (RFC 9110, section 13.1.2). A comma inside of somebody else's tag does no harm: ours has quotes around it.
fn has_already(headers: &HeaderMap, tag: &str) -> bool {
    let is_it = |found: &str| found.strip_prefix("W/").unwrap_or(found) == tag;
    lines(headers, &header::IF_NONE_MATCH).any(|line| line.trim() == "*" || line.split(',').map(str::trim).any(is_it))
}

/// What a field says, line by line.
fn lines<'h>(headers: &'h HeaderMap, field: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(field).iter().filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::telemetry::process::query::KEYS;
    use crate::telemetry::record::reason::Reason;

    /// The quoted words of a list in a script.
    fn words<'t>(script: &'t str, list: &str) -> BTreeSet<&'t str> {
        let (_, rest) = script.split_once(&format!("const {list} = [")).expect("the script has the list");
        let (words, _) = rest.split_once("];").expect("the list ends");
        words.split('"').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_page_offers_every_word_of_the_filter_language_and_no_other() {
        let script = include_str!("console/parts/query.js");
        let reasons: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(words(script, "REASONS"), reasons);
        let description: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let codes = &description["components"]["schemas"]["Verdict"]["properties"]["code"]["enum"];
        let codes: BTreeSet<_> = codes.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(words(script, "VERDICTS"), codes);
        let keys: BTreeSet<_> = KEYS.into_iter().map(|(key, _)| key.strip_suffix(".NAME").unwrap_or(key)).collect();
        let offered: BTreeSet<_> = script.split("{ key: \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(offered, keys);
    }

    #[test]
    fn the_page_and_all_that_it_names_are_inside_and_small() {
        let page = String::from_utf8(ASSETS["index.html"].plain()).unwrap();
        for name in page.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css") || part.ends_with(".svg")) {
            assert!(ASSETS.contains_key(name), "{name}");
        }
        let bytes: usize = ASSETS.values().map(|asset| asset.gzipped.len()).sum();
        assert!(bytes < 200_000, "{bytes} bytes compressed");
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    fn asked(pairs: &[(HeaderName, &str)]) -> Response {
        serve("app.js", &headers(pairs))
    }

    #[test]
    fn a_browser_gets_a_file_under_the_policy_and_nothing_beside_the_files() {
        assert!(asked(&[]).headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(serve("../mod.rs", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn who_takes_gzip_gets_it_however_that_is_written() {
        for (value, expected) in [
            ("gzip", true),
            ("br, gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("*", true),
            ("gzip;q=1.0", true),
            ("gzip; q=0.8, br", true),
            ("gzip ; Q=0.001", true),
            ("*;q=0, gzip", true),
            ("identity;q=0, *", true),
            ("identity;q=0.5, gzip", true),
            ("gzip;q=0.5", true),
            ("", false),
            ("br", false),
            ("gzipped", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*;q=0", false),
            ("identity, gzip;q=0.5", false),
            ("gzip;q=2", false),
            ("gzip;q=NaN", false),
            ("gzip;q=", false),
        ] {
            let response = asked(&[(header::ACCEPT_ENCODING, value)]);
            let coding = response.headers().get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap());
            assert_eq!(coding, expected.then_some("gzip"), "{value}");
            assert_eq!(response.headers()[header::VARY], "accept-encoding", "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
        assert!(takes_gzip(&headers(&[(header::ACCEPT_ENCODING, "br"), (header::ACCEPT_ENCODING, "gzip")])));
    }

    #[test]
    fn each_coding_has_its_tag_and_who_has_it_gets_nothing() {
        let (plain, gzipped) = (ASSETS["app.js"].plain_tag.as_str(), ASSETS["app.js"].gzipped_tag.as_str());
        assert_ne!(plain, gzipped);
        assert_ne!(plain, ASSETS["index.html"].plain_tag);
        let gzip = (header::ACCEPT_ENCODING, "gzip");
        assert_eq!(asked(&[]).headers()[header::ETAG], plain);
        assert_eq!(asked(std::slice::from_ref(&gzip)).headers()[header::ETAG], gzipped);
        for (given, is_known) in [
            (plain.to_owned(), true),
            (format!("W/{plain}"), true),
            (format!("\"a,b\", W/{plain} ,\"c\""), true),
            (" * ".to_owned(), true),
            (gzipped.to_owned(), false),
            (format!("w/{plain}"), false),
            ("\"a,*,b\"".to_owned(), false),
            (plain.trim_matches('"').to_owned(), false),
        ] {
            let response = asked(&[(header::IF_NONE_MATCH, given.as_str())]);
            assert_eq!(response.status() == StatusCode::NOT_MODIFIED, is_known, "{given}");
            assert_eq!(response.headers()[header::ETAG], plain, "{given}");
        }
        let other = (header::IF_NONE_MATCH, "\"other\"");
        assert_eq!(asked(&[gzip.clone(), other, (header::IF_NONE_MATCH, gzipped)]).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(asked(&[gzip, (header::IF_NONE_MATCH, plain)]).status(), StatusCode::OK);
    }
}
