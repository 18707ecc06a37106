//! `pellucid run`: a gateway until a signal ends it.
//!
//! In: a file, or one upstream. Out: an exit code. Not here: what signals mean (`signals`).

use std::process::ExitCode;

use super::signals::Signals;
use super::{FAILED, RunArguments, WRONG, complain, successor};
use crate::control::sockets::Inherited;
use crate::control::swap::Source;
use crate::control::tracing_setup::LINES;
use crate::gateway::{Gateway, StartError};

pub(super) fn run(arguments: &RunArguments) -> ExitCode {
    // As many descriptors as the system allows: each connection takes one. With fewer, accepting pauses when they run out.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let source = match (&arguments.config, &arguments.to) {
        (Some(path), _) => Source::File(path.clone()),
        (None, Some(to)) => Source::Text(one_upstream(to, arguments)),
        (None, None) => return ExitCode::from(WRONG),
    };
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return refuse(&StartError::Io(format!("cannot listen for signals: {error}"))),
    };
    match Gateway::start(source, Some(LINES), Inherited::from_environment()) {
        Ok(gateway) => {
            successor::relieve_predecessor();
            signals.serve(gateway, true, async |_| std::future::pending().await)
        }
        Err(error) => refuse(&error),
    }
}

/// Says why there is no gateway; a mistake in the configuration is the user's.
pub(super) fn refuse(error: &StartError) -> ExitCode {
    match error {
        StartError::Config(_) => {
            complain(&[error.to_string()]);
            ExitCode::from(WRONG)
        }
        StartError::Io(why) => {
            complain(&[format!("pellucid: {why}")]);
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
