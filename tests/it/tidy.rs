//! The house rules, checked from the source text: walls, sizes, names, headers.
//!
//! In: every file under `src`. Out: each offending line with the rule it breaks. Mend the code, not this test.

use std::path::{Path, PathBuf};

/// Lines of production code in one file.
const FILE_LINES_MAX: usize = 400;
const DROP_LINES_MAX: usize = 10;

/// Who may not import whom: a path prefix and the modules that files below it must not name.
const WALLS: [(&str, &[&str]); 18] = [
    ("base/", &["telemetry", "proxy", "control", "gateway", "cli"]),
    ("telemetry/", &["proxy", "control", "gateway", "cli"]),
    ("telemetry/record/", &["telemetry::sampler", "telemetry::profile", "telemetry::export", "telemetry::process"]),
    ("telemetry/sampler/", &["telemetry::profile", "telemetry::export", "telemetry::process"]),
    ("telemetry/profile/", &["telemetry::export", "telemetry::process"]),
    ("telemetry/export/", &["telemetry::process"]),
    ("proxy/", &["control", "gateway", "cli", "telemetry::process", "telemetry::export", "telemetry::profile", "telemetry::sampler"]),
    (
        "proxy/http1/",
        &[
            "proxy::message",
            "proxy::route",
            "proxy::filter",
            "proxy::balance",
            "proxy::resilience",
            "proxy::upstream",
            "proxy::response",
            "proxy::snapshot",
            "proxy::error",
            "proxy::worker",
            "proxy::exchange",
            "proxy::pipeline",
            "proxy::listener",
            "telemetry",
        ],
    ),
    (
        "proxy/route/",
        &[
            "proxy::http1",
            "proxy::filter",
            "proxy::balance",
            "proxy::resilience",
            "proxy::upstream",
            "proxy::response",
            "proxy::exchange",
            "proxy::pipeline",
            "proxy::listener",
            "proxy::worker",
        ],
    ),
    (
        "proxy/filter/",
        &[
            "proxy::http1",
            "proxy::balance",
            "proxy::resilience",
            "proxy::upstream",
            "proxy::response",
            "proxy::exchange",
            "proxy::pipeline",
            "proxy::listener",
            "proxy::worker",
        ],
    ),
    ("proxy/balance/", &["proxy::"]),
    ("proxy/resilience/", &["proxy::"]),
    (
        "proxy/upstream/",
        &[
            "proxy::route",
            "proxy::filter",
            "proxy::balance",
            "proxy::resilience",
            "proxy::response",
            "proxy::exchange",
            "proxy::pipeline",
            "proxy::listener",
            "proxy::worker",
            "proxy::snapshot",
        ],
    ),
    (
        "proxy/response/",
        &[
            "proxy::route",
            "proxy::filter",
            "proxy::balance",
            "proxy::resilience",
            "proxy::upstream",
            "proxy::exchange",
            "proxy::pipeline",
            "proxy::listener",
            "proxy::worker",
            "proxy::snapshot",
        ],
    ),
    ("proxy/snapshot.rs", &["proxy::error", "proxy::exchange", "proxy::pipeline", "proxy::listener", "proxy::worker", "serde"]),
    ("proxy/error.rs", &["proxy::exchange", "proxy::pipeline", "proxy::listener", "proxy::worker"]),
    ("proxy/exchange.rs", &["proxy::pipeline", "proxy::listener"]),
    ("proxy/pipeline.rs", &["proxy::listener"]),
];

struct File {
    /// Below `src`, with slashes.
    name: String,
    text: String,
}

impl File {
    /// Without the unit tests at its end.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut pending, mut found) = (vec![root.clone()], Vec::new());
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
                found.push(File { name, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(found.len() > 50, "the source is not where it is looked for");
    found.retain(|file| !file.name.ends_with("tests.rs"));
    found
}

/// Runs `rule` over all files and shows every offence at once.
fn check(rule: &str, offences: impl Fn(&File) -> Vec<(usize, String)>) {
    let mut all = Vec::new();
    for file in files() {
        all.extend(offences(&file).into_iter().map(|(line, what)| format!("src/{}:{line}: {what}", file.name)));
    }
    assert!(all.is_empty(), "{rule}\n{}", all.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    check("a module opens with two to six lines of purpose (style rule 1)", |file| {
        let header = file.text.lines().take_while(|line| line.starts_with("//!")).count();
        let drawn = file.name.ends_with("lib.rs") || file.name == "proxy/mod.rs" || file.name == "main.rs";
        if drawn && header >= 1 || (2..=6).contains(&header) { Vec::new() } else { vec![(1, format!("{header} header lines"))] }
    });
}

#[test]
fn files_stay_readable_in_one_sitting() {
    check("at most 400 production lines a file (style rule 2)", |file| {
        let count = file.production().count();
        if count <= FILE_LINES_MAX { Vec::new() } else { vec![(count, format!("{count} lines"))] }
    });
}

#[test]
fn imports_obey_the_walls() {
    check("imports point the way a request travels (architecture)", |file| {
        let mut offences = Vec::new();
        for (_, forbidden) in WALLS.iter().filter(|(prefix, _)| file.name.starts_with(prefix)) {
            for (line, text) in file.production() {
                let code = text.trim_start();
                let wall = forbidden
                    .iter()
                    .find(|module| code.contains(&format!("crate::{module}")) || (**module == "serde" && code.contains("serde::")));
                offences.extend(wall.filter(|_| !code.starts_with("//")).map(|wall| (line, format!("imports {wall}: {code}"))));
            }
        }
        offences
    });
}

#[test]
fn names_of_signals_stand_in_one_file() {
    let owners = ["telemetry/record/names.rs"];
    let prefixes = ["\"http.", "\"url.", "\"pellucid.", "\"pellucid_", "\"http_", "\"server.", "\"service.", "\"network.", "\"user_agent"];
    check("names of metrics, spans and attributes stand in names.rs (style rule 10)", |file| {
        if owners.contains(&file.name.as_str()) {
            return Vec::new();
        }
        let raw = |text: &str| prefixes.iter().any(|prefix| text.contains(prefix)) && !text.trim_start().starts_with("//");
        file.production().filter(|(_, text)| raw(text)).map(|(line, text)| (line, text.trim().to_owned())).collect()
    });
}

#[test]
fn queues_are_bounded_and_time_is_injected() {
    let words = [
        "unbounded_channel",
        "mpsc::channel()",
        "mpsc::unbounded",
        "Instant::now()",
        "SystemTime::now()",
        ".unwrap()",
        "todo!",
        "unimplemented!",
        "dbg!",
    ];
    check("no unbounded queue, no clock but the injected one, no unwrap (style rules 6, 7, 8)", |file| {
        let offends = |text: &str| words.iter().any(|word| text.contains(word)) && !text.trim_start().starts_with("//");
        let allowed = |text: &str| file.name == "base/clock.rs" && text.contains("now()");
        file.production().filter(|(_, text)| offends(text) && !allowed(text)).map(|(line, text)| (line, text.trim().to_owned())).collect()
    });
}

#[test]
fn destructors_only_hand_off() {
    check("a Drop body has at most 10 lines (style rule 11)", |file| {
        let lines: Vec<(usize, &str)> = file.production().collect();
        let begins = lines.iter().enumerate().filter(|(_, (_, text))| text.trim_start() == "fn drop(&mut self) {");
        let measured = begins.map(|(index, (line, text))| {
            let indent = text.len() - text.trim_start().len();
            let end = lines[index..].iter().position(|(_, text)| text.starts_with(&format!("{}}}", " ".repeat(indent)))).unwrap_or(0);
            (*line, end.saturating_sub(1))
        });
        measured.filter(|(_, length)| *length > DROP_LINES_MAX).map(|(line, length)| (line, format!("{length} lines"))).collect()
    });
}

#[test]
fn unsafe_code_stands_where_it_must_and_says_why() {
    let rooms = ["telemetry/sampler/", "telemetry/profile/heap/sheet.rs"];
    check("`unsafe` stands in the sampler and in the heap's profiles only, each below a SAFETY sentence or a Safety section", |file| {
        let lines: Vec<(usize, &str)> = file.production().collect();
        let code = |text: &str| !text.trim_start().starts_with("//") && !text.contains("unsafe_code") && text.contains("unsafe ");
        let said =
            |at: usize| lines[at.saturating_sub(6)..=at].iter().any(|(_, text)| text.contains("SAFETY:") || text.contains("# Safety"));
        let offends = |at: usize| !rooms.iter().any(|room| file.name.starts_with(room)) || !said(at);
        let found = lines.iter().enumerate().filter(|(at, (_, text))| code(text) && offends(*at));
        found.map(|(_, (line, text))| (*line, text.trim().to_owned())).collect()
    });
}

#[test]
fn names_say_what_things_are() {
    let words = ["Manager", "Helper", "Util", "mod util", "mod common", "mod misc", "mod helpers"];
    check("no Manager, Helper, util, common, misc (style rule 14)", |file| {
        file.production()
            .filter(|(_, text)| words.iter().any(|word| text.contains(word)))
            .map(|(line, text)| (line, text.trim().to_owned()))
            .collect()
    });
}
