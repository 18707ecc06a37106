//! What `pellucid profile` does with what it is told, against files and an admin plane of the tests' own.
//!
//! In: command lines. Out: files, exit codes' reasons, and the requests that an admin plane sees. Not here: the formats' own tests.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use clap::Parser;

use super::*;
use crate::telemetry::export::profile::pprof;
use crate::telemetry::profile::{Label, Line, Location, Mapping, Sample, ValueType};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    arguments: ProfileArguments,
}

fn parse(line: &[&str]) -> Result<ProfileArguments, clap::Error> {
    CommandLine::try_parse_from(std::iter::once(&"profile").chain(line)).map(|line| line.arguments)
}

fn run(line: &[&str]) -> Result<(), Trouble> {
    work(&parse(line).unwrap())
}

/// A folder of a test's own, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pellucid-profile-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.0.join(name), bytes).unwrap();
        self.path(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn profile(&self, name: &str) -> Profile {
        pprof::decode(&std::fs::read(self.0.join(name)).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Functions with the route and the nanoseconds of each.
fn cpu(samples: &[(&str, &str, i64)]) -> Profile {
    let line = |name: &str| Line { function: name.into(), system_name: name.into(), file: "src/shop.rs".into(), line: 7 };
    let location = |(index, (name, ..)): (usize, &(&str, &str, i64))| Location {
        address: 0x1000 + index as u64,
        mapping: Some(0),
        lines: vec![line(name)],
    };
    let sample = |(index, (_, route, nanos)): (usize, &(&str, &str, i64))| Sample {
        stack: vec![index],
        values: vec![1, *nanos],
        labels: [("route".to_owned(), Label::Text((*route).into()))].into(),
    };
    Profile {
        types: vec![ValueType::new("samples", "count"), ValueType::new("cpu", "nanoseconds")],
        default_type: "cpu".to_owned(),
        mappings: vec![Mapping { start: 0x1000, limit: 0x9000, file: "/pellucid".to_owned(), ..Mapping::default() }],
        locations: samples.iter().enumerate().map(location).collect(),
        samples: samples.iter().enumerate().map(sample).collect(),
        ..Profile::default()
    }
}

fn shop() -> Vec<u8> {
    pprof::encode(&cpu(&[("checksum_of_basket", "shop", 30_000_000), ("find_route", "catalog", 10_000_000)]))
}

/// An admin plane that answers one request with what it is given, and says what it was asked.
fn admin(answer: Vec<u8>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let asked = lines.next().unwrap();
        lines.find(|line| line.is_empty()).unwrap();
        stream.write_all(&answer).unwrap();
        asked
    });
    (address, served)
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn a_file_becomes_what_the_name_of_the_output_asks_for() {
    let folder = Folder::new();
    let file = folder.put("cpu.pb.gz", &shop());
    for output in ["out.svg", "out.folded", "out.txt", "out.pprof"] {
        assert_eq!(run(&[&file, "-o", &folder.path(output)]), Ok(()), "{output}");
    }
    assert!(folder.text("out.svg").contains("checksum_of_basket"));
    assert_eq!(folder.text("out.folded"), "checksum_of_basket 30000000\nfind_route 10000000\n");
    assert!(folder.text("out.txt").contains("checksum_of_basket"));
    assert_eq!(std::fs::read(folder.path("out.pprof")).unwrap(), shop(), "what is only passed on stays as it is");
}

#[test]
fn labels_choose_the_samples_and_may_stand_below_them() {
    let folder = Folder::new();
    let file = folder.put("cpu.pb.gz", &shop());
    let out = folder.path("out.folded");
    assert_eq!(run(&[&file, "--route", "shop", "-o", &out]), Ok(()));
    assert_eq!(folder.text("out.folded"), "checksum_of_basket 30000000\n");
    assert_eq!(run(&[&file, "--by", "route", "--value", "samples", "-o", &out]), Ok(()));
    assert_eq!(folder.text("out.folded"), "catalog;find_route 1\nshop;checksum_of_basket 1\n");
    assert_eq!(run(&[&file, "--route", "shop", "-o", &folder.path("out.pb.gz")]), Ok(()));
    assert_eq!(folder.profile("out.pb.gz").samples.len(), 1);
    assert_eq!(run(&[&file, "--trace-id", "0AF7651916CD43DD8448EB211C80319C", "-o", &out]), Ok(()), "nothing is no failure");
    assert_eq!(folder.text("out.folded"), "");
}

#[test]
fn two_files_are_compared() {
    let folder = Folder::new();
    let before = folder.put("before.pb", &shop());
    let after = cpu(&[("checksum_of_basket", "shop", 90_000_000), ("price_basket", "shop", 10_000_000)]);
    let after = folder.put("after.pb", &pprof::encode(&after));
    for output in ["out.svg", "out.folded", "out.txt", "out.pb.gz"] {
        assert_eq!(run(&[&before, &after, "-o", &folder.path(output)]), Ok(()), "{output}");
    }
    assert!(folder.text("out.svg").contains("checksum_of_basket"));
    let folded = "checksum_of_basket 30000000 90000000\nfind_route 10000000 0\nprice_basket 0 10000000\n";
    assert_eq!(folder.text("out.folded"), folded);
    assert!(folder.text("out.txt").contains("price_basket"));
    let difference = folder.profile("out.pb.gz");
    assert_eq!(difference.total(1), 60_000_000);
    assert_eq!(difference.mappings.len(), 1, "the same file is one mapping");
    let base = |sample: &&Sample| sample.labels.contains_key("pprof::base");
    assert!(difference.samples.iter().filter(base).all(|sample| sample.values[1] < 0));
    assert_eq!(difference.samples.iter().filter(base).count(), 2);
}

#[test]
fn what_two_files_do_not_share_is_not_compared() {
    let folder = Folder::new();
    let before = folder.put("before.pb", &shop());
    let mut turned = cpu(&[("checksum_of_basket", "shop", 50_000_000)]);
    turned.types.reverse();
    turned.samples[0].values.reverse();
    let after = folder.put("after.pb", &pprof::encode(&turned));
    let out = folder.path("out.folded");
    assert_eq!(run(&[&before, &after, "-o", &out]), Ok(()));
    assert_eq!(folder.text("out.folded"), "checksum_of_basket 30000000 50000000\nfind_route 10000000 0\n");
    let heap = Profile { types: vec![ValueType::new("inuse_space", "bytes")], ..Profile::default() };
    let heap = folder.put("heap.pb", &pprof::encode(&heap));
    let Err(Trouble::Wrong(why)) = run(&[&before, &heap, "-o", &out]) else { panic!("compared") };
    assert!(why.contains("cpu in nanoseconds") && why.contains("inuse_space in bytes"), "{why}");
}

#[test]
fn wrong_usage_says_what_is_expected() {
    let folder = Folder::new();
    let file = folder.put("cpu.pb.gz", &shop());
    let text = folder.put("notes.pb", b"not a profile");
    for (line, expected) in [
        (&[&file[..], "-o", "out.png"][..], ".pb.gz .pprof .pb .svg .folded .txt"),
        (&[&file, "-o", &folder.path("absent/out.svg")], "found no folder"),
        (&[&file, "--value", "inuse_space"], "found samples, cpu"),
        (&[&folder.path("absent.pb")], "expected a pprof file"),
        (&[&text], "expected"),
        (&["--kind", "trace", "-o", "out.svg"], ".json"),
        (&["--kind", "goroutine", "--hz", "50"], "only with --kind cpu"),
        (&["--kind", "heap", "--hz", "99"], "only with --kind cpu"),
        (&["--kind", "trace", "--route", "shop"], "only with --kind cpu, heap"),
    ] {
        let Err(Trouble::Wrong(why)) = run(line) else { panic!("{line:?} is good") };
        assert!(why.contains(expected), "{line:?}: {why}");
    }
    for line in [
        &["--kind", "cpus"][..],
        &["--seconds", "0"],
        &["--trace-id", "7"],
        &["--admin", "127.0.0.1:9901"],
        &["--ago", "60", "--hz", "99"],
        &["a.pb", "--seconds", "3"],
        &["a.pb", "b.pb", "c.pb"],
    ] {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line:?} is good"));
        assert_eq!(error.exit_code(), i32::from(WRONG), "{line:?}");
    }
}

#[test]
fn a_gateway_is_asked_for_what_was_wanted() {
    let folder = Folder::new();
    let out = folder.path("out.pb.gz");
    for (line, page) in [
        (&["--kind", "heap"][..], "heap"),
        (&[], "profile?seconds=10"),
        (&["--seconds", "3", "--hz", "199", "--route", "a b"], "profile?seconds=3&hz=199&route=a+b"),
        (&["--seconds", "60", "--ago", "90", "--upstream", "shop"], "profile?seconds=60&ago=90&upstream=shop"),
        (&["--trace-id", "0AF7651916CD43DD8448EB211C80319C"], "profile?seconds=10&trace_id=0af7651916cd43dd8448eb211c80319c"),
        (&["--kind", "mutex", "--seconds", "5", "--route", "shop"], "mutex?seconds=5"),
        (&["--kind", "goroutine"], "goroutine"),
    ] {
        let (address, served) = admin(response("200 OK", &shop()));
        let url = format!("http://{address}/");
        let line: Vec<&str> = line.iter().copied().chain(["--admin", &url, "-o", &out]).collect();
        assert_eq!(run(&line), Ok(()), "{line:?}");
        assert_eq!(served.join().unwrap(), format!("GET /debug/pprof/{page} HTTP/1.1"));
        assert!(!folder.profile("out.pb.gz").samples.is_empty());
    }
}

#[test]
fn the_wait_for_an_answer_is_longer_than_the_profile() {
    let question = |line: &[&str]| fetch::Question::new(&parse(line).unwrap()).unwrap();
    assert_eq!(question(&["--seconds", "120"]).timeout.as_secs(), 150);
    assert_eq!(question(&["--kind", "heap"]).timeout.as_secs(), 30);
}

#[test]
fn what_a_gateway_refuses_is_shown_as_it_says_it() {
    let (address, served) = admin(response("409 Conflict", b"continuous profiles are off\nswitch them on\n"));
    let result = run(&["--ago", "60", "--admin", &format!("http://{address}")]);
    let url = format!("http://{address}/debug/pprof/profile?seconds=10&ago=60");
    assert_eq!(result, Err(Trouble::Failed(format!("{url}: 409 Conflict\ncontinuous profiles are off\nswitch them on"))));
    served.join().unwrap();

    let (address, served) = admin(response("200 OK", b"<html>"));
    let Err(Trouble::Failed(why)) = run(&["--admin", &format!("http://{address}")]) else { panic!("taken for a profile") };
    assert!(why.contains("expected"), "{why}");
    served.join().unwrap();
}

#[test]
fn a_gateway_that_is_not_there_is_named_with_the_reason() {
    // A port that was just free refuses.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let Err(Trouble::Failed(why)) = run(&["--admin", &format!("http://{address}")]) else { panic!("answered") };
    assert!(why.contains(&address.to_string()) && why.to_lowercase().contains("refused"), "{why}");
}

#[test]
fn a_timeline_is_saved_as_it_came() {
    let folder = Folder::new();
    let (address, served) = admin(response("200 OK", b"{\"traceEvents\":[]}"));
    let url = format!("http://{address}");
    let line = ["--kind", "trace", "--seconds", "2", "--admin", &url, "-o", &folder.path("out.json")];
    assert_eq!(run(&line), Ok(()));
    assert_eq!(served.join().unwrap(), "GET /debug/pprof/trace?seconds=2 HTTP/1.1");
    assert_eq!(folder.text("out.json"), "{\"traceEvents\":[]}");
}
