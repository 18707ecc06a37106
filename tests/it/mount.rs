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

#[test]
fn a_client_of_the_app_that_leaves_a_silent_stream_ends_it_at_the_upstream() {
    let origin = Origin::scripted(|talk| {
        talk.read_request();
        talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        // Silent until the other side ends.
        while talk.stream.peek(&mut [0]).is_ok_and(|count| count > 0) {}
    });
    let yaml = format!("listeners: [{{ name: p, bind: 127.0.0.1:0 }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}", origin.config());
    let gateway = Gateway::from_yaml(&yaml).unwrap();
    let mut client = Client::connect(serve(&gateway));
    client.send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.read_head().unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!((client.read_line(), client.read_line()), ("5".to_owned(), "hello".to_owned()));
    drop(client);
    let record =
        wait_for("the record", || fetch(gateway.admin(), "/api/v1/requests").json()["requests"].as_array().unwrap().first().cloned());
    assert_eq!((record["status"].as_u64(), record["error"].as_str()), (Some(200), Some("client_gone")), "{record}");
}

#[test]
fn a_host_that_says_more_than_a_host_is_refused_by_the_mounted_service_too() {
    let origin = Origin::echo();
    let yaml = format!("listeners: [{{ name: p, bind: 127.0.0.1:0 }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}", origin.config());
    let gateway = Gateway::from_yaml(&yaml).unwrap();
    let address = serve(&gateway);
    let answer = ask(address, "GET / HTTP/1.1\r\nHost: a\";for=1.2.3.4;x=\"\r\nConnection: close\r\n\r\n");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("malformed_request")));
}
