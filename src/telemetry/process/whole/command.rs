//! A command that repeats a request.
//!
//! In: what the record holds of it. Out: one line for a shell, and what it lacks of the request. Every part that the client had a say in is quoted,
//! and control characters are taken out: a terminal would obey them when the line is pasted. Secrets were hidden before.
//! Not here: running it.

use super::Told;
use crate::telemetry::export::redact;
use crate::telemetry::record::captured::HIDDEN;
use crate::telemetry::record::{MethodTag, Record, VersionTag};

/// Fields that curl writes itself, or that would make it wait for what does not come.
const LEFT_OUT: [&str; 8] = ["host", "user-agent", "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade"];

/// The command and what it lacks; none where no request could be read.
pub(super) fn curl(told: &Told<'_>) -> Option<(String, Vec<String>)> {
    let record = told.entry.record;
    if record.path.is_empty() {
        return None;
    }
    let path = record.text.str(record.path);
    let url = url(record, &path);
    let mut words = vec!["curl".to_owned()];
    if path == "*" {
        words.extend(["--request-target".to_owned(), quoted("*")]);
    }
    if url.contains(['[', ']', '{', '}']) {
        words.push("--globoff".to_owned());
    }
    match method(told).as_ref() {
        "GET" => {}
        "HEAD" => words.push("--head".to_owned()),
        other => words.extend(["--request".to_owned(), quoted(other)]),
    }
    if record.version == VersionTag::Http10 {
        words.push("--http1.0".to_owned());
    }
    if !record.user_agent.is_empty() {
        words.extend(["--user-agent".to_owned(), quoted(&record.text.str(record.user_agent))]);
    }
    for header in told.entry.captured().filter(|header| !LEFT_OUT.contains(&header.legend.name.as_str())) {
        words.extend(["--header".to_owned(), quoted(&field(&header.legend.name, &String::from_utf8_lossy(header.value())))]);
    }
    words.push(quoted(&url));
    Some((words.join(" "), notes(told)))
}

/// As the client named it: with the `Host` of the request.
fn url(record: &Record, path: &str) -> String {
    let host = match record.host.is_empty() {
        true => format!("localhost:{}", record.listener_port),
        false => record.text.str(record.host).into_owned(),
    };
    let path = if path == "*" { "/" } else { path };
    let mut url = format!("http://{host}{path}");
    if !record.query.is_empty() {
        url.push('?');
        url.push_str(&redact::query(&record.text.str(record.query)));
    }
    url
}

fn method<'t>(told: &Told<'t>) -> std::borrow::Cow<'t, str> {
    let record = told.entry.record;
    if record.method == MethodTag::Other { record.text.str(record.method_text) } else { told.entry.method().into() }
}

/// An empty value is written with a semicolon; a colon would take the field away.
fn field(name: &str, value: &str) -> String {
    if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") }
}

/// What the command lacks of the request.
fn notes(told: &Told<'_>) -> Vec<String> {
    let record = told.entry.record;
    let pieces = [
        ("path", record.path),
        ("query", record.query),
        ("host", record.host),
        ("user agent", record.user_agent),
        ("method", record.method_text),
    ];
    let cut = pieces.into_iter().filter(|(_, piece)| piece.is_cut());
    let mut notes: Vec<String> = cut.map(|(name, _)| format!("the {name} was longer than what is remembered of it")).collect();
    let cut = told.entry.captured().filter(|header| header.is_cut);
    notes.extend(cut.map(|header| format!("the header {} was longer than what is remembered of it", header.legend.name)));
    let query = record.text.str(record.query);
    if redact::query(&query) != query || told.entry.captured().any(|header| header.legend.is_secret) {
        notes.push(format!("secret values are hidden: {HIDDEN} stands for them"));
    }
    if record.request_bytes > 0 {
        notes.push(format!("the body of {} bytes is not remembered", record.request_bytes));
    }
    notes
}

/// One word of a POSIX shell.
fn quoted(text: &str) -> String {
    let clean: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !clean.is_empty() && clean.bytes().all(plain) {
        return clean;
    }
    format!("'{}'", clean.replace('\'', "'\\''"))
}
