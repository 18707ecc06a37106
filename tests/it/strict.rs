//! HTTP that cannot be tricked: what has two readings is refused and nothing behind it is read; what has one is taken, and the origin
//! sees that one.
//!
//! In: the tables of `strict_requests` and `strict_responses`. Out: what the gateway makes of each row, and whether hyper and nginx, given
//! the same bytes, decide otherwise only where the table says why ours is right. Not here: random inputs (`tests/fuzz` has them).

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::strict_requests::{Case, Expect, Sees, requests};
use crate::strict_responses::{Outcome, Response, responses};
use crate::support::origin::{Origin, Seen};
use crate::support::process::Pellucid;
use crate::support::stack::Server;
use crate::support::{Answer, find, free_port, temp_dir, wait_for};

/// A server that says nothing for so long waits for more.
const SILENCE: Duration = Duration::from_secs(6);

static REQUESTS: LazyLock<Vec<Case>> = LazyLock::new(requests);
static RESPONSES: LazyLock<Vec<Response>> = LazyLock::new(responses);

#[test]
fn the_tables_are_whole_and_each_row_has_a_name_of_its_own() {
    let names: HashSet<_> = REQUESTS.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), REQUESTS.len(), "a name stands twice");
    let refused = REQUESTS.iter().filter(|case| matches!(case.expect, Expect::Refused(_))).count();
    assert!(refused >= 130 && REQUESTS.len() - refused >= 20, "{refused} of {}", REQUESTS.len());
    let names: HashSet<_> = RESPONSES.iter().map(|row| row.name).collect();
    assert!(names.len() >= 40 && RESPONSES.len() >= names.len());
}

#[test]
fn a_request_with_two_readings_is_refused_and_nothing_behind_it_reaches_the_origin() {
    let origin = answering();
    let gateway = Pellucid::start(&origin.config());
    let (mut wrong, mut before) = (Vec::new(), 0);
    for (index, case) in REQUESTS.iter().enumerate() {
        let Expect::Refused(status) = case.expect else { continue };
        let reply = talk(gateway.address, &followed(case, index), |_| false);
        let seen = origin.seen().split_off(before);
        before += seen.len();
        wrong.extend(fault_of_refusal(&reply, status, &seen).map(|fault| format!("{:?} ({}): {fault}", case.name, case.source)));
    }
    // What reached the origin late, if anything did, reached it before this.
    assert_eq!(gateway.get("/marker").status, 200);
    wrong.extend(origin.seen().iter().filter(|seen| seen.head.contains("/smuggled")).map(|seen| format!("the origin saw {}", seen.line())));
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_request_with_one_reading_is_taken_and_the_origin_sees_that_one() {
    let origin = answering();
    let gateway = Pellucid::start(&origin.config());
    let (mut wrong, mut before) = (Vec::new(), 0);
    for (index, case) in REQUESTS.iter().enumerate() {
        let Expect::Taken(sees) = &case.expect else { continue };
        let reply = talk(gateway.address, &followed(case, index), |_| false);
        let seen = origin.seen().split_off(before);
        before += seen.len();
        wrong.extend(fault_of_taking(&reply, sees, &seen, index).map(|fault| format!("{:?} ({}): {fault}", case.name, case.source)));
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hyper_decides_otherwise_only_where_the_table_says_why_ours_is_right() {
    let rows = corrections("hyper", hyper_server(), |case| case.hyper.is_some(), false);
    assert!(rows.is_empty(), "{} rows to correct:\n{}", rows.len(), rows.join("\n"));
}

/// Newer versions of nginx are stricter, so a row may be listed in vain.
#[test]
fn nginx_decides_otherwise_only_where_the_table_says_why_ours_is_right() {
    let origin = answering();
    let (_nginx, address) = nginx_before(&origin);
    let rows = corrections("nginx", address, |case| case.nginx.is_some(), true);
    assert!(rows.is_empty(), "{} rows to correct:\n{}", rows.len(), rows.join("\n"));
}

#[test]
fn an_answer_with_two_readings_reaches_no_client_and_ends_its_connection() {
    let origin = Origin::scripted(|talk| {
        while let Some(seen) = talk.read_request() {
            let row = seen.path().strip_prefix("/case/").and_then(|index| RESPONSES.get(index.parse::<usize>().ok()?));
            talk.write(row.map_or_else(|| b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext".to_vec(), Response::wire));
            if row.is_some_and(|row| row.ends) {
                return;
            }
        }
    });
    // One worker, so that there is one pool of connections to look at.
    let gateway = Pellucid::start(&format!("{}runtime: {{ workers: 1 }}\n", origin.config()));
    let ask = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        // The end of the client's connection comes after the upstream's was kept or closed.
        talk(gateway.address, request.as_bytes(), |_| false)
    };
    let mut wrong = Vec::new();
    for (index, row) in RESPONSES.iter().enumerate() {
        let path = format!("/case/{index}");
        let reply = ask(row.method, &path);
        let before = origin.connections();
        let next = ask("GET", "/next");
        let opened = origin.connections() - before;
        let fault = fault_of_answer(row, &reply)
            .or_else(|| (!next.ended || !next.bytes.ends_with(b"\r\n\r\nnext")).then(|| format!("next came {}", show(&next.bytes))))
            .or_else(|| (opened != u64::from(!row.is_kept())).then(|| format!("the next request opened {opened} connections")))
            .or_else(|| fault_of_record(row, &gateway, &path));
        wrong.extend(fault.map(|fault| format!("{:?} ({}): {fault}", row.name, row.source)));
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a server said, and whether it ended the connection.
#[derive(Default)]
struct Reply {
    bytes: Vec<u8>,
    ended: bool,
}

/// Sends everything at once and reads up to the end, or as far as `enough` wants.
fn talk(address: SocketAddr, request: &[u8], enough: impl Fn(&[u8]) -> bool) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    // A server that refuses may close before it has read all of it.
    let _ = stream.write_all(request);
    let mut reply = Reply::default();
    let mut buffer = [0; 16 * 1024];
    while !enough(&reply.bytes) {
        match stream.read(&mut buffer) {
            Ok(0) => {
                reply.ended = true;
                break;
            }
            Ok(count) => reply.bytes.extend_from_slice(&buffer[..count]),
            Err(error) => {
                reply.ended = error.kind() == ErrorKind::ConnectionReset;
                break;
            }
        }
    }
    reply
}

/// The bytes of a row and a second request behind them.
fn followed(case: &Case, index: usize) -> Vec<u8> {
    let second = match case.expect {
        Expect::Refused(_) => format!("GET /smuggled?{index} HTTP/1.1\r\nHost: h\r\n\r\n"),
        Expect::Taken(_) => format!("GET /after?{index} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
    };
    [&case.bytes[..], second.as_bytes()].concat()
}

/// The heads of interim answers, and the final answer with everything that stands behind its head.
fn split(bytes: &[u8]) -> Option<(Vec<String>, Answer)> {
    let (mut interims, mut rest) = (Vec::new(), bytes);
    loop {
        let end = find(rest, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let status: u16 = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        rest = &rest[end..];
        if status >= 200 {
            return Some((interims, Answer { status, head, body: rest.to_vec() }));
        }
        interims.push(head);
    }
}

/// The body that the head announces; none where there is less, or more.
fn body_of(answer: &Answer, method: &str) -> Option<Vec<u8>> {
    let announced = match answer.header("content-length") {
        _ if method == "HEAD" || matches!(answer.status, 204 | 304) => 0,
        _ if answer.header("transfer-encoding").is_some() => return unchunked(&answer.body),
        Some(length) => length.parse::<usize>().ok()?,
        None => return Some(answer.body.clone()),
    };
    (answer.body.len() == announced).then(|| answer.body.clone())
}

fn unchunked(mut coded: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line = find(coded, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&coded[..line]).ok()?, 16).ok()?;
        coded = &coded[line + 2..];
        if size == 0 {
            return (coded == b"\r\n" || coded.ends_with(b"\r\n\r\n")).then_some(data);
        }
        data.extend_from_slice(coded.get(..size)?);
        coded = coded[size..].strip_prefix(b"\r\n")?;
    }
}

fn show(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]))
}

fn fault_of_refusal(reply: &Reply, status: u16, seen: &[Seen]) -> Option<String> {
    if let Some(seen) = seen.first() {
        return Some(format!("the origin saw {:?}", seen.line()));
    }
    let Some((_, answer)) = split(&reply.bytes) else { return Some(format!("no answer but {}", show(&reply.bytes))) };
    if answer.status != status {
        return Some(format!("answered with {}: {}", answer.status, answer.text()));
    }
    if !reply.ended || answer.header("connection").as_deref() != Some("close") {
        return Some("the connection goes on".to_owned());
    }
    body_of(&answer, "GET").is_none().then(|| format!("not one answer but {}", show(&reply.bytes)))
}

fn fault_of_taking(reply: &Reply, sees: &Sees, seen: &[Seen], index: usize) -> Option<String> {
    let count = if sees.last { 1 } else { 2 };
    let answers = String::from_utf8_lossy(&reply.bytes).matches(" 200 OK\r\n").count();
    let lines: Vec<_> = seen.iter().map(Seen::line).collect();
    if answers != count || lines.len() != count || !reply.ended {
        return Some(format!("got {}, ended: {}, the origin saw {lines:?}", show(&reply.bytes), reply.ended));
    }
    if lines[0] != sees.line || seen.get(1).is_some_and(|second| second.path() != format!("/after?{index}")) {
        return Some(format!("the origin saw {lines:?}"));
    }
    let first = &seen[0];
    if first.body != sees.body.as_bytes() || first.trailers != sees.trailers {
        return Some(format!("the origin saw the body {} and the trailers {:?}", show(&first.body), first.trailers));
    }
    let missing = sees.has.iter().find(|(name, value)| first.header(name).as_deref() != Some(*value));
    let surplus = sees.lacks.iter().find(|name| first.header(name).is_some());
    (missing.is_some() || surplus.is_some()).then(|| format!("misses {missing:?}, has {surplus:?}: {:?}", first.head))
}

fn fault_of_answer(row: &Response, reply: &Reply) -> Option<String> {
    if !reply.ended || find(&reply.bytes, b"smuggled").is_some() {
        return Some(format!("ended: {}, got {}", reply.ended, show(&reply.bytes)));
    }
    let Some((interims, answer)) = split(&reply.bytes) else { return Some(format!("no answer but {}", show(&reply.bytes))) };
    let frames = |head: &String| ["\ncontent-length:", "\ntransfer-encoding:"].iter().any(|name| head.to_ascii_lowercase().contains(*name));
    if let Some(head) = interims.iter().find(|head| frames(head)) {
        return Some(format!("an interim answer announces a body (RFC 9110, 8.6): {head:?}"));
    }
    let body = body_of(&answer, row.method);
    let fits = match row.expect {
        Outcome::Replaced(error) => {
            let named = row.method == "HEAD" || answer.text().contains(&format!("\"error\":\"{error}\""));
            answer.status == 502 && body.is_some() && named
        }
        Outcome::BrokenOff(_) => answer.status == 200 && body.is_none(),
        Outcome::Passed { status, body: wanted, .. } => answer.status == status && body.as_deref() == Some(wanted.as_bytes()),
    };
    (!fits).then(|| format!("got {}", show(&reply.bytes)))
}

fn fault_of_record(row: &Response, gateway: &Pellucid, path: &str) -> Option<String> {
    let (Outcome::Replaced(error) | Outcome::BrokenOff(error)) = row.expect else { return None };
    let record = wait_for("the record", || {
        let newest = gateway.api("/api/v1/requests?limit=10");
        newest["requests"].as_array()?.iter().find(|record| record["path"] == path).cloned()
    });
    (record["error"] != error).then(|| format!("recorded as {}", record["error"]))
}

/// Rows that a server does not bear out, each with how to mend it.
fn corrections(server: &str, address: SocketAddr, listed: impl Fn(&Case) -> bool, may_agree: bool) -> Vec<String> {
    let mut rows = Vec::new();
    for (index, case) in REQUESTS.iter().enumerate() {
        let (listed, request) = (listed(case), followed(case, index));
        let expected = matches!(case.expect, Expect::Taken(_)) != listed;
        // Asked again, because on a busy machine an answer may be late.
        if takes(address, &request) == expected || takes(address, &request) == expected {
            continue;
        }
        let verb = if expected { "refuses" } else { "takes" };
        match listed {
            true if may_agree => {}
            true => rows.push(format!("{server} {verb} {:?} as we do: remove .{server}(..)", case.name)),
            false => rows.push(format!("{server} {verb} {:?} ({}) and we do not: add .{server}(\"why\")", case.name, case.source)),
        }
    }
    rows
}

/// Whether a server takes a request.
fn takes(address: SocketAddr, request: &[u8]) -> bool {
    let reply = talk(address, request, |bytes| split(bytes).is_some());
    // An answer of HTTP/0.9 is a body and nothing else.
    split(&reply.bytes).map_or(reply.bytes == b"ok", |(_, answer)| answer.status == 200)
}

fn answering() -> Origin {
    Origin::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
}

/// A server on hyper that reads each body to its end.
fn hyper_server() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(socket).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = service_fn(async |request: hyper::Request<Incoming>| {
                    let read = request.into_body().collect().await;
                    let status = if read.is_ok() { 200 } else { 400 };
                    Ok::<_, Infallible>(hyper::Response::builder().status(status).body(Full::new(Bytes::from_static(b"ok"))).unwrap())
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
    });
    address
}

/// nginx as it comes, before an origin that reads each body to its end.
fn nginx_before(origin: &Origin) -> (Server, SocketAddr) {
    let (dir, port) = (temp_dir(), free_port());
    let root = dir.display();
    let temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {root}/{kind};\n")).concat();
    let server = format!("server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{}; }} }}", origin.address);
    let config = format!(
        "daemon off;\nmaster_process off;\npid {root}/nginx.pid;\nerror_log {root}/error.log;\nevents {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\n{temps}{server}\n}}\n"
    );
    std::fs::write(dir.join("nginx.conf"), config).unwrap();
    let installed = Path::new("/usr/sbin/nginx");
    let mut command = Command::new(if installed.exists() { installed } else { Path::new("nginx") });
    command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
    let server = Server::spawn(&mut command, &dir.join("nginx.log"));
    wait_for("nginx", || TcpStream::connect(("127.0.0.1", port)).ok());
    (server, ([127, 0, 0, 1], port).into())
}
