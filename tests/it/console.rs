//! The console in a real browser: what a reader sees is what the API says, soon, by any input, in any light, whatever strangers send.
//!
//! In: gateways with an origin, and the demo. Out: the checks of `tests/browser/console.mjs`, which drives Chromium. `tests/install` has put
//! that browser's driver into the cache; a test that does not find it fails with that advice.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{stack, temp_dir};

/// A scenario that hangs is ended by then. Each wait inside it has a shorter deadline of its own.
const SCENARIO_SECONDS: &str = "300";

/// One browser at a time: several would starve each other and the gateways, and time is part of what is tested.
static BROWSER: Mutex<()> = Mutex::new(());

/// The folder that holds the driver's `node_modules`, named after the lock file that it was made from.
fn browser_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("PELLUCID_BROWSER") {
        return PathBuf::from(dir);
    }
    let said = Command::new("cksum").arg(stack::repository("tests/browser/package-lock.json")).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let sum = text.split(' ').next().expect("cksum begins with the sum");
    stack::tool("").with_file_name(format!("browser-{sum}"))
}

/// Runs one scenario and fails with every check that did not hold. Answers with what each check found.
fn browse(admin: SocketAddr, data: SocketAddr, scenario: &str) -> Vec<Value> {
    let dir = browser_dir();
    assert!(dir.join("node_modules/playwright-core").exists(), "{} is missing: run tests/install", dir.display());
    let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let run = Command::new("timeout")
        .args([SCENARIO_SECONDS, "node"])
        .arg(stack::repository("tests/browser/console.mjs"))
        .args([format!("http://{admin}"), format!("http://{data}"), scenario.to_owned()])
        .env("PELLUCID_BROWSER", &dir)
        // Nothing that a browser remembers comes from elsewhere or stays.
        .env("HOME", temp_dir())
        .output()
        .unwrap();
    let (out, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let checks: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect();
    let failed: Vec<String> = checks.iter().filter(|check| check["ok"] != true).map(Value::to_string).collect();
    assert!(failed.is_empty() && run.status.success(), "{scenario} ended with {}:\n{}\n{errors}", run.status, failed.join("\n"));
    assert!(checks.len() > 1, "{scenario} checked nothing:\n{out}\n{errors}");
    checks
}

/// A gateway in front of an origin that answers, fails and sleeps as its path says.
fn browse_gateway(scenario: &str) -> Vec<Value> {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    browse(gateway.admin, gateway.address, scenario)
}

fn demo() -> Pellucid {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    command.args(["demo", "--for", "5m", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    Pellucid::spawn(command, PathBuf::new())
}

#[test]
fn a_request_shows_within_a_second_and_opens_into_the_numbers_of_the_api() {
    browse_gateway("live");
}

#[test]
fn a_filter_filters_survives_a_reload_and_says_what_it_cannot_read() {
    browse_gateway("filter");
}

#[test]
fn every_page_is_reached_by_the_keyboard_alone() {
    browse_gateway("keyboard");
}

#[test]
fn no_page_has_a_serious_fault_of_accessibility_in_light_dark_or_on_a_phone() {
    browse_gateway("access");
}

#[test]
fn what_strangers_send_stays_text_on_every_page() {
    browse_gateway("hostile");
}

#[test]
fn the_demo_can_be_walked_from_a_failing_route_to_the_reason() {
    let gateway = demo();
    browse(gateway.admin, gateway.address, "demo");
}

/// Told, not judged: how soon something is seen depends on the machine. The sizes are judged beside the assets.
#[test]
fn first_paint_and_the_size_of_all_assets_are_reported() {
    let checks = browse_gateway("speed");
    println!("the console: {}", checks[0]["found"]);
}
