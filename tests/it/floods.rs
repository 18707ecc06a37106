//! Slow peers by the thousand: what they cost the gateway's memory, and what its good clients feel of them.
//!
//! In: connections that send, take or say next to nothing, held open by a few threads. Out: resident memory a connection, and the latency
//! of a good client beside them. Tests of this kind run one after another, and with fewer connections where there are few descriptors.
//! Not here: what ends such connections (`limits`), and connections that are merely idle (`floods2`).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::limits::{connect, metric, socket_of};
use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{Client, wait_for};

/// Descriptors that this process keeps for itself and for other tests.
const SPARE_DESCRIPTORS: usize = 2000;
/// Connections of each kind of flood.
const FLOOD_LEN: usize = 1000;
/// Memory that may come and go with anything but the connections of one flood.
const SLACK_BYTES: usize = 8 << 20;
/// More than finds room in the kernel and the gateway on its way to a client that takes next to nothing.
const LONG_ANSWER_BYTES: usize = 256 << 10;
/// One connection of a flood goes on, every so often: each has its turn every few seconds.
const TURN_EVERY: Duration = Duration::from_millis(4);
const TURNS_AT_ONCE: usize = 4;

/// Requests of one measurement, unless they take too long.
const REQUESTS: usize = 2000;
const REQUESTS_LEAST: usize = 300;
const MEASURED_FOR: Duration = Duration::from_secs(3);
/// What a busy machine may add to the 99th percentile.
const LATENCY_SLACK: Duration = Duration::from_millis(3);
/// Processor time that a gateway may use in a second in which nobody says anything.
const QUIET_CPU: Duration = Duration::from_millis(300);

pub(crate) const GOOD_REQUEST: &[u8] = b"GET /good HTTP/1.1\r\nHost: h\r\n\r\n";
pub(crate) const GOOD_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndone.";

/// These tests measure, so one waits for the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Raises the limit on descriptors as far as it goes, also for gateways that are started from here on. Returns as many of `wanted` as that
/// allows, where one takes `each` descriptors of a process.
#[allow(clippy::print_stderr, reason = "who runs the tests must know that they were smaller")]
pub(crate) fn affordable(wanted: usize, each: usize) -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes one rlimit to where it is told, which is one.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit reads one rlimit from where it is told, which is one.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!((read, set), (0, 0), "{}", io::Error::last_os_error());
    let most = usize::try_from(limit.rlim_max).unwrap_or(usize::MAX);
    let count = wanted.min(most.saturating_sub(SPARE_DESCRIPTORS) / each);
    if count < wanted {
        eprintln!("only {count} connections instead of {wanted}: the limit on descriptors is {most}");
    }
    assert!(count > 0, "a limit of {most} descriptors is too low for any");
    count
}

/// Memory that the gateway really has.
pub(crate) fn resident(gateway: &Pellucid) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let kib: Option<usize> = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    kib.unwrap() * 1024
}

/// Processor time that the gateway has used. The kernel tells it in hundredths of a second.
fn processor_time(gateway: &Pellucid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let (user, system): (u64, u64) = (fields[11].parse().unwrap(), fields[12].parse().unwrap());
    Duration::from_millis(10 * (user + system))
}

/// What a connection of a flood does when its turn comes.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Waits,
    Sends(u8),
    Takes,
}

/// One kind of slow peer.
struct Flood {
    name: &'static str,
    opening: &'static str,
    habit: Habit,
    /// The gateway holds a connection to an upstream for each.
    forwarded: bool,
    /// What one may cost.
    bytes_each: usize,
}

const FLOODS: [Flood; 4] = [
    // Parked: a task, its socket and its timer.
    Flood { name: "silent connections", opening: "", habit: Habit::Waits, forwarded: false, bytes_each: 4 << 10 },
    // The read buffer (READ_SMALL_BYTES, 8 KiB) with the head so far, and the active part of the connection.
    Flood {
        name: "slow heads",
        opening: "GET /good HTTP/1.1\r\nHost: h\r\nX-Slow: ",
        habit: Habit::Sends(b'h'),
        forwarded: false,
        bytes_each: 24 << 10,
    },
    // That, an exchange with its record, and a connection to the upstream.
    Flood {
        name: "slow bodies",
        opening: "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nb",
        habit: Habit::Sends(b'b'),
        forwarded: true,
        bytes_each: 36 << 10,
    },
    // That, the upstream's own read buffer, which has the answer's head, and one piece of the body (READ_LARGE_BYTES, 64 KiB).
    Flood {
        name: "slow readers",
        opening: "GET /answer HTTP/1.1\r\nHost: h\r\n\r\n",
        habit: Habit::Takes,
        forwarded: true,
        bytes_each: 112 << 10,
    },
];

impl Flood {
    fn open(&self, gateway: SocketAddr, count: usize) -> Vec<SlowPeer> {
        let open = |_| {
            let socket = socket_of([127, 0, 0, 2]);
            if self.habit == Habit::Takes {
                // Few bytes find room in the kernel on their way here: small windows, and small segments, of which a sender queues a few.
                socket.set_recv_buffer_size(4096).unwrap();
                socket.set_tcp_mss(536).unwrap();
            }
            let mut stream = connect(socket, gateway);
            stream.write_all(self.opening.as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            SlowPeer { stream, habit: self.habit }
        };
        (0..count).map(open).collect()
    }
}

struct SlowPeer {
    stream: TcpStream,
    habit: Habit,
}

impl SlowPeer {
    /// Goes on by a little.
    fn go_on(&mut self) -> io::Result<usize> {
        match self.habit {
            Habit::Waits => Ok(0),
            Habit::Sends(byte) => self.stream.write(&[byte]),
            Habit::Takes => self.stream.read(&mut [0; 16]),
        }
    }
}

/// All connections of all floods, and the one thread that lets them go on.
struct Crowd {
    peers: Arc<Mutex<Vec<SlowPeer>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    fn gather() -> Self {
        let (peers, over) = (Arc::<Mutex<Vec<SlowPeer>>>::default(), Arc::<AtomicBool>::default());
        let (all, stop) = (Arc::clone(&peers), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut turn: usize = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut peers = all.lock().unwrap();
                let count = peers.len();
                for _ in 0..TURNS_AT_ONCE.min(count) {
                    turn = (turn + 1) % count;
                    // The tests look at the gateway for what became of it.
                    let _ = peers[turn].go_on();
                }
                drop(peers);
                std::thread::sleep(TURN_EVERY);
            }
        });
        Crowd { peers, over, thread: Some(thread) }
    }

    fn join(&self, peers: Vec<SlowPeer>) {
        self.peers.lock().unwrap().extend(peers);
    }

    /// From now on its connections only stand there.
    fn fall_silent(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// An origin of one thread that reads a request, answers it with what it was given, and keeps the connection.
struct Sink {
    address: SocketAddr,
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Sink {
    fn start(answer: Vec<u8>) -> Self {
        let socket = socket_of([127, 0, 0, 1]);
        socket.listen(4096).unwrap();
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().unwrap();
        let held = Arc::<Mutex<Vec<TcpStream>>>::default();
        let keep = Arc::clone(&held);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                // As much of both as goes at once: a head, and what the kernel takes.
                let asked = stream.read(&mut [0; 4096]).unwrap_or(0);
                stream.set_nonblocking(true).unwrap();
                let answered = stream.write(&answer).unwrap_or(0);
                if asked > 0 && (answered > 0 || answer.is_empty()) {
                    keep.lock().unwrap().push(stream);
                }
            }
        });
        Sink { address, held }
    }

    fn connections(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

/// A client that does everything right, at the gateway that is flooded and at its twin that is not: what else disturbs the machine disturbs
/// both.
struct GoodClient {
    flooded: Client,
    calm: Client,
}

impl GoodClient {
    /// The 99th percentiles of latency at either gateway, from requests in turn.
    fn measure(&mut self) -> (Duration, Duration) {
        let (mut flooded, mut calm) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while flooded.len() < REQUESTS && (flooded.len() < REQUESTS_LEAST || began.elapsed() < MEASURED_FOR) {
            flooded.push(time_one(&mut self.flooded));
            calm.push(time_one(&mut self.calm));
        }
        (percentile_99(flooded), percentile_99(calm))
    }

    /// The best of three measurements is near the latency before the flood, or that of the twin at the same time.
    fn assert_unharmed(&mut self, before: Duration, flood: &str) {
        let mut measured = Vec::new();
        for _ in 0..3 {
            let (now, calm) = self.measure();
            measured.push((now, calm));
            if now <= before.max(calm) * 2 + LATENCY_SLACK {
                println!("{flood}: 99th percentile {now:?}, of the twin {calm:?}, before {before:?}");
                return;
            }
        }
        panic!("{flood}: 99th percentiles and those of the twin {measured:?}, before {before:?}");
    }
}

fn time_one(client: &mut Client) -> Duration {
    let began = Instant::now();
    assert_eq!(client.send(GOOD_REQUEST).read_answer("GET").status, 200);
    began.elapsed()
}

fn percentile_99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Nothing times out here, so that floods stand for as long as they are looked at.
fn flooded_config(good: &Origin, bodies: &Sink, answers: &Sink) -> String {
    let limits = "header_timeout: 5m, body_timeout: 5m, write_timeout: 5m, idle_timeout: 5m";
    let waits = "connect_timeout: 20s, first_byte_timeout: 5m, body_timeout: 5m";
    let route = |name: &str| format!("- {{ name: {name}, match: {{ path: /{name} }}, upstream: {name} }}\n");
    let upstream = |name: &str, at: SocketAddr| format!("- {{ name: {name}, endpoints: ['{at}'], {waits} }}\n");
    [
        format!("listeners: [{{ name: p, bind: 127.0.0.1:0, limits: {{ {limits} }} }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n"),
        format!("routes:\n{}{}{}", route("good"), route("body"), route("answer")),
        format!("upstreams:\n{}", upstream("good", good.address)),
        format!("{}{}", upstream("body", bodies.address), upstream("answer", answers.address)),
    ]
    .concat()
}

#[test]
fn floods_of_slow_peers_leave_good_clients_alone_and_cost_what_their_buffers_cost() {
    let _alone = alone();
    // A process holds four client connections a turn, and two to or from upstreams.
    let count = affordable(FLOOD_LEN, 6);
    let good = Origin::answering(|_| GOOD_ANSWER.to_vec());
    let long_head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG_ANSWER_BYTES}\r\n\r\n");
    let (bodies, answers) = (Sink::start(Vec::new()), Sink::start([long_head.into_bytes(), vec![b'x'; LONG_ANSWER_BYTES]].concat()));
    let yaml = flooded_config(&good, &bodies, &answers);
    let (gateway, twin) = (Pellucid::start_config(&yaml, &[]), Pellucid::start_config(&yaml, &[]));
    let mut client = GoodClient { flooded: Client::connect(gateway.address), calm: Client::connect(twin.address) };
    client.measure(); // so that what is made once is there
    let (before, _) = client.measure();

    let mut crowd = Crowd::gather();
    let (mut open, mut forwarded) = (1, 0);
    for flood in &FLOODS {
        let resident_before = resident(&gateway);
        crowd.join(flood.open(gateway.address, count));
        open += count;
        forwarded += if flood.forwarded { count } else { 0 };
        wait_for(flood.name, || {
            let all_here = metric(&gateway, "pellucid_connections") == open as f64;
            (all_here && bodies.connections() + answers.connections() == forwarded).then_some(())
        });
        client.assert_unharmed(before, flood.name);
        let grown = resident(&gateway).saturating_sub(resident_before);
        println!("{}: {} KiB for {count}, {} bytes each", flood.name, grown >> 10, grown / count);
        assert!(grown <= count * flood.bytes_each + SLACK_BYTES, "{}: {count} of them cost {} KiB", flood.name, grown >> 10);
    }
    wait_for("slow bodies and slow readers to be under way still", || {
        (metric(&gateway, "http_server_active_requests") == forwarded as f64).then_some(())
    });

    crowd.fall_silent();
    let used_before = processor_time(&gateway);
    std::thread::sleep(Duration::from_secs(1));
    let used = processor_time(&gateway) - used_before;
    assert!(used <= QUIET_CPU, "{used:?} of processor time in a second for connections that say nothing");

    drop(crowd);
    wait_for("all but the good client to be counted out", || (metric(&gateway, "pellucid_connections") == 1.0).then_some(()));
    time_one(&mut client.flooded);
}
