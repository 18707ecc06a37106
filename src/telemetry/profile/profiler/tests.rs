//! Truth: what is known beforehand comes back from the profiler, read by Go's own tool.
//!
//! In: threads that burn CPU time along a known call tree, for known routes and traces. Out: shares, by `go tool pprof`, beside what they must be.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::base::draw::Draw;
use crate::base::ids::{SpanId, TraceId, hex_text};
use crate::telemetry::export::profile::pprof;
use crate::telemetry::profile::assemble::Wanted;
use crate::telemetry::record::labels::{self, Labels};

/// The kernel's timers tick 250 times a second, where not more often.
const HZ: u32 = 250;

/// Nothing but arithmetic: in any build the time is its own.
#[inline(never)]
fn burn_leaf(rounds: u64) -> u64 {
    let (mut state, mut round) = (black_box(0x9e37_79b9_7f4a_7c15_u64), 0);
    while round < rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        round += 1;
    }
    state
}

#[inline(never)]
fn burn_three_fifths(unit: u64) -> u64 {
    black_box(burn_leaf(3 * unit)) ^ 1
}

#[inline(never)]
fn burn_two_fifths(unit: u64) -> u64 {
    black_box(burn_leaf(2 * unit)) ^ 2
}

/// Of random length: work that always takes the same time can fall into step with the kernel's tick, which then sees one part of it too often.
#[inline(never)]
fn burn_unit(draw: &mut Draw) -> u64 {
    let unit = 5_000 + u64::from(draw.below(30_000));
    black_box(burn_three_fifths(unit)) ^ black_box(burn_two_fifths(unit))
}

/// Points in which a share may differ: 3, or four standard deviations where so few samples were taken that chance alone goes further.
fn tolerance(share: f64, samples: &[Kept]) -> f64 {
    let (sum, squares) = samples.iter().fold((0.0, 0.0), |(sum, squares), sample| {
        let nanos = sample.nanos as f64;
        (sum + nanos, squares + nanos * nanos)
    });
    f64::max(3.0, 4.0 * (share * (100.0 - share) * squares).sqrt() / sum)
}

fn labels_of(route: &str, trace: u8) -> Labels {
    Labels {
        work: Work::Filter,
        route: labels::number(route),
        upstream: labels::number("truth-upstream"),
        trace_id: TraceId([trace; 16]),
        span_id: SpanId([trace; 8]),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn cpu_of(thread: &str) -> u64 {
    sampler::cpu_times().into_iter().filter(|time| time.name == thread).map(|time| time.nanos).sum()
}

/// Where `tests/install` puts what the tests need.
fn go_pprof() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let path = cache.join("pellucid/bin/go-pprof");
    assert!(path.exists(), "{} is missing: run tests/install", path.display());
    path
}

fn top(file: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(go_pprof()).args(["-top", "-unit=ns", "-nodecount=100000", "-nodefraction=0"]).args(arguments).arg(file).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Flat and cumulated nanoseconds of a function in the table of `-top`.
fn row(table: &str, function: &str) -> (f64, f64) {
    let nanos = |text: &str| text.trim_end_matches("ns").parse::<f64>().unwrap();
    let line = table.lines().find(|line| line.ends_with(&format!("::{function}")));
    let fields: Vec<&str> = line.unwrap_or_else(|| panic!("no {function} in {table}")).split_whitespace().collect();
    (nanos(fields[0]), nanos(fields[3]))
}

#[test]
fn a_burner_of_known_shape_comes_back_by_route_and_by_function() {
    let stop = AtomicBool::new(false);
    let routes = [("truth-70", 7), ("truth-20", 2), ("truth-10", 1)];
    let burn = || {
        let mut draw = Draw::from_system();
        while !stop.load(Ordering::Relaxed) {
            for (route, units) in routes {
                labels::wear(&labels_of(route, 7));
                for _ in 0..units {
                    black_box(burn_unit(&mut draw));
                }
                labels::take_off();
            }
        }
    };
    let taken = std::thread::scope(|scope| {
        let burners = [scope.spawn(burn), scope.spawn(burn)];
        let taken = runtime().block_on(Profiler::of_process().coming(Kind::Cpu, HZ, Duration::from_secs(12))).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(burners.into_iter().all(|burner| burner.join().is_ok()));
        taken
    });
    assert!(taken.samples.len() > 500, "only {} samples", taken.samples.len());
    let profile = Profiler::of_process().profile(&taken);
    let file = std::env::temp_dir().join(format!("pellucid-truth-{}.pb.gz", std::process::id()));
    std::fs::write(&file, pprof::encode(&profile)).unwrap();

    let of_route = |route: &str| row(&top(&file, &[&format!("-tagfocus=route={route}")]), "burn_unit").1;
    let nanos = routes.map(|(route, _)| of_route(route));
    let all: f64 = nanos.iter().sum();
    for ((route, share), nanos) in routes.iter().zip(nanos) {
        let (found, share) = (100.0 * nanos / all, 10.0 * f64::from(*share));
        assert!((found - share).abs() < tolerance(share, &taken.samples), "{route} has {found:.1} % instead of {share} %");
    }
    let table = top(&file, &["-focus=burn_unit"]);
    let (unit, leaf) = (row(&table, "burn_unit").1, row(&table, "burn_leaf"));
    for (function, share) in [("burn_three_fifths", 60.0), ("burn_two_fifths", 40.0)] {
        let found = 100.0 * row(&table, function).1 / unit;
        assert!((found - share).abs() < tolerance(share, &taken.samples), "{function} has {found:.1} % instead of {share} %");
    }
    assert!(leaf.0 / unit > 0.97, "the leaf has {:.1} % of what is its own", 100.0 * leaf.0 / unit);
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_trace_that_burned_so_long_has_so_many_samples() {
    let burned = AtomicUsize::new(0);
    let burn = || {
        labels::wear(&labels_of("truth-trace", 0xab));
        let began = cpu_of("truth-trace");
        while cpu_of("truth-trace") - began < 400_000_000 {
            black_box(burn_leaf(200_000));
        }
        labels::take_off();
        burned.store((cpu_of("truth-trace") - began) as usize, Ordering::Relaxed);
    };
    let mut taken = std::thread::scope(|scope| {
        let profile = scope.spawn(|| runtime().block_on(Profiler::of_process().coming(Kind::Cpu, HZ, Duration::from_secs(3))).unwrap());
        while !IS_ON.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let burner = std::thread::Builder::new().name("truth-trace".to_owned()).spawn_scoped(scope, || {
            // A thread is seen at the profiler's next look.
            std::thread::sleep(3 * TICK * TICKS_A_SCAN);
            burn();
        });
        burner.unwrap().join().unwrap();
        profile.join().unwrap()
    });
    taken.retain(&Wanted { trace_id: Some(hex_text(&TraceId([0xab; 16]).hex()).to_owned()), ..Wanted::default() });
    let mut of_other_span = taken.clone();
    of_other_span.retain(&Wanted { span_id: Some("00000000000000ab".to_owned()), ..Wanted::default() });
    assert!(of_other_span.samples.is_empty());
    taken.retain(&Wanted { span_id: Some("abababababababab".to_owned()), ..Wanted::default() });
    let sampled: u64 = taken.samples.iter().map(|sample| sample.nanos).sum();
    let burned = burned.load(Ordering::Relaxed) as u64;
    let period = 1_000_000_000 / u64::from(HZ);
    assert!(sampled.abs_diff(burned) <= burned / 20 + 3 * period, "{sampled} ns of samples for {burned} ns of CPU time");
    assert!(taken.samples.iter().all(|sample| &*sample.thread == "truth-trace" && sample.labels.work == Work::Filter));
}

#[test]
fn signals_that_are_not_ours_are_counted_and_nothing_else() {
    sampler::install().unwrap();
    let before = sampler::lost().foreign;
    for _ in 0..1000 {
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGPROF).unwrap();
    }
    // Signals of one number that wait are one.
    while sampler::lost().foreign == before {
        std::thread::yield_now();
    }
}

#[test]
fn threads_that_end_and_children_that_fork_leave_a_profile_whole() {
    let profile =
        std::thread::spawn(|| runtime().block_on(Profiler::of_process().coming(Kind::Cpu, 1000, Duration::from_secs(1))).unwrap());
    while !profile.is_finished() {
        let burners: Vec<_> = (0..8).map(|_| std::thread::spawn(|| black_box(burn_leaf(100_000)))).collect();
        assert!(Command::new("true").status().unwrap().success());
        assert!(burners.into_iter().all(|burner| burner.join().is_ok()));
    }
    assert!(!profile.join().unwrap().samples.is_empty());
}

#[test]
fn a_thousand_sessions_come_and_go() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                black_box(burn_leaf(10_000));
            }
        });
        for hz in 1..=1000 {
            let wish = Profiler::of_process().want(hz, false).unwrap();
            drop(wish);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_wait_for_a_lock_shows_where_it_was() {
    let lock = Lock::new(&lock::CLIENTS, ());
    let taken = std::thread::scope(|scope| {
        let profile = scope.spawn(|| runtime().block_on(Profiler::of_process().coming(Kind::Lock, HZ, Duration::from_secs(1))).unwrap());
        while !IS_ON.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let held = lock.lock();
        let waiter = std::thread::Builder::new().name("truth-waiter".to_owned()).spawn_scoped(scope, || drop(lock.lock())).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(held);
        waiter.join().unwrap();
        profile.join().unwrap()
    });
    let waited: Vec<_> = taken.samples.iter().filter(|sample| &*sample.thread == "truth-waiter").collect();
    assert_eq!(waited.len(), 1);
    assert!(waited[0].nanos > 1_000_000);
    let profile = Profiler::of_process().profile(&taken);
    let names: Vec<_> = profile.locations.iter().flat_map(|location| &location.lines).map(|line| line.function.to_string()).collect();
    assert!(names.iter().any(|name| name.contains("lock::Lock") && name.contains("wait")), "{names:?}");
}
