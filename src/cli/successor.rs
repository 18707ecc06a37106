//! Upgrade in place: a successor process takes over the listening sockets.
//!
//! In: SIGUSR2. Out: the same command line run anew, from whatever binary is at our path now, with all sockets passed on as LISTEN_FDS; once it
//! serves it ends its predecessor by SIGTERM. Both accept from the same sockets meanwhile, so that no connection is refused.

use std::os::unix::process::parent_id;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::gateway::Gateway;

/// Who started us, for the time when we can do without it.
const PREDECESSOR: &str = "PELLUCID_PREDECESSOR";
/// Where passed descriptors begin (sd_listen_fds(3)).
const FIRST_FD: i32 = 3;

/// Starts a successor. It says in the log how it went.
pub(super) fn start(gateway: &Gateway) {
    if gateway.succeeded().load(Ordering::Relaxed) {
        tracing::warn!("a successor is on its way already");
        return;
    }
    match spawn(gateway) {
        Ok(child) => {
            tracing::info!(pid = child.id(), "started a successor pid={}", child.id());
            let succeeded = gateway.succeeded();
            succeeded.store(true, Ordering::Relaxed);
            std::thread::spawn(move || outlive(child, &succeeded));
        }
        Err(error) => tracing::error!(%error, "no successor could be started; this process goes on"),
    }
}

fn spawn(gateway: &Gateway) -> std::io::Result<Child> {
    let (names, descriptors): (Vec<String>, Vec<_>) = gateway.hand_over()?.into_iter().unzip();
    let mut arguments = std::env::args_os();
    // As it was called, also by the search path: the file that this process runs may have been replaced.
    let program = arguments.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(arguments);
    command.env("LISTEN_FDS", descriptors.len().to_string()).env("LISTEN_FDNAMES", names.join(":")).env_remove("LISTEN_PID");
    command.env_remove("LISTEN_FDS_FIRST_FD");
    command.env(PREDECESSOR, std::process::id().to_string());
    let mappings = (FIRST_FD..).zip(descriptors).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mappings).map_err(std::io::Error::other)?;
    command.spawn()
}

/// A successor that ends before it has ended us has failed.
fn outlive(mut child: Child, succeeded: &AtomicBool) {
    let ended = child.wait();
    succeeded.store(false, Ordering::Relaxed);
    tracing::error!(?ended, "the successor has ended; this process goes on");
}

/// Tells the predecessor, if there is one, that it can go.
pub(super) fn relieve_predecessor() {
    let named = std::env::var(PREDECESSOR).ok().and_then(|text| text.parse::<u32>().ok());
    // Our parent still, or it has gone by itself and its number may be another's.
    let Some(pid) = named.filter(|pid| *pid == parent_id()).and_then(|pid| i32::try_from(pid).ok()) else { return };
    match kill(Pid::from_raw(pid), Signal::SIGTERM) {
        Ok(()) => tracing::info!(pid, "the predecessor was told to end"),
        Err(error) => tracing::warn!(pid, %error, "the predecessor cannot be told to end"),
    }
}
