//! `pellucid health`: whether a running gateway is ready, for container health checks.
//!
//! In: the URL of an admin plane. Out: exit code 0 or 1, and why not on standard error.

use std::process::ExitCode;
use std::time::Duration;

use super::admin::AdminPlane;
use super::{FAILED, complain};

const TIMEOUT: Duration = Duration::from_secs(3);

/// The page is open to everyone: no token is shown to it.
pub(super) fn health(admin: &AdminPlane) -> ExitCode {
    let url = format!("{admin}/readyz");
    let answer = block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        client.get(&url).send().await
    });
    match answer {
        Some(Ok(response)) if response.status().is_success() => ExitCode::SUCCESS,
        Some(Ok(response)) => {
            complain(&[format!("{url}: {}", response.status())]);
            ExitCode::from(FAILED)
        }
        Some(Err(error)) => {
            complain(&[format!("{url}: {error}")]);
            ExitCode::from(FAILED)
        }
        None => ExitCode::from(FAILED),
    }
}

/// Runs a command's own waiting; none where there is no runtime to be had.
pub(super) fn block_on<F: Future>(work: F) -> Option<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    Some(runtime.block_on(work))
}
