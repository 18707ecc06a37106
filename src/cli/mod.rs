//! The commands of the binary.
//!
//! In: arguments. Out: data on standard output, messages on standard error, and an exit code: 0 done, 1 failed while running, 2 wrong usage or
//! configuration. Not here: what a gateway does.

mod admin;
mod demo;
mod health;
mod profile;
mod run;
mod signals;
mod successor;
mod top;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::base::clock::Clock;
use crate::control::{config, explain, swap, tracing_setup};
use admin::AdminPlane;

#[derive(Parser)]
#[command(name = "pellucid", version, about = "An observability-first HTTP gateway", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a gateway with three services and traffic, to look at; or only the services, or only the traffic.
    Demo(demo::DemoArguments),
    /// Run the gateway.
    Run(RunArguments),
    /// Report every mistake in a configuration, as file:line:column.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
    /// Tell which route takes a request, and why.
    Explain {
        /// The configuration file.
        file: PathBuf,
        /// The method, such as GET.
        method: String,
        /// The URL, such as http://host/path.
        url: String,
        /// A header of the request, as 'name: value'.
        #[arg(short = 'H', long = "header")]
        headers: Vec<String>,
    },
    /// Exit with 0 if a running gateway is ready.
    Health {
        /// Its admin plane.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901", value_parser = AdminPlane::parse)]
        admin: AdminPlane,
    },
    /// Take a profile of a running gateway, convert one, or compare two.
    Profile(profile::ProfileArguments),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Watch a running gateway in the terminal: its routes, what changed, the last requests.
    Top(top::TopArguments),
}

#[derive(Args)]
struct RunArguments {
    /// The configuration file.
    #[arg(long, short, conflicts_with_all = ["to", "listen", "admin"], required_unless_present = "to")]
    config: Option<PathBuf>,
    /// Without a file: the one upstream, such as http://127.0.0.1:3000.
    #[arg(long)]
    to: Option<String>,
    /// Without a file: the address to listen on.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Without a file: the address of the admin plane.
    #[arg(long, default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
}

const FAILED: u8 = 1;
const WRONG: u8 = 2;

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Health { admin } => health::health(&admin),
        Command::Profile(arguments) => profile::profile(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Check { file } => check(file),
        Command::Explain { file, method, url, headers } => explain_route(file, &method, &url, &headers),
        Command::Schema => {
            say(&serde_json::to_string_pretty(&config::json_schema()).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Command::Top(arguments) => top::top(&arguments),
    }
}

/// A URL of ours, as an argument: with no slash at its end, so that paths can follow.
fn parse_http_url(text: &str) -> Result<String, String> {
    let expected = "expected a URL such as http://127.0.0.1:9901";
    let url = reqwest::Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    if url.scheme() != "http" {
        return Err(format!("{expected}, found the scheme {}", url.scheme()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{expected}, without a query or a fragment"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Data, on standard output. A closed pipe is the reader's choice.
#[allow(clippy::print_stdout, reason = "this is where data goes")]
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Messages, on standard error.
#[allow(clippy::print_stderr, reason = "this is where messages go")]
fn complain(lines: &[String]) {
    for line in lines {
        eprintln!("{line}");
    }
}

fn check(file: PathBuf) -> ExitCode {
    tracing_setup::install_lines();
    match swap::check(&swap::Source::File(file.clone())) {
        Ok((config, _)) => {
            say(&format!(
                "{}: good: {} listeners, {} routes, {} upstreams",
                file.display(),
                config.listeners.len(),
                config.routes.len(),
                config.upstreams.len()
            ));
            ExitCode::SUCCESS
        }
        Err(refused) => {
            complain(&refused.lines());
            ExitCode::from(WRONG)
        }
    }
}

fn explain_route(file: PathBuf, method: &str, url: &str, headers: &[String]) -> ExitCode {
    let question = match explain::Question::new(method, url, headers) {
        Ok(question) => question,
        Err(message) => {
            complain(&[message]);
            return ExitCode::from(WRONG);
        }
    };
    match swap::check(&swap::Source::File(file)) {
        Ok((config, compiled)) => {
            let listeners = explain::ListenerInfo::all(&config, &compiled.snapshot.listeners);
            let clock = Clock::system();
            let (text, matched) = explain::explain(&explain::Explained::of(&compiled, &listeners, &clock), &question);
            say(text.trim_end());
            if matched.is_some() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(refused) => {
            complain(&refused.lines());
            ExitCode::from(WRONG)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_demo_runs_whole_or_in_part() {
        for good in [
            &["pellucid", "demo", "--for", "20s"][..],
            &["pellucid", "demo", "services", "--bind", "0.0.0.0", "--gateway", "http://pellucid:8080"],
            &["pellucid", "demo", "traffic", "--gateway", "http://pellucid:8080/", "--rate", "50"],
        ] {
            assert!(Arguments::try_parse_from(good).is_ok(), "{good:?}");
        }
        for bad in [
            &["pellucid", "demo", "--for", "20s", "services"][..],
            &["pellucid", "demo", "services", "--port", "65534"],
            &["pellucid", "demo", "traffic", "--rate", "0"],
            &["pellucid", "demo", "traffic", "--gateway", "pellucid:8080"],
        ] {
            assert!(Arguments::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_url_of_ours_is_http_and_says_so_otherwise() {
        assert_eq!(parse_http_url("http://127.0.0.1:9901/").as_deref(), Ok("http://127.0.0.1:9901"));
        assert_eq!(parse_http_url("http://pellucid:9901/behind/").as_deref(), Ok("http://pellucid:9901/behind"));
        for bad in ["127.0.0.1:9901", "localhost:9901", "https://127.0.0.1", "http://", "http://h/?a", ""] {
            assert!(parse_http_url(bad).unwrap_err().starts_with("expected a URL such as"), "{bad}");
        }
    }
}
