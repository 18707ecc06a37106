//! `pellucid profile`: the command that takes profiles of a running gateway, converts them, and compares them.
//!
//! In: the built command, gateways under load, files that it wrote itself. Out: what it writes under each name, what it says on each of its
//! outputs, and its exit codes. Not here: what the pages answer (`profiles`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::origin::Origin;
use crate::support::pprof::{PATHS, Raw, Wrk, assert_svg, lean_origin, pprof, two_routes};
use crate::support::process::Pellucid;
use crate::support::{Client, temp_dir, wait_for};

const RESPOND: &str = "routes: [{ name: all, filters: [{ respond: { body: here } }] }]";

/// The command with these arguments.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    command.arg("profile").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What is asked of a gateway.
fn ask(gateway: &Pellucid, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.admin);
    run(&[&["--admin", admin.as_str()][..], arguments].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It ended with this code. What it said on standard error.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}\n{said}", text(&output.stdout));
    said
}

/// A place for a file of this name, as an argument too.
fn place(name: &str) -> (PathBuf, String) {
    let path = temp_dir().join(name);
    let argument = path.to_str().unwrap().to_owned();
    (path, argument)
}

/// Folded stacks: the outermost frame of each, and the sum of all.
fn folded(file: &Path) -> (BTreeSet<String>, i64) {
    let content = std::fs::read_to_string(file).unwrap();
    let stacks = content.lines().map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}")));
    let (mut roots, mut sum) = (BTreeSet::new(), 0);
    for (stack, count) in stacks {
        roots.insert(stack.split(';').next().unwrap().to_owned());
        sum += count.parse::<i64>().unwrap_or_else(|error| panic!("{error}: {count}"));
    }
    (roots, sum)
}

#[test]
fn the_ending_of_the_output_says_what_is_written() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let _load = Wrk::start(&gateway, 32, &PATHS);
    let take = |name: &str, more: &[&str]| {
        let (path, argument) = place(name);
        let said = said(&ask(&gateway, &[&["--seconds", "1", "-o", argument.as_str()][..], more].concat()), 0);
        assert!(said.contains("taking a cpu profile for 1 s from http://") && said.contains(&format!("wrote {argument}, ")), "{said}");
        path
    };
    let svg = std::fs::read(take("cpu.svg", &[])).unwrap();
    assert_svg(&svg);
    assert!(text(&svg).contains("function search(") && text(&svg).contains("in all"));

    let file = take("cpu.pb.gz", &["--hz", "250"]);
    let raw = Raw::of_file(&file);
    assert!(raw.samples.iter().any(|sample| sample.label("route") == "alpha") && raw.comments[1].starts_with("250 samples"), "{raw:?}");
    assert!(pprof(&["-top", file.to_str().unwrap()]).contains("Type: cpu"));

    let (roots, sum) = folded(&take("cpu.folded", &["--by", "route"]));
    assert!(sum > 0 && roots.contains("alpha") && roots.contains("beta"), "{roots:?}");
    let (roots, sum) = folded(&take("alpha.folded", &["--by", "route", "--route", "alpha"]));
    assert!(sum > 0 && roots == BTreeSet::from(["alpha".to_owned()]), "{roots:?}");

    let table = std::fs::read_to_string(take("cpu.txt", &[])).unwrap();
    assert!(table.contains("Type: cpu") && table.contains("flat%"), "{table}");
}

#[test]
fn without_an_output_there_is_a_table_on_standard_output_and_all_else_on_standard_error() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let _load = Wrk::start(&gateway, 32, &PATHS);
    let ways: [&[&str]; 3] = [&[], &["-o", "-"], &["--value", "samples"]];
    for more in ways {
        let output = ask(&gateway, &[&["--seconds", "1"][..], more].concat());
        let (table, said) = (text(&output.stdout), said(&output, 0));
        let kind = if more.contains(&"samples") { "Type: samples" } else { "Type: cpu" };
        for part in [kind, "Total samples = ", "flat%", " samples, 0 lost"] {
            assert!(table.contains(part), "{part} in {table}");
        }
        assert!(said.contains("taking a cpu profile") && !said.contains("flat%"), "{said}");
    }
    let output = ask(&gateway, &["--seconds", "1", "--route", "rest"]);
    assert!(said(&output, 0).contains("no samples matched (route=rest)"), "{output:?}");
}

#[test]
fn other_kinds_come_from_their_own_pages() {
    // It reads, and never answers.
    let origin = Origin::scripted(|talk| while talk.read_head().is_some() {});
    let gateway = Pellucid::start(&two_routes(&origin));
    let mut hanging = Client::connect(gateway.address);
    hanging.send("GET /length/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    let table = wait_for("the request to be seen", || {
        let output = ask(&gateway, &["--kind", "goroutine"]);
        said(&output, 0);
        Some(text(&output.stdout)).filter(|table| table.contains("waits for origin to answer"))
    });
    assert!(table.contains("Type: goroutine") && table.contains("route alpha"), "{table}");
    let (path, argument) = place("waits.folded");
    said(&ask(&gateway, &["--kind", "goroutine", "--by", "phase", "-o", &argument]), 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "wait;route alpha;phase wait;waits for origin to answer 1\n");
    said(&ask(&gateway, &["--kind", "goroutine", "--route", "beta", "-o", &argument]), 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");

    for (kind, value) in
        [("heap", "inuse_space"), ("allocs", "alloc_space"), ("threadcreate", "threadcreate"), ("block", "delay"), ("mutex", "delay")]
    {
        let output = ask(&gateway, &["--kind", kind]);
        said(&output, 0);
        assert!(text(&output.stdout).contains(&format!("Type: {value}\n")), "{kind}: {}", text(&output.stdout));
    }
    let (path, argument) = place("timeline.json");
    said(&ask(&gateway, &["--kind", "trace", "--seconds", "1", "-o", &argument]), 0);
    let timeline: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(timeline["traceEvents"].as_array().is_some_and(|events| !events.is_empty()), "{timeline}");
}

#[test]
fn files_are_converted_and_two_are_compared() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let [(before, before_argument), (after, after_argument)] = ["before.pb.gz", "after.pb.gz"].map(place);
    for (path, argument) in [("/length/2000", &before_argument), ("/length/200000", &after_argument)] {
        let load = Wrk::start(&gateway, 16, &[path]);
        said(&ask(&gateway, &["--seconds", "2", "--hz", "250", "-o", argument]), 0);
        load.stop();
    }
    // One.
    let convert = |name: &str, files: &[&str], more: &[&str]| {
        let (path, argument) = place(name);
        said(&run(&[files, more, &["-o", argument.as_str()][..]].concat()), 0);
        path
    };
    let (roots, sum) = folded(&convert("one.folded", &[&before_argument], &["--by", "route", "--route", "alpha"]));
    let alpha = Raw::of_file(&before).sum(1, |sample| sample.label("route") == "alpha");
    assert_eq!((roots, sum), (BTreeSet::from(["alpha".to_owned()]), alpha));
    assert_svg(&std::fs::read(convert("one.svg", &[&before_argument], &[])).unwrap());
    assert_eq!(std::fs::read(convert("same.pb.gz", &[&before_argument], &[])).unwrap(), std::fs::read(&before).unwrap());

    // Two.
    let both = [before_argument.as_str(), after_argument.as_str()];
    let svg = std::fs::read(convert("two.svg", &both, &[])).unwrap();
    assert_svg(&svg);
    assert!(text(&svg).contains("against") && text(&svg).contains("of the first profile are scaled to"));
    let table = std::fs::read_to_string(convert("two.txt", &both, &[])).unwrap();
    assert!(table.contains("Total before = ") && table.contains("before    after   change"), "{table}");
    let output = run(&both);
    said(&output, 0);
    assert!(text(&output.stdout).contains("Total before = "), "{output:?}");
    let difference = convert("two.pb.gz", &both, &[]);
    assert!(pprof(&["-top", difference.to_str().unwrap()]).contains("Type: cpu"));
    let expected = Raw::of_file(&after).sum(1, |_| true) - Raw::of_file(&before).sum(1, |_| true);
    assert_eq!(Raw::of_file(&difference).sum(1, |_| true), expected);
    for line in std::fs::read_to_string(convert("two.folded", &both, &[])).unwrap().lines() {
        let mut counts = line.rsplitn(3, ' ');
        assert!(counts.next().unwrap().parse::<i64>().is_ok() && counts.next().unwrap().parse::<i64>().is_ok(), "{line}");
    }
}

#[test]
fn the_past_is_refused_in_the_gateway_s_words_where_nothing_is_remembered_of_it() {
    let gateway = Pellucid::start(RESPOND);
    let said = said(&ask(&gateway, &["--seconds", "1", "--ago", "60"]), 1);
    for part in ["409 Conflict", "continuous profiles are off: set telemetry.profiles.continuous"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let gateway = Pellucid::start(&format!("{RESPOND}\ntelemetry: {{ profiles: {{ continuous: true, hz: 99 }} }}\n"));
    let _load = Wrk::start(&gateway, 8, &["/"]);
    let table = wait_for("the past", || {
        let output = ask(&gateway, &["--seconds", "1", "--ago", "1"]);
        (output.status.code() == Some(0)).then(|| text(&output.stdout))
    });
    assert!(table.contains("Type: cpu"), "{table}");
}

#[test]
fn what_cannot_be_ends_with_a_code_and_the_reason() {
    let gateway = Pellucid::start(RESPOND);
    let (_, argument) = place("cpu.png");
    let (file, no_profile) = place("no.pb.gz");
    std::fs::write(&file, "This is no profile.").unwrap();
    let asked: [(&[&str], i32, &str); 11] = [
        (&["--kind", "nothing"], 2, "[possible values: cpu, heap, allocs, goroutine"),
        (&["--seconds", "1", "-o", &argument], 2, "expected a name that ends in one of .pb.gz .pprof .pb .svg .folded .txt"),
        (&["--seconds", "1", "-o", "/nowhere/at-all/cpu.svg"], 2, "found no folder /nowhere/at-all, expected one"),
        (&["--seconds", "0"], 2, "--seconds"),
        (&["--seconds", "x"], 2, "--seconds"),
        (&["--kind", "goroutine", "--hz", "50"], 2, "--hz with --kind goroutine: expected it only with --kind cpu"),
        (&["--kind", "trace", "-o", "trace.svg"], 2, "expected a name that ends in .json"),
        (&["--trace-id", "12"], 2, "expected 32 hexadecimal digits"),
        (&["--seconds", "601"], 1, "seconds: found `601`, expected a whole number from 1 to 600"),
        (&["--seconds", "1", "--hz", "1001"], 1, "hz: found `1001`, expected a whole number from 1 to 1000"),
        (&["--seconds", "1", "--value", "money"], 2, "--value money: found samples, cpu"),
    ];
    for (arguments, code, told) in asked {
        let told_by = said(&ask(&gateway, arguments), code);
        assert!(told_by.contains(told), "{arguments:?}: {told_by}");
    }
    let alone: [(&[&str], i32, &str); 5] = [
        (&["--admin", "http://127.0.0.1:1", "--seconds", "1"], 1, "http://127.0.0.1:1/debug/pprof/profile"),
        (&["--admin", "nonsense"], 2, "--admin"),
        (&["/nowhere/cpu.pb.gz"], 2, "/nowhere/cpu.pb.gz: "),
        (&[no_profile.as_str()], 2, "expected pprof's profile.proto"),
        (&[no_profile.as_str(), "--seconds", "1"], 2, "cannot be used with"),
    ];
    for (arguments, code, told) in alone {
        let told_by = said(&run(arguments), code);
        assert!(told_by.contains(told), "{arguments:?}: {told_by}");
    }
    let closed = Pellucid::start_config(
        &format!("listeners: [{{ name: p, bind: 127.0.0.1:0 }}]\nadmin: {{ bind: 127.0.0.1:0, debug: false }}\n{RESPOND}"),
        &[],
    );
    let told_by = said(&ask(&closed, &["--seconds", "1"]), 1);
    assert!(told_by.contains("403 Forbidden") && told_by.contains("set admin.debug to true"), "{told_by}");
}
