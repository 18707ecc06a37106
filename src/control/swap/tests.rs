//! Readers of the published snapshot against reloads, driven by schedules that are drawn from a seed.
//!
//! In: seeds. Each one draws texts, valid and broken, that take the file's place one after the other, while other threads load the snapshot
//! as workers do, and perhaps one more asks for reloads of its own. Out: readers see whole configurations only, in their order, and a
//! broken text changes nothing. Every part of configuration `n` carries `n`, so that a mixture would show. `PELLUCID_SEED=n` runs one.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use http::Method;

use super::{Control, Source};
use crate::base::clock::Clock;
use crate::base::draw::Draw;
use crate::control::history::Trigger;
use crate::control::sockets::Inherited;
use crate::proxy::fields::Fields;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::upstream::endpoint::Endpoint;

const SCHEDULES: u64 = 60;
const RELOADS: u32 = 40;
const READERS: usize = 2;

fn start(path: PathBuf) -> Arc<Control> {
    Control::start(Source::File(path), Clock::system(), "test".to_owned(), &mut Inherited::none()).unwrap().0
}

/// False where the text was refused.
fn reload(control: &Control) -> bool {
    control.reload(Trigger::Api).is_ok()
}

#[test]
fn readers_see_whole_configurations_in_their_order_whatever_is_reloaded() {
    let only: Option<u64> = std::env::var("PELLUCID_SEED").ok().map(|text| text.parse().unwrap());
    for seed in only.map_or(0..SCHEDULES, |seed| seed..seed + 1) {
        schedule(seed);
    }
}

fn schedule(seed: u64) {
    let mut draw = Draw::seeded(seed);
    let file = Replaced::new(seed);
    file.replace(Some(text_of(1).as_bytes()));
    let control = start(file.path.clone());
    let over = AtomicBool::new(false);
    let (control, over, published) = (&*control, &over, &control.published);
    std::thread::scope(|scope| {
        let ends = EndsWith(over);
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(move || read(published, over, seed))).collect();
        if draw.below(2) == 0 {
            scope.spawn(move || reload_all_the_time(control, over));
        }
        let last = replace_and_reload(control, &file, &mut draw, seed);
        drop(ends);
        for reader in readers {
            let seen = reader.join().unwrap_or_else(|_| panic!("PELLUCID_SEED={seed}: a reader failed, see above"));
            assert_eq!(seen, last, "PELLUCID_SEED={seed}: a reader missed the last configuration");
        }
    });
}

/// Returns the number of the configuration that is in force at the end.
fn replace_and_reload(control: &Control, file: &Replaced, draw: &mut Draw, seed: u64) -> u64 {
    let mut number = 1;
    for _ in 0..RELOADS {
        let valid = draw.below(3) > 0;
        if valid {
            number += 1 + u64::from(draw.below(3));
            file.replace(Some(text_of(number).as_bytes()));
        } else {
            file.replace(broken_text(number + 1, draw).as_deref());
        }
        let before = control.published.load_full();
        assert_eq!(reload(control), valid, "PELLUCID_SEED={seed}: of {number}");
        let after = control.published.load_full();
        assert!(valid || Arc::ptr_eq(&before, &after), "PELLUCID_SEED={seed}: a broken text changed what is published");
        assert_eq!(number_of(&after, seed), number, "PELLUCID_SEED={seed}");
    }
    number
}

/// A second one who asks, as the signal does beside the API. The pause leaves the others their turn.
fn reload_all_the_time(control: &Control, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        reload(control);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Loads as a worker does, and checks whatever is new. Returns the last number seen.
fn read(published: &Arc<ArcSwap<Snapshot>>, over: &AtomicBool, seed: u64) -> u64 {
    let mut cache = Cache::new(Arc::clone(published));
    let mut held = Arc::clone(cache.load());
    let mut number = number_of(&held, seed);
    let steady = Arc::clone(steady_of(&held));
    loop {
        let is_last = over.load(Ordering::Acquire);
        let snapshot = Arc::clone(cache.load());
        if !Arc::ptr_eq(&snapshot, &held) {
            // A request that still runs on the former one finds it as it was.
            assert_eq!(number_of(&held, seed), number, "PELLUCID_SEED={seed}: a snapshot in use has changed");
            let newer = number_of(&snapshot, seed);
            assert!(newer > number, "PELLUCID_SEED={seed}: a reader goes from {number} to {newer}");
            assert!(Arc::ptr_eq(steady_of(&snapshot), &steady), "PELLUCID_SEED={seed}: an endpoint that did not change was made anew");
            (held, number) = (snapshot, newer);
        }
        if is_last {
            return number;
        }
        std::thread::yield_now();
    }
}

/// The number of a snapshot, after a look at each of its parts: all must be of that number, and there must be as many as it says.
fn number_of(snapshot: &Snapshot, seed: u64) -> u64 {
    let timeout = |route: usize| snapshot.routes[route].timeout.expect("each route has one").as_millis() as u64;
    let number = timeout(0);
    let parts = parts_of(number);
    let counts = (snapshot.routes.len(), snapshot.upstreams.len(), snapshot.listeners.len());
    assert_eq!(counts, (parts, parts, 1), "PELLUCID_SEED={seed}: of {number}");
    assert_eq!(snapshot.listeners[0].limits.idle_timeout, Duration::from_millis(number), "PELLUCID_SEED={seed}");
    let find = |part: usize| snapshot.table.find(b"any.test", format!("/r{part}").as_bytes(), &Method::GET, &Fields::new()).ok();
    for part in 0..parts {
        let route = find(part).unwrap_or_else(|| panic!("PELLUCID_SEED={seed}: of {number}, route {part} is not found"));
        let upstream = snapshot.routes[route].split.as_ref().map(|split| split.parts()[0].0).expect("each route leads to an upstream");
        let host = snapshot.upstreams[upstream].endpoints.last().map(|endpoint| endpoint.host.clone());
        assert_eq!((timeout(route), host), (number, Some(host_of(number, part))), "PELLUCID_SEED={seed}: part {part}");
    }
    assert_eq!(find(parts), None, "PELLUCID_SEED={seed}: of {number}, there is a route too many");
    number
}

/// The endpoint that all configurations have.
fn steady_of(snapshot: &Snapshot) -> &Arc<Endpoint> {
    snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints).find(|endpoint| endpoint.host == STEADY_HOST).expect("it is in all")
}

const STEADY_HOST: &str = "steady.test";

fn parts_of(number: u64) -> usize {
    2 + (number % 5) as usize
}

fn host_of(number: u64, part: usize) -> String {
    format!("n{number}-u{part}.test")
}

fn text_of(number: u64) -> String {
    let mut text = format!(
        "listeners: [{{ name: public, bind: '127.0.0.1:0', limits: {{ idle_timeout: {number}ms }} }}]\n\
         admin: {{ bind: '127.0.0.1:0' }}\nruntime: {{ workers: 2 }}\nroutes:\n"
    );
    for part in 0..parts_of(number) {
        writeln!(text, "  - {{ name: r{part}, match: {{ path: /r{part} }}, upstream: u{part}, timeout: {number}ms }}").unwrap();
    }
    text.push_str("upstreams:\n");
    for part in 0..parts_of(number) {
        let steady = if part == 0 { format!("'{STEADY_HOST}:80', ") } else { String::new() };
        writeln!(text, "  - {{ name: u{part}, endpoints: [{steady}'{}:80'] }}", host_of(number, part)).unwrap();
    }
    text
}

/// A text that must be refused; none stands for a file that is gone.
fn broken_text(number: u64, draw: &mut Draw) -> Option<Vec<u8>> {
    let text = text_of(number);
    let broken = match draw.below(8) {
        0 => return None,
        1 => return Some(vec![b'a', b':', b' ', 0xff, 0xfe]),
        2 => String::new(),
        // As a writer leaves it who is not done.
        3 => text[..text.len() / 2].to_owned(),
        4 => format!("{text}surplus: 1\n"),
        5 => text.replace("upstream: u0,", "upstream: nobody,"),
        6 => text.replace("path: /r1 ", "path: /r0 "),
        _ => text.replace("workers: 2", "workers: 3"),
    };
    assert_ne!(broken, text, "it is not broken");
    Some(broken.into_bytes())
}

/// A file whose content changes at once, never in part.
struct Replaced {
    dir: PathBuf,
    path: PathBuf,
}

impl Replaced {
    fn new(seed: u64) -> Self {
        let dir = std::env::temp_dir().join(format!("pellucid-swap-{}-{seed}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Replaced { path: dir.join("pellucid.yaml"), dir }
    }

    fn replace(&self, content: Option<&[u8]>) {
        let new: &Path = &self.dir.join("new.yaml");
        match content {
            Some(content) => {
                std::fs::write(new, content).unwrap();
                std::fs::rename(new, &self.path).unwrap();
            }
            None if self.path.exists() => std::fs::remove_file(&self.path).unwrap(),
            None => {}
        }
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// However the schedule ends, the other threads end with it.
struct EndsWith<'o>(&'o AtomicBool);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
