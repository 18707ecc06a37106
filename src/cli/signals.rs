//! What signals mean for a running gateway.
//!
//! In: SIGTERM and SIGINT (end; a second one means now), SIGHUP (reload), SIGUSR1 (reopen the access log), SIGUSR2 (hand over to a successor).
//! Out: a gateway that has drained. They are listened for before the gateway starts, so that none finds the system's default, which kills.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{FAILED, successor};
use crate::gateway::Gateway;

/// The signals, and the runtime that waits for them.
pub(super) struct Signals {
    runtime: Runtime,
    streams: Streams,
}

struct Streams {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reopen: Signal,
    upgrade: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let streams = Streams {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        };
        drop(entered);
        Ok(Signals { runtime, streams })
    }

    /// Does what signals say until one of them says to end, or `other` does; then drains. Blocks. `hands_over`: SIGUSR2 may start a successor.
    pub(super) fn serve(mut self, gateway: Gateway, hands_over: bool, other: impl AsyncFnOnce(&Gateway)) -> ExitCode {
        let streams = &mut self.streams;
        self.runtime.block_on(async {
            tokio::select! {
                () = streams.obey(&gateway, hands_over) => {}
                () = other(&gateway) => {}
            }
        });
        let succeeded = gateway.succeeded().load(Ordering::Relaxed);
        std::thread::spawn(move || {
            if succeeded {
                // The first came from the successor; a service manager's own may follow.
                self.runtime.block_on(self.streams.end());
            }
            self.runtime.block_on(self.streams.end());
            std::process::exit(i32::from(FAILED));
        });
        gateway.shutdown();
        ExitCode::SUCCESS
    }
}

impl Streams {
    async fn obey(&mut self, gateway: &Gateway, hands_over: bool) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => gateway.reload(),
                _ = self.reopen.recv() => gateway.reopen_log(),
                _ = self.upgrade.recv(), if hands_over => successor::start(gateway),
            }
        }
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
