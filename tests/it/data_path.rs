//! HTTP/1 from client to origin and back: what goes through unchanged, what is added, what stays behind.
//!
//! In: raw requests. Out: assertions on what the origin saw and what the client got. Not here: routing, telemetry.

use std::time::Duration;

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Client, ask, wait_for};

#[test]
fn path_and_query_reach_the_origin_byte_for_byte() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    for target in ["/", "/a%2Fb//c;d=1/%7euser?q=a+b&c=%20&&x=[1]|{}\"^`<>?", "/x?", "/%E2%82%AC", "//double", "/a?http://x/../y"] {
        assert_eq!(gateway.get(target).status, 200, "{target}");
        assert_eq!(origin.last().path(), target);
    }
}

#[test]
fn bodies_keep_their_framing_both_ways() {
    let origin = Origin::answering(|seen| match seen.path() {
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\nx-sum: 7\r\n\r\n"
                .to_vec()
        }
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".to_vec(),
    });
    let gateway = Pellucid::start(&origin.config());

    let answer = ask(gateway.address, "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((answer.text().as_str(), answer.header("content-length").as_deref()), ("abc", Some("3")));
    let seen = origin.last();
    assert_eq!(
        (seen.body.as_slice(), seen.header("content-length").as_deref(), seen.header("transfer-encoding")),
        (&b"hello"[..], Some("5"), None)
    );

    let mut client = Client::connect(gateway.address);
    client.send("POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nx-check: 5\r\n\r\n");
    let head = client.read_head().unwrap();
    assert!(head.contains("transfer-encoding: chunked\r\n") && !head.contains("content-length"), "{head}");
    let mut rest = String::new();
    while !rest.ends_with("0|x-sum: 7||") {
        rest = format!("{rest}{}|", client.read_line());
        assert!(rest.len() < 200, "{rest}");
    }
    let seen = origin.last();
    assert_eq!(
        (seen.body.as_slice(), seen.header("transfer-encoding").as_deref(), seen.header("content-length")),
        (&b"hello"[..], Some("chunked"), None)
    );
    assert_eq!(seen.trailers, "x-check: 5\n");
}

#[test]
fn a_post_of_nothing_says_so_as_it_did() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    ask(gateway.address, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(origin.last().header("content-length").as_deref(), Some("0"));
    ask(gateway.address, "POST / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(origin.last().header("content-length"), None);
}

#[test]
fn answers_without_a_body_stay_without_one() {
    let origin = Origin::answering(|seen| match seen.path() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\nETag: \"x\"\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n".to_vec(),
    });
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    for (request, status, length) in
        [("HEAD /", 200, Some("42")), ("GET /304", 304, Some("42")), ("GET /204", 204, None), ("HEAD /", 200, Some("42"))]
    {
        client.send(format!("{request} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let answer = client.read_answer(request.split(' ').next().unwrap());
        assert_eq!((answer.status, answer.header("content-length").as_deref()), (status, length), "{request}");
    }
    assert_eq!(origin.connections(), 1, "the upstream's connection serves all of them");
}

#[test]
fn an_http_1_0_client_gets_what_it_can_read() {
    let origin = Origin::answering(|_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec());
    let gateway = Pellucid::start(&origin.config());
    let answer = ask(gateway.address, "GET / HTTP/1.0\r\n\r\n");
    assert!(answer.head.starts_with("HTTP/1.0 200") && answer.header("transfer-encoding").is_none(), "{}", answer.head);
    assert_eq!(answer.text(), "abc");

    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.read_answer("GET").header("connection").as_deref(), Some("keep-alive"));
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_answer("GET").header("connection").as_deref(), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn an_http_1_0_origin_is_read_to_the_end_of_its_connection() {
    let origin = Origin::scripted(|talk| {
        talk.read_request();
        talk.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end");
    });
    let gateway = Pellucid::start(&origin.config());
    let answer = gateway.get("/");
    assert_eq!((answer.text().as_str(), answer.header("transfer-encoding").as_deref()), ("until the end", Some("chunked")));
}

#[test]
fn a_client_that_expects_to_continue_is_told_by_the_origin() {
    let origin = Origin::scripted(|talk| {
        let head = talk.read_head().unwrap();
        if head.contains("/no") {
            talk.write("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
            return;
        }
        assert!(head.to_lowercase().contains("expect: 100-continue"), "{head}");
        talk.write("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        let mut body = [0; 5];
        std::io::Read::read_exact(&mut talk.stream, &mut body).unwrap();
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        talk.write(body);
    });
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("POST /yes HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let hints = client.read_answer("POST");
    assert_eq!((hints.status, hints.header("link").as_deref()), (103, Some("</x>")));
    assert_eq!(client.read_answer("POST").status, 100);
    client.send("hello");
    assert_eq!(client.read_answer("POST").text(), "hello");

    let mut client = Client::connect(gateway.address);
    client.send("POST /no HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let answer = client.read_answer("POST");
    assert_eq!((answer.status, answer.header("connection").as_deref()), (417, Some("close")));
}

#[test]
fn upload_and_answer_overlap() {
    let origin = Origin::scripted(|talk| {
        talk.read_head().unwrap();
        talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
        let mut rest = [0; 10];
        std::io::Read::read_exact(&mut talk.stream, &mut rest).unwrap();
        talk.write("4\r\nlate\r\n0\r\n\r\n");
    });
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    assert!(client.read_head().unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!([client.read_line(), client.read_line()], ["5", "early"]);
    client.send("0123456789");
    assert_eq!([client.read_line(), client.read_line(), client.read_line()], ["4", "late", "0"]);
}

#[test]
fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("GET /sleep/300 HTTP/1.1\r\nHost: h\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.read_answer("GET").status, 200);
    assert!(client.is_closed());
}

#[test]
fn requests_in_a_row_are_answered_in_their_order() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET /sleep/50 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
    for path in ["/1", "/sleep/50", "/3"] {
        assert!(client.read_answer("GET").text().contains(&format!("{path} HTTP/1.1")), "{path}");
    }
}

#[test]
fn fields_of_the_connection_stay_behind_in_both_directions() {
    let origin = Origin::answering(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: x-private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nX-Public: 2\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let gateway = Pellucid::start(&origin.config());
    let answer = ask(
        gateway.address,
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: x-mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers, gzip\r\nUpgrade: websocket\r\nProxy-Connection: x\r\nProxy-Authorization: s\r\nX-Kept: 1\r\nX-Kept: 2\r\n\r\n",
    );
    for gone in ["x-private", "keep-alive", "upgrade"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-public").as_deref(), Some("2"));
    let seen = origin.last();
    for gone in ["x-mine", "keep-alive", "upgrade", "proxy-connection", "proxy-authorization"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!((seen.header("te").as_deref(), seen.header("connection").as_deref()), (Some("trailers"), Some("te")));
    assert_eq!(seen.headers("x-kept"), ["1", "2"]);
}

#[test]
fn upstreams_learn_who_the_client_is_and_strangers_cannot_lie_about_it() {
    let origin = Origin::echo();
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nVia: 1.1 before\r\n\r\n";
    let gateway = Pellucid::start(&origin.config());
    ask(gateway.address, request);
    let seen = origin.last();
    assert_eq!(seen.header("host").as_deref(), Some("shop.example"));
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(
        (seen.header("x-forwarded-host").as_deref(), seen.header("x-forwarded-proto").as_deref()),
        (Some("shop.example"), Some("http"))
    );
    assert_eq!((seen.header("forwarded"), seen.header("via").as_deref()), (None, Some("1.1 before, 1.1 pellucid")));

    let yaml = |forwarded: &str, host: &str| {
        format!(
            "listeners: [{{ name: p, bind: 127.0.0.1:0, forwarded: {forwarded} }}]\nadmin: {{ bind: 127.0.0.1:0 }}\nroutes: [{{ name: all, upstream: o }}]\nupstreams: [{{ name: o, endpoints: ['{}'], host: {host} }}]\n",
            origin.address
        )
    };
    let gateway = Pellucid::start_config(&yaml("{ trust: [127.0.0.0/8], rfc7239: true }", "endpoint"), &[]);
    ask(gateway.address, request);
    let seen = origin.last();
    assert_eq!(seen.header("host"), Some(origin.address.to_string()));
    assert_eq!(seen.headers("x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.header("forwarded").as_deref(), Some("for=6.6.6.6, for=127.0.0.1;host=\"shop.example\";proto=http"));

    let gateway = Pellucid::start_config(&yaml("{ x_forwarded: false, via: false }", "internal.example"), &[]);
    ask(gateway.address, request);
    let seen = origin.last();
    assert_eq!(
        (seen.header("host").as_deref(), seen.header("x-forwarded-for"), seen.header("via").as_deref()),
        (Some("internal.example"), None, Some("1.1 before"))
    );
}

#[test]
fn a_request_with_two_readings_is_refused_and_nothing_behind_it_is_read() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for (bad, status) in [
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /%2e%2e/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: h\n\n", 400),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 400),
    ] {
        let mut client = Client::connect(gateway.address);
        client.send(format!("{bad}{smuggled}"));
        let answer = client.read_answer("GET");
        assert_eq!((answer.status, answer.header("connection").as_deref()), (status, Some("close")), "{bad:?}");
        assert_eq!(answer.json()["error"], "malformed_request");
        assert!(client.is_closed(), "{bad:?}");
    }
    assert!(origin.seen().iter().all(|seen| seen.path() != "/smuggled"));
}

#[test]
fn sizes_past_their_limit_have_their_own_answers() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let long = "a".repeat(70_000);
    assert_eq!(ask(gateway.address, format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", &long[..9000])).status, 414);
    assert_eq!(ask(gateway.address, format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n")).status, 431);
    assert_eq!(ask(gateway.address, format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(200))).status, 431);
}

#[test]
fn slow_clients_are_timed_out_by_the_listeners_limits() {
    let origin = Origin::echo();
    let yaml = format!(
        "listeners: [{{ name: p, bind: 127.0.0.1:0, limits: {{ header_timeout: 300ms, body_timeout: 300ms, idle_timeout: 600ms }} }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{}",
        origin.config()
    );
    let gateway = Pellucid::start_config(&yaml, &[]);
    let mut slow_head = Client::connect(gateway.address);
    slow_head.send("GET / HT");
    assert_eq!(slow_head.read_answer("GET").json()["error"], "header_timeout");
    let mut slow_body = Client::connect(gateway.address);
    slow_body.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    let late = slow_body.read_answer("POST");
    assert!(late.status == 408 && late.json()["error"] == "body_timeout", "{late:?}");
    let mut idle = Client::connect(gateway.address);
    idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(idle.read_answer("GET").status, 200);
    assert!(idle.is_closed());
}

#[test]
fn an_upstream_that_fails_is_told_apart() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let origin = Origin::scripted(|talk| {
        let Some(seen) = talk.read_request() else { return };
        match seen.path() {
            "/silent" => std::thread::sleep(Duration::from_secs(3)),
            "/garbage" => talk.write("SSH-2.0-OpenSSH\r\n\r\n"),
            "/both" => talk.write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "/short" => talk.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
            _ => {}
        }
    });
    let yaml = format!(
        "routes:\n- {{ name: refused, match: {{ path: /refused }}, upstream: closed }}\n- {{ name: whole, match: {{ path: /whole }}, upstream: origin, timeout: 200ms }}\n- {{ name: all, upstream: origin }}\n- {{ name: dns, match: {{ path: /dns }}, upstream: nowhere }}\nupstreams:\n- {{ name: closed, endpoints: ['{closed}'] }}\n- {{ name: nowhere, endpoints: ['no-such-host.invalid:80'] }}\n- {{ name: origin, endpoints: ['{}'], first_byte_timeout: 400ms }}\n",
        origin.address
    );
    let gateway = Pellucid::start(&yaml);
    for (path, status, error) in [
        ("/refused", 502, "connect_refused"),
        ("/dns", 502, "dns_failed"),
        ("/silent", 504, "first_byte_timeout"),
        ("/garbage", 502, "upstream_malformed"),
        ("/both", 502, "upstream_malformed"),
        ("/closes", 502, "upstream_closed"),
    ] {
        let answer = gateway.get(path);
        assert_eq!((answer.status, answer.json()["error"].as_str().unwrap()), (status, error), "{path}");
        assert_eq!(answer.json()["trace_id"].as_str(), answer.header("x-trace-id").as_deref());
        let record = gateway.record(|record| record["path"] == path);
        assert_eq!(record["error"], error);
        assert!(record["attempts"].as_array().unwrap().iter().all(|attempt| attempt["error"] == error), "{record}");
    }
    let mut short = Client::connect(gateway.address);
    short.send("GET /short HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(short.read_head().unwrap().contains("content-length: 10"));
    assert_eq!(short.read_all(), b"abc", "what came is passed on, and the end of the connection says that it is not all");
    let record = gateway.record(|record| record["path"] == "/short");
    assert_eq!((record["status"].as_u64(), record["error"].as_str()), (Some(200), Some("upstream_body_broken")));
}

#[test]
fn the_whole_exchange_has_a_deadline_of_its_own() {
    let origin = Origin::echo();
    let yaml =
        format!("routes: [{{ name: all, upstream: o, timeout: 200ms }}]\nupstreams: [{{ name: o, endpoints: ['{}'] }}]\n", origin.address);
    let gateway = Pellucid::start(&yaml);
    let answer = gateway.get("/sleep/2000");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (504, Some("exchange_timeout")));
}

#[test]
fn a_client_that_leaves_is_a_499_and_cancels_the_work() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let mut client = Client::connect(gateway.address);
    client.send("GET /sleep/2500 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for("the origin to see the request", || (!origin.seen().is_empty() || origin.connections() > 0).then_some(()));
    drop(client);
    let record = gateway.record(|record| record["path"] == "/sleep/2500");
    assert_eq!((record["status"].as_u64(), record["error"].as_str()), (Some(499), Some("client_gone")));
    assert!(record["duration_ms"].as_f64().unwrap() < 2400.0, "{record}");
    assert!(record["attempts"][0]["phases_ms"]["wait"].as_f64().unwrap() > 500.0, "{record}");
}

#[test]
fn a_client_cannot_name_away_what_a_filter_sets_or_what_the_gateway_goes_by() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!(
        "routes: [{{ name: all, upstream: origin, filters: [{{ request_headers: {{ set: {{ x-inside: yes }} }} }}] }}]
upstreams: [{{ name: origin, endpoints: ['{}'] }}]
",
        origin.address
    ));
    let answer = ask(
        gateway.address,
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, x-inside, x-own, host, x-forwarded-for\r\nX-Own: 1\r\nX-Other: 2\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    let seen = origin.last();
    assert_eq!(seen.header("x-inside").as_deref(), Some("yes"));
    assert_eq!((seen.header("host").as_deref(), seen.header("x-forwarded-for").as_deref()), (Some("h"), Some("127.0.0.1")));
    assert_eq!((seen.header("x-own"), seen.header("x-other").as_deref()), (None, Some("2")));
    let greedy = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {}\r\n\r\n", "x,".repeat(10_000));
    assert_eq!(ask(gateway.address, greedy).status, 400);
}
