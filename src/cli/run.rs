//! `pellucid run`: a gateway until a signal ends it.
//!
//! In: a file, or one upstream. Out: an exit code. SIGTERM and SIGINT drain, a second one ends at once, SIGHUP reloads, SIGUSR1 reopens the
//! access log, SIGUSR2 hands over to a successor.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, RunArguments, WRONG, complain, successor};
use crate::control::swap::Source;
use crate::gateway::{Gateway, StartError};

pub(super) fn run(arguments: &RunArguments) -> ExitCode {
    // As many descriptors as the system allows: each connection takes one. With fewer, accepting pauses when they run out.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let source = match (&arguments.config, &arguments.to) {
        (Some(path), _) => Source::File(path.clone()),
        (None, Some(to)) => Source::Text(one_upstream(to, arguments)),
        (None, None) => return ExitCode::from(WRONG),
    };
    match Gateway::start(source, true) {
        Ok(gateway) => {
            successor::relieve_predecessor();
            until_signalled(gateway)
        }
        Err(error @ StartError::Config(_)) => {
            complain(&[error.to_string()]);
            ExitCode::from(WRONG)
        }
        Err(error) => {
            complain(&[format!("pellucid: {error}")]);
            ExitCode::from(FAILED)
        }
    }
}

/// A configuration for `--to`.
fn one_upstream(to: &str, arguments: &RunArguments) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "listeners: [{{ name: public, bind: {:?} }}]\nadmin: {{ bind: {:?} }}\n\
         routes: [{{ name: default, match: {{ path: '/**' }}, upstream: default }}]\n\
         upstreams: [{{ name: default, endpoints: [{}] }}]\n\
         telemetry: {{ traces: {{ sample: 1.0 }}, access_log: {{ to: stdout }} }}\n",
        arguments.listen.to_string(),
        arguments.admin.to_string(),
        quoted(to),
    )
}

/// Blocks until the gateway has drained.
pub(super) fn until_signalled(gateway: Gateway) -> ExitCode {
    if !matches!(block_on(ended_by_signal(&gateway)), Some(Ok(()))) {
        return ExitCode::from(FAILED);
    }
    std::thread::spawn(end_at_next_signal);
    gateway.shutdown();
    ExitCode::SUCCESS
}

/// Does what signals say, until one of them says to end.
pub(super) async fn ended_by_signal(gateway: &Gateway) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user = signal(SignalKind::user_defined1())?;
    let mut upgrade = signal(SignalKind::user_defined2())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => gateway.reload(),
            _ = user.recv() => gateway.reopen_log(),
            _ = upgrade.recv() => successor::start(gateway),
        }
    }
}

/// A second signal means now.
fn end_at_next_signal() {
    block_on(async {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else { return };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(i32::from(FAILED));
    });
}

/// Runs a command's own waiting; none where there is no runtime to be had.
pub(super) fn block_on<F: Future>(work: F) -> Option<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    Some(runtime.block_on(work))
}
