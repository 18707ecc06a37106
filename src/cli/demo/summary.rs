//! The live summary by route.
//!
//! In: the gateway's overview, as the console has it. Out: a table, drawn over itself on a terminal, as plain lines in a pipe. Not here: what is
//! in the overview (`telemetry::process::trends`).

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;

use super::super::say;
use crate::gateway::Gateway;

const EVERY: Duration = Duration::from_secs(2);
/// The last seconds that a table is of.
const WINDOW_S: u32 = 5;

pub(super) async fn show(gateway: &Gateway) {
    let redraw = std::io::stdout().is_terminal();
    let mut lines_drawn = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(overview) = gateway.telemetry().overview(WINDOW_S).await else { continue };
        let table = table(overview["routes"].as_array().map_or(&[], Vec::as_slice));
        if redraw && lines_drawn > 0 {
            say(&format!("\u{1b}[{}A\u{1b}[J{table}", lines_drawn + 1));
        } else {
            say(&table);
        }
        lines_drawn = table.lines().count();
    }
}

fn table(routes: &[Value]) -> String {
    let mut rows: Vec<(&str, String)> = routes.iter().map(row).collect();
    rows.sort_unstable();
    let mut out = format!("{:<12}{:>8}{:>10}{:>12}{:>12}{:>12}", "route", "req/s", "failed", "p50", "p99", "self p50");
    for (_, row) in &rows {
        out.push('\n');
        out.push_str(row);
    }
    out.push('\n');
    out
}

/// A route's name, and its line.
fn row(route: &Value) -> (&str, String) {
    let number = |key: &str| route[key].as_f64().unwrap_or(0.0);
    let name = route["route"].as_str().filter(|name| !name.is_empty()).unwrap_or("(none)");
    let (failed, p50, p99, own) = (100.0 * number("errors"), number("p50"), number("p99"), number("self_p50"));
    (name, format!("{name:<12}{:>8.1}{failed:>8.1} %{p50:>9.1} ms{p99:>9.1} ms{own:>9.3} ms", number("rate")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_a_line_a_route_in_the_order_of_their_names() {
        let shop = json!({ "route": "shop", "rate": 18.25, "errors": 0.05, "p50": 6.4, "p99": 850.0, "self_p50": 0.123 });
        let nothing = json!({ "route": "", "rate": 0.5, "errors": 0.0, "p50": null, "p99": null, "self_p50": null });
        let table = table(&[shop, nothing]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "route          req/s    failed         p50         p99    self p50");
        assert_eq!(lines[1], "(none)           0.5     0.0 %      0.0 ms      0.0 ms    0.000 ms");
        assert_eq!(lines[2], "shop            18.2     5.0 %      6.4 ms    850.0 ms    0.123 ms");
    }
}
