//! The demo's parts by themselves, for a gateway in another process: `pellucid demo services` and `pellucid demo traffic`.
//!
//! In: addresses. Out: services or traffic until SIGTERM or SIGINT, and an exit code. Neither has anything to finish: both end at once.
//! Not here: what the parts do.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::{FAILED, complain, parse_http_url, say};
use super::services;
use super::traffic::Traffic;

/// Between two lines about the traffic.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// The last one that three others can follow.
const FIRST_PORT_MAX: i64 = 65_532;
/// Requests a second: timers are no finer than a millisecond.
const RATE_MAX: i64 = 1000;

#[derive(Subcommand)]
pub(super) enum Part {
    /// Run only the three services: shop, catalog and payments, on four ports in a row, for the catalog has two endpoints.
    Services(ServicesArguments),
    /// Run only the traffic, against a gateway that has the demo's routes.
    Traffic(TrafficArguments),
}

#[derive(Args)]
pub(super) struct ServicesArguments {
    /// The address that they listen on.
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind: IpAddr,
    /// The port of the shop; catalog, payments and the catalog's second endpoint have the three after it. 0: any four.
    #[arg(long, value_name = "N", default_value_t = 9101, value_parser = clap::value_parser!(u16).range(..=FIRST_PORT_MAX))]
    port: u16,
    /// The gateway through which the shop asks the other two.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = parse_http_url)]
    gateway: String,
}

#[derive(Args)]
pub(super) struct TrafficArguments {
    /// The gateway. It need not be there yet.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = parse_http_url)]
    gateway: String,
    /// Requests a second.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    rate: u32,
}

/// The signals that end a part, listened for before anything starts.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

pub(super) fn run(part: &Part) -> ExitCode {
    match until_told(part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&[format!("pellucid demo: {error}")]);
            ExitCode::from(FAILED)
        }
    }
}

fn until_told(part: &Part) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut ends = Ends::listen()?;
        match part {
            Part::Services(arguments) => serve(arguments, &mut ends).await,
            Part::Traffic(arguments) => send(arguments, &mut ends).await,
        }
    });
    // A name that is being looked up may take longer than anyone wants to wait.
    runtime.shutdown_background();
    ended
}

async fn serve(arguments: &ServicesArguments, ends: &mut Ends) -> io::Result<()> {
    let (services, stalls) = services::open(arguments.bind, arguments.port)?;
    services.meet(arguments.gateway.clone());
    for (name, address) in services::NAMES.iter().zip(services.addresses) {
        say(&format!("{name:<9} http://{address}"));
    }
    say(&format!("the shop asks the other two through {}", arguments.gateway));
    tokio::select! {
        () = services::serve(stalls) => {}
        () = ends.come() => {}
    }
    Ok(())
}

async fn send(arguments: &TrafficArguments, ends: &mut Ends) -> io::Result<()> {
    let traffic = Traffic::new(arguments.gateway.clone())?;
    say(&format!("{} requests a second to {}", arguments.rate, arguments.gateway));
    let never = AtomicBool::new(false);
    tokio::select! {
        () = traffic.run(Duration::from_secs(1) / arguments.rate, &never) => {}
        () = report(&traffic, &arguments.gateway) => {}
        () = ends.come() => {}
    }
    Ok(())
}

/// Says what became of the traffic, in a line from time to time.
async fn report(traffic: &Traffic, gateway: &str) {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        say(&format!("{gateway} in {} s: {}", REPORT_EVERY.as_secs(), traffic.tally().line()));
    }
}

impl Ends {
    fn listen() -> io::Result<Self> {
        Ok(Ends { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
