//! New processes in the place of old ones: inherited sockets, successors, and the order of a drain.
//!
//! In: LISTEN_FDS as systemd sets it, SIGUSR2, SIGTERM, and clients that never stop. Out: what those clients saw, which must be answers
//! and nothing else, and how each process ended.
//! Not here: reloads within one process (`reload`).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::reload::{held, say, wait_until_held};
use crate::reload2::{is_ended, wait_until_refused};
use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Client, PATIENCE, find, get, temp_dir, wait_for};

/// Successors in a row.
const ROUNDS: usize = 20;
/// How long a process that was asked for a successor may be silent before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(8);
const RESPOND: &str = "routes: [{ name: all, filters: [{ respond: { body: here } }] }]";

fn listening_on(address: &str) -> String {
    format!("listeners: [{{ name: public, bind: '{address}' }}]\nadmin: {{ bind: 127.0.0.1:0 }}\nruntime: {{ workers: 2 }}\n{RESPOND}\n")
}

/// Starts with `socket` as descriptor 3, as systemd does. `variables` is read by a shell that the gateway takes the place of.
fn start_with_socket(socket: &TcpListener, yaml: &str, variables: &str) -> Pellucid {
    let config = temp_dir().join("pellucid.yaml");
    std::fs::write(&config, yaml).unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("export LISTEN_FDS=1 {variables}; exec \"$0\" \"$@\" 3<&0 </dev/null"));
    command.arg(env!("CARGO_BIN_EXE_pellucid")).args(["run", "--config"]).arg(&config);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Pellucid::spawn(command, config)
}

#[test]
fn an_inherited_socket_is_found_by_its_name_and_who_waited_there_is_answered() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut early = Client::connect(address);
    early.send("GET /early HTTP/1.1\r\nHost: h\r\n\r\n");
    let gateway = start_with_socket(&socket, &listening_on("127.0.0.1:0"), "LISTEN_PID=$$ LISTEN_FDNAMES=public");
    assert_eq!(gateway.address, address);
    assert_eq!(early.read_answer("GET").text(), "here");
    for _ in 0..20 {
        assert_eq!(get(address, "/").text(), "here");
    }
    assert_eq!(say(&mut early, "/again").status, 200);
}

#[test]
fn an_inherited_socket_without_a_name_is_found_by_its_address() {
    // The test has the address too, so a gateway that bound it anew would not start.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let gateway = start_with_socket(&socket, &listening_on(&address.to_string()), "LISTEN_PID=$$");
    assert_eq!(gateway.address, address);
    for _ in 0..20 {
        assert_eq!(get(address, "/").text(), "here");
    }
}

#[test]
fn descriptors_that_are_meant_for_another_process_are_left_alone() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = start_with_socket(&socket, &listening_on("127.0.0.1:0"), "LISTEN_PID=1 LISTEN_FDNAMES=public");
    assert_ne!(gateway.address, socket.local_addr().unwrap());
    assert_eq!(gateway.get("/").text(), "here");
}

#[test]
fn a_drain_is_announced_before_the_door_closes_and_what_is_in_flight_ends() {
    let (origin, gate) = held("o");
    let mut gateway = Pellucid::start(&format!("{}runtime: {{ drain_delay: 2s, drain_timeout: 10s }}\n", origin.config()));
    let address = gateway.address;
    let (mut kept, mut busy) = (Client::connect(address), Client::connect(address));
    assert_eq!(say(&mut kept, "/").header("connection"), None);
    busy.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until_held(&origin);
    assert_eq!(get(gateway.admin, "/readyz").status, 200);
    gateway.signal("TERM");
    wait_for("readiness to end", || (get(gateway.admin, "/readyz").status == 503).then_some(()));
    let mut fresh = Client::connect(address);
    for client in [&mut fresh, &mut kept] {
        let answer = say(client, "/");
        assert_eq!((answer.status, answer.header("connection").as_deref()), (200, Some("close")));
        assert!(is_ended(client));
    }
    wait_until_refused(address);
    assert_eq!(get(gateway.admin, "/readyz").status, 503);
    gate.store(true, Ordering::SeqCst);
    let answer = busy.read_answer("GET");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("connection").as_deref()), (200, "o", Some("close")));
    assert!(is_ended(&mut busy));
    assert_eq!(gateway.wait(), Some(0));
}

/// A gateway and its successors, one after the other. Dropping it kills whichever is there.
struct Line {
    first: Pellucid,
    /// The successors that took over.
    later: Vec<u32>,
}

impl Line {
    fn start(yaml: &str) -> Self {
        adopt_orphans();
        Line { first: Pellucid::start_config(yaml, &[]), later: Vec::new() }
    }

    fn present(&self) -> u32 {
        self.later.last().copied().unwrap_or_else(|| self.first.pid())
    }

    /// Asks the present process for a successor, and waits until it has ended by itself, with code 0.
    fn hand_over(&mut self) {
        let (present, known) = (self.present(), successors(&self.first.log()).len());
        let mut asked: Option<Instant> = None;
        let next = wait_for("a successor", || {
            if asked.is_none_or(|at| at.elapsed() > ASK_AGAIN) {
                signal("USR2", present);
                asked = Some(Instant::now());
            }
            successors(&self.first.log()).get(known).copied()
        });
        let ended = if present == self.first.pid() { self.first.wait() } else { exit_code(present) };
        assert_eq!(ended, Some(0), "process {present}");
        self.later.push(next);
        wait_for("the successor to be ready", || (get(self.first.admin, "/readyz").status == 200).then_some(()));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.first.log());
        }
        for pid in running(&self.first.config) {
            signal("KILL", pid);
        }
    }
}

fn signal(name: &str, pid: u32) {
    // A process that is gone needs none.
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// The processes that run this configuration.
fn running(config: &Path) -> Vec<u32> {
    let name = config.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| find(&line, name).is_some())).collect()
}

/// The pids that the log tells of, in their order.
fn successors(log: &str) -> Vec<u32> {
    let mut pids = Vec::new();
    for part in log.split("successor pid=").skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        let pid: u32 = digits.parse().expect("a pid");
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids
}

/// Makes this process the parent of successors whose own parent has ended, so that it hears how they end.
fn adopt_orphans() {
    let on: libc::c_ulong = 1;
    // SAFETY: with this option prctl reads the number that it is given and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on) };
    assert_eq!(result, 0);
}

/// How an adopted process ended; none where a signal ended it.
fn exit_code(pid: u32) -> Option<i32> {
    let status = wait_for("a successor to end", || {
        let mut status = 0;
        // SAFETY: waitpid writes one number to the place that it is given, which outlives the call.
        let found = unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, libc::WNOHANG) };
        assert!(found >= 0, "{pid} is no child: {}", std::io::Error::last_os_error());
        (found > 0).then_some(status)
    });
    // The exit code stands above seven bits for a signal and one for a core.
    (status & 0x7f == 0).then_some(status >> 8)
}

/// What one client saw.
#[derive(Default)]
struct Tally {
    answered: u64,
    /// Connections that ended between two requests and without `connection: close` before: seen before sending, or by it.
    unannounced: u64,
    failed: Vec<String>,
}

/// What came of one request.
enum Outcome {
    Answer {
        status: u16,
        last: bool,
    },
    /// The connection ended before the first byte of an answer.
    Nothing,
    Broken(String),
}

/// Clients that go on until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// One client a path. Those whose path ends in `once` take a new connection for each request.
    fn start(address: SocketAddr, paths: &[&'static str]) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |path: &&'static str| {
            let (path, stop, answered) = (*path, Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || keep_asking(address, path, &stop, &answered))
        };
        let clients = paths.iter().map(client).collect();
        Load { stop, answered, clients }
    }

    /// Waits until clients had `count` answers more.
    fn wait_for_more(&self, count: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_for("the clients to be served", || (self.answered.load(Ordering::Relaxed) >= before + count).then_some(()));
    }

    fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for tally in self.clients.drain(..).map(|client| client.join().unwrap()) {
            all.answered += tally.answered;
            all.unannounced += tally.unannounced;
            all.failed.extend(tally.failed);
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn keep_asking(address: SocketAddr, path: &str, stop: &AtomicBool, answered: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut kept: Option<TcpStream> = None;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(4));
        if kept.as_ref().is_some_and(has_ended) {
            tally.unannounced += 1;
            kept = None;
        }
        let reused = kept.is_some();
        let connected = kept.take().map_or_else(|| TcpStream::connect(address), Ok);
        let outcome = match connected {
            Ok(stream) => ask_on(stream, path, &mut kept),
            Err(error) => Outcome::Broken(format!("no connection: {error}")),
        };
        match outcome {
            Outcome::Answer { status: 200, last } => {
                tally.answered += 1;
                answered.fetch_add(1, Ordering::Relaxed);
                kept = kept.filter(|_| !last);
            }
            // What every client does: the next turn is another try, on a new connection.
            Outcome::Nothing if reused => tally.unannounced += 1,
            Outcome::Nothing => tally.failed.push(format!("{path}: a new connection ended without an answer")),
            Outcome::Broken(why) => tally.failed.push(format!("{path}, reused: {reused}: {why}")),
            Outcome::Answer { status, .. } => tally.failed.push(format!("{path}: status {status}")),
        }
    }
    tally
}

/// One exchange. The connection goes to `kept` where it had an answer.
fn ask_on(mut stream: TcpStream, path: &str, kept: &mut Option<TcpStream>) -> Outcome {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let connection = if path.ends_with("once") { "close" } else { "keep-alive" };
    if stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: {connection}\r\n\r\n").as_bytes()).is_err() {
        return Outcome::Nothing;
    }
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(answer) = whole_answer(&bytes) {
            *kept = Some(stream);
            return answer;
        }
        match stream.read(&mut buffer) {
            Ok(0) if bytes.is_empty() => return Outcome::Nothing,
            Err(error) if bytes.is_empty() && error.kind() == ErrorKind::ConnectionReset => return Outcome::Nothing,
            Ok(0) => return Outcome::Broken(format!("the answer ended after {} bytes", bytes.len())),
            Err(error) => return Outcome::Broken(format!("{error} after {} bytes", bytes.len())),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The answer, once all of it is there.
fn whole_answer(bytes: &[u8]) -> Option<Outcome> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = field("content-length:")?.parse().ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (bytes.len() >= end + length).then(|| Outcome::Answer { status, last: field("connection:") == Some("close") })
}

/// The peer has closed while nothing was under way.
fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A configuration for processes that follow one another; `/round` tells which one of them it is.
fn round(number: usize, origin: &Origin) -> String {
    format!(
        "listeners: [{{ name: public, bind: 127.0.0.1:0 }}]
admin: {{ bind: 127.0.0.1:0 }}
runtime: {{ workers: 2, watch: false, drain_delay: 200ms, drain_timeout: 15s }}
routes:
- {{ name: all, upstream: origin }}
- {{ name: round, match: {{ path: /round }}, filters: [{{ respond: {{ body: r{number} }} }}] }}
upstreams: [{{ name: origin, endpoints: ['{}'] }}]
",
        origin.address
    )
}

#[test]
fn twenty_successors_take_over_one_after_the_other_and_no_request_is_lost() {
    let origin = Origin::echo();
    let mut line = Line::start(&round(0, &origin));
    let load = Load::start(line.first.address, &["/a", "/b", "/sleep/150", "/once"]);
    load.wait_for_more(50);
    let descriptors = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut before = 0;
    for number in 1..=ROUNDS {
        std::fs::write(&line.first.config, round(number, &origin)).unwrap();
        line.hand_over();
        // The successor has the same sockets, and read the file anew.
        assert_eq!(line.first.get("/round").text(), format!("r{number}"));
        load.wait_for_more(20);
        if number == 1 {
            before = descriptors(line.present());
        }
    }
    let after = descriptors(line.present());
    let tally = load.end();
    println!("{} answers over {ROUNDS} restarts, {} connections ended unannounced", tally.answered, tally.unannounced);
    assert!(
        tally.failed.is_empty(),
        "{} of {} failed: {:?}",
        tally.failed.len(),
        tally.answered,
        &tally.failed[..tally.failed.len().min(20)]
    );
    assert!(tally.unannounced <= ROUNDS as u64, "{} connections ended unannounced", tally.unannounced);
    assert!(after < before + ROUNDS, "descriptors are handed on that nobody needs: {before}, then {after}");
    assert_eq!(running(&line.first.config), [line.present()], "nobody is left behind");
}

#[test]
fn a_successor_that_cannot_start_leaves_its_predecessor_in_place() {
    let origin = Origin::echo();
    let mut line = Line::start(&round(0, &origin));
    let mut kept = Client::connect(line.first.address);
    assert_eq!(say(&mut kept, "/").status, 200);
    std::fs::write(&line.first.config, round(1, &origin).replace("upstream: origin", "upstream: orign")).unwrap();
    signal("USR2", line.first.pid());
    wait_for("the successor's complaint", || line.first.log().contains("`orign`").then_some(()));
    wait_for("the successor to end", || (running(&line.first.config) == [line.first.pid()]).then_some(()));
    let answer = say(&mut kept, "/");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert_eq!((line.first.get("/round").text().as_str(), get(line.first.admin, "/readyz").status), ("r0", 200));
    drop(kept);
    std::fs::write(&line.first.config, round(2, &origin)).unwrap();
    line.hand_over();
    assert_eq!(line.first.get("/round").text(), "r2");
}

#[test]
fn a_second_wish_for_a_successor_waits_for_the_first() {
    let origin = Origin::echo();
    let mut line = Line::start(&round(0, &origin));
    for _ in 0..3 {
        signal("USR2", line.first.pid());
    }
    let next = wait_for("a successor", || successors(&line.first.log()).first().copied());
    assert_eq!(line.first.wait(), Some(0));
    line.later.push(next);
    wait_for("the successor to be alone", || (running(&line.first.config) == [next]).then_some(()));
    assert_eq!(successors(&line.first.log()), [next]);
    assert_eq!(line.first.get("/round").text(), "r0");
}

#[test]
fn a_socket_that_is_bound_everywhere_serves_a_listener_of_its_port() {
    let socket = TcpListener::bind("[::]:0").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().unwrap().port()));
    let gateway = start_with_socket(&socket, &listening_on(&format!("0.0.0.0:{}", address.port())), "LISTEN_FDNAMES=pellucid.socket");
    drop(socket);
    assert_eq!(get(address, "/").text(), "here");
    drop(gateway);
}
