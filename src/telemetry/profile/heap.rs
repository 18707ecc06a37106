//! Heap and allocation profiles: who holds memory, and who asks for it, from jemalloc's sampling.
//!
//! In: what jemalloc has sampled, as the text of its dump, and its statistics. Out: unbiased estimates by stack, their difference over a time, and
//! a [`Profile`] of them. Not here: the choice of allocator (`main.rs` makes it), when sampling is on, and for how long (`control` decides).

mod sheet;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::sync::{Mutex, OnceLock, PoisonError};

use tikv_jemalloc_ctl::{Access, AsName, epoch, stats, thread};

use super::symbols::Symbols;
use super::{Location, Profile, Sample, ValueType};

/// The text of a dump; a stack of 128 frames takes about 2 kB, so this is more than a hundred thousand stacks.
const DUMP_BYTES_MAX: u64 = 256 << 20;
/// Allocated once to see whose memory it is: far more than anything else on the thread allocates meanwhile.
const PROBE_BYTES: usize = 1 << 20;
/// Innermost frames among which jemalloc's own are looked for; there are four or five of them.
const MACHINERY_FRAMES_MAX: usize = 16;
/// The largest estimate, 9 PB: what is in a damaged dump cannot overflow a sum.
const ESTIMATE_MAX: f64 = (1_u64 << 53) as f64;
/// What a profile has of each stack, as Go's `heap` and `allocs` do.
const TYPES: [(&str, &str); 4] =
    [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];
/// Characters of a line that an error shows.
const SHOWN_CHARS_MAX: usize = 60;

/// How jemalloc may have been built to walk stacks. Built with none of them it follows frame pointers without checking them, which crashes
/// where a function keeps none.
const SAFE_WALKS: [&str; 3] = ["config.prof_libgcc\0", "config.prof_libunwind\0", "config.prof_frameptr\0"];

/// jemalloc's sampling, of which a process has one.
#[derive(Debug)]
pub(crate) struct Heap {
    /// Held for a dump: a second one would only double the memory that is taken.
    turn: Mutex<()>,
}

/// Why there is no heap profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoHeap {
    /// Another allocator serves this process.
    NotJemalloc,
    /// jemalloc has no profiling in it.
    NotBuilt,
    /// It has, but was started with `opt.prof` off, which is for good.
    NotStarted,
    /// What went wrong.
    Dump(String),
}

/// What was sampled, by stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dump {
    /// Bytes that are allocated between two samples, on average.
    pub(crate) sample_bytes: u64,
    pub(crate) stacks: Vec<HeapStack>,
}

/// Estimates of all allocations from one stack, sampled or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeapStack {
    /// Where calls return to, innermost first, with jemalloc's own frames.
    pub(crate) addresses: Vec<u64>,
    /// What is in use. Negative in a difference where more was freed than allocated.
    pub(crate) live_objects: i64,
    pub(crate) live_bytes: i64,
    /// What was ever allocated, freed or not.
    pub(crate) all_objects: i64,
    pub(crate) all_bytes: i64,
}

/// jemalloc's own account in bytes: allocated by the program, in pages that hold such, resident, mapped, and kept mapped without memory behind
/// it. None where another allocator serves this process. Takes about 10 µs.
pub(crate) fn allocator_bytes() -> Option<[(&'static str, u64); 5]> {
    if !is_global_allocator() {
        return None;
    }
    // The statistics are a copy that is made when the epoch moves on.
    epoch::advance().ok()?;
    Some([
        ("allocated", stats::allocated::read().ok()? as u64),
        ("active", stats::active::read().ok()? as u64),
        ("resident", stats::resident::read().ok()? as u64),
        ("mapped", stats::mapped::read().ok()? as u64),
        ("retained", stats::retained::read().ok()? as u64),
    ])
}

impl Heap {
    pub(crate) fn new() -> Self {
        Heap { turn: Mutex::new(()) }
    }

    /// jemalloc is this process's global allocator, was built with profiling, and was started with it.
    pub(crate) fn available(&self) -> Result<(), NoHeap> {
        if !is_global_allocator() {
            Err(NoHeap::NotJemalloc)
        } else if !is_set("config.prof\0") || !SAFE_WALKS.iter().any(|walk| is_set(walk)) {
            Err(NoHeap::NotBuilt)
        } else if !is_set("opt.prof\0") {
            Err(NoHeap::NotStarted)
        } else {
            Ok(())
        }
    }

    /// Allocations are sampled now.
    pub(crate) fn is_active(&self) -> bool {
        is_set("prof.active\0")
    }

    /// Switches sampling on or off. What was sampled before stays, and is still followed until it is freed.
    pub(crate) fn set_active(&self, on: bool) -> Result<(), NoHeap> {
        self.available()?;
        let set = "prof.active\0".name().write(on);
        set.map_err(|error| NoHeap::Dump(format!("jemalloc did not set prof.active to {on}: {error}")))
    }

    /// Everything sampled since sampling was first switched on. Takes a millisecond for a few hundred stacks; not for a thread that serves.
    pub(crate) fn take(&self) -> Result<Dump, NoHeap> {
        self.available()?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: &dyn fmt::Display| NoHeap::Dump(format!("jemalloc's dump: {error}"));
        let sheet = sheet::blank().map_err(|error| failed(&error))?;
        sheet::fill(&sheet).map_err(|error| failed(&format!("not written by way of /proc/self/fd: {error}")))?;
        match sheet.metadata().map_err(|error| failed(&error))?.len() {
            0..=DUMP_BYTES_MAX => parse(BufReader::new(sheet)).map_err(|error| failed(&error)),
            bytes => Err(failed(&format!("found {bytes} bytes, expected at most {DUMP_BYTES_MAX}"))),
        }
    }
}

/// Whether what Rust allocates here comes from the jemalloc that we ask. Found out once by allocating: only then does its account of the
/// thread change.
fn is_global_allocator() -> bool {
    static IS_IT: OnceLock<bool> = OnceLock::new();
    *IS_IT.get_or_init(|| {
        let Ok(allocated) = thread::allocatedp::read() else { return false };
        let before = allocated.get();
        drop(black_box(Vec::<u8>::with_capacity(black_box(PROBE_BYTES))));
        allocated.get().wrapping_sub(before) >= PROBE_BYTES as u64
    })
}

/// A switch of jemalloc's, named with a zero byte at the end. One that it does not know is off.
fn is_set(name: &str) -> bool {
    Access::<bool>::read(name.name()).unwrap_or(false)
}

/// Reads jemalloc's `heap_v2` text: the bytes between samples, totals, then each stack with its counts, by thread and (`t*`) over all threads.
///
/// ```text
/// heap_v2/524288
///   t*: 328: 223954 [465: 289603]
/// @ 0x55dcac7d9673 0x55dcac7d9d1d
///   t*: 43: 46530855 [159: 40069243]
/// MAPPED_LIBRARIES:
/// ```
///
/// Source: `prof_dump_header`, `prof_dump_gctx` and `prof_dump_maps` in jemalloc 5.3.1.
fn parse(text: impl BufRead) -> Result<Dump, String> {
    let mut lines = text.split(b'\n').enumerate().map(|(index, line)| (index + 1, line));
    let (_, first) = lines.next().ok_or("it is empty, expected heap_v2/ and the bytes between samples")?;
    let first = first.map_err(|error| error.to_string())?;
    let mut dump = Dump { sample_bytes: rate(&String::from_utf8_lossy(&first))?, stacks: Vec::new() };
    let mut open = None;
    for (number, line) in lines {
        let line = line.map_err(|error| format!("line {number}: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("MAPPED_LIBRARIES:") {
            break;
        }
        dump.read(&line, &mut open).map_err(|expected| format!("line {number}: found {}, expected {expected}", shown(&line)))?;
    }
    match open {
        None => Ok(dump),
        Some(_) => Err("it ends before the counts of its last stack".to_owned()),
    }
}

fn rate(line: &str) -> Result<u64, String> {
    let rate = line.trim_end().strip_prefix("heap_v2/").and_then(|rate| rate.parse().ok()).filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("line 1: found {}, expected heap_v2/ and the bytes between samples", shown(line)))
}

/// `objects: bytes [objects: bytes]`, of what is in use and of everything.
fn counts(text: &str) -> Option<[(u64, u64); 2]> {
    let pair = |text: &str| {
        let (objects, bytes) = text.split_once(':')?;
        Some((objects.trim().parse().ok()?, bytes.trim().parse().ok()?))
    };
    let (live, all) = text.split_once('[')?;
    Some([pair(live)?, pair(all.strip_suffix(']')?)?])
}

fn shown(line: &str) -> String {
    format!("{:?}", line.chars().take(SHOWN_CHARS_MAX).collect::<String>())
}

/// The estimate of all objects and bytes behind the counts of a dump.
///
/// An allocation of `s` bytes is sampled with the probability `1 - exp(-s / rate)`; so what was counted is divided by that, for the average
/// size. This is the formula of jeprof's `AdjustSamples` and of Go's `scaleHeapSample`. jemalloc 5.3 knows better estimates, of each size for
/// itself (`prof_unbias`, on by default), but does not write those: it writes the counts from which this formula gives them
/// (`prof_do_unbias` in prof_data.c), so that it has to be applied, once, and to the counts over all threads.
fn unbiased((objects, bytes): (u64, u64), rate: u64) -> (i64, i64) {
    if objects == 0 || bytes == 0 {
        return (0, 0);
    }
    let size = bytes as f64 / objects as f64;
    let probability = -(-size / rate as f64).exp_m1();
    let estimate = |counted: u64| (counted as f64 / probability).round().min(ESTIMATE_MAX) as i64;
    (estimate(objects), estimate(bytes))
}

impl HeapStack {
    fn estimated(addresses: Vec<u64>, [live, all]: [(u64, u64); 2], rate: u64) -> Self {
        let (live_objects, live_bytes) = unbiased(live, rate);
        let (all_objects, all_bytes) = unbiased(all, rate);
        HeapStack { addresses, live_objects, live_bytes, all_objects, all_bytes }
    }

    /// In the order of [`TYPES`].
    fn values(&self) -> [i64; 4] {
        [self.all_objects, self.all_bytes, self.live_objects, self.live_bytes]
    }
}

impl Dump {
    /// Takes up a line, or says what was expected in its place. `open` is a stack whose counts have not come yet.
    fn read(&mut self, line: &str, open: &mut Option<Vec<u64>>) -> Result<(), &'static str> {
        let text = line.trim();
        if let Some(addresses) = text.strip_prefix('@') {
            let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
            let stack = addresses.split_ascii_whitespace().map(address).collect::<Option<Vec<u64>>>();
            let before = open.replace(stack.ok_or("addresses in hexadecimal")?);
            return before.map_or(Ok(()), |_| Err("the counts of the stack before"));
        }
        // Counts over all threads: of the stack before, or, ahead of all stacks, of everything.
        if let Some(rest) = text.strip_prefix("t*:") {
            let counts = counts(rest).ok_or("t*: objects: bytes [objects: bytes]")?;
            self.stacks.extend(open.take().map(|addresses| HeapStack::estimated(addresses, counts, self.sample_bytes)));
            return Ok(());
        }
        // Ahead of the stacks stand threads with their names, and a name may be anything.
        let is_ahead = self.stacks.is_empty() && open.is_none();
        if is_ahead || text.is_empty() || text.starts_with('t') { Ok(()) } else { Err("a stack, its counts, or MAPPED_LIBRARIES:") }
    }

    /// What came in the time from an earlier dump to this one. Of what is in use that is a difference, and may be less than nothing; what was
    /// allocated cannot be, whatever the estimates say.
    pub(crate) fn since(&self, earlier: &Dump) -> Dump {
        let mut sums: BTreeMap<&[u64], [i64; 4]> = BTreeMap::new();
        let later = self.stacks.iter().map(|stack| (1, stack));
        for (sign, stack) in later.chain(earlier.stacks.iter().map(|stack| (-1, stack))) {
            add(sums.entry(&stack.addresses).or_default(), stack.values().map(|value| sign * value));
        }
        let difference = |(addresses, [objects, bytes, live_objects, live_bytes]): (&[u64], [i64; 4])| {
            let (all_objects, all_bytes) = (objects.max(0), bytes.max(0));
            HeapStack { addresses: addresses.to_vec(), live_objects, live_bytes, all_objects, all_bytes }
        };
        let stacks = sums.into_iter().map(difference).filter(|stack| stack.values() != [0; 4]);
        Dump { sample_bytes: self.sample_bytes, stacks: stacks.collect() }
    }

    /// The profile whose `default_type` is `inuse_space` for who holds memory, `alloc_space` for who asks for it.
    pub(crate) fn to_profile(&self, symbols: &mut Symbols, default_type: &str, began_unix_nanos: u64, duration_nanos: u64) -> Profile {
        symbols.refresh();
        let mut places = Places { symbols, locations: Vec::new(), known: HashMap::new() };
        let mut together: BTreeMap<Vec<usize>, [i64; 4]> = BTreeMap::new();
        for stack in &self.stacks {
            add(together.entry(places.stack(&stack.addresses)).or_default(), stack.values());
        }
        let locations = places.locations;
        let sample = |(stack, values): (Vec<usize>, [i64; 4])| Sample { stack, values: values.to_vec(), labels: BTreeMap::new() };
        Profile {
            types: TYPES.map(|(kind, unit)| ValueType::new(kind, unit)).to_vec(),
            default_type: default_type.to_owned(),
            period: Some((ValueType::new("space", "bytes"), i64::try_from(self.sample_bytes).unwrap_or(i64::MAX))),
            began_unix_nanos,
            duration_nanos,
            comments: self.comments(),
            mappings: symbols.mappings(),
            locations,
            samples: together.into_iter().map(sample).collect(),
        }
    }

    /// Sentences about how far the figures can be trusted.
    fn comments(&self) -> Vec<String> {
        let mut comments = vec![
            format!("estimates from one sample every {} bytes allocated, on average", self.sample_bytes),
            "what was allocated while sampling was off is not in here".to_owned(),
        ];
        let is_seen = |value: fn(&HeapStack) -> i64| self.stacks.iter().any(|stack| value(stack) != 0);
        if is_seen(|stack| stack.live_bytes) && !is_seen(|stack| stack.all_bytes) {
            comments.push("only what is in use is known: jemalloc was started without prof_accum:true".to_owned());
        }
        comments
    }
}

fn add(sums: &mut [i64; 4], values: [i64; 4]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.saturating_add(value);
    }
}

/// The places of a profile, each once.
struct Places<'s> {
    symbols: &'s mut Symbols,
    locations: Vec<Location>,
    known: HashMap<u64, usize>,
}

impl Places<'_> {
    /// The indexes of a stack's places, without the frames of the allocator.
    fn stack(&mut self, addresses: &[u64]) -> Vec<usize> {
        let innermost = addresses.iter().take(MACHINERY_FRAMES_MAX).map(|address| self.symbols.locate(*address, true));
        let own = machinery(&innermost.collect::<Vec<Location>>());
        addresses[own..].iter().map(|address| self.place(*address)).collect()
    }

    fn place(&mut self, address: u64) -> usize {
        *self.known.entry(address).or_insert_with(|| {
            self.locations.push(self.symbols.locate(address, true));
            self.locations.len() - 1
        })
    }
}

/// How many of the innermost frames are jemalloc's: up to the outermost that is known to be, as those between may have any name.
fn machinery(innermost: &[Location]) -> usize {
    let own = innermost.iter().rposition(is_machinery).map_or(0, |last| last + 1);
    // Nothing else was known of such a stack.
    if own == innermost.len() { 0 } else { own }
}

/// A function of jemalloc: it goes by the prefix that the crate builds it with, or is a static one that stands outermost after a tail call.
fn is_machinery(place: &Location) -> bool {
    let Some(function) = place.lines.last().map(|line| &*line.function) else { return false };
    let openings = ["_rjem_", "rjem_", "je_", "prof_", "imalloc", "iralloc", "do_rallocx", "malloc_default"];
    let entries = ["malloc", "calloc", "realloc", "mallocx", "rallocx", "aligned_alloc", "posix_memalign"];
    // Rust's names have a path.
    !function.contains("::") && (openings.iter().any(|opening| function.starts_with(opening)) || entries.contains(&function))
}

impl fmt::Display for NoHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoHeap::NotJemalloc => {
                "heap profiles need jemalloc, and another allocator serves this process: run the gateway's own binary, or make \
                 tikv_jemallocator::Jemalloc the #[global_allocator] of the program that the gateway is part of"
            }
            NoHeap::NotBuilt => {
                "heap profiles need jemalloc's profiling, and this jemalloc was built without it, or with no safe way to walk stacks: build \
                 with the feature `profiling` of tikv-jemallocator, and a C compiler that has libgcc's unwinder"
            }
            NoHeap::NotStarted => {
                "heap profiles need jemalloc to be started with profiling, and it was started with prof:false: start the process with \
                 _RJEM_MALLOC_CONF=prof:true,prof_active:false,prof_accum:true"
            }
            NoHeap::Dump(what) => what,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{any, prop, prop_oneof, proptest};
    use proptest::strategy::{Just, Strategy};

    use super::super::Line;
    use super::*;

    const RATE: u64 = 524_288;

    /// As jemalloc 5.3.1 wrote it, shortened.
    const TEXT: &str = "heap_v2/524288\n  t*: 328: 223954 [465: 289603]\n  t0: 314: 258360 [451: 314031]\n  t1: 14: 1917 [14: 1917] a name\n\
        @ 0x55dcac7d9673 0x55dcac7d9d1d 0x55dcac7c595a\n  t*: 43: 46530855 [159: 40069243]\n  t0: 43: 46530855 [159: 40069243]\n\
        @ 0x55dcac7d9673 0x55dcac74917c\n  t*: 0: 0 [34: 4352]\n  t0: 0: 0 [30: 3840]\n  t1: 0: 0 [4: 512]\n\
        @\n  t*: 1: 5242880 [1: 5242880]\n\
        \nMAPPED_LIBRARIES:\n55dcac705000-55dcac73a000 r--p 00000000 fe:00 10308913 /usr/bin/gateway\n@ not a stack\n";

    fn read(text: &str) -> Result<Dump, String> {
        parse(text.as_bytes())
    }

    fn stack(addresses: &[u64], live: (i64, i64), all: (i64, i64)) -> HeapStack {
        HeapStack { addresses: addresses.to_vec(), live_objects: live.0, live_bytes: live.1, all_objects: all.0, all_bytes: all.1 }
    }

    fn dump(stacks: &[HeapStack]) -> Dump {
        Dump { sample_bytes: RATE, stacks: stacks.to_vec() }
    }

    fn place(function: &str) -> Location {
        let name: Arc<str> = function.into();
        Location { address: 1, mapping: None, lines: vec![Line { function: name, ..Line::default() }] }
    }

    #[test]
    fn a_dump_is_read_as_estimates_by_stack() {
        let dump = read(TEXT).unwrap();
        assert_eq!(dump.sample_bytes, RATE);
        // The program behind the first had grown 50 vectors to 1 MiB: 52 MB in use, twice that allocated on the way. The dump itself says
        // that more is in use than was ever allocated; only the estimates are figures.
        assert_eq!(dump.stacks[0], stack(&[0x55dc_ac7d_9673, 0x55dc_ac7d_9d1d, 0x55dc_ac7c_595a], (49, 53_296_860), (417, 104_995_263)));
        assert_eq!(dump.stacks[1], stack(&[0x55dc_ac7d_9673, 0x55dc_ac74_917c], (0, 0), (139_281, 17_827_968)));
        assert_eq!(dump.stacks[2], stack(&[], (1, 5_243_118), (1, 5_243_118)));
        assert_eq!(dump.stacks.len(), 3, "what stands after the stacks is left alone");
    }

    #[test]
    fn an_estimate_is_what_was_counted_by_how_likely_it_was() {
        assert_eq!(unbiased((0, 0), RATE), (0, 0));
        // One of 64 bytes stands for what is allocated between two samples.
        assert_eq!(unbiased((1, 64), RATE), (8193, 524_320));
        // What is far larger than the rate is always sampled.
        assert_eq!(unbiased((10, 10 << 30), RATE), (10, 10 << 30));
        // At a rate of 1 everything is.
        assert_eq!(unbiased((3, 3000), 1), (3, 3000));
        assert_eq!(unbiased((u64::MAX, u64::MAX), RATE), (1 << 53, 1 << 53));
    }

    #[test]
    fn what_is_no_dump_is_refused_with_the_place_and_what_was_expected() {
        let refused = |text: &str| read(text).unwrap_err();
        assert_eq!(refused(""), "it is empty, expected heap_v2/ and the bytes between samples");
        assert_eq!(refused("{}\n"), "line 1: found \"{}\", expected heap_v2/ and the bytes between samples");
        assert_eq!(refused("heap_v2/0\n"), "line 1: found \"heap_v2/0\", expected heap_v2/ and the bytes between samples");
        assert_eq!(refused("heap_v2/8\n@ 0x1\n@ 0x2\n"), "line 3: found \"@ 0x2\", expected the counts of the stack before");
        assert_eq!(refused("heap_v2/8\n@ 0x1 xyz\n"), "line 2: found \"@ 0x1 xyz\", expected addresses in hexadecimal");
        assert_eq!(
            refused("heap_v2/8\n@ 0x1\n  t*: 1: 2 [3]\n"),
            "line 3: found \"  t*: 1: 2 [3]\", expected t*: objects: bytes [objects: bytes]"
        );
        assert_eq!(refused("heap_v2/8\n@ 0x1\n"), "it ends before the counts of its last stack");
        let long = refused(&format!("heap_v2/8\n@ 0x1\n{}\n", "é".repeat(10_000)));
        assert!(long.ends_with("expected a stack, its counts, or MAPPED_LIBRARIES:") && long.len() < 300, "{long}");
    }

    #[test]
    fn a_truncated_dump_has_an_error_or_fewer_stacks() {
        let whole = read(TEXT).unwrap();
        for end in 0..TEXT.len() {
            if let Ok(part) = read(&TEXT[..end]) {
                assert!(whole.stacks.starts_with(&part.stacks) || part.sample_bytes != RATE, "{:?}", &TEXT[..end]);
            }
        }
    }

    #[test]
    fn a_difference_has_what_came_and_what_went() {
        let earlier = dump(&[stack(&[1], (10, 1000), (10, 1000)), stack(&[2], (5, 500), (9, 900)), stack(&[3], (1, 100), (1, 100))]);
        let later = dump(&[stack(&[1], (12, 1200), (30, 3000)), stack(&[3], (1, 100), (1, 100)), stack(&[4], (7, 70), (7, 70))]);
        let difference = later.since(&earlier);
        assert_eq!(difference.stacks, [stack(&[1], (2, 200), (20, 2000)), stack(&[2], (-5, -500), (0, 0)), stack(&[4], (7, 70), (7, 70))]);
        assert_eq!(later.since(&later).stacks, []);
        assert_eq!(later.since(&dump(&[])), later);
    }

    #[test]
    fn a_stack_begins_with_who_allocates() {
        let stack = |names: &[&str]| machinery(&names.iter().map(|name| place(name)).collect::<Vec<Location>>());
        let walk = ["prof_backtrace_impl", "_rjem_je_prof_backtrace", "_rjem_je_prof_tctx_create"];
        assert_eq!(stack(&[walk[0], walk[1], walk[2], "_rjem_je_malloc_default", "gateway::run", "main"]), 4);
        assert_eq!(stack(&[walk[0], walk[1], walk[2], "do_rallocx", "alloc::raw_vec::finish_grow"]), 4);
        assert_eq!(stack(&[walk[1], "some_static.cold", "_rjem_calloc", "__rustc::__rust_alloc_zeroed", "main"]), 3);
        assert_eq!(stack(&["prof_of_concept::_rjem_malloc", "main"]), 0, "a path is Rust's");
        assert_eq!(stack(&walk), 0, "a stack is not emptied");
        assert_eq!(stack(&[]), 0);
        assert!(!is_machinery(&Location::default()), "what has no name is kept");
    }

    #[inline(never)]
    fn allocates() -> usize {
        black_box(7)
    }

    #[test]
    fn a_profile_has_the_types_of_go_and_each_place_once() {
        // One past the start: an address that a call returns to is looked up one byte before.
        let inside = allocates as *const () as usize as u64 + 1;
        let dump = dump(&[
            stack(&[inside, 0x10], (1, 10), (2, 20)),
            stack(&[0x20, 0x10], (3, 30), (4, 40)),
            stack(&[inside, 0x10], (1, 1), (1, 1)),
        ]);
        let profile = dump.to_profile(&mut Symbols::new(), "inuse_space", 5, 6);
        let types: Vec<&str> = profile.types.iter().map(|value| value.kind.as_str()).collect();
        assert_eq!(types, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
        assert_eq!([0, 1, 2, 3].map(|value| profile.total(value)), [7, 61, 5, 41]);
        assert_eq!((profile.shown(), profile.began_unix_nanos, profile.duration_nanos), (3, 5, 6));
        assert_eq!(profile.period, Some((ValueType::new("space", "bytes"), 524_288)));
        assert_eq!((profile.samples.len(), profile.locations.len()), (2, 3));
        let leaf = &profile.locations[profile.samples[0].stack[0]];
        assert!(leaf.lines.iter().any(|line| line.function.ends_with("heap::tests::allocates")), "{leaf:?}");
        assert!(profile.comments[0].contains("524288 bytes"));
    }

    #[test]
    fn a_profile_without_sums_says_so() {
        let said = |all| dump(&[stack(&[1], (1, 10), all)]).comments().iter().any(|comment| comment.contains("prof_accum:true"));
        assert!(said((0, 0)));
        assert!(!said((1, 10)));
    }

    #[test]
    fn another_allocator_is_noticed_and_the_answer_says_what_to_do() {
        let heap = Heap::new();
        assert_eq!(heap.available(), Err(NoHeap::NotJemalloc));
        assert_eq!(heap.set_active(true), Err(NoHeap::NotJemalloc));
        assert_eq!(heap.take(), Err(NoHeap::NotJemalloc));
        assert!(!heap.is_active());
        assert_eq!(allocator_bytes(), None);
        assert!(NoHeap::NotJemalloc.to_string().contains("#[global_allocator]"));
        assert!(NoHeap::NotBuilt.to_string().contains("`profiling`"));
        assert!(NoHeap::NotStarted.to_string().contains("_RJEM_MALLOC_CONF=prof:true"));
    }

    #[test]
    fn a_sheet_can_be_written_by_its_path_and_is_for_us_alone() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::PermissionsExt;
        let sheet = sheet::blank().unwrap();
        std::fs::write(format!("/proc/self/fd/{}", sheet.as_raw_fd()), TEXT).unwrap();
        assert_eq!(sheet.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(parse(BufReader::new(sheet)), read(TEXT));
    }

    fn pieces() -> impl Strategy<Value = String> {
        let number = any::<u64>().prop_map(|number| number.to_string());
        prop_oneof![
            Just("\n".to_owned()),
            Just("@".to_owned()),
            Just(" 0x7f00".to_owned()),
            Just("  t*: ".to_owned()),
            Just("[1: ".to_owned()),
            Just("]\n".to_owned()),
            Just("\n@ 0x1\n  t*: ".to_owned()),
            Just(": ".to_owned()),
            Just("MAPPED_LIBRARIES:\n".to_owned()),
            number,
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(bytes.as_slice());
            let _ = parse([b"heap_v2/524288\n".as_slice(), &bytes].concat().as_slice());
        }

        #[test]
        fn no_damage_panics(at in 0..TEXT.len(), byte in any::<u8>()) {
            let mut text = TEXT.as_bytes().to_vec();
            text[at] = byte;
            if let Ok(dump) = parse(text.as_slice()) {
                let _ = dump.since(&read(TEXT).unwrap()).comments();
            }
        }

        #[test]
        fn no_mixture_panics(rate in 1_u64.., pieces in prop::collection::vec(pieces(), 0..60)) {
            if let Ok(dump) = read(&format!("heap_v2/{rate}\n{}", pieces.concat())) {
                for stack in &dump.stacks {
                    assert!(stack.values().iter().all(|value| (0..=1 << 53).contains(value)), "{stack:?}");
                }
                assert_eq!(dump.since(&dump).stacks, []);
            }
        }
    }
}
