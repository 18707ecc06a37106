//! Upstreams that fail, at each point at which one can.
//!
//! In: addresses where nobody answers, and origins that break off, stall or talk nonsense. Out: what the client got, what record, log and
//! spans say of it, and that no broken connection is used again. Not here: upstreams that say too much or die (`faults2`), and clients
//! that fail (`faults_client`).

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::faults2::{AccessLog, FINE, reset_on_close, told, until_closed};
use crate::support::origin::{Conversation, Origin};
use crate::support::process::Pellucid;
use crate::support::stack::Collector;
use crate::support::{Answer, Client, ask, wait_for};

/// What goes wrong, and what is to be seen of it.
struct Case {
    name: &'static str,
    peer: Peer,
    /// Settings of the upstream, each behind a comma.
    settings: &'static str,
    /// What the client gets behind the upstream's head before its connection ends; none where the gateway itself answers.
    cut: Option<&'static str>,
    status: u16,
    error: &'static str,
    /// Interim responses that come before.
    interims: usize,
}

enum Peer {
    /// What an origin does when it has read the request.
    Script(fn(&mut Conversation)),
    /// Nobody is there.
    Address(String),
}

/// Nothing of the upstream's answer can be passed on: the gateway answers.
fn answered(name: &'static str, script: fn(&mut Conversation), status: u16, error: &'static str) -> Case {
    Case { name, peer: Peer::Script(script), settings: "", cut: None, status, error, interims: 0 }
}

/// The head is out when it happens: all that is left is to cut the connection.
fn cut(name: &'static str, script: fn(&mut Conversation), rest: &'static str, error: &'static str) -> Case {
    Case { name, peer: Peer::Script(script), settings: "", cut: Some(rest), status: 200, error, interims: 0 }
}

fn unreachable_at(name: &'static str, address: String, status: u16, error: &'static str) -> Case {
    Case { name, peer: Peer::Address(address), settings: ", connect_timeout: 300ms", cut: None, status, error, interims: 0 }
}

impl Case {
    /// What never left is tried a second time, and nothing else.
    fn attempts(&self) -> usize {
        if matches!(self.peer, Peer::Address(_)) { 2 } else { 1 }
    }

    /// The address of the upstream, and the origin behind it.
    fn start(&self) -> (String, Option<Origin>) {
        let script = match &self.peer {
            Peer::Script(script) => *script,
            Peer::Address(address) => return (address.clone(), None),
        };
        let origin = Origin::scripted(move |talk| {
            let Some(seen) = talk.read_request() else { return };
            if seen.path().ends_with("/again") {
                return talk.write(FINE);
            }
            script(talk);
        });
        (origin.address.to_string(), Some(origin))
    }

    /// Reads what the client gets. Returns the trace id.
    fn read(&self, client: &mut Client) -> String {
        let mut interims = 0;
        let head = loop {
            let head = client.read_head().unwrap_or_else(|| panic!("{}: no answer", self.name));
            if !head.starts_with("HTTP/1.1 1") {
                break head;
            }
            interims += 1;
        };
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", self.status)), "{}: {head}", self.name);
        assert_eq!(interims, self.interims, "{}", self.name);
        let mut answer = Answer { status: self.status, head, body: Vec::new() };
        let trace_id = answer.header("x-trace-id").unwrap();
        let Some(rest) = self.cut else {
            answer.body = client.read_exact(answer.header("content-length").unwrap().parse().unwrap());
            let json = answer.json();
            assert_eq!((json["error"].as_str(), json["trace_id"].as_str()), (Some(self.error), Some(trace_id.as_str())), "{}", self.name);
            return trace_id;
        };
        assert_eq!(String::from_utf8_lossy(&client.read_all()), rest, "{}", self.name);
        assert!(matches!(client.stream.read(&mut [0]), Ok(0)), "{}: the end of the connection says that it is not all", self.name);
        trace_id
    }
}

/// Sends one request into the fault and one after it.
fn play(gateway: &Pellucid, log: &AccessLog, case: &Case, origin: Option<&Origin>) -> String {
    let name = case.name;
    let path = format!("/{name}/fault");
    let mut client = Client::connect(gateway.address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    let trace_id = case.read(&mut client);

    let record = told(gateway, log, &path, case.status, Some(case.error));
    assert_eq!(record["trace_id"], trace_id.as_str(), "{name}");
    let attempts = record["attempts"].as_array().unwrap();
    let upstream_status = case.cut.map(|_| u64::from(case.status));
    assert_eq!(attempts.len(), case.attempts(), "{record}");
    for attempt in attempts {
        assert_eq!((attempt["error"].as_str(), attempt["status"].as_u64()), (Some(case.error), upstream_status), "{record}");
    }

    wait_for("the upstream's connection to be closed", || {
        let upstreams = gateway.api("/api/v1/upstreams");
        let upstream = upstreams["upstreams"].as_array()?.iter().find(|upstream| upstream["name"] == name)?;
        (upstream["endpoints"][0]["connections"] == 0).then_some(())
    });
    let Some(origin) = origin else { return trace_id };
    assert_eq!((origin.seen().len(), origin.connections()), (1, 1), "{name}: sent once");
    let again = format!("GET /{name}/again HTTP/1.1\r\nHost: test\r\n\r\n");
    // Where the gateway answered, the client's connection lives on.
    let answer = if case.cut.is_some() { ask(gateway.address, again) } else { client.send(again).read_answer("GET") };
    assert_eq!((answer.status, answer.text().as_str()), (200, "fine"), "{name}");
    assert_eq!(origin.connections(), 2, "{name}: the broken connection is not used again");
    trace_id
}

/// Plays all cases on a gateway with one worker, where any connection that could be used again would be. Returns the trace ids.
fn play_all(cases: &[Case], telemetry: &str) -> (Pellucid, Vec<String>) {
    let log = AccessLog::new();
    let peers: Vec<(String, Option<Origin>)> = cases.iter().map(Case::start).collect();
    let mut yaml = format!("runtime: {{ workers: 1 }}\ntelemetry: {{ {}{telemetry} }}\nroutes:\n", log.setting());
    for case in cases {
        yaml += &format!("- {{ name: {0}, match: {{ path: '/{0}/**' }}, upstream: {0} }}\n", case.name);
    }
    yaml += "upstreams:\n";
    for (case, (address, _)) in cases.iter().zip(&peers) {
        yaml += &format!("- {{ name: {}, endpoints: ['{address}']{} }}\n", case.name, case.settings);
    }
    let gateway = Pellucid::start(&yaml);
    let trace_ids = cases.iter().zip(&peers).map(|(case, (_, origin))| play(&gateway, &log, case, origin.as_ref())).collect();
    (gateway, trace_ids)
}

/// What keeps the addresses of [`nobody_there`] as they are.
struct Held {
    _closed: Socket,
    _full: Socket,
    _queued: Vec<TcpStream>,
}

/// A socket that has a port and does not listen: nobody else gets the port, and connections to it are refused.
fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn nobody_there() -> (Vec<Case>, Held) {
    let (closed, refusing) = bound();
    let (full, silent) = bound();
    // With its queue full a listener drops what asks for a connection, as a firewall would.
    full.listen(0).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&silent, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 64, "the queue does not fill");
    }
    let cases = vec![
        unreachable_at("refused", refusing.to_string(), 502, "connect_refused"),
        unreachable_at("no_answer", silent.to_string(), 504, "connect_timeout"),
        // No route leads a connection to a group of hosts.
        unreachable_at("no_route", "224.0.0.1:9".to_owned(), 502, "connect_failed"),
        Case { settings: "", ..unreachable_at("no_name", "no-such-host.invalid:80".to_owned(), 502, "dns_failed") },
    ];
    (cases, Held { _closed: closed, _full: full, _queued: queued })
}

/// Says something and then nothing more.
fn say(talk: &mut Conversation, text: impl AsRef<[u8]>) {
    talk.write(text);
    until_closed(talk);
}

fn before_the_head() -> Vec<Case> {
    let storm = |talk: &mut Conversation| say(talk, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(17) + FINE);
    vec![
        answered("reset_at_once", |talk| reset_on_close(&talk.stream), 502, "upstream_reset"),
        answered(
            "reset_in_the_head",
            |talk| {
                talk.write("HTTP/1.1 200 OK\r\nContent-Le");
                reset_on_close(&talk.stream);
            },
            502,
            "upstream_reset",
        ),
        answered("closed_at_once", |_| {}, 502, "upstream_closed"),
        answered("closed_in_the_status_line", |talk| talk.write("HTTP/1.1 20"), 502, "upstream_closed"),
        answered("closed_in_the_head", |talk| talk.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"), 502, "upstream_closed"),
        answered("another_protocol", |talk| say(talk, "SSH-2.0-OpenSSH\r\n\r\n"), 502, "upstream_malformed"),
        answered("bytes_of_any_kind", |talk| say(talk, b"\x15\x03\x01\x00\x02\n\xff\x00"), 502, "upstream_malformed"),
        answered("a_page_without_a_head", |talk| say(talk, "<html></html>\r\n\r\n"), 502, "upstream_malformed"),
        answered(
            "two_lengths",
            |talk| say(talk, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine"),
            502,
            "upstream_malformed",
        ),
        answered(
            "a_head_without_end",
            |talk| say(talk, format!("HTTP/1.1 200 OK\r\n{}", "X: yyyy\r\n".repeat(9000))),
            502,
            "upstream_malformed",
        ),
        answered(
            "too_many_fields",
            |talk| say(talk, format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(300))),
            502,
            "upstream_malformed",
        ),
        Case { interims: 16, ..answered("interim_storm", storm, 502, "upstream_malformed") },
        answered(
            "a_switch_that_nobody_asked_for",
            |talk| say(talk, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
            502,
            "upstream_malformed",
        ),
    ]
}

fn ten(talk: &mut Conversation, body: &str) {
    talk.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{body}"));
}

fn chunked(talk: &mut Conversation, body: &str) {
    talk.write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
}

fn reset_in_ten(talk: &mut Conversation, body: &str) {
    ten(talk, body);
    reset_on_close(&talk.stream);
}

fn hold_chunked(talk: &mut Conversation, body: &str) {
    chunked(talk, body);
    until_closed(talk);
}

fn behind_the_head() -> Vec<Case> {
    let reset_without_length = |talk: &mut Conversation| {
        talk.write("HTTP/1.1 200 OK\r\n\r\nabc");
        reset_on_close(&talk.stream);
    };
    vec![
        cut("reset_behind_the_head", |talk| reset_in_ten(talk, ""), "", "upstream_body_broken"),
        cut("reset_in_the_body", |talk| reset_in_ten(talk, "abc"), "abc", "upstream_body_broken"),
        cut("reset_in_a_body_without_length", reset_without_length, "3\r\nabc\r\n", "upstream_body_broken"),
        cut("closed_behind_the_head", |talk| ten(talk, ""), "", "upstream_body_broken"),
        cut("a_body_that_is_too_short", |talk| ten(talk, "abc"), "abc", "upstream_body_broken"),
        cut("closed_in_a_chunk", |talk| chunked(talk, "5\r\nabc"), "3\r\nabc\r\n", "upstream_body_broken"),
        cut("closed_between_chunks", |talk| chunked(talk, "3\r\nabc\r\n"), "3\r\nabc\r\n", "upstream_body_broken"),
        cut("closed_in_the_last_chunk", |talk| chunked(talk, "3\r\nabc\r\n0\r\n"), "3\r\nabc\r\n", "upstream_body_broken"),
        cut("a_chunk_longer_than_its_size", |talk| hold_chunked(talk, "3\r\nabcdef\r\n"), "3\r\nabc\r\n", "upstream_malformed"),
        cut("a_chunk_size_that_is_none", |talk| hold_chunked(talk, "zz\r\n"), "", "upstream_malformed"),
        cut("trailers_that_are_none", |talk| hold_chunked(talk, "3\r\nabc\r\n0\r\nno colon\r\n\r\n"), "3\r\nabc\r\n", "upstream_malformed"),
    ]
}

/// A head that never ends, though something comes all the time.
fn drip(talk: &mut Conversation) {
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: ".iter().chain(std::iter::repeat_n(&b'y', 200)) {
        if talk.stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

fn stalls() -> Vec<Case> {
    let mut cases = vec![
        answered("silent", until_closed, 504, "first_byte_timeout"),
        answered("stalls_in_the_head", |talk| say(talk, "HTTP/1.1 200 OK\r\nContent-Le"), 504, "first_byte_timeout"),
        answered("drips_its_head", drip, 504, "first_byte_timeout"),
        cut("stalls_behind_the_head", |talk| hold_ten(talk, ""), "", "upstream_body_timeout"),
        cut("stalls_in_the_body", |talk| hold_ten(talk, "abc"), "abc", "upstream_body_timeout"),
        cut("stalls_in_a_chunk", |talk| hold_chunked(talk, "5\r\nabc"), "3\r\nabc\r\n", "upstream_body_timeout"),
    ];
    for case in &mut cases {
        case.settings = ", first_byte_timeout: 700ms, body_timeout: 700ms";
    }
    cases
}

fn hold_ten(talk: &mut Conversation, body: &str) {
    ten(talk, body);
    until_closed(talk);
}

#[test]
fn an_upstream_that_cannot_be_reached_is_tried_twice_and_told_apart() {
    let (cases, _held) = nobody_there();
    play_all(&cases, "");
}

#[test]
fn an_upstream_that_fails_before_its_head_is_answered_for_once() {
    play_all(&before_the_head(), "");
}

#[test]
fn an_upstream_that_fails_behind_its_head_cuts_the_clients_connection() {
    play_all(&behind_the_head(), "");
}

#[test]
fn an_upstream_that_stalls_is_given_up_in_time() {
    play_all(&stalls(), "");
}

#[test]
#[allow(clippy::print_stderr, reason = "whoever reads the output learns what this machine's network let the test see")]
fn an_address_from_which_nothing_comes_back_is_a_failed_connection() {
    let address = SocketAddr::from(([240, 0, 0, 1], 9));
    if TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok() {
        eprintln!("not checked: the network of this machine answers for {address}");
        return;
    }
    let log = AccessLog::new();
    let gateway = Pellucid::start(&format!(
        "telemetry: {{ {} }}\nroutes: [{{ name: all, upstream: o }}]\nupstreams: [{{ name: o, endpoints: ['{address}'] }}]\n",
        log.setting()
    ));
    let answer = gateway.get("/");
    let json = answer.json();
    // A router on the way may say that there is no way, or nobody says anything.
    let told_apart = [(504, Some("connect_timeout")), (502, Some("connect_failed"))];
    assert!(told_apart.contains(&(answer.status, json["error"].as_str())), "{json}");
    told(&gateway, &log, "/", answer.status, json["error"].as_str());
}

#[test]
fn every_kind_of_fault_closes_its_spans_as_errors() {
    let collector = Collector::start(None, None);
    let (mut cases, _held) = nobody_there();
    cases.extend(before_the_head());
    cases.extend(behind_the_head());
    cases.extend(stalls());
    let mut kinds = HashSet::new();
    cases.retain(|case| kinds.insert(case.error));
    let (_gateway, trace_ids) = play_all(&cases, &format!(", {}, traces: {{ sample: 1.0 }}", collector.otlp()));
    for (case, trace_id) in cases.iter().zip(&trace_ids) {
        let spans = wait_for(&format!("the spans of {}", case.name), || {
            let spans: Vec<_> = collector.spans().into_iter().filter(|span| span.text("traceId") == trace_id).collect();
            (spans.len() > case.attempts()).then_some(spans)
        });
        let of_kind = |kind: i64| spans.iter().filter(|span| span.kind() == kind).count();
        assert_eq!((of_kind(2), of_kind(3)), (1, case.attempts()), "{}", case.name);
        for span in &spans {
            assert_eq!(span.string("error.type").as_deref(), Some(case.error), "{}: {span:?}", case.name);
            assert_eq!(span.json["status"]["code"].as_i64(), Some(2), "{}: {span:?}", case.name);
            let time = |key: &str| span.text(key).parse::<u64>().unwrap();
            let (began, ended) = (time("startTimeUnixNano"), time("endTimeUnixNano"));
            assert!(began > 0 && ended >= began, "{}: {span:?}", case.name);
        }
    }
}
