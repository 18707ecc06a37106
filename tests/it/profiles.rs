//! The pages under `/debug/pprof/`, as browsers, curl, Perfetto and Go's own tool get them.
//!
//! In: gateways under load, requests that hang, queries right and wrong. Out: what each page says, and that it says it in the reader's format.
//! Not here: whether samples tell the truth (`profiles2`), and the command that fetches them (`profiles_cli`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::reload::{PUBLIC, config, reload, start};
use crate::support::origin::Origin;
use crate::support::pprof::{PATHS, Raw, Wrk, assert_svg, get_slowly, has_thread, lean_origin, page, pprof, profile, run, two_routes};
use crate::support::process::Pellucid;
use crate::support::stack::{Collector, encoded};
use crate::support::{Client, ask, get, wait_for};

const RESPOND: &str = "routes: [{ name: all, filters: [{ respond: { body: here } }] }]\n";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
/// An answer that no socket takes as a whole.
const LARGE_BYTES: usize = 64 << 20;
/// Requests for pages that are answered at once.
const ROOM: usize = 32;

#[test]
fn the_index_links_to_every_page_and_every_page_answers() {
    const PAGES: [&str; 11] =
        ["allocs", "block", "cmdline", "flamegraph", "goroutine", "heap", "mutex", "profile", "symbol", "threadcreate", "trace"];
    let gateway = Pellucid::start(RESPOND);
    let moved = get(gateway.admin, "/debug/pprof");
    assert_eq!((moved.status, moved.header("location").as_deref()), (308, Some("/debug/pprof/")));
    let index = get(gateway.admin, "/debug/pprof/").text();
    let links: Vec<&str> = index.split("href=\"").skip(1).map(|part| part.split('"').next().unwrap()).collect();
    let names: BTreeSet<&str> = links.iter().map(|link| link.split('?').next().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(PAGES));
    std::thread::scope(|scope| {
        for link in links {
            // The length that the index proposes suits people.
            let link = link.replace("seconds=10", "seconds=1").replace("seconds=5", "seconds=1");
            let gateway = &gateway;
            scope.spawn(move || {
                let answer = page(gateway, &link);
                assert!(answer.status == 200 && !answer.body.is_empty(), "{link}: {} {}", answer.status, answer.text());
            });
        }
    });
}

#[test]
fn a_cpu_profile_has_names_files_and_lines_and_says_of_which_build_they_are() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let load = Wrk::start(&gateway, 64, &PATHS);
    let answer = page(&gateway, "profile?seconds=2");
    assert!(page(&gateway, "profile?seconds=1&debug=1").text().starts_with("profile profile: total "));
    load.stop();
    assert_eq!((answer.status, answer.header("content-type").as_deref()), (200, Some("application/octet-stream")));
    assert!(answer.header("content-disposition").unwrap().contains("profile.pb.gz"));
    assert!(answer.body.starts_with(&[0x1f, 0x8b]), "it is gzipped");
    let raw = Raw::of(&answer.body);
    assert_eq!(raw.types, ["samples/count", "cpu/nanoseconds[dflt]"]);
    assert!(raw.account().0 > 0);

    let program = std::fs::read_link(format!("/proc/{}/exe", gateway.pid())).unwrap();
    let notes = run(Command::new("readelf").arg("-n").arg(&program));
    let build_id = notes.split("Build ID: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a build id");
    let main = &raw.mappings[0];
    assert_eq!((main.file.as_str(), main.build_id.as_str()), (program.to_str().unwrap(), build_id));
    assert!(raw.mappings.iter().any(|mapping| mapping.file.contains("libc.so") && !mapping.build_id.is_empty()));

    let mut lines_seen = 0;
    for frame in raw.places.values().flat_map(|place| &place.frames) {
        if frame.file.starts_with(concat!(env!("CARGO_MANIFEST_DIR"), "/src/")) {
            let lines = std::fs::read_to_string(&frame.file).unwrap_or_else(|error| panic!("{}: {error}", frame.file)).lines().count();
            // Line 0 is what compilers give to code that stands for no line.
            assert!(frame.line <= lines && !frame.name.is_empty(), "{frame:?} of {lines} lines");
            lines_seen += usize::from(frame.line > 0);
        }
    }
    assert!(lines_seen > 10, "{lines_seen} places in our own code");

    // The symbol page gives the names that the profile has.
    let place = raw.places.values().find(|place| (main.start..main.limit).contains(&place.address) && !place.frames.is_empty());
    let place = place.expect("a place in the program");
    let address = format!("{:#x}", place.address);
    let question = format!("POST /debug/pprof/symbol HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{address}", address.len());
    assert_eq!(ask(gateway.admin, question).text(), format!("num_symbols: 1\n{address} {}\n", place.frames[0].name));
    assert_eq!(page(&gateway, "symbol").text(), "num_symbols: 1\n");
}

#[test]
fn go_tool_pprof_shows_everything_straight_from_the_url() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let _load = Wrk::start(&gateway, 64, &PATHS);
    let url = format!("http://{}/debug/pprof/profile?seconds=2", gateway.admin);
    // Who asks at the same time for the same time gets the same samples, so the earlier one is shorter.
    let base = format!("-diff_base=http://{}/debug/pprof/profile?seconds=1", gateway.admin);
    let views: [&[&str]; 7] = [
        &["-top"],
        &["-peek=Connection::serve"],
        &["-list=Connection::serve"],
        &["-lines", "-top"],
        &["-tags"],
        &["-traces", "-tagfocus=route=alpha"],
        &["-top", base.as_str()],
    ];
    let show = |view: &[&str]| {
        let mut arguments = vec!["-timeout=120"];
        arguments.extend(view);
        arguments.push(url.as_str());
        pprof(&arguments)
    };
    let [top, peek, list, lines, tags, focused, difference] =
        std::thread::scope(|scope| views.map(|view| scope.spawn(move || show(view))).map(|view| view.join().unwrap()));
    for view in [&top, &lines, &difference] {
        assert!(view.contains("Type: cpu") && view.contains("flat%") && view.lines().count() > 10, "{view}");
    }
    assert!(peek.contains("calls%") && peek.contains("| pellucid::proxy::listener::connection::Connection::serve"), "{peek}");
    assert!(lines.contains("/src/proxy/listener/connection.rs:"), "{lines}");
    assert!(listed_lines(&list) >= 3, "{list}");
    for part in [" route: Total ", "): alpha\n", "): beta\n", " phase: Total ", "): body\n", " thread: Total ", "): pellucid-w0\n"] {
        assert!(tags.contains(part), "{part} in {tags}");
    }
    let routes: HashSet<&str> = focused.lines().filter_map(|line| line.trim().strip_prefix("route:")).map(str::trim).collect();
    assert_eq!(routes, HashSet::from(["alpha"]), "{focused}");
}

/// Lines of a `-list` that stand so in the file that it names.
fn listed_lines(list: &str) -> usize {
    let mut source: Vec<String> = Vec::new();
    let mut count = 0;
    for line in list.lines() {
        if let Some(file) = line.strip_prefix("ROUTINE ").and_then(|rest| rest.rsplit_once(" in ")).map(|(_, file)| file) {
            source = std::fs::read_to_string(file).map_or_else(|_| Vec::new(), |text| text.lines().map(str::to_owned).collect());
        }
        let Some((left, shown)) = line.split_once(':') else { continue };
        let number = left.split_whitespace().last().and_then(|number| number.parse::<usize>().ok());
        let stands = number.and_then(|number| source.get(number.checked_sub(1)?)).is_some_and(|stands| stands.trim() == shown.trim());
        count += usize::from(stands && !shown.trim().is_empty());
    }
    count
}

#[test]
fn heap_and_allocs_show_who_takes_memory() {
    let gateway = Pellucid::start(RESPOND);
    let heap = profile(&gateway, "heap");
    assert_eq!(heap.types, ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes[dflt]"]);
    wait_for("the switch in the log", || gateway.log().contains("the heap is sampled from now on").then_some(()));
    // Each answer is itself memory that somebody takes.
    let allocs = wait_for("samples", || Some(profile(&gateway, "allocs")).filter(|raw| raw.sum(1, |_| true) > 0));
    assert_eq!(allocs.types, ["alloc_objects/count", "alloc_space/bytes[dflt]", "inuse_objects/count", "inuse_space/bytes"]);
    let named = allocs.samples.iter().filter(|sample| !allocs.names(sample).is_empty()).count();
    assert_eq!(named, allocs.samples.len());
    for name in ["heap", "allocs"] {
        let text = page(&gateway, &format!("{name}?debug=1")).text();
        assert!(text.starts_with(&format!("{name} profile: total ")), "{text}");
        assert_eq!(profile(&gateway, &format!("{name}?seconds=1")).types, if name == "heap" { &*heap.types } else { &*allocs.types });
    }
}

#[test]
fn pages_of_threads_waits_and_the_command_line_say_what_the_system_says() {
    let gateway = Pellucid::start(&format!("runtime: {{ workers: 2 }}\n{RESPOND}"));
    let _load = Wrk::start(&gateway, 8, &["/"]);
    let threads = profile(&gateway, "threadcreate");
    assert_eq!(threads.types, ["threadcreate/count[dflt]", "cpu/nanoseconds"]);
    for name in ["pellucid-w0", "pellucid-w1", "pellucid-telem", "pellucid-ctl"] {
        assert!(threads.samples.iter().any(|sample| threads.names(sample) == [name] && sample.values[1] > 0), "{name} in {threads:?}");
    }
    assert!(page(&gateway, "threadcreate?debug=1").text().contains("pellucid-w1"));

    for name in ["block", "mutex"] {
        let waits = profile(&gateway, name);
        assert_eq!(waits.types, ["contentions/count", "delay/nanoseconds[dflt]"]);
        assert_eq!(profile(&gateway, &format!("{name}?seconds=1")).types, waits.types);
        assert!(page(&gateway, &format!("{name}?debug=1")).text().starts_with(&format!("{name} profile: total ")));
    }

    let command_line = std::fs::read(format!("/proc/{}/cmdline", gateway.pid())).unwrap();
    assert_eq!(page(&gateway, "cmdline").body, command_line.strip_suffix(b"\0").unwrap());
}

#[test]
fn a_query_that_cannot_be_meant_is_refused_with_what_was_found_and_expected() {
    let gateway = Pellucid::start(RESPOND);
    for (query, status, told) in [
        ("profile?seconds=0", 400, "seconds: found `0`, expected a whole number from 1 to 600"),
        ("profile?seconds=x", 400, "seconds: found `x`, expected"),
        ("profile?seconds=601", 400, "seconds: found `601`, expected a whole number from 1 to 600"),
        ("profile?seconds=-1", 400, "seconds: found `-1`, expected"),
        ("profile?seconds=", 400, "seconds: found ``, expected"),
        ("profile?hz=0", 400, "hz: found `0`, expected a whole number from 1 to 1000"),
        ("profile?hz=1001", 400, "hz: found `1001`, expected a whole number from 1 to 1000"),
        ("profile?hz=x", 400, "hz: found `x`, expected"),
        ("profile?debug=7", 400, "debug: found `7`, expected a whole number from 0 to 2"),
        ("profile?secs=1", 400, "found the parameter `secs`, expected one of seconds, hz,"),
        ("profile?seconds=1&seconds=2", 400, "found `seconds` twice, expected it once"),
        ("profile?trace_id=12", 400, "trace_id: found `12`, expected 32 hexadecimal digits"),
        ("profile?ago=5&seconds=1", 409, "leave `ago`, `from` and `until` out to profile from now on"),
        ("profile?ago=901", 400, "ago: found `901`, expected a whole number from 0 to 900"),
        ("profile?from=5", 400, "found only one of `from` and `until`, expected both"),
        ("profile?until=5", 400, "found only one of `from` and `until`, expected both"),
        ("profile?from=9&until=5", 400, "found from=9 and until=5, expected `from` before `until`"),
        ("profile?ago=5&from=1&until=2", 400, "found `ago` beside `from` or `until`, expected one"),
        ("profile?from=1&until=2", 409, "set telemetry.profiles.continuous"),
        ("flamegraph?diff=what:x", 400, "diff: found `what:x`, expected ago:SECONDS or route:NAME"),
        ("flamegraph?diff=ago:901", 400, "diff: found `ago:901`, expected ago:SECONDS from 1 to 900"),
        ("flamegraph?by=nothing", 400, "by: found `nothing`, expected one of thread, route"),
        ("heap?seconds=0", 400, "seconds: found `0`, expected"),
        ("trace?seconds=601", 400, "seconds: found `601`, expected"),
        ("goroutine?debug=3", 400, "debug: found `3`, expected"),
        ("mutex?ago=5", 409, "set telemetry.profiles.continuous"),
        ("symbol?0xzz", 400, "found `0xzz`, expected addresses such as 0x1234+0x5678"),
    ] {
        let answer = page(&gateway, query);
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
    }
    assert_eq!(page(&gateway, "nothing").status, 404);
}

#[test]
fn the_pages_are_off_where_others_could_reach_them_and_each_use_is_in_the_log() {
    let gateway = |admin: &str| {
        let listeners = "listeners: [{ name: public, bind: 127.0.0.1:0 }]";
        let mut gateway = Pellucid::start_config(&format!("{listeners}\nadmin: {{ {admin} }}\n{RESPOND}"), &[]);
        gateway.admin.set_ip(Ipv4Addr::LOCALHOST.into());
        gateway
    };
    for (admin, status) in [
        ("bind: '0.0.0.0:0'", 403),
        ("bind: '0.0.0.0:0', debug: true", 200),
        ("bind: '127.0.0.1:0'", 200),
        ("bind: '127.0.0.1:0', debug: false", 403),
    ] {
        let gateway = gateway(admin);
        for path in ["", "cmdline", "profile?seconds=1", "goroutine?debug=2"] {
            let answer = page(&gateway, path);
            assert_eq!(answer.status, status, "{admin} {path}");
            assert_eq!(answer.text().contains("set admin.debug to true"), status == 403, "{admin} {path}");
            let name = path.split('?').next().unwrap();
            let parts = ["a debug page was asked for", &format!("page=\"/debug/pprof/{name}\""), &format!("status={status}")];
            let is_told = || gateway.log().lines().any(|line| parts.iter().all(|part| line.contains(part)));
            wait_for("the line about it", || is_told().then_some(()));
        }
        assert_eq!((get(gateway.admin, "/readyz").status, get(gateway.admin, "/metrics").status), (200, 200));
    }
}

#[test]
fn who_comes_when_the_room_is_full_is_told_to_come_again() {
    let gateway = Pellucid::start(RESPOND);
    let ask_for = |page: &str| {
        let mut client = Client::connect(gateway.admin);
        client.send(format!("GET /debug/pprof/{page} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client
    };
    // More than there is room for: the question below takes a place itself for a moment.
    let guests: Vec<Client> = (0..ROOM + 8).map(|_| ask_for("profile?seconds=60")).collect();
    let refused = wait_for("the room to be full", || Some(page(&gateway, "cmdline")).filter(|answer| answer.status != 200));
    assert_eq!((refused.status, refused.header("retry-after").as_deref()), (503, Some("5")));
    assert!(refused.text().starts_with(&format!("{ROOM} requests for profiles")), "{}", refused.text());
    assert_eq!(gateway.get("/").text(), "here");
    // Who goes away ends what was done for them.
    drop(guests);
    wait_for("room", || (page(&gateway, "cmdline").status == 200).then_some(()));
    wait_for("the profiler to rest", || (!has_thread(gateway.pid(), "pellucid-prof")).then_some(()));
}

#[test]
fn eight_who_ask_at_once_for_different_times_and_rates_all_get_theirs() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let load = Wrk::start(&gateway, 32, &PATHS);
    std::thread::scope(|scope| {
        for (seconds, hz) in [(1, 50), (1, 999), (2, 99), (2, 250), (3, 100), (3, 19), (4, 99), (4, 500)] {
            let gateway = &gateway;
            scope.spawn(move || {
                let raw = profile(gateway, &format!("profile?seconds={seconds}&hz={hz}"));
                assert!(raw.samples.iter().any(|sample| sample.label("route") == "alpha"), "{seconds} s at {hz} Hz: {:?}", raw.comments);
                assert!(raw.comments[1].starts_with(&format!("{hz} samples a second")), "{:?}", raw.comments);
            });
        }
    });
    load.stop();
    wait_for("the profiler to rest", || (!page(&gateway, "threadcreate?debug=1").text().contains("pellucid-prof")).then_some(()));
}

/// An origin that answers once the gate is open; to `/large` at once, and at length.
fn hanging() -> (Origin, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let origin = Origin::scripted(move |talk| {
        let Some(head) = talk.read_head() else { return };
        if head.starts_with("GET /large ") {
            talk.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n"));
            talk.write(vec![b'x'; LARGE_BYTES]);
            return;
        }
        // A test that failed opens nothing: a minute is enough for those that do.
        for _ in 0..12_000 {
            if open.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    (origin, gate)
}

/// What `goroutine?debug=2` tells of the request of which it tells all these parts.
fn in_flight(gateway: &Pellucid, parts: &[&str]) -> String {
    wait_for(&format!("a request of which is told {parts:?}"), || {
        let text = page(gateway, "goroutine?debug=2").text();
        text.split("\n\n").find(|request| parts.iter().all(|part| request.contains(part))).map(str::to_owned)
    })
}

#[test]
fn goroutine_says_what_every_request_waits_for() {
    let (origin, gate) = hanging();
    let gateway = Pellucid::start(&format!(
        "routes:
- {{ name: hangs, match: {{ path: /hang }}, upstream: slow }}
- {{ name: uploads, match: {{ path: /upload }}, upstream: slow }}
- {{ name: large, match: {{ path: /large }}, upstream: slow }}
- {{ name: narrow, match: {{ path: /narrow }}, upstream: one }}
upstreams:
- {{ name: slow, endpoints: ['{0}'] }}
- {{ name: one, endpoints: ['{0}'], connect_timeout: 30s, pool: {{ connections_per_endpoint: 1 }} }}
",
        origin.address
    ));
    let ask_for = |request: String| {
        let mut client = Client::connect(gateway.address);
        client.send(request);
        client
    };
    let get = |path: &str| ask_for(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_eq!(page(&gateway, "goroutine?debug=2").text(), "0 requests in flight\n");

    let traceparent = format!("traceparent: 00-{TRACE_ID}-b7ad6b7169203331-01");
    let mut told = ask_for(format!("GET /hang HTTP/1.1\r\nHost: h\r\n{traceparent}\r\n\r\n"));
    let request = in_flight(&gateway, &["route hangs,", "[wait, "]);
    let peer = told.stream.local_addr().unwrap();
    let parts: [&str; 4] = [&format!("request {TRACE_ID} [wait, "), &format!("client {peer},"), "waits for slow to answer, ", "0 B sent"];
    for part in parts {
        assert!(request.contains(part), "{part} in {request}");
    }
    let mut untold = ask_for("GET /hang HTTP/1.1\r\nHost: h\r\nX-Second: 1\r\n\r\n".to_owned());
    wait_for("both", || page(&gateway, "goroutine?debug=2").text().starts_with("2 requests in flight\n").then_some(()));
    let text = page(&gateway, "goroutine?debug=2").text();
    let other = text.split("\n\nrequest ").skip(1).map(|request| &request[..32]).find(|id| *id != TRACE_ID).expect("another id").to_owned();

    let mut uploading = ask_for("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n0123456789".to_owned());
    in_flight(&gateway, &["route uploads,", "[upload, ", "waits for the client to send its body", "10 B of body received"]);
    uploading.send("01234567890123456789");
    in_flight(&gateway, &["route uploads,", "[upload, ", "30 B of body received"]);

    let _stalled = get("/large");
    let request = in_flight(&gateway, &["route large,", "[deliver, ", "waits for the client to take the answer"]);
    let sent: usize = request.split("received, ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("bytes");
    assert!((1..LARGE_BYTES).contains(&sent), "{request}");

    let _first = get("/narrow");
    in_flight(&gateway, &["route narrow,", "[wait, ", "waits for one to answer"]);
    let _second = get("/narrow");
    in_flight(&gateway, &["route narrow,", "[queue, ", "waits for a free connection to one"]);

    let raw = profile(&gateway, "goroutine");
    assert_eq!((raw.types.join(" ").as_str(), raw.samples.len()), ("goroutine/count[dflt] wait/nanoseconds", 6));
    let sample = raw.samples.iter().find(|sample| sample.label("trace_id") == TRACE_ID).expect("the sample of the trace");
    assert_eq!(raw.names(sample), ["waits for slow to answer", "phase wait", "route hangs"]);
    assert_eq!((sample.label("phase"), sample.label("route"), sample.label("upstream"), sample.values[0]), ("wait", "hangs", "slow", 1));
    assert!(sample.values[1] > 0);
    let text = page(&gateway, "goroutine?debug=1").text();
    assert!(text.starts_with("goroutine profile: total 6\n") && text.contains("\"phase\":\"queue\""), "{text}");
    let by_trace = format!("trace_id={TRACE_ID}");
    for (filter, count) in [(by_trace.as_str(), 1), ("route=narrow", 2), ("upstream=slow", 4)] {
        let text = page(&gateway, &format!("goroutine?debug=2&{filter}")).text();
        assert!(text.starts_with(&format!("{count} requests in flight\n")), "{filter}: {text}");
    }

    gate.store(true, Ordering::SeqCst);
    assert_eq!(told.read_answer("GET").header("x-trace-id").as_deref(), Some(TRACE_ID));
    assert_eq!(untold.read_answer("GET").header("x-trace-id"), Some(other));
    wait_for("the answered ones to be gone", || (!page(&gateway, "goroutine?debug=2").text().contains("route hangs,")).then_some(()));
}

#[test]
fn the_timeline_has_every_request_of_its_time_with_its_attempts_phases_and_polls() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&two_routes(&origin));
    let load = Wrk::start(&gateway, 4, &["/sleep/5", "/beta"]);
    let (answer, sent) = std::thread::scope(|scope| {
        let trace = scope.spawn(|| page(&gateway, "trace?seconds=2"));
        let (mut client, mut sent) = (Client::connect(gateway.address), Vec::new());
        while !trace.is_finished() {
            let id = format!("{:032x}", 0xabc_0000 + sent.len());
            client.send(format!("GET /sleep/20 HTTP/1.1\r\nHost: h\r\ntraceparent: 00-{id}-b7ad6b7169203331-01\r\n\r\n"));
            assert_eq!(client.read_answer("GET").status, 200);
            sent.push(id);
        }
        (trace.join().unwrap(), sent)
    });
    load.stop();
    let document = answer.json();
    assert_eq!((answer.status, &document["otherData"]["lost"]), (200, &Value::from(0)));
    let events = document["traceEvents"].as_array().unwrap();

    let mut by_id: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "b" || event["ph"] == "e") {
        by_id.entry(event["id"].as_str().unwrap()).or_default().push(event);
    }
    let mut of_trace = BTreeMap::new();
    for events in by_id.values() {
        of_trace.insert(events[0]["args"]["trace_id"].as_str().unwrap(), nested(events));
    }
    let found: Vec<bool> = sent.iter().map(|id| of_trace.contains_key(id.as_str())).collect();
    let first = found.iter().position(|found| *found).expect("one of our requests");
    let count = found.iter().filter(|found| **found).count();
    assert!(count >= 5 && found[first..first + count].iter().all(|found| *found), "none is left out in the middle: {found:?}");
    let expected = ["GET rest".to_owned(), format!("GET rest/attempt 1 at {}", origin.address)];
    for id in &sent[first..first + count] {
        let paths = &of_trace[id.as_str()];
        assert!(paths.starts_with(&expected) && paths.contains(&format!("{}/wait", expected[1])), "{paths:?}");
    }

    let polls: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    let names = events.iter().filter(|event| event["name"] == "thread_name").map(|event| event["args"]["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["pellucid-w0", "pellucid-w1"]);
    assert!(polls.iter().all(|poll| poll["pid"] == 1 && (poll["tid"] == 1 || poll["tid"] == 2) && poll["dur"].as_f64().unwrap() >= 0.0));
    let middle = sent[first + count / 2].as_str();
    assert!(polls.iter().any(|poll| poll["name"] == "rest" && poll["args"]["trace_id"] == middle), "polls of {middle}");
}

/// The spans of one request, each with those that it lies in. Every one that begins must end, inside of the one around it.
fn nested(events: &[&Value]) -> Vec<String> {
    let (mut open, mut paths): (Vec<(&str, f64)>, Vec<String>) = (Vec::new(), Vec::new());
    for event in events {
        let (name, at) = (event["name"].as_str().unwrap(), event["ts"].as_f64().unwrap());
        if event["ph"] == "b" {
            assert!(open.last().is_none_or(|(_, began)| *began <= at), "{events:?}");
            open.push((name, at));
            paths.push(open.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("/"));
        } else {
            let (begun, began) = open.pop().unwrap_or_else(|| panic!("{name} has not begun: {events:?}"));
            assert!(begun == name && began <= at, "{events:?}");
        }
    }
    assert!(open.is_empty(), "{open:?} has not ended: {events:?}");
    paths
}

#[test]
fn a_flame_graph_is_a_picture_to_search_in_that_says_how_far_it_can_be_trusted() {
    let origin = lean_origin();
    let gateway = Pellucid::start(&two_routes(&origin));
    let _load = Wrk::start(&gateway, 32, &PATHS);
    let draw = |query: &str| {
        let answer = page(&gateway, &format!("flamegraph?seconds=1{query}"));
        assert_eq!((answer.status, answer.header("content-type").as_deref()), (200, Some("image/svg+xml")), "{query}");
        assert_svg(&answer.body);
        answer.text()
    };
    let all = draw("");
    for part in [">CPU time<", " samples at 99 Hz of each thread", " 0 lost", "function search(", "<title>all ("] {
        assert!(all.contains(part), "{part} in {all}");
    }
    assert!(draw("&hz=250").contains(" samples at 250 Hz of each thread"));
    let by_route = draw("&by=route");
    for root in ["<title>alpha (", "<title>beta (", "<title>[no route] ("] {
        assert!(by_route.contains(root), "{root} in {by_route}");
    }
    let alpha = draw("&by=route&route=alpha");
    assert!(alpha.contains("CPU time, route alpha") && alpha.contains("<title>alpha (") && !alpha.contains("<title>beta ("), "{alpha}");
    let difference = draw("&route=alpha&diff=route:beta");
    for part in ["route alpha: compared with route beta", ">before: ", "; after: "] {
        assert!(difference.contains(part), "{part} in {difference}");
    }
    let nothing = draw("&route=rest");
    assert!(nothing.contains(">no samples<") && nothing.contains("CPU time, route rest"), "{nothing}");
}

#[test]
fn a_route_that_is_named_like_a_script_stays_a_name() {
    let gateway = Pellucid::start(
        "routes: [{ name: '</title><script>alert(1)</script>', filters: [{ respond: { body: here } }] }]\nruntime: { workers: 2 }\n",
    );
    let _load = Wrk::start(&gateway, 16, &["/"]);
    let name = encoded("</title><script>alert(1)</script>");
    for query in ["by=route", &format!("route={name}"), &format!("diff=route:{name}")] {
        let answer = page(&gateway, &format!("flamegraph?seconds=1&{query}"));
        assert_svg(&answer.body);
        let svg = answer.text();
        assert!(svg.contains("&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;"), "{query}: {svg}");
        assert!(!svg.contains("<script>alert") && !svg.contains("</title><script"), "{query}: {svg}");
    }
}

#[test]
fn a_slow_request_leads_to_the_samples_of_its_time() {
    let (origin, collector) = (Origin::echo(), Collector::start(None, None));
    let gateway = Pellucid::start(&format!(
        "{}telemetry: {{ {}, traces: {{ sample: 0, keep: {{ slower_than: 500ms }} }}, profiles: {{ continuous: true, hz: 99 }} }}\n",
        origin.config(),
        collector.otlp()
    ));
    assert_eq!(gateway.get("/fast").status, 200);
    let slow = gateway.get("/sleep/600").header("x-trace-id").unwrap();
    let record = gateway.record(|record| record["trace_id"] == slow.as_str());
    let path = record["profile"].as_str().unwrap_or_else(|| panic!("{record}"));
    assert!(gateway.record(|record| record["path"] == "/fast")["profile"].is_null());
    let times = path.split(['=', '&']).filter_map(|part| part.parse::<u64>().ok()).collect::<Vec<_>>();
    assert!(matches!(times[..], [from, until] if from + 600 <= until && until < from + 20_000), "{path}");
    let answer = get_slowly(gateway.admin, path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_svg(&answer.body);
    let span = collector.span("the span of the slow request", |span| span.text("traceId") == slow && span.kind() == 2);
    assert_eq!(span.string("pellucid.profile").as_deref(), Some(path));
}

#[test]
fn continuous_profiles_are_switched_on_and_off_by_a_reload() {
    let yaml = |profiles: &str| config(PUBLIC, &format!("{RESPOND}telemetry: {{ profiles: {{ {profiles} }} }}\n"));
    let gateway = start(&yaml("continuous: false"));
    let draw = |window: &str| page(&gateway, &format!("flamegraph?{window}"));
    let is_sampled = || has_thread(gateway.pid(), "pellucid-prof");
    assert_eq!((draw("ago=1&seconds=1").status, is_sampled()), (409, false));

    reload(&gateway, &yaml("continuous: true, hz: 99"));
    wait_for("the profiler's thread to have its name", || is_sampled().then_some(()));
    let _load = Wrk::start(&gateway, 8, &["/"]);
    let remembered = wait_for("samples", || Some(draw("ago=1&seconds=1")).filter(|answer| answer.text().contains("<title>all (")));
    assert!(remembered.text().contains(" samples at 99 Hz"), "{}", remembered.text());
    assert!(draw("diff=ago:1&seconds=1").text().contains("compared with 1 s ago"));
    for query in ["ago=800&seconds=1", "from=1000&until=2000"] {
        let answer = draw(query);
        assert!(answer.status == 409 && answer.text().contains("which is all that is remembered"), "{query}: {}", answer.text());
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let empty = draw(&format!("from={}&until={}", now + 60_000, now + 61_000));
    assert!(empty.status == 200 && empty.text().contains(">no samples<"), "{}", empty.text());

    // Another rate leaves what is remembered.
    let earlier = format!("from={}&until={now}", now - 1000);
    assert!(draw(&earlier).text().contains("<title>all ("));
    reload(&gateway, &yaml("continuous: true, hz: 250"));
    assert!(draw(&earlier).text().contains("<title>all ("), "{}", draw(&earlier).text());
    wait_for("the new rate", || draw("ago=0&seconds=1").text().contains(" samples at 250 Hz").then_some(()));
    reload(&gateway, &yaml("continuous: false"));
    assert_eq!(draw("ago=1&seconds=1").status, 409);
    wait_for("the profiler to rest", || (!is_sampled()).then_some(()));
}

#[test]
fn requests_that_wait_for_the_same_are_one_group_and_a_difference_has_only_what_changed() {
    let (origin, gate) = hanging();
    let gateway = Pellucid::start(&format!(
        "routes: [{{ name: hangs, upstream: slow }}]\nupstreams: [{{ name: slow, endpoints: ['{}'] }}]\n",
        origin.address
    ));
    let waiting: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::connect(gateway.address);
            client.send("GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
            client
        })
        .collect();
    let text = wait_for("three that wait for the answer", || {
        let text = page(&gateway, "goroutine?debug=1").text();
        text.contains("\n3 @ ").then_some(text)
    });
    assert_eq!(text.matches(" @ ").count(), 1, "{text}");
    assert!(text.contains("\"oldest_wait\":\"") && text.contains("waits for slow to answer"), "{text}");
    assert!(!text.contains("trace_id") && !text.contains("span_id"), "{text}");
    let now = profile(&gateway, "goroutine?gc=1");
    assert_eq!((now.samples.len(), now.sum(0, |sample| sample.label("trace_id").len() == 32)), (3, 3));

    // They have waited longer, and none came or went.
    let change = profile(&gateway, "goroutine?seconds=1");
    assert_eq!((change.types.join(" "), change.sum(0, |_| true)), (now.types.join(" "), 0));
    let longer: Vec<i64> = change.samples.iter().map(|sample| sample.values[1]).collect();
    assert!(longer.len() == 3 && longer.iter().all(|nanos| *nanos >= 900_000_000), "{change:?}");
    assert_eq!(profile(&gateway, "threadcreate?seconds=1&gc=1").types, ["threadcreate/count[dflt]", "cpu/nanoseconds"]);
    for name in ["goroutine", "threadcreate"] {
        let top = pprof(&["-seconds=1", "-top", &format!("http://{}/debug/pprof/{name}", gateway.admin)]);
        assert!(top.contains(&format!("Type: {name}")), "{top}");
    }
    gate.store(true, Ordering::SeqCst);
    drop(waiting);
}

#[test]
fn names_that_never_were_and_windows_that_overlap_are_refused_before_any_wait() {
    let gateway = Pellucid::start(RESPOND);
    for (query, told) in [
        (
            "profile?seconds=600&route=al",
            "route: found `al`, expected a route that there is, or was since the process began; did you mean `all`?",
        ),
        ("goroutine?debug=2&route=nosuch", "route: found `nosuch`, expected a route"),
        ("block?seconds=600&upstream=all", "upstream: found `all`, expected an upstream"),
        ("flamegraph?seconds=600&diff=foo", "diff: found `foo`, expected ago:SECONDS or route:NAME with a route"),
        ("flamegraph?seconds=600&diff=shop,catalog", "diff: found `shop,catalog`, expected"),
        ("flamegraph?seconds=600&diff=route:nosuch", "diff: found `nosuch`, expected"),
        ("flamegraph?seconds=30&ago=30&diff=30", "found diff=ago:30 with seconds=30 and ago=30, expected two windows that do not overlap"),
        ("goroutine?seconds=600&debug=1", "found debug=1 with seconds=600, expected one of the two"),
        ("threadcreate?seconds=600&debug=2", "found debug=2 with seconds=600, expected one of the two"),
        ("trace?seconds=0", "seconds: found `0`, expected a number above 0 and at most 600"),
        ("trace?seconds=NaN", "seconds: found `NaN`, expected a number"),
    ] {
        let answer = page(&gateway, query);
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
    }
    assert_eq!(page(&gateway, "trace?seconds=0.5").status, 200);
}

#[test]
fn a_route_that_a_reload_removed_can_still_be_asked_for() {
    let yaml = |name: &str| config(PUBLIC, &format!("routes: [{{ name: {name}, filters: [{{ respond: {{ body: here }} }}] }}]\n"));
    let gateway = start(&yaml("former"));
    reload(&gateway, &yaml("latter"));
    for query in ["goroutine?debug=2&route=former", "profile?seconds=1&route=former", "flamegraph?seconds=1&diff=former&route=latter"] {
        assert_eq!(page(&gateway, query).status, 200, "{query}");
    }
    assert_eq!(page(&gateway, "goroutine?debug=2&route=other").status, 400);
}
