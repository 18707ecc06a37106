//! The dashboards: each query is answered by a real Prometheus that scrapes the demo, and each panel can be read and leads somewhere.
//!
//! In: `dashboards/*.json` and the rules beside them, the demo as a process. Out: everything that is wrong, at once. Not here: how Grafana
//! draws, and whether Loki, Tempo and Pyroscope find anything; their queries are only looked at. How rules are evaluated: `stack_files`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::get;
use crate::support::process::Pellucid;
use crate::support::stack::{Prometheus, encoded, repository, repository_text};

/// Enough for dozens of scrapes, on a busy machine as well.
const PATIENCE: Duration = Duration::from_secs(60);
const GRID_COLUMNS: u64 = 24;
/// A description says at least so much, of which at least so much is advice.
const DESCRIPTION_WORDS_MIN: usize = 10;
const ADVICE_WORDS_MIN: usize = 4;
const ADVICE: &str = "**When it looks bad:**";
/// The type of a data source, the variable that chooses one, and its uid where none is chosen.
const SOURCES: [(&str, &str, &str); 4] = [
    ("prometheus", "datasource", "prometheus"),
    ("loki", "loki", "loki"),
    ("tempo", "tempo", "tempo"),
    ("grafana-pyroscope-datasource", "pyroscope", "pyroscope"),
];
/// How names of ours, and of what a process tells of itself, begin.
const OURS: [&str; 3] = ["pellucid_", "http_", "process_"];
/// What docs/telemetry.md says exemplars stand on.
const WITH_EXEMPLARS: [&str; 3] =
    ["http_server_request_duration_seconds_bucket", "http_client_request_duration_seconds_bucket", "pellucid_self_time_seconds_bucket"];
/// Labels that a scrape adds, and that of buckets.
const ADDED_LABELS: [&str; 3] = ["job", "instance", "le"];

struct Board {
    file: String,
    json: Value,
}

/// Something that a dashboard asks of Prometheus.
struct Question {
    place: String,
    text: String,
    wanted: Wanted,
}

enum Wanted {
    /// The value now: a table's.
    Now,
    /// Values over time.
    Course,
    /// The values of a label, for a variable to choose from.
    ValuesOf(String),
}

/// The names of series with the names of their labels.
type Known = BTreeMap<String, BTreeSet<String>>;

impl Board {
    fn uid(&self) -> &str {
        self.json["uid"].as_str().unwrap_or("")
    }

    /// Lists of panels that share a grid: the dashboard's own, and that of each folded row.
    fn grids(&self) -> Vec<&[Value]> {
        let own = list(&self.json["panels"]);
        let folded = own.iter().map(|panel| list(&panel["panels"])).filter(|panels| !panels.is_empty());
        std::iter::once(own).chain(folded).collect()
    }

    /// Without the headings of rows.
    fn panels(&self) -> Vec<&Value> {
        self.grids().into_iter().flatten().filter(|panel| panel["type"] != "row").collect()
    }

    fn place(&self, title: &Value) -> String {
        format!("{}: {}", self.file, title.as_str().unwrap_or("(no title)"))
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"]["list"])
    }

    fn has_variable(&self, name: &str) -> bool {
        self.variables().iter().any(|variable| variable["name"] == name)
    }

    /// All that it asks of Prometheus: for panels, marks and variables.
    fn questions(&self) -> Vec<Question> {
        let mut found = Vec::new();
        for panel in self.panels() {
            for target in list(&panel["targets"]).iter().filter(|target| target["datasource"]["type"] == "prometheus") {
                let wanted = if target["instant"] == true { Wanted::Now } else { Wanted::Course };
                found.push(Question { place: self.place(&panel["title"]), text: text(&target["expr"]), wanted });
            }
        }
        for mark in list(&self.json["annotations"]["list"]).iter().filter(|mark| mark["expr"].is_string()) {
            found.push(Question { place: self.place(&mark["name"]), text: text(&mark["expr"]), wanted: Wanted::Course });
        }
        for variable in self.variables().iter().filter(|variable| variable["type"] == "query") {
            let asked = text(&variable["query"]["query"]);
            let inside = asked.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (series, label) = inside.and_then(|inside| inside.rsplit_once(", ")).unwrap_or_else(|| panic!("{}: {asked}", self.file));
            let wanted = Wanted::ValuesOf(label.to_owned());
            found.push(Question { place: self.place(&variable["label"]), text: series.to_owned(), wanted });
        }
        found
    }
}

impl Question {
    /// With everything chosen, as Grafana would send it.
    fn filled(&self) -> String {
        let mut filled = self.text.clone();
        for (name, value) in [("__rate_interval", "15s"), ("__interval", "5s"), ("__range", "60s")] {
            filled = filled.replace(&format!("${name}"), value);
        }
        for name in ["job", "instance", "route", "upstream"] {
            filled = filled.replace(&format!("${name}"), ".*");
        }
        assert!(variables_in(&filled).is_empty(), "{}: a variable that this test does not know in {filled}", self.place);
        filled
    }

    /// What is wrong with the answer, if anything is.
    fn trouble(&self, prometheus: &Prometheus) -> Option<String> {
        let query = encoded(&self.filled());
        let path = match &self.wanted {
            Wanted::Now => format!("/api/v1/query?query={query}"),
            Wanted::Course => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                format!("/api/v1/query_range?query={query}&start={}&end={now}&step=1", now - 30)
            }
            Wanted::ValuesOf(label) => format!("/api/v1/label/{label}/values?match%5B%5D={query}"),
        };
        let answer = prometheus.get(&path).json();
        if answer["status"] != "success" {
            return Some(answer["error"].to_string());
        }
        let found = match &self.wanted {
            Wanted::ValuesOf(_) => !list(&answer["data"]).is_empty(),
            Wanted::Now | Wanted::Course => list(&answer["data"]["result"]).iter().any(has_a_number),
        };
        (!found).then(|| "it finds nothing".to_owned())
    }

    /// What it names that no gateway has.
    fn unknown(&self, known: &Known) -> Vec<String> {
        let mut found = unknown_in(&self.text, known);
        if let Wanted::ValuesOf(label) = &self.wanted {
            let series = known.get(identifier(&self.text));
            let has = ADDED_LABELS.contains(&label.as_str()) || series.is_some_and(|labels| labels.contains(label));
            found.extend((!has).then(|| format!("no label {label}")));
        }
        found.into_iter().map(|what| format!("{}: {what}: {}", self.place, self.text)).collect()
    }
}

/// `NaN` and the infinities are no data.
fn has_a_number(series: &Value) -> bool {
    let mut samples = list(&series["values"]).iter().chain(series.get("value"));
    samples.any(|sample| sample[1].as_str().and_then(|value| value.parse::<f64>().ok()).is_some_and(f64::is_finite))
}

/// Metrics, their labels, and labels that are summed by, as far as nothing of `known` is called so. Names with a colon are recorded by rules.
fn unknown_in(expression: &str, known: &Known) -> Vec<String> {
    let labels: BTreeSet<&str> = known.values().flatten().map(String::as_str).chain(ADDED_LABELS).collect();
    let mut found = Vec::new();
    for name in words(expression).filter(|name| OURS.iter().any(|prefix| name.starts_with(*prefix)) && !labels.contains(name)) {
        if !name.contains(':') && !known.contains_key(name) {
            found.push(format!("no metric {name}"));
        }
    }
    for (name, selected) in selectors(expression) {
        let Some(own) = known.get(name) else { continue };
        let strange = selected.into_iter().filter(|label| !own.contains(*label) && !ADDED_LABELS.contains(label));
        found.extend(strange.map(|label| format!("no label {label} on {name}")));
    }
    for start in [" by (", " on (", " on("] {
        for rest in expression.split(start).skip(1) {
            let named = rest.split(')').next().unwrap_or("").split(',').map(str::trim).filter(|label| !label.is_empty());
            found.extend(named.filter(|label| !labels.contains(label)).map(|label| format!("no label {label}")));
        }
    }
    found
}

/// Identifiers of PromQL, and whatever else looks like one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_' && character != ':')
}

/// The identifier that a text begins with.
fn identifier(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_').unwrap_or(text.len());
    &text[..end]
}

/// Each `name{label="value", …}` of an expression, without the values.
fn selectors(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let (mut found, mut rest) = (Vec::new(), expression);
    while let Some(open) = rest.find('{') {
        let name = words(&rest[..open]).last().unwrap_or("");
        let inside = inside_braces(&rest[open + 1..]);
        found.push((name, label_names(inside)));
        rest = &rest[open + 1 + inside.len()..];
    }
    found
}

/// Up to the brace that is not in quotes.
fn inside_braces(text: &str) -> &str {
    let mut quoted = false;
    let end = text.find(|character: char| {
        quoted ^= character == '"';
        character == '}' && !quoted
    });
    &text[..end.unwrap_or(text.len())]
}

fn label_names(inside: &str) -> Vec<&str> {
    let unquoted = inside.split('"').step_by(2).map(|part| identifier(part.trim_start_matches([',', ' '])));
    unquoted.filter(|name| !name.is_empty()).collect()
}

/// The series of a page of `/metrics`.
fn series(page: &str) -> Known {
    let mut known = Known::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = identifier(line);
        let labels = line[name.len()..].strip_prefix('{').map_or_else(Vec::new, |rest| label_names(inside_braces(rest)));
        known.entry(name.to_owned()).or_default().extend(labels.into_iter().map(str::to_owned));
    }
    known
}

/// What stands behind each `expr:` of a file with rules, on the same line or indented below it.
fn rule_expressions(file: &str) -> Vec<String> {
    fn indentation(line: &str) -> usize {
        line.len() - line.trim_start().len()
    }
    let text = repository_text(file);
    let lines: Vec<&str> = text.lines().collect();
    let begins = (0..lines.len()).filter(|at| lines[*at].trim_start().starts_with("expr:"));
    let whole = |at: usize| {
        let below = lines[at + 1..].iter().take_while(|line| line.trim().is_empty() || indentation(line) > indentation(lines[at]));
        std::iter::once(&lines[at]).chain(below).copied().collect::<Vec<&str>>().join("\n").replacen("expr:", "", 1)
    };
    begins.map(whole).collect()
}

/// The names of variables in a text: `$route`, `${route:pipe}`.
fn variables_in(text: &str) -> Vec<&str> {
    let names = text.split('$').skip(1).map(|rest| identifier(rest.strip_prefix('{').unwrap_or(rest)));
    names.filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text.as_str()],
        Value::Array(list) => list.iter().flat_map(strings).collect(),
        Value::Object(map) => map.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text instead of {value}")).to_owned()
}

fn boards() -> Vec<Board> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository("dashboards")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |path: PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{file}: {error}"));
        Board { file, json }
    };
    files.into_iter().map(read).collect()
}

/// The demo as anyone starts it, on free ports.
fn demo() -> Pellucid {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    command.args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    Pellucid::spawn(command, PathBuf::new())
}

/// CPU by phase is reckoned from samples, and the demo takes none before it is asked for some.
fn take_a_profile(demo: &Pellucid) {
    assert_eq!(get(demo.admin, "/debug/pprof/profile?seconds=2").status, 200);
}

/// Asks again until nothing is wrong any more, or shows all that still is.
fn assert_in_time(rule: &str, mut offences: impl FnMut() -> Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = offences();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{rule}\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n{}", offences.join("\n"));
}

#[test]
fn every_query_of_every_dashboard_finds_data_within_a_minute_of_the_demo() {
    let demo = demo();
    let prometheus = Prometheus::start(Some(demo.admin));
    take_a_profile(&demo);
    let mut open: Vec<Question> = boards().iter().flat_map(Board::questions).collect();
    assert!(open.len() > 100, "{} queries in all dashboards", open.len());
    assert_in_time("each query finds data", || {
        let mut wrong = Vec::new();
        open.retain(|question| {
            let trouble = question.trouble(&prometheus);
            wrong.extend(trouble.iter().map(|what| format!("{}: {what}: {}", question.place, question.filled())));
            trouble.is_some()
        });
        wrong
    });
}

#[test]
fn every_metric_and_label_that_is_asked_for_is_one_of_the_demos() {
    let demo = demo();
    take_a_profile(&demo);
    let questions: Vec<Question> = boards().iter().flat_map(Board::questions).collect();
    let files = ["dashboards/rules/recording.yaml", "dashboards/rules/alerts.yaml"];
    let rules: Vec<String> = files.iter().flat_map(|file| rule_expressions(file)).collect();
    assert!(rules.len() > 40, "{} rules", rules.len());
    let recording = repository_text(files[0]);
    let recorded: BTreeSet<&str> = recording.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    // Some series begin with the first request of their kind.
    assert_in_time("metrics and labels that are asked for exist", || {
        let known = series(&demo.metrics());
        let mut wrong: Vec<String> = questions.iter().flat_map(|question| question.unknown(&known)).collect();
        for rule in &rules {
            let records = words(rule).filter(|name| name.contains(':') && name.starts_with(|first: char| first.is_ascii_alphabetic()));
            wrong.extend(records.filter(|name| !recorded.contains(name)).map(|name| format!("rules: nothing records {name}: {rule}")));
            wrong.extend(unknown_in(rule, &known).into_iter().map(|what| format!("rules: {what}: {rule}")));
        }
        wrong
    });
}

#[test]
fn every_panel_has_a_unit_and_says_what_to_do_when_it_looks_bad() {
    let mut wrong = Vec::new();
    for board in &boards() {
        for panel in board.panels() {
            let place = board.place(&panel["title"]);
            let description = panel["description"].as_str().unwrap_or("");
            let advice = description.split_once(ADVICE).map_or("", |(_, advice)| advice);
            let count = |text: &str| text.split_whitespace().count();
            if count(description) < DESCRIPTION_WORDS_MIN || count(advice) < ADVICE_WORDS_MIN {
                wrong.push(format!("{place}: says or advises too little: {description}"));
            }
            if panel["fieldConfig"]["defaults"]["unit"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{place}: has no unit"));
            }
            for target in list(&panel["targets"]) {
                let course = target["instant"] != true
                    && target["expr"].as_str().is_some_and(|expr| WITH_EXEMPLARS.iter().any(|name| expr.contains(name)));
                if course && target["exemplar"] != true {
                    wrong.push(format!("{place}: shows no exemplars: {}", target["expr"]));
                }
            }
            if list(&panel["targets"]).is_empty() || panel["title"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{place}: has no query or no title"));
            }
        }
    }
    assert_none("each panel has a title, a query, a unit and advice; what can have exemplars shows them", &wrong);
}

#[test]
fn no_panel_lies_over_another() {
    let mut wrong = Vec::new();
    for board in &boards() {
        let mut ids = BTreeSet::new();
        for grid in board.grids() {
            let mut taken = BTreeMap::new();
            for panel in grid {
                let place = board.place(&panel["title"]);
                let [x, y, width, height] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or(u64::MAX / 4));
                if !ids.insert(panel["id"].as_u64()) {
                    wrong.push(format!("{place}: its id {} is taken", panel["id"]));
                }
                if x + width > GRID_COLUMNS || width == 0 || height == 0 || height > 100 {
                    wrong.push(format!("{place}: does not fit the grid: {}", panel["gridPos"]));
                    continue;
                }
                let cells = (x..x + width).flat_map(|column| (y..y + height).map(move |line| (column, line)));
                let over: BTreeSet<String> = cells.filter_map(|cell| taken.insert(cell, place.clone())).collect();
                wrong.extend(over.iter().map(|other| format!("{place}: lies over {other}")));
            }
        }
    }
    assert_none("panels have places and ids of their own", &wrong);
}

#[test]
fn dashboards_have_uids_of_their_own_and_the_variables_that_were_promised() {
    let boards = boards();
    let uids: BTreeSet<&str> = boards.iter().map(Board::uid).collect();
    assert_eq!(uids.len(), boards.len(), "a uid twice: {uids:?}");
    for uid in ["pellucid-overview", "pellucid-route", "pellucid-upstreams", "pellucid-gateway"] {
        assert!(uids.contains(uid), "{uid} in {uids:?}");
    }
    let provisioned = repository_text("deploy/grafana/provisioning/datasources/datasources.yaml");
    let mut wrong = Vec::new();
    for board in &boards {
        for (kind, variable, uid) in SOURCES {
            let found = board.variables().iter().find(|found| found["name"] == variable && found["type"] == "datasource");
            if found.is_none_or(|found| found["query"] != kind || found["current"]["value"] != uid) {
                wrong.push(format!("{}: no variable {variable} that begins with the {kind} {uid}", board.file));
            }
            if !provisioned.contains(&format!("    type: {kind}\n    uid: {uid}\n")) {
                wrong.push(format!("datasources.yaml: no {kind} with the uid {uid}"));
            }
        }
        for variable in ["job", "instance", "route", "upstream"] {
            if !board.variables().iter().any(|found| found["name"] == variable && found["type"] == "query") {
                wrong.push(format!("{}: no variable {variable}", board.file));
            }
        }
        for name in strings(&board.json).into_iter().flat_map(variables_in) {
            if !name.starts_with("__") && !board.has_variable(name) {
                wrong.push(format!("{}: ${name} is no variable", board.file));
            }
        }
    }
    assert_none("data sources, variables and what refers to them fit together", &wrong);
}

#[test]
fn links_lead_to_dashboards_that_exist_and_carry_variables_that_they_have() {
    let boards = boards();
    let alerts = repository_text("dashboards/rules/alerts.yaml");
    let of_alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("dashboard: ")).map(|link| ("alerts.yaml", link));
    let of_boards = boards.iter().flat_map(|board| strings(&board.json).into_iter().map(move |link| (board.file.as_str(), link)));
    let links: Vec<(&str, &str)> = of_boards.filter(|(_, link)| link.starts_with("/d/")).chain(of_alerts).collect();
    assert!(links.len() > 30, "{} links", links.len());
    let mut wrong = Vec::new();
    for (place, link) in links {
        let (path, query) = link.split_once('?').unwrap_or((link, ""));
        let uid = path.split('/').nth(2).unwrap_or("");
        let Some(target) = boards.iter().find(|board| board.uid() == uid) else {
            wrong.push(format!("{place}: there is no dashboard {uid}: {link}"));
            continue;
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let set = part.strip_prefix("var-").map(identifier);
            let handed_on = part.strip_prefix("${").map(identifier).filter(|name| !name.starts_with("__"));
            if let Some(name) = set.or(handed_on).filter(|name| !target.has_variable(name)) {
                wrong.push(format!("{place}: {uid} has no variable {name}: {link}"));
            }
        }
    }
    for board in &boards {
        let tags: BTreeSet<&str> = boards.iter().flat_map(|other| strings(&other.json["tags"])).collect();
        let strange = list(&board.json["links"]).iter().flat_map(|link| strings(&link["tags"])).filter(|tag| !tags.contains(tag));
        wrong.extend(strange.map(|tag| format!("{}: no dashboard has the tag {tag}", board.file)));
    }
    assert_none("links lead somewhere", &wrong);
}

#[test]
fn each_query_goes_to_a_source_of_its_kind_and_is_well_formed() {
    let mut wrong = Vec::new();
    for board in &boards() {
        for panel in board.panels() {
            let place = board.place(&panel["title"]);
            let source = &panel["datasource"];
            let known = SOURCES.iter().find(|(kind, variable, _)| source["type"] == *kind && source["uid"] == format!("${{{variable}}}"));
            let Some((kind, ..)) = known else {
                wrong.push(format!("{place}: no data source of ours: {source}"));
                continue;
            };
            for target in list(&panel["targets"]) {
                let sound = match *kind {
                    "prometheus" => target["expr"].is_string(),
                    "loki" => {
                        target["queryType"] == "range"
                            && is_balanced(&target["expr"])
                            && target["expr"].to_string().contains("{service_name=~")
                    }
                    "tempo" => {
                        target["queryType"] == "traceql" && is_balanced(&target["query"]) && text(&target["query"]).starts_with("{ ")
                    }
                    _ => target["profileTypeId"] == "process_cpu:cpu:nanoseconds:cpu:nanoseconds" && is_balanced(&target["labelSelector"]),
                };
                if !sound || target["datasource"] != *source {
                    wrong.push(format!("{place}: {target}"));
                }
            }
        }
    }
    assert_none("queries are well formed", &wrong);
}

/// Not empty, and every bracket and quote is closed.
fn is_balanced(query: &Value) -> bool {
    let Some(query) = query.as_str().filter(|query| !query.is_empty()) else { return false };
    let count = |wanted: char| query.matches(wanted).count();
    let pairs = [('(', ')'), ('{', '}'), ('[', ']')];
    pairs.iter().all(|(open, close)| count(*open) == count(*close)) && count('"') % 2 == 0 && count('`') % 2 == 0
}

#[test]
fn the_files_are_what_their_source_writes() {
    let run = Command::new("python3").arg(repository("dashboards/generate.py")).arg("--check").output().unwrap();
    assert!(run.status.success(), "dashboards/generate.py --check: {}", String::from_utf8_lossy(&run.stderr));
}
