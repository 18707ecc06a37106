//! A network that loses or refuses packets, by iptables, where the machine allows it: as root, in the kernel.
//!
//! In: rules for one port of the loopback, taken away again however a test ends. Out: what the client is told, and whether the connection is
//! used again. Not here: faults that a socket can make by itself (`faults`).

use std::process::{Command, Stdio};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;

/// A rule that is in force until it is dropped.
struct Rule {
    words: Vec<String>,
}

impl Rule {
    /// None where this machine does not let us, which is said.
    #[allow(clippy::print_stderr, reason = "whoever reads the test's output must know")]
    fn to_port(port: u16, verdict: &[&str]) -> Option<Self> {
        let port = port.to_string();
        let words = [&["INPUT", "-i", "lo", "-p", "tcp", "--dport", &port, "-j"], verdict].concat();
        let rule = Rule { words: words.into_iter().map(str::to_owned).collect() };
        if rule.change("-I") {
            return Some(rule);
        }
        eprintln!("this machine lets nobody set rules for packets: nothing was tested");
        std::mem::forget(rule);
        None
    }

    fn change(&self, how: &str) -> bool {
        let mut command = Command::new("iptables");
        command.args(["-w", "10", how]).args(&self.words).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        assert!(self.change("-D") || std::thread::panicking(), "the rule {:?} stays behind", self.words);
    }
}

fn start(origin: &Origin) -> Pellucid {
    Pellucid::start(&format!(
        "runtime: {{ workers: 1 }}
routes: [{{ name: all, upstream: origin, retry: {{ attempts: 1 }} }}]
upstreams: [{{ name: origin, endpoints: ['{}'], connect_timeout: 300ms, first_byte_timeout: 500ms }}]
",
        origin.address
    ))
}

fn told(gateway: &Pellucid, path: &str) -> (u16, String) {
    let answer = gateway.get(path);
    let error = if answer.status == 200 { String::new() } else { answer.json()["error"].as_str().unwrap_or_default().to_owned() };
    (answer.status, error)
}

#[test]
fn lost_packets_are_a_timeout_and_refused_ones_a_refusal() {
    let origin = Origin::echo();
    let gateway = start(&origin);
    let port = origin.address.port();
    let Some(lost) = Rule::to_port(port, &["DROP"]) else { return };
    assert_eq!(told(&gateway, "/lost"), (504, "connect_timeout".to_owned()));
    drop(lost);
    let refused = Rule::to_port(port, &["REJECT", "--reject-with", "tcp-reset"]).expect("a rule was allowed before");
    assert_eq!(told(&gateway, "/refused"), (502, "connect_refused".to_owned()));
    drop(refused);
    assert_eq!(told(&gateway, "/fine").0, 200);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_connection_that_falls_silent_is_given_up_and_not_used_again() {
    let origin = Origin::echo();
    let gateway = start(&origin);
    assert_eq!(told(&gateway, "/first").0, 200);
    let Some(lost) = Rule::to_port(origin.address.port(), &["DROP"]) else { return };
    assert_eq!(told(&gateway, "/into-the-void"), (504, "first_byte_timeout".to_owned()));
    let record = gateway.record(|record| record["path"] == "/into-the-void");
    assert_eq!(record["attempts"][0]["reused"], true, "{record}");
    drop(lost);
    assert_eq!(told(&gateway, "/again").0, 200);
    assert_eq!(origin.connections.load(std::sync::atomic::Ordering::SeqCst), 2, "the silent connection is not used again");
}
