//! `/console/`: the built-in page, from files inside the binary.
//!
//! In: a path. Out: the file, compressed where the browser takes that, under a policy that lets the page talk to this server and run nothing that is
//! not one of these files. Not here: what the page shows (`console/`), and the API that it asks.

use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

/// Paths below `console/` with their gzipped contents, gathered by the build script.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

/// Nothing from elsewhere, nothing inline, and nobody may frame it but itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; \
                      frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

struct Asset {
    kind: &'static str,
    gzipped: &'static [u8],
    /// Changes with the content.
    tag: String,
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
        Asset { kind, gzipped, tag: format!("\"{tag}\"") }
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
    let has = |field: header::HeaderName, wanted: &str| {
        headers
            .get_all(field)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim() == wanted))
    };
    let common = [
        (header::CONTENT_TYPE, asset.kind),
        (header::ETAG, asset.tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if has(header::IF_NONE_MATCH, &asset.tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    if has(header::ACCEPT_ENCODING, "gzip") {
        return (common, [(header::CONTENT_ENCODING, "gzip")], asset.gzipped).into_response();
    }
    (common, asset.plain()).into_response()
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

    #[test]
    fn a_browser_gets_what_it_takes_and_nothing_it_has() {
        let asked = |pairs: &[(header::HeaderName, &str)]| {
            serve("app.js", &pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect())
        };
        assert_eq!(asked(&[(header::ACCEPT_ENCODING, "br, gzip")]).headers()[header::CONTENT_ENCODING], "gzip");
        let tag = ASSETS["app.js"].tag.clone();
        assert_eq!(asked(&[(header::IF_NONE_MATCH, &tag)]).status(), StatusCode::NOT_MODIFIED);
        assert!(asked(&[]).headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(serve("../mod.rs", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
