//! Whether profiles tell the truth, and what they cost: the second part.
//!
//! In: work of a known shape, the kernel's own accounts, and everything that could break a sampler: signals, forks, threads that end, a
//! thousand starts and stops. Out: samples that agree with what was done, and a gateway that goes on. Where a share is looked for, samples
//! are gathered until there are enough of them to tell. Not here: the pages themselves (`profiles`).

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::pprof::{PATHS, Wrk, download, has_thread, lean_origin, page, profile, threads, two_routes, wait_long};
use crate::support::process::Pellucid;
use crate::support::stack::{Collector, tool};
use crate::support::{Client, find, get, wait_for};

const OTHER_TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319d";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
/// Shares that differ by less are equal, in points.
const SHARE_TOLERANCE: f64 = 3.0;
/// Samples with which a share is known that well, and how often they are looked for.
const SHARE_SAMPLES: usize = 3000;
const SHARE_ROUNDS: usize = 8;
/// A chance of one in two thousand, in standard deviations.
const SURE: f64 = 3.5;
/// One answer of a gateway that is asked for the same by everybody.
const BODY_BYTES: usize = 65_536;

/// The profiler takes samples.
fn wait_until_sampled(gateway: &Pellucid) {
    wait_for("the profiler", || has_thread(gateway.pid(), "pellucid-prof").then_some(()));
}

fn wait_until_rested(gateway: &Pellucid) {
    wait_for("the profiler to rest", || (!has_thread(gateway.pid(), "pellucid-prof")).then_some(()));
}

/// The sum of a metric over its series.
fn metric(gateway: &Pellucid, name: &str) -> f64 {
    let metrics = gateway.metrics();
    let lines = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Milliseconds of CPU time that the process has used, by the kernel's account of it.
fn process_cpu_ms(pid: u32) -> f64 {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in brackets, may hold anything; `utime` and `stime` are the 12th and 13th field after it (proc(5)), in ticks of 10 ms.
    let fields: Vec<&str> = line.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum()
}

/// Milliseconds of CPU time of the worker threads, and of the whole process.
fn cpu_ms(pid: u32) -> [f64; 2] {
    [workers_ms(pid)[0], process_cpu_ms(pid)]
}

/// Milliseconds that worker threads were on a core, and that they waited for one.
fn workers_ms(pid: u32) -> [f64; 2] {
    let workers = threads(pid).into_iter().filter(|(name, _)| name.starts_with("pellucid-w"));
    workers.fold([0.0; 2], |[ran, waited], (_, [on_core, queued])| [ran + on_core as f64 / 1e6, waited + queued as f64 / 1e6])
}

#[test]
fn routes_with_equal_requests_have_shares_of_cpu_time_like_their_shares_of_requests() {
    const SHARES: [(&str, f64); 3] = [("most", 70.0), ("some", 20.0), ("few", 10.0)];
    let origin = lean_origin();
    let routes: Vec<String> = SHARES.map(|(name, _)| format!("{{ name: {name}, match: {{ path: '/{name}/**' }}, upstream: o }}")).to_vec();
    let gateway = Pellucid::start(&format!(
        "runtime: {{ workers: 2 }}\nroutes: [{}]\nupstreams: [{{ name: o, endpoints: ['{}'] }}]\n",
        routes.join(", "),
        origin.address
    ));
    let turns = ["most", "some", "most", "most", "few", "most", "most", "some", "most", "most"];
    let paths = turns.map(|name| format!("/{name}/{BODY_BYTES}"));
    let load = Wrk::start(&gateway, 16, &paths.each_ref().map(String::as_str));
    let (mut cpu, mut samples) = (BTreeMap::new(), 0);
    for _ in 0..SHARE_ROUNDS {
        let raw = profile(&gateway, "profile?seconds=6&hz=250");
        for sample in raw.samples.iter().filter(|sample| sample.is_of_worker() && !sample.label("route").is_empty()) {
            *cpu.entry(sample.label("route").to_owned()).or_insert(0.0) += sample.values[1] as f64;
            samples += 1;
        }
        if samples >= SHARE_SAMPLES {
            break;
        }
    }
    load.stop();
    let all: f64 = cpu.values().sum();
    for (name, expected) in SHARES {
        let share = cpu.get(name).map_or(0.0, |nanos| nanos / all * 100.0);
        let deviation = (expected * (100.0 - expected) / samples as f64).sqrt();
        println!("{name}: {share:.1} % of the CPU time, {expected} % of the requests, {samples} samples");
        assert!((share - expected).abs() <= SHARE_TOLERANCE.max(SURE * deviation), "{name} has {share:.1} % of {cpu:?}, {samples} samples");
    }
    assert_eq!(cpu.len(), SHARES.len(), "{cpu:?}");
}

#[test]
fn a_profile_under_load_loses_next_to_nothing_and_says_how_much() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let load = Wrk::start(&gateway, 64, &PATHS);
    let raw = profile(&gateway, "profile?seconds=4&hz=999");
    load.stop();
    let (taken, lost) = raw.account();
    println!("{taken} samples, {lost} lost");
    assert!(taken > 100 && lost * 100 < taken + lost, "{:?}", raw.comments);
    let counted = metric(&gateway, "pellucid_profile_samples_lost_total");
    assert!(counted >= lost as f64 && counted * 100.0 < taken as f64, "{counted} lost by the metric, {lost} by the profile");
    assert!(metric(&gateway, "pellucid_profile_samples_total") >= taken as f64);
}

#[test]
fn all_samples_together_are_the_cpu_time_that_the_kernel_counts() {
    const WORK_MS: f64 = 1200.0;
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    for hz in [100, 999] {
        wait_until_rested(&gateway);
        let before = cpu_ms(gateway.pid());
        let (raw, least, most) = std::thread::scope(|scope| {
            let raw = scope.spawn(|| profile(&gateway, &format!("profile?seconds=10&hz={hz}")));
            wait_until_sampled(&gateway);
            let load = Wrk::start(&gateway, 32, &PATHS);
            wait_for("some work", || (cpu_ms(gateway.pid())[0] >= before[0] + WORK_MS).then_some(()));
            load.stop();
            // The load lies wholly within the profile. What follows it does so in part: telemetry goes on, and names are looked up at the end.
            let least = cpu_ms(gateway.pid());
            assert!(has_thread(gateway.pid(), "pellucid-prof"), "the work took longer than the profile");
            wait_long("the end of the samples", || (!has_thread(gateway.pid(), "pellucid-prof")).then_some(()));
            let most = cpu_ms(gateway.pid());
            (raw.join().unwrap(), least, most)
        });
        let period_ms = 1e3 / f64::from(hz);
        let sampled = [raw.sum(1, |sample| sample.is_of_worker()), raw.sum(1, |_| true)].map(|nanos| nanos as f64 / 1e6);
        let counts = [2.0, threads(gateway.pid()).len() as f64];
        for (index, what) in ["workers", "process"].into_iter().enumerate() {
            let (sampled, least, most) = (sampled[index], least[index] - before[index], most[index] - before[index]);
            println!("{hz} Hz, {what}: {sampled:.0} ms in samples, {least:.0} to {most:.0} ms by the kernel");
            // Each thread may have begun a period that did not end.
            let tolerance = least * 0.1 + counts[index] * period_ms;
            assert!(sampled >= least - tolerance && sampled <= most + tolerance, "{hz} Hz, {what}: {sampled} ms, not {least} to {most}");
        }
    }
}

#[test]
fn the_samples_of_a_trace_are_the_self_time_of_its_request() {
    const BYTES: usize = 512 << 20;
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    for (round, hz) in [100, 999].into_iter().enumerate() {
        wait_until_rested(&gateway);
        let trace_id = format!("{:032x}", 0xdead_0001 + round);
        let (raw, waited) = std::thread::scope(|scope| {
            let raw = scope.spawn(|| profile(&gateway, &format!("profile?seconds=12&hz={hz}&trace_id={trace_id}")));
            wait_until_sampled(&gateway);
            let before = workers_ms(gateway.pid())[1];
            download(&gateway, BYTES, &trace_id);
            let waited = workers_ms(gateway.pid())[1] - before;
            assert!(has_thread(gateway.pid(), "pellucid-prof"), "the download took longer than the profile");
            (raw.join().unwrap(), waited)
        });
        assert!(raw.samples.iter().all(|sample| sample.label("trace_id") == trace_id));
        let sampled = raw.sum(1, |_| true) as f64 / 1e6;
        let own = gateway.record(|record| record["trace_id"] == trace_id.as_str())["self_ms"].as_f64().unwrap();
        println!("{hz} Hz: {sampled:.0} ms in samples, {own:.0} ms of self time, {waited:.0} ms without a core");
        let tolerance = own * 0.25 + 3.0 * 1e3 / f64::from(hz);
        // Self time is by the clock: it goes on while the kernel gives the core to others.
        assert!(sampled <= own + tolerance && sampled + waited >= own - tolerance, "{sampled} ms in samples, {own} ms of self time");
    }
}

#[test]
fn a_sample_in_a_system_call_knows_how_it_came_there() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let _load = Wrk::start(&gateway, 64, &PATHS);
    let raw = profile(&gateway, "profile?seconds=4&hz=250");
    let mut broken = BTreeMap::new();
    let (mut whole, mut all) = (0, 0);
    for sample in raw.samples.iter().filter(|sample| sample.is_of_worker()) {
        let names = raw.names(sample);
        all += sample.values[0];
        if names.iter().any(|name| name.contains("thread_start")) {
            whole += sample.values[0];
        } else {
            *broken.entry(names.first().copied().unwrap_or("?")).or_insert(0) += sample.values[0];
        }
    }
    println!("{whole} of {all} stacks reach the beginning of their thread; the others are in {broken:?}");
    assert!(
        all > 0 && whole * 100 >= all * 95,
        "{whole} of {all} stacks reach the beginning of their thread; the others are in {broken:?}"
    );
}

#[test]
fn a_thousand_starts_and_stops_under_load_cost_no_request() {
    const CYCLES: usize = 400;
    const CLIENTS: usize = 24;
    const EACH: usize = 40;
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let load = Wrk::start(&gateway, 16, &PATHS);
    assert_eq!(page(&gateway, "heap").status, 200);
    let begin = |number: usize| {
        let mut client = Client::connect(gateway.admin);
        client.send(format!("GET /debug/pprof/profile?seconds=600&hz={} HTTP/1.1\r\nHost: h\r\n\r\n", 1 + number * 37 % 1000));
        client
    };
    // One after the other: each is seen to begin and to end.
    for number in 0..CYCLES {
        let client = begin(number);
        wait_until_sampled(&gateway);
        drop(client);
        wait_until_rested(&gateway);
    }
    // And all at once, each gone after some milliseconds, wherever that finds the profiler.
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for number in 0..EACH {
                    let session = begin(client + CLIENTS * number);
                    std::thread::sleep(Duration::from_millis((client + number) as u64 % 9));
                    drop(session);
                }
            });
        }
    });
    wait_for("those who left to be forgotten", || (page(&gateway, "heap").status == 200).then_some(()));
    wait_until_rested(&gateway);
    assert_eq!(gateway.get("/beta").text(), "hello");
    let raw = profile(&gateway, "profile?seconds=1");
    assert!(raw.samples.iter().any(|sample| sample.is_of_worker()), "{:?}", raw.comments);
    load.stop();
}

/// SIGPROF as anybody may send it.
fn storm(gateway: &Pellucid, signals: usize) {
    for _ in 0..signals {
        kill(Pid::from_raw(gateway.pid() as i32), Signal::SIGPROF).unwrap();
    }
    assert_eq!(gateway.get("/").text(), "here");
}

#[test]
fn signals_of_others_end_nothing_and_are_no_samples() {
    let gateway = Pellucid::start("routes: [{ name: all, filters: [{ respond: { body: here } }] }]");
    storm(&gateway, 5_000);
    let raw = std::thread::scope(|scope| {
        let raw = scope.spawn(|| profile(&gateway, "profile?seconds=2&hz=1"));
        wait_until_sampled(&gateway);
        storm(&gateway, 10_000);
        assert!(!raw.is_finished(), "the storm took longer than the profile");
        raw.join().unwrap()
    });
    // At one sample a second of CPU time a thread has one at its beginning, at most, and one a second.
    let samples = raw.sum(0, |_| true);
    assert!(samples < 50, "{samples} samples of an idle gateway");
    storm(&gateway, 5_000);
    wait_until_rested(&gateway);
    assert!(profile(&gateway, "profile?seconds=1&hz=99").sum(0, |_| true) < 50);
}

/// A successor, ended with its handle.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0 as i32), Signal::SIGKILL);
    }
}

#[test]
fn a_successor_takes_over_in_the_middle_of_a_profile() {
    let mut gateway = Pellucid::start("routes: [{ name: all, filters: [{ respond: { body: here } }] }]\nruntime: { drain_timeout: 5s }\n");
    let load = Wrk::start(&gateway, 4, &["/"]);
    let mut asking = Client::connect(gateway.admin);
    asking.send("GET /debug/pprof/profile?seconds=5&hz=999 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    wait_until_sampled(&gateway);
    gateway.signal("USR2");
    let pid = wait_for("a successor", || {
        let log = gateway.log();
        let digits: String = log.split_once("successor pid=")?.1.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    let _successor = Successor(pid);
    assert_eq!(gateway.wait(), Some(0));
    drop(load);
    // Whoever asked the one that ended has a whole answer, or none.
    let answer = asking.read_all();
    if let Some(body) = find(&answer, b"\r\n\r\n").map(|end| &answer[end + 4..]) {
        let head = String::from_utf8_lossy(&answer[..answer.len() - body.len()]).to_lowercase();
        assert!(head.starts_with("http/1.1 200 ") && head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    } else {
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    wait_for("the successor to be ready", || (get(gateway.admin, "/readyz").status == 200).then_some(()));
    assert_eq!(gateway.get("/").text(), "here");
    assert_eq!(page(&gateway, "profile?seconds=1").status, 200);
}

#[test]
fn threads_that_end_while_they_are_sampled_take_nothing_with_them() {
    const AT_ONCE: usize = 24;
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let _load = Wrk::start(&gateway, 8, &PATHS);
    let count = || threads(gateway.pid()).len();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let raw = scope.spawn(|| profile(&gateway, "profile?seconds=18&hz=999"));
        wait_until_sampled(&gateway);
        let before = count();
        // Work aside is for threads that the runtime starts when it needs them, and ends when they have been idle for ten seconds.
        let asking: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(page(&gateway, "heap").status, 200);
                    }
                })
            })
            .collect();
        wait_for("threads for work aside", || (count() > before + 2).then_some(()));
        done.store(true, Ordering::Relaxed);
        asking.into_iter().for_each(|asking| asking.join().unwrap());
        let most = count();
        wait_long("threads to end", || (count() < most).then_some(()));
        let raw = raw.join().unwrap();
        assert!(raw.samples.iter().any(|sample| sample.is_of_worker()), "{:?}", raw.comments);
    });
    assert_eq!(gateway.get("/beta").text(), "hello");
}

/// Attributes of the pushed samples that are linked to this trace, and how many samples there are in all.
fn pushed(collector: &Collector, trace_id: &str) -> (Vec<BTreeMap<String, String>>, u64) {
    let (mut linked, mut count) = (Vec::new(), 0);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for request in collector.profiles() {
        let tables = &request["dictionary"];
        let at = |table: &str, index: &Value| tables[table][index.as_u64().unwrap_or(0) as usize].clone();
        let attribute = |index: &Value| {
            let attribute = at("attributeTable", index);
            let key = at("stringTable", &attribute["keyStrindex"]).as_str().unwrap().to_owned();
            (key, attribute["value"]["stringValue"].as_str().unwrap_or("").to_owned())
        };
        let scopes = list(&request["resourceProfiles"]).into_iter().flat_map(|resource| list(&resource["scopeProfiles"]));
        for sample in scopes.flat_map(|scope| list(&scope["profiles"])).flat_map(|profile| list(&profile["samples"])) {
            count += 1;
            if at("linkTable", &sample["linkIndex"])["traceId"] == trace_id {
                linked.push(list(&sample["attributeIndices"]).iter().map(attribute).collect());
            }
        }
    }
    (linked, count)
}

#[test]
fn pushed_samples_are_linked_to_the_traces_that_they_were_taken_in_and_all_accounted_for() {
    let (origin, collector) = (lean_origin(), Collector::start(None, None));
    let telemetry = format!("telemetry: {{ {}, profiles: {{ continuous: true, hz: 250, push: true }} }}\n", collector.otlp());
    let gateway = Pellucid::start(&(two_routes(&origin) + &telemetry));
    // Threads are found a moment after the profiler has begun.
    wait_long("a worker to be sampled", || {
        download(&gateway, 50_000_000, OTHER_TRACE_ID);
        let sampled = |line: &str| line.starts_with("pellucid_cpu_phase_seconds_total{") && line.contains("pellucid-w");
        gateway.metrics().lines().any(sampled).then_some(())
    });
    download(&gateway, 200_000_000, TRACE_ID);
    let linked = wait_long("the pushed samples", || Some(pushed(&collector, TRACE_ID).0).filter(|linked| !linked.is_empty()));
    // A sample before the request had its route is linked too; there is hardly one.
    let is_told = |attributes: &&BTreeMap<String, String>| {
        let has = |key: &str, value: &str| attributes.get(key).is_some_and(|text| text.starts_with(value));
        let of_request = has("pellucid.route", "alpha") && has("pellucid.upstream", "origin") && has("pellucid.phase", "");
        of_request && has("thread.name", "pellucid-w")
    };
    let told = linked.iter().filter(is_told).count();
    assert!(told * 10 >= linked.len() * 9, "{told} of {linked:?}");
    wait_long("the account to agree with what came", || {
        let account = gateway.api("/api/v1/telemetry")["signals"]["profiles"].clone();
        let number = |key: &str| account[key].as_u64().unwrap();
        let dropped: u64 = account["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(number("produced"), number("exported") + number("rejected") + dropped + number("queued"), "{account}");
        assert_eq!(number("rejected"), 0, "{account}");
        (number("exported") > 0 && number("exported") == pushed(&collector, TRACE_ID).1).then_some(())
    });
}

#[test]
fn metrics_tell_of_polls_threads_phases_samples_and_memory() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let _load = Wrk::start(&gateway, 32, &["/length/2000"]);
    profile(&gateway, "profile?seconds=3&hz=999");
    let text = gateway.metrics();
    for (name, labels) in [
        ("pellucid_poll_duration_seconds_count", "thread=\"pellucid-w0\""),
        ("pellucid_poll_duration_seconds_sum", "thread=\"pellucid-w1\""),
        ("pellucid_thread_cpu_seconds_total", "thread=\"pellucid-w0\""),
        ("pellucid_thread_cpu_seconds_total", "thread=\"pellucid-telem\""),
        ("pellucid_cpu_phase_seconds_total", "thread=\"pellucid-w0\",phase=\"send\""),
        ("pellucid_cpu_phase_seconds_total", "thread=\"pellucid-w0\",phase=\"body\""),
        ("pellucid_profile_samples_total", "kind=\"cpu\""),
        ("pellucid_allocator_bytes", "kind=\"allocated\""),
        ("pellucid_allocator_bytes", "kind=\"resident\""),
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && line.contains(labels))
            .unwrap_or_else(|| panic!("{name} {labels} in\n{text}"));
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0, "{line}");
    }
    for name in [
        "pellucid_slow_polls_total",
        "pellucid_lock_waits_total",
        "pellucid_profile_samples_lost_total",
        "pellucid_profile_periods_merged_total",
    ] {
        assert!(text.contains(&format!("\n{name}")), "{name} in\n{text}");
    }
    let mut promtool = Command::new(tool("promtool-0.315.0"));
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
}
