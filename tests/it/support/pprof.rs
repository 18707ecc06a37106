//! Profiles as `go tool pprof` reads them, and load that gives them something to show.
//!
//! In: pages of `/debug/pprof/`, and the URLs of such. Out: the tool's own text, and of its `-raw` the parts that tests compare. Nothing here
//! reads the format itself: what the tool does not understand, nobody will.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::origin::Origin;
use super::process::Pellucid;
use super::stack::tool;
use super::{Answer, Client, temp_dir, wait_for};

/// What takes its time by design, and the first look at names in an unoptimised build.
const LONG_PATIENCE: Duration = Duration::from_secs(120);
/// Requests that are served before load counts as load.
const WARM_REQUESTS: u64 = 100;
static PIECE: [u8; 262_144] = [b'x'; 262_144];

/// `wait_for` with more patience.
pub(crate) fn wait_long<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG_PATIENCE;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `go tool pprof` with these arguments. Its standard output; where it fails, the test does, with what it says.
pub(crate) fn pprof(args: &[&str]) -> String {
    let dir = temp_dir();
    let mut command = Command::new(tool("go-pprof"));
    command.args(args).env("HOME", &dir).env("PPROF_TMPDIR", &dir).env("PPROF_BINARY_PATH", "");
    run(&mut command)
}

/// Runs a program to its end. Its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// GET with time for a profile.
pub(crate) fn get_slowly(address: std::net::SocketAddr, target: &str) -> Answer {
    let mut client = Client::connect(address);
    client.stream.set_read_timeout(Some(LONG_PATIENCE)).unwrap();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).read_answer("GET")
}

/// What stands below `/debug/pprof/`.
pub(crate) fn page(gateway: &Pellucid, page: &str) -> Answer {
    get_slowly(gateway.admin, &format!("/debug/pprof/{page}"))
}

/// A page that must be there, as the tool reads it.
pub(crate) fn profile(gateway: &Pellucid, query: &str) -> Raw {
    let answer = page(gateway, query);
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    Raw::of(&answer.body)
}

/// A thread of this name runs in the process.
pub(crate) fn has_thread(pid: u32, name: &str) -> bool {
    threads(pid).iter().any(|(thread, _)| thread == name)
}

/// The threads of a process: each one's name and its line of `schedstat`: nanoseconds on a core, nanoseconds that it waited for one.
pub(crate) fn threads(pid: u32) -> Vec<(String, [u64; 2])> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map_while(Result::ok);
    let thread = |task: std::fs::DirEntry| {
        // Either is gone when the thread is.
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let mut times = times.split_whitespace().map(|number| number.parse().unwrap());
        Some((name.trim_end().to_owned(), [times.next()?, times.next()?]))
    };
    tasks.filter_map(thread).collect()
}

/// Draws an SVG's tree, as a browser would: what is no XML fails here.
pub(crate) fn assert_svg(answer: &[u8]) {
    let script = "import sys, xml.dom.minidom as dom; assert dom.parse(sys.stdin.buffer).documentElement.tagName == 'svg'";
    let mut python = Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(answer).unwrap();
    let output = python.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&answer[..answer.len().min(2000)]));
    assert!(answer.starts_with(b"<?xml") || answer.starts_with(b"<svg"));
}

/// An origin that answers a path that ends in a number with so many bytes. It remembers nothing, so it bears any load.
pub(crate) fn lean_origin() -> Origin {
    Origin::scripted(|talk| {
        while let Some(head) = talk.read_head() {
            let path = head.split(' ').nth(1).unwrap_or("");
            let length: usize = path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            answer.extend_from_slice(&PIECE[..length.min(PIECE.len())]);
            let mut left = length.saturating_sub(PIECE.len());
            let mut sent = talk.stream.write_all(&answer);
            while sent.is_ok() && left > 0 {
                let piece = left.min(PIECE.len());
                sent = talk.stream.write_all(&PIECE[..piece]);
                left -= piece;
            }
            if sent.is_err() {
                return;
            }
        }
    })
}

/// A route that is forwarded and one that the gateway answers itself, on two workers.
pub(crate) fn two_routes(origin: &Origin) -> String {
    format!(
        "runtime: {{ workers: 2 }}
routes:
- {{ name: alpha, match: {{ path: '/length/**' }}, upstream: origin }}
- {{ name: beta, match: {{ path: /beta }}, filters: [{{ respond: {{ body: hello }} }}] }}
- {{ name: rest, upstream: origin }}
upstreams: [{{ name: origin, endpoints: ['{}'] }}]
",
        origin.address
    )
}

/// Paths of the two routes.
pub(crate) const PATHS: [&str; 2] = ["/length/2000", "/beta"];

/// Takes so many bytes through the gateway, in the trace of this id.
pub(crate) fn download(gateway: &Pellucid, bytes: usize, trace_id: &str) {
    let mut client = Client::connect(gateway.address);
    let traceparent = format!("traceparent: 00-{trace_id}-b7ad6b7169203331-01");
    client.send(format!("GET /length/{bytes} HTTP/1.1\r\nHost: test\r\n{traceparent}\r\n\r\n"));
    let head = client.read_head().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut taken = 0;
    while taken < bytes {
        let count = client.skip();
        assert!(count > 0, "the answer ended after {taken} of {bytes} bytes");
        taken += count;
    }
}

/// Requests that the gateway has told of.
fn served(gateway: &Pellucid) -> u64 {
    let metrics = gateway.metrics();
    let counts = metrics.lines().filter(|line| line.starts_with("http_server_request_duration_seconds_count"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// wrk at work.
pub(crate) struct Wrk {
    child: Child,
}

impl Wrk {
    /// Asks for these paths in turn, on so many connections, until it is stopped or dropped. Returns once requests are served.
    pub(crate) fn start(gateway: &Pellucid, connections: u32, paths: &[&str]) -> Self {
        let script = temp_dir().join("paths.lua");
        let listed: Vec<String> = paths.iter().map(|path| format!("\"{path}\"")).collect();
        let lua =
            "local count = 0\nrequest = function()\n  count = count + 1\n  return wrk.format(\"GET\", paths[count % #paths + 1])\nend\n";
        std::fs::write(&script, format!("local paths = {{ {} }}\n{lua}", listed.join(", "))).unwrap();
        let before = served(gateway);
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{connections}"), "-d600s", "-s"]).arg(&script).arg(format!("http://{}", gateway.address));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let wrk = Wrk { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")) };
        wait_for("load", || (served(gateway) >= before + WARM_REQUESTS).then_some(()));
        wrk
    }

    /// Ends it, and fails the test where a request of it failed.
    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        assert!(said.contains(" requests in ") && !said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `-raw` shows of a profile.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) comments: Vec<String>,
    /// Such as `cpu/nanoseconds[dflt]`.
    pub(crate) types: Vec<String>,
    pub(crate) samples: Vec<RawSample>,
    /// By the number that stacks name them by.
    pub(crate) places: BTreeMap<u64, Place>,
    pub(crate) mappings: Vec<RawMapping>,
}

#[derive(Debug, Default)]
pub(crate) struct RawSample {
    pub(crate) values: Vec<i64>,
    /// Numbers of places, the innermost first.
    pub(crate) stack: Vec<u64>,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) address: u64,
    /// Inlined functions before the one that they are in.
    pub(crate) frames: Vec<RawFrame>,
}

#[derive(Debug)]
pub(crate) struct RawFrame {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) line: usize,
}

#[derive(Debug)]
pub(crate) struct RawMapping {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) file: String,
    pub(crate) build_id: String,
}

impl Raw {
    pub(crate) fn of(profile: &[u8]) -> Self {
        let file = temp_dir().join("profile.pb.gz");
        std::fs::write(&file, profile).unwrap();
        Self::of_file(&file)
    }

    pub(crate) fn of_file(file: &Path) -> Self {
        Self::parse(&pprof(&["-raw", "-symbolize=none", file.to_str().unwrap()]))
    }

    /// Comments and times come first, then samples, locations and mappings, each under its heading.
    fn parse(text: &str) -> Self {
        let mut raw = Raw::default();
        let mut part = "";
        for line in text.lines() {
            match line {
                "Samples:" | "Locations" | "Mappings" => part = line,
                _ if part == "Samples:" && raw.types.is_empty() => raw.types = line.split_whitespace().map(str::to_owned).collect(),
                _ if part == "Samples:" => raw.sample(line),
                _ if part == "Locations" => raw.place(line),
                _ if part == "Mappings" => raw.mappings.extend(mapping(line)),
                _ => raw.comments.extend(line.strip_prefix("Comment: ").map(str::to_owned)),
            }
        }
        raw
    }

    /// `  1   10101010: 1 2 3`, and on a line below, far to the right, its labels: `phase:[body] route:[users]`.
    fn sample(&mut self, line: &str) {
        const LABELS_INDENT: &str = "                ";
        if let Some(labels) = line.strip_prefix(LABELS_INDENT) {
            self.samples.last_mut().expect("a sample before its labels").labels.extend(labels_of(labels));
            return;
        }
        let (values, stack) = line.split_once(':').unwrap_or_else(|| panic!("a sample in {line:?}"));
        let values = values.split_whitespace().map(|value| value.parse().unwrap()).collect();
        let stack = stack.split_whitespace().map(|place| place.parse().unwrap()).collect();
        self.samples.push(RawSample { values, stack, labels: BTreeMap::new() });
    }

    /// `     1: 0x5010 M=1 function file:line:column s=0(system name)`, and below it, indented, the function that this one was inlined into.
    fn place(&mut self, line: &str) {
        const FRAME_INDENT: &str = "             ";
        if let Some(frame) = line.strip_prefix(FRAME_INDENT) {
            let place = self.places.values_mut().next_back().expect("a place before its frames");
            place.frames.extend(frame_of(frame));
            return;
        }
        let (number, rest) = line.trim_start().split_once(": ").unwrap_or_else(|| panic!("a location in {line:?}"));
        let (address, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let rest = if rest.starts_with("M=") { rest.split_once(' ').map_or("", |(_, rest)| rest) } else { rest };
        let place = Place { address: hex(address), frames: frame_of(rest).into_iter().collect() };
        self.places.insert(number.parse().unwrap(), place);
    }

    /// The sum of one value over the samples that are `wanted`.
    pub(crate) fn sum(&self, value: usize, wanted: impl Fn(&RawSample) -> bool) -> i64 {
        self.samples.iter().filter(|sample| wanted(sample)).map(|sample| sample.values[value]).sum()
    }

    /// The functions of a sample, innermost first.
    pub(crate) fn names(&self, sample: &RawSample) -> Vec<&str> {
        let places = sample.stack.iter().map(|place| &self.places[place]);
        places.flat_map(|place| place.frames.iter().map(|frame| frame.name.as_str())).collect()
    }

    /// What the profile says of itself: samples, and samples lost.
    pub(crate) fn account(&self) -> (u64, u64) {
        let account = |comment: &String| {
            let (taken, lost) = comment.strip_suffix(" lost")?.split_once(" samples, ")?;
            Some((taken.parse().ok()?, lost.parse().ok()?))
        };
        self.comments.iter().find_map(account).unwrap_or_else(|| panic!("how many samples were lost, in {:?}", self.comments))
    }
}

impl RawSample {
    /// Empty where it has none.
    pub(crate) fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    pub(crate) fn is_of_worker(&self) -> bool {
        self.label("thread").starts_with("pellucid-w")
    }
}

fn labels_of(line: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = line.trim();
    while let Some((key, more)) = rest.split_once(":[") {
        let (value, after) = more.split_once(']').unwrap_or((more, ""));
        labels.insert(key.trim().to_owned(), value.to_owned());
        rest = after;
    }
    labels
}

/// None for a place without a name.
fn frame_of(text: &str) -> Option<RawFrame> {
    let (name, place) = text.split_once(" s=")?.0.rsplit_once(' ')?;
    let mut parts = place.rsplitn(3, ':');
    let (_column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some(RawFrame { name: name.to_owned(), file: file.to_owned(), line: line.parse().ok()? })
}

/// `1: 0x5000/0x6000/0x1000 /opt/pellucid abcd12 [FN]`; what is not known is empty.
fn mapping(line: &str) -> Option<RawMapping> {
    let mut parts = line.split(' ').skip(1);
    let mut range = parts.next()?.split('/').map(hex);
    let (start, limit) = (range.next()?, range.next()?);
    Some(RawMapping { start, limit, file: parts.next()?.to_owned(), build_id: parts.next()?.to_owned() })
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}
