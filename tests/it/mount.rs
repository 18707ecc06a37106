//! The gateway's service in somebody else's axum app.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use pellucid::Gateway;

use crate::support::origin::Origin;
use crate::support::{Client, ask, get as fetch, wait_for};

/// Serves `app` on a thread of its own.
fn serve(gateway: &Gateway) -> SocketAddr {
    let app = Router::new().route("/own", get(async |ConnectInfo(_): ConnectInfo<SocketAddr>| "own")).fallback_service(gateway.service());
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(socket).unwrap();
            axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
        });
    });
    address
}

#[test]
fn what_an_axum_app_does_not_serve_goes_through_the_gateway() {
    let origin = Origin::answering(|seen| match seen.path() {
        "/large" => [&b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n"[..], &vec![b'x'; 3_000_000]].concat(),
        _ => [
            &b"HTTP/1.1 201 Created\r\nX-From: origin\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            format!("{:x}\r\n", seen.body.len()).as_bytes(),
            &seen.body,
            b"\r\n0\r\n\r\n",
        ]
        .concat(),
    });
    let yaml = format!("listeners: [{{ name: p, bind: 127.0.0.1:0 }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}", origin.config());
    let gateway = Gateway::from_yaml(&yaml).unwrap();
    let address = serve(&gateway);
    assert_eq!(fetch(address, "/own").text(), "own");
    let answer = ask(address, "POST /rest?q=1 HTTP/1.1\r\nHost: app.example\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-from").as_deref()), (201, "hello", Some("origin")));
    let seen = origin.last();
    assert_eq!(
        (seen.path(), seen.header("host").as_deref(), seen.header("x-forwarded-for").as_deref()),
        ("/rest?q=1", Some("app.example"), Some("127.0.0.1"))
    );
    assert!(seen.header("traceparent").is_some());
    assert_eq!(fetch(address, "/large").body.len(), 3_000_000);
    let records = wait_for("both records", || {
        let records = fetch(gateway.admin(), "/api/v1/requests").json()["requests"].as_array().unwrap().clone();
        (records.len() == 2).then_some(records)
    });
    assert_eq!((records[0]["response_bytes"].as_u64(), records[1]["request_bytes"].as_u64()), (Some(3_000_000), Some(5)));
}

#[test]
fn a_client_of_the_app_that_leaves_is_a_499() {
    let origin = Origin::echo();
    let yaml = format!("listeners: [{{ name: p, bind: 127.0.0.1:0 }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}", origin.config());
    let gateway = Gateway::from_yaml(&yaml).unwrap();
    let address = serve(&gateway);
    let mut client = Client::connect(address);
    client.send("GET /sleep/3000 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for("the request to be on its way", || (origin.connections() > 0).then_some(()));
    drop(client);
    wait_for("the record", || {
        let records = fetch(gateway.admin(), "/api/v1/requests").json()["requests"].as_array().unwrap().clone();
        (records.first()?["status"] == 499).then_some(())
    });
}
