//! Asks a running gateway for a profile.
//!
//! In: the arguments. Out: the bytes of its answer, bounded, or what went wrong in the gateway's own words. Which options a kind of profile
//! knows is decided here. Not here: what the bytes mean.

use std::time::Duration;

use reqwest::{StatusCode, Url};

use super::super::admin::AdminPlane;
use super::super::complain;
use super::super::health::block_on;
use super::{Kind, ProfileArguments};
use crate::base::limits::PROFILE_BYTES_MAX;
use crate::base::text::with_causes;

/// Seconds of a profile that takes time, unless told.
const SECONDS: u32 = 10;
/// What a gateway may take beyond the time that was asked for, to name functions and to answer.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that is no profile which are shown.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// What is asked, and how long an answer is awaited.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) url: Url,
    pub(super) timeout: Duration,
    admin: AdminPlane,
    announcement: String,
}

impl Question {
    /// The error says which option does not go with the kind.
    pub(super) fn new(arguments: &ProfileArguments) -> Result<Self, String> {
        let kind = arguments.kind;
        if let Some((option, kinds)) = misplaced(arguments) {
            return Err(format!("{option} with --kind {}: expected it only with --kind {kinds}", kind.name()));
        }
        let seconds = arguments.seconds.or(matches!(kind, Kind::Cpu | Kind::Trace).then_some(SECONDS));
        let page = if kind == Kind::Cpu { "profile" } else { kind.name() };
        let text = format!("{}/debug/pprof/{page}", arguments.admin);
        let mut url = Url::parse(&text).map_err(|error| format!("{text}: {error}"))?;
        let query = query(arguments, seconds);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(&query);
        }
        let timeout = PATIENCE + Duration::from_secs(u64::from(seconds.unwrap_or(0)));
        Ok(Question { url, timeout, admin: arguments.admin.clone(), announcement: announcement(arguments, seconds) })
    }

    /// Says what it does, which may take a while, and does it.
    pub(super) fn answer(&self) -> Result<Vec<u8>, String> {
        complain(std::slice::from_ref(&self.announcement));
        block_on(self.ask()).ok_or_else(|| "the system gives no runtime to wait with".to_owned())?
    }

    async fn ask(&self) -> Result<Vec<u8>, String> {
        let trouble = |error: reqwest::Error| format!("{}: {}", self.url, with_causes(&error.without_url()));
        let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).timeout(self.timeout).build();
        let request = self.admin.get(&client.map_err(trouble)?, self.url.clone())?;
        let mut response = request.send().await.map_err(trouble)?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(format!("{}: {}", self.url, self.admin.unauthorized()));
        }
        let bytes_max = if status.is_success() { PROFILE_BYTES_MAX } else { REFUSAL_BYTES_MAX };
        let mut body = Vec::new();
        while body.len() <= bytes_max
            && let Some(chunk) = response.chunk().await.map_err(trouble)?
        {
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(format!("{}: {status}\n{}", self.url, String::from_utf8_lossy(&body).trim_end()));
        }
        if body.len() > bytes_max {
            return Err(format!("{}: found more than {bytes_max} bytes, expected at most that", self.url));
        }
        Ok(body)
    }
}

/// The first option that the kind does not know, and the kinds that do.
fn misplaced(arguments: &ProfileArguments) -> Option<(&'static str, &'static str)> {
    const CPU: &[Kind] = &[Kind::Cpu];
    const STACKS: &[Kind] = &[Kind::Cpu, Kind::Heap, Kind::Allocs, Kind::Goroutine, Kind::Threadcreate, Kind::Block, Kind::Mutex];
    let stacks = (STACKS, "cpu, heap, allocs, goroutine, threadcreate, block or mutex");
    let options = [
        ("--hz", arguments.hz.is_some(), (CPU, "cpu")),
        ("--ago", arguments.ago.is_some(), (CPU, "cpu")),
        ("--route", arguments.route.is_some(), stacks),
        ("--upstream", arguments.upstream.is_some(), stacks),
        ("--trace-id", arguments.trace_id.is_some(), stacks),
        ("--value", arguments.value.is_some(), stacks),
        ("--by", arguments.by.is_some(), stacks),
    ];
    let found = options.into_iter().find(|(_, is_given, (kinds, _))| *is_given && !kinds.contains(&arguments.kind));
    found.map(|(option, _, (_, kinds))| (option, kinds))
}

/// The gateway filters what it measures itself; everything else is filtered here.
fn query(arguments: &ProfileArguments, seconds: Option<u32>) -> Vec<(&'static str, String)> {
    let numbers = [("seconds", seconds), ("hz", arguments.hz), ("ago", arguments.ago)];
    let mut query: Vec<(&str, String)> = numbers.into_iter().filter_map(|(name, number)| Some((name, number?.to_string()))).collect();
    if arguments.kind == Kind::Cpu {
        query.extend(arguments.filters().into_iter().map(|(label, wanted)| (label, wanted.to_owned())));
    }
    query
}

fn announcement(arguments: &ProfileArguments, seconds: Option<u32>) -> String {
    let (kind, admin) = (arguments.kind.name(), &arguments.admin);
    let a = if kind.starts_with('a') { "an" } else { "a" };
    match (seconds, arguments.ago) {
        (Some(seconds), Some(ago)) => format!("fetching the {kind} profile of {seconds} s from {ago} s ago from {admin}"),
        (Some(seconds), None) => format!("taking {a} {kind} profile for {seconds} s from {admin}"),
        (None, _) => format!("taking {a} {kind} profile from {admin}"),
    }
}
