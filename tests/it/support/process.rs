//! Gateways as processes of the built binary.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{Answer, get, temp_dir, wait_for};

/// A running `pellucid`.
pub(crate) struct Pellucid {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) config: PathBuf,
    stderr: Arc<Mutex<String>>,
}

impl Pellucid {
    /// Starts with one listener on a free port. `rest` holds routes, upstreams and telemetry.
    pub(crate) fn start(rest: &str) -> Self {
        Self::start_with(rest, &[])
    }

    pub(crate) fn start_with(rest: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_config(
            &format!("listeners: [{{ name: public, bind: 127.0.0.1:0 }}]\nadmin: {{ bind: 127.0.0.1:0 }}\n{rest}"),
            environment,
        )
    }

    /// Starts from a whole configuration.
    pub(crate) fn start_config(yaml: &str, environment: &[(&str, &str)]) -> Self {
        let config = temp_dir().join("pellucid.yaml");
        std::fs::write(&config, yaml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
        command.args(["run", "--config"]).arg(&config);
        command.envs(environment.iter().copied());
        Self::spawn(command, config)
    }

    pub(crate) fn spawn(mut command: Command, config: PathBuf) -> Self {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        // The addresses stand in lines that the demo leaves out by default.
        if !command.get_envs().any(|(name, _)| name == "PELLUCID_LOG") {
            command.env("PELLUCID_LOG", "warn,pellucid=info");
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (sink, pipe) = (Arc::clone(&stderr), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut sink = sink.lock().unwrap();
                sink.push_str(&line);
                sink.push('\n');
            }
        });
        let mut starting = Starting(Some(child));
        let (address, admin) = wait_for("the gateway to listen", || {
            let text = plain(&stderr.lock().unwrap());
            if let Ok(Some(status)) = starting.0.as_mut().unwrap().try_wait() {
                panic!("the gateway ended with {status}:\n{text}");
            }
            Some((field(&text, "address=")?, field(&text, "admin=")?))
        });
        Pellucid { child: starting.0.take().unwrap(), address, admin, config, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        plain(&self.stderr.lock().unwrap())
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        get(self.address, target)
    }

    /// JSON of the admin plane.
    pub(crate) fn api(&self, path: &str) -> serde_json::Value {
        get(self.admin, path).json()
    }

    pub(crate) fn metrics(&self) -> String {
        get(self.admin, "/metrics").text()
    }

    /// The newest record that satisfies `wanted`.
    pub(crate) fn record(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        wait_for("a record", || {
            let found = self.api("/api/v1/requests?limit=1000");
            found["requests"].as_array().unwrap().iter().find(|record| wanted(record)).cloned()
        })
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait_for("the gateway to end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Pellucid {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that is killed if it never gets to listen.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
        }
    }
}

/// Without the colours of a terminal.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&rest[..at]);
        rest = rest[at..].find('m').map_or("", |end| &rest[at + end + 1..]);
    }
    out.push_str(rest);
    out
}

fn field(text: &str, name: &str) -> Option<SocketAddr> {
    let at = text.find(name)? + name.len();
    text[at..].split_whitespace().next()?.parse().ok()
}
