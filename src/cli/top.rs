//! `pellucid top`: a running gateway in a terminal, second by second: totals, what changed, the routes, the last requests.
//!
//! In: an admin plane, and keys. Out: a screen, or one snapshot as plain text; messages on standard error, and an exit code.
//! Not here: any figure of its own; the gateway counts, and this shows what `/api/v1/overview` and `/api/v1/requests` say.

mod answer;
mod asker;
mod screen;
mod state;
mod view;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;

use super::admin::AdminPlane;
use super::health::block_on;
use super::{FAILED, WRONG, say};
use answer::Plain;
use asker::{Asker, Question, Refusal};
use view::Paint;

#[derive(Args)]
pub(super) struct TopArguments {
    /// The admin plane of the running gateway. Its token, if it has one, is read from PELLUCID_ADMIN_TOKEN.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901", value_parser = AdminPlane::parse)]
    admin: AdminPlane,
    /// Print one snapshot as plain text and end; also where standard output is no terminal.
    #[arg(long)]
    once: bool,
    /// Only requests that this filter takes, such as 'status:5xx duration:>200ms'.
    #[arg(short, long = "query", value_name = "FILTER", default_value = "")]
    query: String,
}

/// Why there is nothing to show, or no longer.
#[derive(Debug)]
enum Trouble {
    /// The user asked for what cannot be.
    Wrong(String),
    Failed(String),
}

pub(super) fn top(arguments: &TopArguments) -> ExitCode {
    let (why, code) = match block_on(work(arguments)) {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(Trouble::Wrong(why))) => (why, WRONG),
        Some(Err(Trouble::Failed(why))) => (why, FAILED),
        None => ("no runtime could be started".to_owned(), FAILED),
    };
    // The terminal may be what failed, and standard error with it: `eprintln` would panic.
    let _ = writeln!(std::io::stderr(), "pellucid top: {why}");
    ExitCode::from(code)
}

/// The first answer comes before the screen is taken: a wrong address is a message, not an empty screen.
async fn work(arguments: &TopArguments) -> Result<(), Trouble> {
    let asker = Asker::new(&arguments.admin).map_err(Trouble::Failed)?;
    let question = Question { query: arguments.query.clone(), ..Question::default() };
    let first = asker.ask(&question).await.map_err(Trouble::Failed)?;
    if let Err(Refusal { message, at }) = &first.tail {
        return Err(Trouble::Wrong(format!("-q {}: {}", Plain::of(&arguments.query), view::refusal(message, *at))));
    }
    if arguments.once || !std::io::stdout().is_terminal() {
        say(&view::snapshot(&first));
        return Ok(());
    }
    let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    screen::run(asker, question, first, Paint { colours: wants_colour }).await.map_err(Trouble::Failed)
}

#[cfg(test)]
mod tests;
