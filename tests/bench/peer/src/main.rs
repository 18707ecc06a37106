//! A reverse proxy written in the obvious way: an axum fallback handler and one shared reqwest client.
//!
//! In: the address to listen on and the URL of the upstream. Out: a proxy that runs until it is killed.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

#[derive(Clone)]
struct Upstream {
    client: reqwest::Client,
    base: Arc<str>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(base)) = (arguments.next(), arguments.next()) else {
        return Err("usage: axum-reqwest ADDRESS:PORT http://UPSTREAM:PORT".into());
    };
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    let upstream = Upstream { client, base: base.trim_end_matches('/').into() };
    let router = Router::new().fallback(forward).with_state(upstream);
    axum::serve(tokio::net::TcpListener::bind(listen).await?, router).await?;
    Ok(())
}

/// Method, path and query, headers and body to the upstream; status, headers and body back. Bodies are streamed.
async fn forward(State(upstream): State<Upstream>, request: Request) -> Result<Response, StatusCode> {
    let (mut parts, body) = request.into_parts();
    let url = format!("{}{}", upstream.base, parts.uri.path_and_query().map_or("/", |target| target.as_str()));
    strip_hop_by_hop(&mut parts.headers);
    let mut outgoing = upstream.client.request(parts.method, url).headers(parts.headers);
    if !body.is_end_stream() {
        outgoing = outgoing.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = outgoing.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let mut response = axum::http::Response::<reqwest::Body>::from(answer).map(Body::new);
    strip_hop_by_hop(response.headers_mut());
    Ok(response)
}

/// Headers that concern one connection (RFC 9110, section 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
}
