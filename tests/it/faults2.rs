//! Upstreams that say too much, too early or at the wrong time, and processes that stop or die.
//!
//! In: origins on raw sockets, and a server of Python's standard library that is stopped and killed. Out: the right bytes for the right
//! request, and the right end for the others; also what all tests of faults look at: record, access log, sockets. Not here: what breaks
//! off, stalls or is no HTTP (`faults`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;

use crate::support::origin::{Conversation, Origin};
use crate::support::process::Pellucid;
use crate::support::{Client, temp_dir, wait_for};

/// A whole answer with the body `fine`.
pub(crate) const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

/// The access log of one gateway.
pub(crate) struct AccessLog {
    path: PathBuf,
}

impl AccessLog {
    pub(crate) fn new() -> Self {
        AccessLog { path: temp_dir().join("access.log") }
    }

    /// What `telemetry` says of it.
    pub(crate) fn setting(&self) -> String {
        format!("access_log: {{ to: '{}', format: json }}", self.path.display())
    }

    /// The one line of a trace.
    pub(crate) fn line(&self, trace_id: &str) -> Value {
        let mut lines = wait_for("the line in the access log", || {
            let text = std::fs::read_to_string(&self.path).ok()?;
            let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<Value> = all.filter(|line| line["trace_id"] == trace_id).collect();
            (!lines.is_empty()).then_some(lines)
        });
        assert_eq!(lines.len(), 1, "one line a request: {lines:?}");
        lines.remove(0)
    }
}

/// Record and access log agree on how the one request to `path` ended. Returns the record.
pub(crate) fn told(gateway: &Pellucid, log: &AccessLog, path: &str, status: u16, error: Option<&str>) -> Value {
    let record = gateway.record(|record| record["path"] == path);
    let status = Some(u64::from(status));
    assert_eq!((record["status"].as_u64(), record["error"].as_str()), (status, error), "{record}");
    let line = log.line(record["trace_id"].as_str().unwrap());
    assert_eq!((line["http.response.status_code"].as_u64(), line["error.type"].as_str()), (status, error), "{line}");
    assert_eq!(line["url.path"], path, "{line}");
    assert_eq!(line["pellucid.attempts"].as_u64(), Some(record["attempts"].as_array().unwrap().len() as u64), "{line}");
    for (name, key) in [("http.request.body.size", "request_bytes"), ("http.response.body.size", "response_bytes")] {
        assert_eq!(line[name], record[key], "{name} in {line}");
    }
    record
}

/// Makes the end of a connection a reset.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Reads until the gateway ends the connection.
pub(crate) fn until_closed(talk: &mut Conversation) {
    let mut buffer = [0; 65536];
    while matches!(talk.stream.read(&mut buffer), Ok(1..)) {}
}

/// The connections that lead to `peer`, as the kernel has them: whether each is established, and how many bytes wait to be read.
pub(crate) fn connections_to(peer: SocketAddr) -> Vec<(bool, u64)> {
    let SocketAddr::V4(peer) = peer else { panic!("{peer} is no IPv4 address") };
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(peer.ip().octets()), peer.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let unread = |queues: &str| queues.split(':').nth(1).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    rows.filter(|row| row.len() > 4 && row[2] == remote).map(|row| (row[3] == "01", unread(row[4]).unwrap_or(0))).collect()
}

/// One worker, so that a connection that could be used again would be.
fn start(address: SocketAddr, settings: &str, log: &AccessLog) -> Pellucid {
    Pellucid::start(&format!(
        "runtime: {{ workers: 1 }}
telemetry: {{ {} }}
routes: [{{ name: all, upstream: o }}]
upstreams: [{{ name: o, endpoints: ['{address}']{settings} }}]
",
        log.setting()
    ))
}

#[test]
fn more_than_was_announced_reaches_no_client_and_ends_the_connection() {
    const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    let origin = Origin::scripted(|talk| {
        while let Some(seen) = talk.read_request() {
            let head = match seen.path() {
                "/long" => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                "/chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
                _ => {
                    talk.write(FINE);
                    continue;
                }
            };
            talk.write(format!("{head}{SMUGGLED}"));
            return until_closed(talk);
        }
    });
    let log = AccessLog::new();
    let gateway = start(origin.address, "", &log);
    let mut client = Client::connect(gateway.address);
    let cases = [
        ("GET", "/long", 200, "abc"),
        ("GET", "/chunks", 200, "abc"),
        ("GET", "/204", 204, ""),
        ("GET", "/304", 304, ""),
        ("HEAD", "/head", 200, ""),
    ];
    for (number, (method, path, status, body)) in (1..).zip(cases) {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let answer = client.read_answer(method);
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{path}");
        client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").text(), "fine", "what follows {path}");
        assert_eq!(origin.connections(), number + 1, "{path} leaves a connection that is not used again");
        told(&gateway, &log, path, status, None);
    }
}

#[test]
fn what_is_said_on_an_idle_connection_answers_no_request() {
    let idle = Arc::new(Mutex::new(None::<TcpStream>));
    let slot = Arc::clone(&idle);
    let origin = Origin::scripted(move |talk| {
        while talk.read_request().is_some() {
            *slot.lock().unwrap() = talk.stream.try_clone().ok();
            talk.write(FINE);
        }
    });
    let log = AccessLog::new();
    let gateway = start(origin.address, "", &log);
    let mut client = Client::connect(gateway.address);
    let unasked = ["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", "HTTP/1.1 200 OK\r\n", "x", "\r\n"];
    for (number, unasked) in (1..).zip(unasked.repeat(3)) {
        let path = format!("/{number}");
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(client.read_answer("GET").text(), "fine", "request {number}");
        assert_eq!(origin.connections(), number, "the connection that spoke unasked is not used again");
        let record = told(&gateway, &log, &path, 200, None);
        assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{record}");
        let mut stream = idle.lock().unwrap().take().unwrap();
        stream.write_all(unasked.as_bytes()).unwrap();
        wait_for("the gateway's kernel to have what was said", || {
            let connections = connections_to(origin.address);
            connections.iter().all(|(established, unread)| !established || *unread > 0).then_some(())
        });
    }
}

#[test]
fn an_answer_that_comes_before_the_body_is_read_reaches_the_client() {
    for path in ["/holds", "/closes"] {
        let origin = Origin::scripted(move |talk| {
            while let Some(head) = talk.read_head() {
                if head.starts_with("GET ") {
                    talk.write(FINE);
                    continue;
                }
                talk.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large");
                if path == "/holds" {
                    // Reads nothing of the body and leaves it to the gateway to go.
                    std::thread::sleep(Duration::from_secs(3));
                }
                return;
            }
        });
        let log = AccessLog::new();
        let gateway = start(origin.address, "", &log);
        let mut client = Client::connect(gateway.address);
        client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 64 << 20));
        let mut upload = client.stream.try_clone().unwrap();
        let uploading = std::thread::spawn(move || {
            let piece = vec![b'u'; 1 << 16];
            (0..1 << 10).take_while(|_| upload.write_all(&piece).is_ok()).count()
        });
        let answer = client.read_answer("POST");
        assert_eq!((answer.status, answer.text().as_str()), (413, "too large"), "{path}");
        assert_eq!(answer.header("connection").as_deref(), Some("close"), "{path}: the rest of the body is not waited for");
        let record = told(&gateway, &log, path, 413, None);
        assert_eq!((record["attempts"].as_array().unwrap().len(), record["attempts"][0]["status"].as_u64()), (1, Some(413)), "{record}");
        assert!(record["request_bytes"].as_u64().unwrap() < 64 << 20, "{record}");
        drop(client);
        uploading.join().unwrap();
        assert_eq!(gateway.get("/after").text(), "fine");
        assert_eq!(origin.connections(), 2, "{path}: the connection with half a request on it is not used again");
    }
}

#[test]
fn a_client_that_cannot_see_a_cut_in_the_framing_is_told_by_a_reset() {
    let origin = Origin::scripted(|talk| {
        talk.read_request();
        talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc");
    });
    let log = AccessLog::new();
    let gateway = start(origin.address, "", &log);
    let mut client = Client::connect(gateway.address);
    client.send("GET /old HTTP/1.0\r\n\r\n");
    let mut bytes = Vec::new();
    let error = client.stream.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(bytes.ends_with(b"\r\n\r\nabc"), "{}", String::from_utf8_lossy(&bytes));
    told(&gateway, &log, "/old", 200, Some("upstream_body_broken"));
}

/// Answers `fine`; below `/endless` a long body begins and never goes on.
const SERVER: &str = "
import http.server, os, socketserver, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        endless = self.path.startswith('/endless')
        self.send_response(200)
        self.send_header('Content-Length', '100000000' if endless else '4')
        self.end_headers()
        self.wfile.write(b'x' * 1000 if endless else b'fine')
        if endless:
            time.sleep(600)
    def log_message(self, *arguments):
        pass
server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler)
print(os.getpid(), server.server_address[1], flush=True)
server.serve_forever()
";

/// An origin that is a process of its own.
struct Process {
    child: Child,
    pid: String,
    address: SocketAddr,
}

impl Process {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (pid, port) = line.trim().split_once(' ').expect("the server says its pid and its port");
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
        Process { pid: pid.to_owned(), address, child }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_process_that_is_stopped_is_a_504_and_serves_again_when_it_goes_on() {
    let process = Process::start();
    let log = AccessLog::new();
    let gateway = start(process.address, ", first_byte_timeout: 1500ms", &log);
    assert_eq!(gateway.get("/before").text(), "fine");
    process.signal("STOP");
    for (path, reused) in [("/on-an-old-connection", true), ("/on-a-new-one", false)] {
        let answer = gateway.get(path);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (504, Some("first_byte_timeout")), "{path}");
        let record = told(&gateway, &log, path, 504, Some("first_byte_timeout"));
        let attempts = record["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), attempts[0]["reused"].as_bool()), (1, Some(reused)), "{record}");
    }
    process.signal("CONT");
    wait_for("the process to serve again", || (gateway.get("/after").text() == "fine").then_some(()));
    let record = gateway.record(|record| record["path"] == "/after" && record["status"] == 200);
    assert_eq!(record["attempts"][0]["reused"].as_bool(), Some(false), "{record}");
}

#[test]
fn a_process_that_is_killed_in_the_middle_of_a_body_cuts_it_and_refuses_what_follows() {
    let process = Process::start();
    let log = AccessLog::new();
    let gateway = start(process.address, "", &log);
    let mut client = Client::connect(gateway.address);
    client.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.read_head().unwrap().contains("100000000\r\n"));
    client.read_exact(1000);
    process.signal("KILL");
    assert!(client.read_all().is_empty());
    assert!(matches!(client.stream.read(&mut [0]), Ok(0)));
    let record = told(&gateway, &log, "/endless", 200, Some("upstream_body_broken"));
    assert_eq!(
        (record["response_bytes"].as_u64(), record["attempts"][0]["error"].as_str()),
        (Some(1000), Some("upstream_body_broken")),
        "{record}"
    );
    let answer = gateway.get("/after");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (502, Some("connect_refused")));
    told(&gateway, &log, "/after", 502, Some("connect_refused"));
}
