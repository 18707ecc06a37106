//! Mistakes in the configuration file, as the person meets them who made them.
//!
//! In: broken files, and the binary that is built. Out: proof that each mistake is told with its line and column, with what was found and
//! expected, and all of a file at once; that the contract's sample is good; that `explain` and `schema` answer.
//! Not here: what a good configuration does to traffic.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

/// A file with mistakes. Each of `says` is `LINE:COLUMN: ` and what the message goes on with, where `…` stands for what does not matter.
struct Broken {
    what: &'static str,
    yaml: &'static str,
    says: &'static [&'static str],
}

/// A file, line by line.
macro_rules! yaml {
    ($($line:literal),*) => { concat!($($line, "\n"),*) };
}

/// What follows one good listener, from line 2 on.
macro_rules! listening {
    ($($line:literal),*) => { yaml!("listeners: [{ name: a, bind: 127.0.0.1:1 }]", $($line),*) };
}

/// What follows a good listener and a good upstream, from line 3 on.
macro_rules! routed {
    ($($line:literal),*) => { listening!("upstreams: [{ name: users, endpoints: ['127.0.0.1:9001'] }]", $($line),*) };
}

/// The inside of the `match` of a route that is good otherwise, on line 6 from column 14 on.
macro_rules! matched {
    ($inside:literal) => {
        concat!(routed!("routes:", "  - name: r", "    upstream: users"), "    match: { ", $inside, " }\n")
    };
}

/// A filter of a route that is good otherwise, on line 8 from column 9 on.
macro_rules! filtered {
    ($filter:literal) => {
        concat!(
            routed!("routes:", "  - name: r", "    match: { path: '/v1/{id}' }", "    upstream: users", "    filters:"),
            "      - ",
            $filter,
            "\n"
        )
    };
}

/// What is no YAML, or not one document of it.
const FORM: &[Broken] = &[
    Broken { what: "an empty file", yaml: yaml!(""), says: &["1:1: the key `listeners` is missing"] },
    Broken { what: "a list in place of the file", yaml: yaml!("- listeners"), says: &["1:1: found a list, expected a map with the keys"] },
    Broken {
        what: "a word in place of the file",
        yaml: yaml!("listeners"),
        says: &["1:1: found `listeners`, expected a map with the keys"],
    },
    Broken {
        what: "a list that does not end",
        yaml: yaml!("listeners: [", "admin: {}"),
        says: &["2:1: this is no valid YAML: invalid indentation"],
    },
    Broken {
        what: "a tab as indentation",
        yaml: yaml!("listeners:", "\t- name: a"),
        says: &["2:2: this is no valid YAML: tabs disallowed within this context (block indentation)"],
    },
    Broken {
        what: "a quote that does not end",
        yaml: yaml!("listeners: 'a"),
        says: &["1:12: this is no valid YAML: while scanning a quoted scalar, found unexpected end of stream"],
    },
    Broken {
        what: "a map behind a value",
        yaml: yaml!("listeners: a: b"),
        says: &["1:13: this is no valid YAML: mapping values are not allowed in this context"],
    },
    Broken {
        what: "an alias of nothing",
        yaml: yaml!("listeners: *nowhere"),
        says: &["1:12: this is no valid YAML: while parsing node, found unknown anchor"],
    },
    Broken { what: "a second document", yaml: listening!("---", "listeners: []"), says: &["2:1: found a second document, expected one"] },
    Broken {
        what: "a key that stands twice in a section",
        yaml: listening!("runtime: { workers: 1, workers: 2 }"),
        says: &["2:24: found the key `workers` a second time"],
    },
    Broken {
        what: "a section that stands twice",
        yaml: listening!("admin: {}", "runtime: {}", "admin: {}"),
        says: &["4:1: found the key `admin` a second time"],
    },
    Broken {
        what: "values nested too deep",
        yaml: yaml!("listeners: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
        says: &["1:76: nested deeper than 64, or more than 5000000 values"],
    },
    Broken {
        what: "a bomb of aliases",
        yaml: yaml!(
            "a: &a [x,x,x,x,x,x,x,x,x,x]",
            "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]",
            "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]",
            "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]",
            "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]",
            "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]",
            "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]",
            "h: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]"
        ),
        says: &["7:…: nested deeper than 64, or more than 5000000 values"],
    },
    Broken {
        what: "a variable that is not set",
        yaml: listening!("telemetry: { service_name: '${PELLUCID_NOT_SET}' }"),
        says: &["2:28: the environment has no `PELLUCID_NOT_SET`; … a default as in `${PELLUCID_NOT_SET:-default}`"],
    },
    Broken {
        what: "a variable that does not end",
        yaml: listening!("telemetry: { service_name: 'edge-${HOSTNAME' }"),
        says: &["2:28: found `${` without `}`"],
    },
    Broken { what: "a list as a key", yaml: listening!("? [a]", ": b"), says: &["2:3: found a list as a key, expected one of"] },
    Broken {
        what: "a merge key",
        yaml: listening!("admin: { <<: {} }"),
        says: &["2:10: found the unknown key `<<`, expected one of `bind`"],
    },
    Broken {
        what: "a mistake behind letters of two bytes and ends of lines of two",
        yaml: yaml!("admin: {}\r", "listeners: [{ name: äöü, bind: nowhere }]\r"),
        says: &["2:32: found `nowhere`, expected an address and port"],
    },
];

/// Keys that no section has.
const KEYS: &[Broken] = &[
    Broken {
        what: "the file",
        yaml: listening!("listners: []"),
        says: &["2:1: found the unknown key `listners`, expected one of … did you mean `listeners`?"],
    },
    Broken {
        what: "the file, far from any key",
        yaml: listening!("banana: 1"),
        says: &["2:1: found the unknown key `banana`, expected one of"],
    },
    Broken {
        what: "a listener",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, limit: {} }]"),
        says: &["1:43: found the unknown key `limit`, expected one of … did you mean `limits`?"],
    },
    Broken {
        what: "forwarded",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, forwarded: { trusted: [] } }]"),
        says: &["1:56: found the unknown key `trusted`, expected one of … did you mean `trust`?"],
    },
    Broken {
        what: "limits",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, limits: { conections: 1 } }]"),
        says: &["1:53: found the unknown key `conections`, expected one of … did you mean `connections`?"],
    },
    Broken {
        what: "admin",
        yaml: listening!("admin: { bnid: 127.0.0.1:2 }"),
        says: &["2:10: found the unknown key `bnid`, expected one of `bind`, `debug`, `hosts`, `token`, `trace_url`; did you mean `bind`?"],
    },
    Broken {
        what: "a route",
        yaml: routed!("routes: [{ name: r, upstraem: users, upstream: users }]"),
        says: &["3:21: found the unknown key `upstraem`, expected one of … did you mean `upstream`?"],
    },
    Broken {
        what: "match",
        yaml: matched!("host: [a]"),
        says: &["6:14: found the unknown key `host`, expected one of … did you mean `hosts`?"],
    },
    Broken {
        what: "a split",
        yaml: routed!("routes: [{ name: r, split: [{ upstream: users, weight: 1, wieght: 2 }] }]"),
        says: &["3:59: found the unknown key `wieght`, expected one of `upstream`, `weight`; did you mean `weight`?"],
    },
    Broken {
        what: "retry",
        yaml: routed!("routes: [{ name: r, upstream: users, retry: { attempt: 2 } }]"),
        says: &["3:47: found the unknown key `attempt`, expected one of `attempts`; did you mean `attempts`?"],
    },
    Broken {
        what: "request_headers",
        yaml: filtered!("request_headers: { sets: {} }"),
        says: &["8:28: found the unknown key `sets`, expected one of … did you mean `set`?"],
    },
    Broken {
        what: "response_headers",
        yaml: filtered!("response_headers: { remvoe: [] }"),
        says: &["8:29: found the unknown key `remvoe`, expected one of … did you mean `remove`?"],
    },
    Broken {
        what: "redirect",
        yaml: filtered!("redirect: { sheme: https }"),
        says: &["8:21: found the unknown key `sheme`, expected one of … did you mean `scheme`?"],
    },
    Broken {
        what: "respond",
        yaml: filtered!("respond: { header: {}, boddy: x }"),
        says: &[
            "8:20: found the unknown key `header`, expected one of … did you mean `headers`?",
            "8:32: found the unknown key `boddy`, expected one of … did you mean `body`?",
        ],
    },
    Broken {
        what: "an upstream",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1'], balnce: round_robin }]"),
        says: &["2:44: found the unknown key `balnce`, expected one of … did you mean `balance`?"],
    },
    Broken {
        what: "an endpoint",
        yaml: listening!("upstreams: [{ name: u, endpoints: [{ address: 'h:1', wieght: 1 }] }]"),
        says: &["2:54: found the unknown key `wieght`, expected one of … did you mean `weight`?"],
    },
    Broken {
        what: "a pool",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1'], pool: { idle_timout: 1s } }]"),
        says: &["2:52: found the unknown key `idle_timout`, expected one of … did you mean `idle_timeout`?"],
    },
    Broken {
        what: "telemetry",
        yaml: listening!("telemetry: { trace: {} }"),
        says: &["2:14: found the unknown key `trace`, expected one of … did you mean `traces`?"],
    },
    Broken {
        what: "otlp",
        yaml: listening!("telemetry: { otlp: { endpoint: 'http://c:4317', protcol: grpc } }"),
        says: &["2:49: found the unknown key `protcol`, expected one of … did you mean `protocol`?"],
    },
    Broken {
        what: "traces",
        yaml: listening!("telemetry: { traces: { smaple: 1 } }"),
        says: &["2:24: found the unknown key `smaple`, expected one of `sample`, `keep`; did you mean `sample`?"],
    },
    Broken {
        what: "keep",
        yaml: listening!("telemetry: { traces: { keep: { slower_then: 1s } } }"),
        says: &["2:32: found the unknown key `slower_then`, expected one of … did you mean `slower_than`?"],
    },
    Broken {
        what: "metrics",
        yaml: listening!("telemetry: { metrics: { serie_max: 100 } }"),
        says: &["2:25: found the unknown key `serie_max`, expected one of `series_max`, `push_interval`; did you mean `series_max`?"],
    },
    Broken {
        what: "access_log",
        yaml: listening!("telemetry: { access_log: { to: stdout, fromat: json } }"),
        says: &["2:40: found the unknown key `fromat`, expected one of `to`, `format`; did you mean `format`?"],
    },
    Broken {
        what: "profiles",
        yaml: listening!("telemetry: { profiles: { hertz: 19 } }"),
        says: &["2:26: found the unknown key `hertz`, expected one of"],
    },
    Broken {
        what: "propagation",
        yaml: listening!("telemetry: { propagation: { extracts: [] } }"),
        says: &["2:29: found the unknown key `extracts`, expected one of `extract`, `inject`; did you mean `extract`?"],
    },
    Broken {
        what: "runtime",
        yaml: listening!("runtime: { worker: 1 }"),
        says: &[
            "2:12: found the unknown key `worker`, expected one of `workers`, `drain_timeout`, `drain_delay`, `watch`; did you mean `workers`?",
        ],
    },
];

/// Keys that a section needs.
const MISSING: &[Broken] = &[
    Broken { what: "no listeners", yaml: yaml!("admin: {}"), says: &["1:1: the key `listeners` is missing"] },
    Broken {
        what: "a listener without name and address",
        yaml: yaml!("listeners:", "  - trace_context: continue"),
        says: &["2:5: the key `name` is missing", "2:5: the key `bind` is missing"],
    },
    Broken {
        what: "a route without a name",
        yaml: routed!("routes:", "  - match: { path: /a }", "    upstream: users"),
        says: &["4:5: the key `name` is missing"],
    },
    Broken {
        what: "an upstream without name and endpoints",
        yaml: listening!("upstreams: [{ balance: round_robin }]"),
        says: &["2:13: the key `name` is missing", "2:13: the key `endpoints` is missing"],
    },
    Broken {
        what: "an endpoint without an address",
        yaml: listening!("upstreams: [{ name: u, endpoints: [{ weight: 1 }] }]"),
        says: &["2:36: the key `address` is missing"],
    },
    Broken {
        what: "a share without upstream and weight",
        yaml: routed!("routes: [{ name: r, split: [{}] }]"),
        says: &["3:29: the key `upstream` is missing", "3:29: the key `weight` is missing"],
    },
    Broken {
        what: "otlp without an endpoint",
        yaml: listening!("telemetry: { otlp: { protocol: grpc } }"),
        says: &["2:20: the key `endpoint` is missing"],
    },
    Broken {
        what: "an access log without a place",
        yaml: listening!("telemetry: { access_log: { format: json } }"),
        says: &["2:26: the key `to` is missing"],
    },
];

/// One kind of node in place of another.
const TYPES: &[Broken] = &[
    Broken {
        what: "a map for a list",
        yaml: yaml!("listeners: { name: a, bind: 127.0.0.1:1 }"),
        says: &["1:12: found a map, expected a list"],
    },
    Broken { what: "nothing for a list", yaml: yaml!("listeners: ~"), says: &["1:12: found nothing, expected a list"] },
    Broken {
        what: "a word for a listener",
        yaml: yaml!("listeners: [public]"),
        says: &["1:13: found `public`, expected a map with the keys"],
    },
    Broken {
        what: "a list for a section",
        yaml: listening!("admin: [127.0.0.1:2]"),
        says: &["2:8: found a list, expected a map with the keys `bind`"],
    },
    Broken { what: "a word for a section", yaml: listening!("telemetry: on"), says: &["2:12: found `on`, expected a map with the keys"] },
    Broken {
        what: "a map for text, a list for an address",
        yaml: yaml!("listeners: [{ name: { is: a }, bind: [127.0.0.1:1] }]"),
        says: &["1:21: found a map, expected text", "1:38: found a list, expected an address and port"],
    },
    Broken {
        what: "nothing for text and for an address",
        yaml: yaml!("listeners: [{ name: ~, bind: null }]"),
        says: &["1:21: found nothing, expected text", "1:30: found nothing, expected an address and port"],
    },
    Broken {
        what: "words for lists",
        yaml: matched!("hosts: a.example, methods: GET"),
        says: &["6:21: found `a.example`, expected a list", "6:41: found `GET`, expected a list"],
    },
    Broken { what: "nothing for a host", yaml: matched!("hosts: [~]"), says: &["6:22: found nothing, expected text"] },
    Broken {
        what: "a list for a map of headers",
        yaml: matched!("headers: [x-a]"),
        says: &["6:23: found a list, expected a map of names to values"],
    },
    Broken {
        what: "a list for the value of a header",
        yaml: matched!("headers: { x-a: [b] }"),
        says: &["6:30: found a list, expected text"],
    },
    Broken {
        what: "a map for the list of filters",
        yaml: routed!("routes: [{ name: r, filters: { strip_prefix: /a }, upstream: users }]"),
        says: &["3:30: found a map, expected a list"],
    },
    Broken {
        what: "a word for a split",
        yaml: routed!("routes: [{ name: r, split: users }]"),
        says: &["3:28: found `users`, expected a list"],
    },
    Broken {
        what: "a word for a list of endpoints",
        yaml: listening!("upstreams: [{ name: u, endpoints: 'h:1' }]"),
        says: &["2:35: found `h:1`, expected a list"],
    },
    Broken {
        what: "a list for an endpoint",
        yaml: listening!("upstreams: [{ name: u, endpoints: [[h, 1]] }]"),
        says: &["2:36: found a list, expected a map with the keys"],
    },
    Broken {
        what: "a list for a word out of a few",
        yaml: listening!("telemetry: { otlp: { endpoint: 'http://c:4317', compression: [gzip] } }"),
        says: &["2:62: found a list, expected one of `none`, `gzip`"],
    },
    Broken {
        what: "a word for a list of names",
        yaml: filtered!("request_headers: { remove: cookie }"),
        says: &["8:36: found `cookie`, expected a list"],
    },
    Broken { what: "a map for a path", yaml: filtered!("strip_prefix: { path: /v1 }"), says: &["8:23: found a map, expected text"] },
];

/// Values that their notation does not allow.
const VALUES: &[Broken] = &[
    Broken {
        what: "addresses to listen on",
        yaml: yaml!(
            "listeners:",
            "  - { name: a, bind: localhost:8080 }",
            "  - { name: b, bind: 8080 }",
            "  - { name: c, bind: 127.0.0.1:70000 }"
        ),
        says: &[
            "2:22: found `localhost:8080`, expected an address and port",
            "3:22: found `8080`, expected an address and port",
            "4:22: found `127.0.0.1:70000`, expected an address and port",
        ],
    },
    Broken {
        what: "the address of the admin plane",
        yaml: listening!("admin: { bind: ':9901' }"),
        says: &["2:16: found `:9901`, expected an address and port"],
    },
    Broken {
        what: "durations",
        yaml: yaml!(
            "listeners:",
            "  - name: a",
            "    bind: 127.0.0.1:1",
            "    limits: { header_timeout: 10, idle_timeout: 5 s, body_timeout: -1s, write_timeout: 1d }"
        ),
        says: &[
            "4:31: found `10`, expected a duration such as 250ms",
            "4:49: found `5 s`, expected a duration such as 250ms",
            "4:68: found `-1s`, expected a duration such as 250ms",
            "4:88: found `1d`, expected a duration such as 250ms",
        ],
    },
    Broken {
        what: "a duration that is a map",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1'], connect_timeout: { seconds: 1 } }]"),
        says: &["2:61: found a map, expected a duration such as 250ms"],
    },
    Broken {
        what: "a size in a unit that there is not",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, limits: { header_bytes: 64kib } }]"),
        says: &["1:67: found `64kib`, expected a size such as 512, 64KiB, 1MiB or 10MB"],
    },
    Broken {
        what: "a size below zero",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, limits: { header_bytes: -1 } }]"),
        says: &["1:67: found `-1`, expected a size such as 512, 64KiB, 1MiB or 10MB"],
    },
    Broken {
        what: "a share below zero",
        yaml: listening!("telemetry: { traces: { sample: -0.1 } }"),
        says: &["2:32: found `-0.1`, expected a share from 0 to 1"],
    },
    Broken {
        what: "a share above one",
        yaml: listening!("telemetry: { traces: { sample: 1.01 } }"),
        says: &["2:32: found `1.01`, expected a share from 0 to 1"],
    },
    Broken {
        what: "a share in percent",
        yaml: listening!("telemetry: { traces: { sample: 1% } }"),
        says: &["2:32: found `1%`, expected a share from 0 to 1"],
    },
    Broken {
        what: "a share that is no number",
        yaml: listening!("telemetry: { traces: { sample: nan } }"),
        says: &["2:32: found `nan`, expected a share from 0 to 1"],
    },
    Broken {
        what: "a count below its least",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, limits: { connections: 0 } }]"),
        says: &["1:66: found `0`, expected a whole number from 1 to 10000000"],
    },
    Broken {
        what: "attempts above their most",
        yaml: routed!("routes: [{ name: r, upstream: users, retry: { attempts: 9 } }]"),
        says: &["3:57: found `9`, expected a whole number from 1 to 4"],
    },
    Broken {
        what: "a weight with a fraction",
        yaml: routed!("routes: [{ name: r, split: [{ upstream: users, weight: 1.5 }] }]"),
        says: &["3:56: found `1.5`, expected a whole number from 0 to 1000000"],
    },
    Broken {
        what: "a weight below zero",
        yaml: listening!("upstreams: [{ name: u, endpoints: [{ address: 'h:1', weight: -1 }] }]"),
        says: &["2:62: found `-1`, expected a whole number from 0 to 1000000"],
    },
    Broken {
        what: "counts of a pool",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1'], pool: { connections_per_endpoint: many, pending: -1 } }]"),
        says: &[
            "2:78: found `many`, expected a whole number from 1 to 1000000",
            "2:93: found `-1`, expected a whole number from 0 to 1000000",
        ],
    },
    Broken {
        what: "samples a second",
        yaml: listening!("telemetry: { profiles: { hz: 0 } }"),
        says: &["2:30: found `0`, expected a whole number from 1 to 1000"],
    },
    Broken {
        what: "series",
        yaml: listening!("telemetry: { metrics: { series_max: 15 } }"),
        says: &["2:37: found `15`, expected a whole number from 16 to 1000000"],
    },
    Broken {
        what: "workers",
        yaml: listening!("runtime: { workers: 2000 }"),
        says: &["2:21: found `2000`, expected a whole number from 0 to 1024"],
    },
    Broken {
        what: "neither true nor false",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, response_trace_id: yes, forwarded: { via: 1 } }]"),
        says: &["1:62: found `yes`, expected true or false", "1:85: found `1`, expected true or false"],
    },
    Broken {
        what: "a policy for traces",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:1, trace_context: contniue }]"),
        says: &["1:58: found `contniue`, expected one of … did you mean `continue`?"],
    },
    Broken {
        what: "a way to take turns",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1'], balance: roundrobin }]"),
        says: &["2:53: found `roundrobin`, expected one of `round_robin`; did you mean `round_robin`?"],
    },
    Broken {
        what: "protocol and compression of OTLP",
        yaml: listening!("telemetry: { otlp: { endpoint: 'http://c:4317', protocol: http/proto, compression: gzp } }"),
        says: &[
            "2:59: found `http/proto`, expected one of `grpc`, `http/protobuf`; did you mean `http/protobuf`?",
            "2:84: found `gzp`, expected one of `none`, `gzip`; did you mean `gzip`?",
        ],
    },
    Broken {
        what: "the format of a log",
        yaml: listening!("telemetry: { access_log: { to: stdout, format: jsno } }"),
        says: &["2:48: found `jsno`, expected one of `json`, `text`; did you mean `json`?"],
    },
    Broken {
        what: "the place of a log",
        yaml: listening!("telemetry: { access_log: { to: somewhere } }"),
        says: &["2:32: found `somewhere`, expected stdout, stderr or the path of a file"],
    },
    Broken {
        what: "propagators",
        yaml: listening!("telemetry: { propagation: { extract: [trace_context], inject: [b3] } }"),
        says: &[
            "2:39: found `trace_context`, expected one of `tracecontext`, `baggage`; did you mean `tracecontext`?",
            "2:64: found `b3`, expected one of `tracecontext`, `baggage`",
        ],
    },
];

/// Listeners that do not fit each other, or the house.
const LISTENERS: &[Broken] = &[
    Broken { what: "no listener", yaml: yaml!("listeners: []"), says: &["1:1: found no listener, expected at least one in `listeners`"] },
    Broken {
        what: "a name twice",
        yaml: yaml!("listeners:", "  - { name: a, bind: 127.0.0.1:1 }", "  - { name: a, bind: 127.0.0.1:2 }"),
        says: &["3:13: found the listener `a` a second time, first on line 2"],
    },
    Broken {
        what: "an empty name",
        yaml: yaml!("listeners: [{ name: '', bind: 127.0.0.1:1 }]"),
        says: &["1:21: found an empty name, expected a name for this listener"],
    },
    Broken {
        what: "an address twice",
        yaml: yaml!("listeners:", "  - { name: a, bind: 127.0.0.1:1 }", "  - { name: b, bind: 127.0.0.1:1 }"),
        says: &["3:22: found the address 127.0.0.1:1 a second time, the listener `a` has it"],
    },
    Broken {
        what: "the address of the admin plane",
        yaml: yaml!("admin: { bind: 127.0.0.1:7 }", "listeners: [{ name: a, bind: 127.0.0.1:7 }]"),
        says: &["2:30: found the address 127.0.0.1:7, which the admin plane has"],
    },
    Broken {
        what: "the address that the admin plane has by default",
        yaml: yaml!("listeners: [{ name: a, bind: 127.0.0.1:9901 }]"),
        says: &["1:30: found the address 127.0.0.1:9901, which the admin plane has"],
    },
    Broken {
        what: "networks to trust",
        yaml: yaml!(
            "listeners:",
            "  - name: a",
            "    bind: 127.0.0.1:1",
            "    forwarded: { trust: [10.0.0.0/33, lan, '::1/129', 10.0.0.0/8, ''] }"
        ),
        says: &[
            "4:26: found `10.0.0.0/33`, expected an address or a network such as 10.0.0.0/8",
            "4:39: found `lan`, expected an address or a network such as 10.0.0.0/8",
            "4:44: found `::1/129`, expected an address or a network such as 10.0.0.0/8",
            "4:67: found ``, expected an address or a network such as 10.0.0.0/8",
        ],
    },
];

/// Upstreams and their endpoints.
const UPSTREAMS: &[Broken] = &[
    Broken {
        what: "a name twice",
        yaml: listening!("upstreams:", "  - { name: u, endpoints: ['h:1'] }", "  - { name: u, endpoints: ['h:2'] }"),
        says: &["4:13: found the upstream `u` a second time, first on line 3"],
    },
    Broken {
        what: "no endpoint",
        yaml: listening!("upstreams: [{ name: u, endpoints: [] }]"),
        says: &["2:21: the upstream `u` has no endpoint, expected at least one"],
    },
    Broken {
        what: "an endpoint twice, in another spelling",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1', 'http://h:1/'] }]"),
        says: &["2:43: found the endpoint `http://h:1/` a second time in `u`"],
    },
    Broken {
        what: "an endpoint behind TLS",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['https://h:443'] }]"),
        says: &["2:36: found `https://h:443`, expected host:port … https is not available in this version"],
    },
    Broken {
        what: "endpoints that are no host and port",
        yaml: listening!("upstreams: [{ name: u, endpoints: [h, 'h:0', 'h:1/x', 'h:99999', '[::g]:1', ':1'] }]"),
        says: &[
            "2:36: found `h`, expected host:port",
            "2:39: found `h:0`, expected host:port",
            "2:46: found `h:1/x`, expected host:port",
            "2:55: found `h:99999`, expected host:port",
            "2:66: found `[::g]:1`, expected host:port",
            "2:77: found `:1`, expected host:port",
        ],
    },
    Broken {
        what: "weights that are all zero",
        yaml: listening!("upstreams:", "  - name: u", "    endpoints: [{ address: 'h:1', weight: 0 }, { address: 'h:2', weight: 0 }]"),
        says: &["3:11: all endpoints of `u` have the weight 0, expected one above it"],
    },
    Broken {
        what: "a host that is none",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1'], host: a b }]"),
        says: &["2:50: found `a b`, expected preserve, endpoint, or a host name"],
    },
    Broken {
        what: "a host that is nearly a policy",
        yaml: listening!("upstreams: [{ name: u, endpoints: ['h:1'], host: preserve! }]"),
        says: &["2:50: found `preserve!`, expected preserve, endpoint, or a host name; did you mean `preserve`?"],
    },
];

/// Where routes lead, and which of them are alike.
const ROUTES: &[Broken] = &[
    Broken {
        what: "a name twice",
        yaml: routed!(
            "routes:",
            "  - { name: r, match: { path: /a }, upstream: users }",
            "  - { name: r, match: { path: /b }, upstream: users }"
        ),
        says: &["5:13: found the route `r` a second time, first on line 4"],
    },
    Broken {
        what: "an empty name",
        yaml: routed!("routes: [{ name: '', upstream: users }]"),
        says: &["3:18: found an empty name, expected a name for this route"],
    },
    Broken {
        what: "an upstream that is nearly one",
        yaml: routed!("routes: [{ name: r, upstream: user }]"),
        says: &["3:31: found the unknown upstream `user`, expected the name of one in `upstreams`; did you mean `users`?"],
    },
    Broken {
        what: "an upstream that is near none",
        yaml: routed!("routes: [{ name: r, upstream: payments }]"),
        says: &["3:31: found the unknown upstream `payments`, expected the name of one in `upstreams`"],
    },
    Broken {
        what: "an upstream where there are none",
        yaml: listening!("routes: [{ name: r, upstream: users }]"),
        says: &["2:31: found the unknown upstream `users`, expected the name of one in `upstreams`"],
    },
    Broken {
        what: "an unknown upstream in a split",
        yaml: routed!("routes: [{ name: r, split: [{ upstream: users, weight: 1 }, { upstream: uesrs, weight: 1 }] }]"),
        says: &["3:73: found the unknown upstream `uesrs`, expected the name of one in `upstreams`; did you mean `users`?"],
    },
    Broken {
        what: "a split whose weights are all zero",
        yaml: routed!("routes: [{ name: r, split: [{ upstream: users, weight: 0 }] }]"),
        says: &["3:18: the `split` of the route `r` has no weight above 0, expected one"],
    },
    Broken {
        what: "an empty split",
        yaml: routed!("routes: [{ name: r, split: [] }]"),
        says: &["3:18: the `split` of the route `r` has no weight above 0, expected one"],
    },
    Broken {
        what: "both upstream and split",
        yaml: routed!("routes: [{ name: r, upstream: users, split: [{ upstream: users, weight: 1 }] }]"),
        says: &["3:18: the route `r` has both `upstream` and `split`, expected one of them"],
    },
    Broken {
        what: "neither upstream nor split",
        yaml: routed!("routes: [{ name: r }]"),
        says: &["3:18: the route `r` leads nowhere, expected `upstream`, `split`, or a filter `redirect` or `respond`"],
    },
    Broken {
        what: "neither, with a filter that answers nothing",
        yaml: routed!("routes: [{ name: r, filters: [{ strip_prefix: /a }] }]"),
        says: &["3:18: the route `r` leads nowhere, expected `upstream`, `split`, or a filter `redirect` or `respond`"],
    },
    Broken {
        what: "a tie of paths",
        yaml: routed!(
            "routes:",
            "  - { name: one, match: { path: '/a/{x}' }, upstream: users }",
            "  - { name: two, match: { path: '/a/{y}' }, upstream: users }"
        ),
        says: &["5:13: the routes `one` and `two` match the same requests equally well; expected one to be more specific"],
    },
    Broken {
        what: "a tie of methods",
        yaml: routed!(
            "routes:",
            "  - { name: one, match: { path: /a, methods: [GET, PUT] }, upstream: users }",
            "  - { name: two, match: { path: /a, methods: [PUT, POST] }, upstream: users }"
        ),
        says: &["5:13: the routes `one` and `two` match the same requests equally well; expected one to be more specific"],
    },
    Broken {
        what: "a tie of hosts and headers",
        yaml: routed!(
            "routes:",
            "  - { name: one, match: { hosts: [h], headers: { x-a: 1 } }, upstream: users }",
            "  - { name: two, match: { hosts: [i, H], headers: { x-b: 1 } }, upstream: users }"
        ),
        says: &["5:13: the routes `one` and `two` match the same requests equally well; expected one to be more specific"],
    },
    Broken {
        what: "a tie of three",
        yaml: routed!(
            "routes:",
            "  - { name: one, upstream: users }",
            "  - { name: two, upstream: users }",
            "  - { name: three, upstream: users }"
        ),
        says: &[
            "5:13: the routes `one` and `two` match the same requests equally well; expected one to be more specific",
            "6:13: the routes `one` and `three` match the same requests equally well; expected one to be more specific",
            "6:13: the routes `two` and `three` match the same requests equally well; expected one to be more specific",
        ],
    },
];

/// The conditions of routes.
const MATCHES: &[Broken] = &[
    Broken {
        what: "a host with a port",
        yaml: matched!("hosts: ['a.example:80']"),
        says: &["6:22: found `a.example:80`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "a host with a scheme",
        yaml: matched!("hosts: ['http://a.example']"),
        says: &["6:22: found `http://a.example`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "a host with a path",
        yaml: matched!("hosts: [a.example/x]"),
        says: &["6:22: found `a.example/x`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "a wildcard alone",
        yaml: matched!("hosts: ['*']"),
        says: &["6:22: found `*`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "two wildcards",
        yaml: matched!("hosts: ['*.*.example']"),
        says: &["6:22: found `*.*.example`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "a wildcard inside a label",
        yaml: matched!("hosts: ['a*.example']"),
        says: &["6:22: found `a*.example`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "an empty label",
        yaml: matched!("hosts: [a..example]"),
        says: &["6:22: found `a..example`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "an empty host",
        yaml: matched!("hosts: ['']"),
        says: &["6:22: found ``, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "half an IPv6 address",
        yaml: matched!("hosts: ['[::1']"),
        says: &["6:22: found `[::1`, expected a host name such as … without scheme, port or path"],
    },
    Broken {
        what: "a path without its slash",
        yaml: matched!("path: users"),
        says: &["6:20: found `users`, expected a path that begins with /"],
    },
    Broken { what: "an empty path", yaml: matched!("path: ''"), says: &["6:20: found ``, expected a path that begins with /"] },
    Broken {
        what: "a rest in the middle",
        yaml: matched!("path: '/**/a'"),
        says: &["6:20: found `/**/a`, expected /** only at the end of a path"],
    },
    Broken {
        what: "a star in a segment",
        yaml: matched!("path: '/a*'"),
        says: &["6:20: found `/a*`, expected a parameter that fills its whole segment"],
    },
    Broken {
        what: "a parameter without a name",
        yaml: matched!("path: '/{}'"),
        says: &["6:20: found `/{}`, expected a parameter such as {id}: letters, digits, _ and -"],
    },
    Broken {
        what: "a parameter with a space",
        yaml: matched!("path: '/{a b}'"),
        says: &["6:20: found `/{a b}`, expected a parameter such as {id}: letters, digits, _ and -"],
    },
    Broken {
        what: "a parameter for the rest, in another dialect",
        yaml: matched!("path: '/a/{*rest}'"),
        says: &["6:20: found `/a/{*rest}`, expected a parameter such as {id}: letters, digits, _ and -"],
    },
    Broken {
        what: "a parameter behind a letter",
        yaml: matched!("path: '/x{id}'"),
        says: &["6:20: found `/x{id}`, expected a parameter that fills its whole segment"],
    },
    Broken {
        what: "a parameter before a suffix",
        yaml: matched!("path: '/{id}.json'"),
        says: &["6:20: found `/{id}.json`, expected a parameter that fills its whole segment"],
    },
    Broken {
        what: "a path with a query",
        yaml: matched!("path: '/a?b=1'"),
        says: &["6:20: found `/a?b=1`, expected a path without a query"],
    },
    Broken {
        what: "a path with a dot segment",
        yaml: matched!("path: '/a/../b'"),
        says: &["6:20: found `/a/../b`, expected a valid path: the path holds a . or .. segment"],
    },
    Broken {
        what: "a path with an encoded dot segment",
        yaml: matched!("path: '/a/%2e%2e/b'"),
        says: &["6:20: found `/a/%2e%2e/b`, expected a valid path: the path holds a . or .. segment"],
    },
    Broken { what: "a path with a space", yaml: matched!("path: '/a b'"), says: &["6:20: found `/a b`, expected a valid path"] },
    Broken { what: "a path with a fragment", yaml: matched!("path: '/a#b'"), says: &["6:20: found `/a#b`, expected a valid path"] },
    Broken { what: "a path with half an escape", yaml: matched!("path: '/a%zz'"), says: &["6:20: found `/a%zz`, expected a valid path"] },
    Broken {
        what: "a path with a letter that is no ASCII",
        yaml: matched!("path: '/é'"),
        says: &["6:20: found `/é`, expected a valid path"],
    },
    Broken {
        what: "methods in lower case, with a space, and empty",
        yaml: matched!("methods: [get, Delete, 'P UT', '']"),
        says: &[
            "6:24: found `get`, expected a method such as GET or POST; did you mean `GET`?",
            "6:29: found `Delete`, expected a method such as GET or POST; did you mean `DELETE`?",
            "6:37: found `P UT`, expected a method such as GET or POST; did you mean `PUT`?",
            "6:45: found ``, expected a method such as GET or POST",
        ],
    },
    Broken {
        what: "names of headers",
        yaml: matched!("headers: { x a: 1, '': 2 }"),
        says: &["6:25: found `x a`, expected the name of a header field", "6:33: found ``, expected the name of a header field"],
    },
    Broken {
        what: "a header's value with a control character",
        yaml: matched!(r#"headers: { x-a: "b\u0001" }"#),
        says: &["6:30: the value of `x-a` holds a control character, expected visible text"],
    },
];

/// Filters.
const FILTERS: &[Broken] = &[
    Broken {
        what: "a filter that is nearly one",
        yaml: filtered!("strip_prefx: /a"),
        says: &["8:9: found the unknown filter `strip_prefx`, expected one of … did you mean `strip_prefix`?"],
    },
    Broken {
        what: "a filter that is near none",
        yaml: filtered!("authenticate: {}"),
        says: &["8:9: found the unknown filter `authenticate`, expected one of"],
    },
    Broken {
        what: "two filters in one item",
        yaml: filtered!("{ strip_prefix: /a, rewrite: /b }"),
        says: &["8:9: found 2 keys, expected one filter an item, one of"],
    },
    Broken { what: "no filter in an item", yaml: filtered!("{}"), says: &["8:9: found 0 keys, expected one filter an item, one of"] },
    Broken {
        what: "a filter without its value",
        yaml: filtered!("strip_prefix"),
        says: &["8:9: found `strip_prefix`, expected a map with one of the keys"],
    },
    Broken {
        what: "a filter as a list",
        yaml: filtered!("[strip_prefix, /a]"),
        says: &["8:9: found a list, expected a map with one of the keys"],
    },
    Broken {
        what: "a prefix with a parameter",
        yaml: filtered!("strip_prefix: '/v1/{id}'"),
        says: &["8:23: found `/v1/{id}`, expected a path of literal segments, such as /api/v1"],
    },
    Broken {
        what: "a prefix without its slash",
        yaml: filtered!("strip_prefix: v1"),
        says: &["8:23: found `v1`, expected a path that begins with /"],
    },
    Broken {
        what: "a prefix of nothing",
        yaml: filtered!("strip_prefix: /"),
        says: &["8:23: found `/`, expected a path of literal segments, such as /api/v1"],
    },
    Broken {
        what: "a rewrite to an unknown parameter",
        yaml: filtered!("rewrite: '/x/{user}'"),
        says: &["8:18: found `/x/{user}`, expected a parameter of the route's path /v1/{id}"],
    },
    Broken {
        what: "a rewrite to a rest that is not there",
        yaml: filtered!("rewrite: '/x/**'"),
        says: &["8:18: found `/x/**`, expected no ** where the route's path has none"],
    },
    Broken {
        what: "a rewrite without its slash",
        yaml: filtered!("rewrite: x"),
        says: &["8:18: found `x`, expected a path that begins with /"],
    },
    Broken {
        what: "a rewrite with a query",
        yaml: filtered!("rewrite: '/x?y'"),
        says: &["8:18: found `/x?y`, expected a path without a query"],
    },
    Broken {
        what: "a redirect's status",
        yaml: filtered!("redirect: { status: 305 }"),
        says: &["8:29: found 305, expected 301, 302, 303, 307 or 308"],
    },
    Broken {
        what: "a redirect's scheme",
        yaml: filtered!("redirect: { scheme: ftp }"),
        says: &["8:29: found `ftp`, expected http or https"],
    },
    Broken {
        what: "a redirect's host",
        yaml: filtered!("redirect: { host: 'http://a/' }"),
        says: &["8:27: found `http://a/`, expected a host name, with a port if it needs one"],
    },
    Broken {
        what: "a redirect's parameter",
        yaml: filtered!("redirect: { path: '/{nme}' }"),
        says: &["8:27: found `/{nme}`, expected a parameter of the route's path /v1/{id}"],
    },
    Broken {
        what: "all of a redirect",
        yaml: filtered!("redirect: { status: 304, scheme: htps, host: a/b, path: x }"),
        says: &[
            "8:29: found 304, expected 301, 302, 303, 307 or 308",
            "8:42: found `htps`, expected http or https",
            "8:54: found `a/b`, expected a host name, with a port if it needs one",
            "8:65: found `x`, expected a path that begins with /",
        ],
    },
    Broken {
        what: "the status of an answer",
        yaml: filtered!("respond: { status: 99 }"),
        says: &["8:28: found `99`, expected a whole number from 200 to 599"],
    },
    Broken { what: "the body of an answer", yaml: filtered!("respond: { body: [a] }"), says: &["8:26: found a list, expected text"] },
    Broken {
        what: "the headers of an answer",
        yaml: filtered!("respond: { headers: { content-length: 1, x y: 2 } }"),
        says: &[
            "8:31: found `content-length`, which frames messages, expected another header field",
            "8:50: found `x y`, expected the name of a header field",
        ],
    },
    Broken {
        what: "names of headers",
        yaml: filtered!("request_headers: { set: { x a: b }, remove: [é], add: { 'x:': 1 } }"),
        says: &[
            "8:35: found `x a`, expected the name of a header field",
            "8:54: found `é`, expected the name of a header field",
            "8:65: found `x:`, expected the name of a header field",
        ],
    },
    Broken {
        what: "a header's value with the end of a line",
        yaml: filtered!(r#"response_headers: { add: { x-a: "a\nb" } }"#),
        says: &["8:41: the value of `x-a` holds a control character, expected visible text"],
    },
    Broken {
        what: "headers that frame messages",
        yaml: filtered!("request_headers: { set: { Transfer-Encoding: chunked }, remove: [connection, te], add: { upgrade: h2c } }"),
        says: &[
            "8:35: found `Transfer-Encoding`, which frames messages, expected another header field",
            "8:74: found `connection`, which frames messages, expected another header field",
            "8:86: found `te`, which frames messages, expected another header field",
            "8:98: found `upgrade`, which frames messages, expected another header field",
        ],
    },
    Broken {
        what: "headers of an answer that frame it",
        yaml: filtered!("response_headers: { set: { content-length: 0 }, remove: [keep-alive, trailer] }"),
        says: &[
            "8:36: found `content-length`, which frames messages, expected another header field",
            "8:66: found `keep-alive`, which frames messages, expected another header field",
            "8:78: found `trailer`, which frames messages, expected another header field",
        ],
    },
    Broken {
        what: "the host as a header",
        yaml: filtered!("request_headers: { set: { Host: a } }"),
        says: &["8:35: found `host`, expected the `host` of the upstream to be set instead"],
    },
];

/// What is told, and to whom.
const TELEMETRY: &[Broken] = &[
    Broken {
        what: "profiles to the Collector that are not taken",
        yaml: listening!("telemetry: { profiles: { hz: 19, push: true } }"),
        says: &["2:40: found `true`, expected `false` or `continuous: true` beside it: only continuous profiles are pushed"],
    },
    Broken {
        what: "a Collector behind TLS",
        yaml: listening!("telemetry: { otlp: { endpoint: 'https://c:4317' } }"),
        says: &["2:32: the OTLP endpoint: found `https://c:4317`, expected a URL … https is not available in this version"],
    },
    Broken {
        what: "a Collector without a scheme",
        yaml: listening!("telemetry: { otlp: { endpoint: 'c:4317' } }"),
        says: &["2:32: the OTLP endpoint: found `c:4317`, expected a URL"],
    },
    Broken {
        what: "a Collector without a host",
        yaml: listening!("telemetry: { otlp: { endpoint: 'http://' } }"),
        says: &["2:32: the OTLP endpoint: found `http://`, expected a URL"],
    },
];

const ALL: [(&str, &[Broken]); 11] = [
    ("form", FORM),
    ("unknown key", KEYS),
    ("missing key", MISSING),
    ("type", TYPES),
    ("value", VALUES),
    ("listener", LISTENERS),
    ("upstream", UPSTREAMS),
    ("route", ROUTES),
    ("match", MATCHES),
    ("filter", FILTERS),
    ("telemetry", TELEMETRY),
];

/// The sample of the contract, word for word.
const SAMPLE: &str = r#"listeners:
  - name: public
    bind: 0.0.0.0:8080
    trace_context: continue      # continue | restart (new trace, link to the caller's) | ignore
    limits: { connections: 10000, header_bytes: 64KiB, header_timeout: 10s, idle_timeout: 75s }
admin:
  bind: 127.0.0.1:9901
routes:                          # the most specific match wins, in any order: host, then path, then methods and headers; a true tie is a config error
  - name: user
    match:
      hosts: [api.example.com, "*.example.org"]     # absent: any
      path: /api/users/{id}      # literal segments, {param}, and a trailing /** for the rest
      methods: [GET, POST]
      headers: { x-canary: "1" }
    filters:
      - strip_prefix: /api
      - request_headers: { set: { x-from: edge }, remove: [cookie] }
      - response_headers: { set: { x-served-by: pellucid } }
    upstream: users              # or  split: [{ upstream: users, weight: 95 }, { upstream: users-v2, weight: 5 }]
    timeout: 5s                  # the whole exchange, attempts included
upstreams:
  - name: users
    endpoints: [ { address: "127.0.0.1:9001", weight: 1, zone: a } ]     # or plain strings
    balance: round_robin         # round_robin | p2c | ewma | hash
    connect_timeout: 1s
    pool: { idle_per_endpoint: 64, idle_timeout: 60s, connections_per_endpoint: 1024, pending: 1024 }
telemetry:
  service_name: edge             # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override
  otlp: { endpoint: http://127.0.0.1:4317, protocol: grpc }   # grpc | http/protobuf; OTEL_EXPORTER_OTLP_* override; absent: nothing is pushed
  traces:
    sample: 0.01                 # head share, carried downstream in the sampled flag
    keep: { errors: true, retries: true, slower_than: 500ms, per_second: 200 }   # decided at the end, for this hop
  access_log: { to: stdout, format: json }        # stdout | stderr | a file path; json | text; absent: off
  profiles: { continuous: false, hz: 19, push: false }     # a ring of the last minutes; push: OTLP profiles to the Collector
  propagation: { extract: [tracecontext, baggage], inject: [tracecontext, baggage] }
runtime: { workers: 0, drain_timeout: 30s }       # 0: one a core
"#;

/// Routes that are alike in host and path.
const ALIKE: &str = routed!(
    "routes:",
    "  - { name: reads, match: { hosts: [api.example], path: '/users/{id}', methods: [GET] }, upstream: users, timeout: 5s,",
    "      filters: [{ strip_prefix: /users }] }",
    "  - { name: canary, match: { hosts: [api.example], path: '/users/{id}', methods: [GET], headers: { x-canary: 1 } }, upstream: users }",
    "  - { name: writes, match: { hosts: [api.example], path: '/users/{id}', methods: [PUT, DELETE] }, upstream: users }",
    "  - { name: users-rest, match: { path: '/users/**' }, upstream: users }",
    "  - { name: elsewhere, match: { path: /other }, upstream: users }"
);

/// A file in a directory of its own, gone when it is dropped.
struct Scratch {
    directory: PathBuf,
    file: String,
}

impl Scratch {
    fn with(text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("pellucid-config-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for scratch");
        let file = directory.join("pellucid.yaml");
        std::fs::write(&file, text).expect("a file in it");
        Scratch { file: file.to_str().expect("a path that is text").to_owned(), directory }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The binary, without the variables that would change what a file means.
fn pellucid(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command.env_remove("PELLUCID_NOT_SET").env_remove("RUST_LOG");
    command
}

fn outcome(arguments: &[&str]) -> Output {
    pellucid(arguments).output().expect("the binary to start")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// What `check` says about a file, each line without the file's name.
fn mistakes(yaml: &str) -> Result<Vec<String>, String> {
    let scratch = Scratch::with(yaml);
    let output = outcome(&["check", &scratch.file]);
    let stderr = text(&output.stderr);
    if output.status.code() != Some(2) || !output.stdout.is_empty() {
        return Err(format!("ended with {} and said on stdout: {}{stderr}", output.status, text(&output.stdout)));
    }
    let place = format!("{}:", scratch.file);
    stderr.lines().map(|line| line.strip_prefix(&place).map(str::to_owned).ok_or_else(|| format!("no place in: {line}"))).collect()
}

/// Whether a line begins like `says`, and goes on with its pieces in their order.
fn fits(line: &str, says: &str) -> bool {
    let mut pieces = says.split('…').map(str::trim);
    let start = pieces.next().and_then(|first| line.strip_prefix(first));
    pieces.try_fold(start, |rest, piece| rest.and_then(|rest| rest.split_once(piece)).map(|(_, behind)| Some(behind))).flatten().is_some()
}

fn said(lines: &[String], says: &[&str]) -> bool {
    lines.len() == says.len() && lines.iter().zip(says).all(|(line, says)| fits(line, says))
}

#[test]
fn each_broken_config_is_told_its_place_and_a_way_out() {
    let mut wrong = String::new();
    for (group, broken) in ALL.iter().flat_map(|(group, table)| table.iter().map(move |broken| (group, broken))) {
        let found = mistakes(broken.yaml);
        if !found.as_ref().is_ok_and(|lines| said(lines, broken.says)) {
            let _ = writeln!(wrong, "{group}: {}\n{}\n  expected {:#?}\n  found {found:#?}\n", broken.what, broken.yaml, broken.says);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once() {
    let slips_of_the_pen = yaml!(
        "listeners:",
        "  - { nam: public, bind: 0.0.0.0, limits: { header_bytes: 64K } }",
        "admin: { bind: 127.0.0.1:9901, bind: 127.0.0.1:9902 }",
        "routes:",
        "  - { name: r, match: { methods: GET }, filters: [{ strip: /a }], timeout: 5, upstream: users }",
        "upstreams: [{ name: users, endpoints: [{ weight: 1 }], balance: random }]",
        "telemetry: { traces: { sample: 2 }, access_log: {} }",
        "runtimes: {}"
    );
    let lines = mistakes(slips_of_the_pen).unwrap();
    let says = [
        "2:5: the key `name` is missing",
        "2:7: found the unknown key `nam` … did you mean `name`?",
        "2:26: found `0.0.0.0`, expected an address and port",
        "2:59: found `64K`, expected a size",
        "3:32: found the key `bind` a second time",
        "5:34: found `GET`, expected a list",
        "5:53: found the unknown filter `strip`",
        "5:76: found `5`, expected a duration",
        "6:40: the key `address` is missing",
        "6:65: found `random`, expected one of",
        "7:32: found `2`, expected a share from 0 to 1",
        "7:49: the key `to` is missing",
        "8:1: found the unknown key `runtimes` … did you mean `runtime`?",
    ];
    assert!(said(&lines, &says), "{lines:#?}");
}

#[test]
fn a_mistake_of_form_does_not_hide_one_of_meaning() {
    let yaml = "listeners: [{ name: a, bind: 127.0.0.1:1 }]\nroutes: [{ name: r, upstream: usrs, timeout: 5 }]\nupstreams: [{ name: users, endpoints: ['h:1'] }]\n";
    let lines = mistakes(yaml).unwrap();
    assert!(said(&lines, &["2:31: found the unknown upstream `usrs`", "2:46: found `5`, expected a duration"]), "{lines:?}");
}

#[test]
fn sections_that_do_not_fit_each_other_are_reported_at_once() {
    let misfits = yaml!(
        "listeners:",
        "  - { name: a, bind: 127.0.0.1:9901 }",
        "  - { name: a, bind: 127.0.0.1:9901 }",
        "routes:",
        "  - { name: r, match: { hosts: ['*'], path: /a* }, upstream: user }",
        "  - { name: r, filters: [{ redirect: { status: 304 } }] }",
        "upstreams:",
        "  - { name: users, endpoints: ['https://h:1', 'h:2', 'h:2'] }",
        "telemetry: { profiles: { push: true }, otlp: { endpoint: nowhere } }"
    );
    let lines = mistakes(misfits).unwrap();
    let says = [
        "2:22: found the address 127.0.0.1:9901, which the admin plane has",
        "3:13: found the listener `a` a second time, first on line 2",
        "3:22: found the address 127.0.0.1:9901 a second time, the listener `a` has it",
        "3:22: found the address 127.0.0.1:9901, which the admin plane has",
        "5:33: found `*`, expected a host name",
        "5:45: found `/a*`, expected a parameter",
        "5:62: found the unknown upstream `user` … did you mean `users`?",
        "6:13: found the route `r` a second time, first on line 5",
        "6:48: found 304, expected 301",
        "8:32: found `https://h:1`, expected host:port",
        "8:54: found the endpoint `h:2` a second time in `users`",
        "9:32: found `true`, expected `false`",
        "9:58: the OTLP endpoint: found `nowhere`, expected a URL",
    ];
    assert!(said(&lines, &says), "{lines:#?}");
}

#[test]
fn the_sample_of_the_contract_is_good() {
    let scratch = Scratch::with(SAMPLE);
    let output = outcome(&["check", &scratch.file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{}: good: 1 listeners, 1 routes, 1 upstreams\n", scratch.file));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_variable_of_the_environment_stands_for_its_value() {
    let yaml = "listeners: [{ name: a, bind: '${PELLUCID_HOST}:${PELLUCID_PORT:-8080}' }]\n";
    let scratch = Scratch::with(yaml);
    let check = |host: &str| pellucid(&["check", &scratch.file]).env("PELLUCID_HOST", host).output().unwrap();
    assert_eq!(check("127.0.0.1").status.code(), Some(0));
    let refused = check("nowhere");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains(":1:30: found `nowhere:8080`, expected an address and port"), "{}", text(&refused.stderr));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let scratch = Scratch::with("");
    let absent = format!("{}.absent", scratch.file);
    let output = outcome(&["check", &absent]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with(&format!("{absent}: cannot be read: ")), "{}", text(&output.stderr));
    std::fs::write(&scratch.file, b"listeners: \xff").unwrap();
    let output = outcome(&["check", &scratch.file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no UTF-8 at offset 11"), "{}", text(&output.stderr));
}

/// The answer of `explain` in single spaces, a line each.
fn explained(arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let scratch = Scratch::with(ALIKE);
    let output = outcome(&[&["explain", &scratch.file], arguments].concat());
    let lines = text(&output.stdout).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    (output.status.code(), lines)
}

#[test]
fn explain_names_the_route_and_what_came_close() {
    let (code, lines) = explained(&["GET", "http://API.example:80/users/7"]);
    let expected = [
        "GET http://API.example:80/users/7",
        "route reads",
        "because host api.example, path /users/{id}, method GET",
        r#"filter {"strip_prefix":"/users"}"#,
        "upstream users: 127.0.0.1:9001",
        "timeout 5s",
        "came close:",
        "canary wants the header x-canary: 1",
        "writes wants the method PUT or DELETE",
        "users-rest matches too, but less specifically",
    ];
    assert_eq!((code, lines), (Some(0), expected.map(str::to_owned).to_vec()));

    let (code, lines) = explained(&["GET", "http://api.example/users/7", "-H", "X-Canary: 1"]);
    assert_eq!(code, Some(0));
    assert_eq!(lines[1..3], ["route canary", "because host api.example, path /users/{id}, method GET, header x-canary: 1"]);
    assert!(lines.contains(&"reads matches too, but less specifically".to_owned()), "{lines:#?}");
}

#[test]
fn explain_says_that_no_route_matches_and_fails() {
    let (code, lines) = explained(&["GET", "http://api.example/nowhere"]);
    assert_eq!((code, lines[1..].join("\n")), (Some(1), "no route matches: 404 no_route".to_owned()));
    let (code, lines) = explained(&["GET", "http://api.example/users/../secret"]);
    assert_eq!((code, lines[1..].join("\n")), (Some(1), "refused with 400: the path holds a . or .. segment".to_owned()));
}

#[test]
fn explain_refuses_a_broken_config_and_a_question_that_is_none() {
    let scratch = Scratch::with("listeners: []\n");
    let output = outcome(&["explain", &scratch.file, "GET", "http://h/"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(&output.stderr).starts_with(&format!("{}:1:1: found no listener", scratch.file)), "{}", text(&output.stderr));
    for arguments in [&["G T", "http://h/"][..], &["GET", "h"], &["GET", "http://h/", "-H", "x"], &["GET", "http://h/", "-H", "x y: z"]] {
        let (code, lines) = explained(arguments);
        assert_eq!((code, lines.len()), (Some(2), 0), "{arguments:?}");
    }
}

/// Shows every object of a schema that names its keys.
fn visit_objects(schema: &Value, visit: &mut dyn FnMut(&Value)) {
    if schema["properties"].is_object() {
        visit(schema);
    }
    match schema {
        Value::Object(members) => members.values().for_each(|member| visit_objects(member, visit)),
        Value::Array(items) => items.iter().for_each(|item| visit_objects(item, visit)),
        _ => {}
    }
}

#[test]
fn the_schema_is_valid_json_and_refuses_unknown_keys() {
    let output = outcome(&["schema"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["listeners"]));
    let mut sections = 0;
    visit_objects(&schema, &mut |object| {
        sections += 1;
        assert_eq!(object["additionalProperties"], false, "{object}");
        for name in object["required"].as_array().unwrap() {
            assert!(object["properties"][name.as_str().unwrap()].is_object(), "{name} of {object}");
        }
    });
    assert!(sections >= 25, "{sections}");
}

#[test]
fn the_schema_names_every_section_of_the_sample() {
    let schema: Value = serde_json::from_slice(&outcome(&["schema"]).stdout).unwrap();
    let of_sample: Vec<&str> = SAMPLE.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    let names: Vec<&str> = of_sample.iter().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    assert_eq!(names, ["listeners", "admin", "routes", "upstreams", "telemetry", "runtime"]);
    for name in names {
        assert!(schema["properties"][name].is_object(), "{name}");
    }
}

/// The addresses are taken: a gateway that reached for one before it read its file to the end would fail with another code.
#[test]
fn run_with_a_broken_config_exits_with_2_and_serves_nothing() {
    let (public, admin) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let scratch = Scratch::with(&format!(
        "listeners: [{{ name: a, bind: '{}' }}]\nadmin: {{ bind: '{}' }}\nroutes: [{{ name: r, upstream: users }}]\n",
        public.local_addr().unwrap(),
        admin.local_addr().unwrap()
    ));
    let mut child =
        pellucid(&["run", "--config", &scratch.file]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary to start");
    let ended = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        child.try_wait().unwrap().is_some()
    });
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended, "it runs");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    assert_eq!(
        text(&output.stderr),
        format!("{}:3:31: found the unknown upstream `users`, expected the name of one in `upstreams`\n", scratch.file)
    );
}

#[test]
fn run_without_its_file_exits_with_2() {
    let scratch = Scratch::with("");
    let output = outcome(&["run", "--config", &format!("{}.absent", scratch.file)]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(&output.stderr).contains("cannot be read"), "{}", text(&output.stderr));
}

/// What files are made of.
const PIECES: &[&str] = &[
    "listeners",
    "routes",
    "upstreams",
    "name",
    "bind",
    "telemetry",
    "127.0.0.1:1",
    "5s",
    "1",
    ":",
    ": ",
    " ",
    "\n",
    "\n  ",
    "\n  - ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "${",
    "${A:-b}",
    "$",
    "\"",
    "'",
    "|\n",
    ">",
    " #",
    "!!str ",
    "!x ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\t",
    "\r\n",
    "\u{e9}",
    "\u{feff}",
    "\u{2028}",
    "\u{0}",
    "? ",
    "~",
    "<<",
    "\\",
    "@",
    "`",
];

fn nearly_yaml() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat());
    let behind_a_good_start = pieces.clone().prop_map(|rest| format!("listeners: [{{ name: a, bind: 127.0.0.1:1 }}]\n{rest}"));
    prop_oneof![pieces, behind_a_good_start, "\\PC{0,200}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_check_crash(yaml in nearly_yaml()) {
        let scratch = Scratch::with(&yaml);
        let output = outcome(&["check", &scratch.file]);
        prop_assert!(matches!(output.status.code(), Some(0 | 2)), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
}
