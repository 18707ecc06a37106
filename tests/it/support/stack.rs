//! The real OpenTelemetry Collector, Jaeger and Prometheus, from the files that the local stack mounts.
//!
//! `tests/install` has put the binaries into the cache; a test that needs one and does not find it fails with that advice.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Answer, free_port, get, temp_dir, wait_for};

/// A program that is killed with its handle.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        Server { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of a tool that `tests/install` provides.
pub(crate) fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let path = cache.join("pellucid/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/install", path.display());
    path
}

/// The path of a file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn repository_text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A shipped file with another address: `from` stands in it once, or the test is not about that file any more.
pub(crate) fn readdressed(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} stands once in\n{text}");
    text.replace(from, to)
}

/// A Collector that runs the shipped configuration and writes what it took to files.
pub(crate) struct Collector {
    _server: Server,
    pub(crate) grpc: u16,
    pub(crate) http: u16,
    pub(crate) dir: PathBuf,
}

impl Collector {
    /// `traces` and `metrics` are where it passes them on: Jaeger's OTLP port and Prometheus' OTLP URL, if there are any.
    pub(crate) fn start(traces: Option<u16>, metrics: Option<u16>) -> Self {
        let (grpc, http) = (free_port(), free_port());
        Self::start_on(grpc, http, traces, metrics, temp_dir())
    }

    pub(crate) fn start_on(grpc: u16, http: u16, traces: Option<u16>, metrics: Option<u16>, dir: PathBuf) -> Self {
        let environment = [
            ("TRACES_ENDPOINT", format!("127.0.0.1:{}", traces.unwrap_or(1))),
            ("METRICS_ENDPOINT", format!("http://127.0.0.1:{}/api/v1/otlp/v1/metrics", metrics.unwrap_or(1))),
        ];
        Self::start_in(grpc, http, dir, &environment)
    }

    /// `environment` says where signals are passed on to; by themselves they go nowhere.
    pub(crate) fn start_with(environment: &[(&str, String)]) -> Self {
        let (grpc, http) = (free_port(), free_port());
        Self::start_in(grpc, http, temp_dir(), environment)
    }

    fn start_in(grpc: u16, http: u16, dir: PathBuf, environment: &[(&str, String)]) -> Self {
        let health = free_port();
        let mut command = Self::command(grpc, http, health, &dir);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        let server = Server::spawn(&mut command, &dir.join("collector.log"));
        wait_for("the Collector", || std::net::TcpStream::connect(("127.0.0.1", health)).ok());
        wait_for("the Collector's health", || (get(([127, 0, 0, 1], health).into(), "/").status == 200).then_some(()));
        Collector { _server: server, grpc, http, dir }
    }

    /// The shipped configuration with the files that the tests add to it, all of them in `dir`. It passes nothing on, and follows no
    /// access log but `dir`'s own.
    pub(crate) fn command(grpc: u16, http: u16, health: u16, dir: &Path) -> Command {
        let mut command = Command::new(tool("otelcol-0.159.0"));
        command.arg("--feature-gates=service.profilesSupport");
        for file in ["otel-collector/config.yaml", "otel-collector/files.yaml"] {
            command.arg("--config").arg(repository(file));
        }
        let addresses = [("OTLP_GRPC_ENDPOINT", grpc), ("OTLP_HTTP_ENDPOINT", http), ("HEALTH_ENDPOINT", health), ("TRACES_ENDPOINT", 1)];
        command.envs(addresses.map(|(name, port)| (name, format!("127.0.0.1:{port}"))));
        command.envs(["METRICS_ENDPOINT", "LOGS_ENDPOINT", "PROFILES_ENDPOINT"].map(|name| (name, "http://127.0.0.1:1/")));
        let files = [("TRACES_FILE", "traces"), ("METRICS_FILE", "metrics"), ("LOGS_FILE", "logs"), ("PROFILES_FILE", "profiles")];
        command.envs(files.map(|(name, file)| (name, dir.join(format!("{file}.jsonl")))));
        command.env("ACCESS_LOG_FILES", dir.join("access.jsonl*"));
        command
    }

    /// The access log that it follows.
    pub(crate) fn access_log(&self) -> PathBuf {
        self.dir.join("access.jsonl")
    }

    /// The `telemetry.otlp` section that leads here.
    pub(crate) fn otlp(&self) -> String {
        format!("otlp: {{ endpoint: 'http://127.0.0.1:{}' }}", self.grpc)
    }

    /// What stands in one of its files, a request each. A line that is not whole yet is none.
    pub(crate) fn requests(&self, file: &str) -> Vec<serde_json::Value> {
        self.lines(file).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// All spans in the traces file.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.requests("traces.jsonl").iter().flat_map(spans_of).collect()
    }

    /// All requests in the profiles file. Names in them are places in their `dictionary.stringTable`.
    pub(crate) fn profiles(&self) -> Vec<serde_json::Value> {
        self.requests("profiles.jsonl")
    }

    /// The span that satisfies `wanted`, once it is there.
    pub(crate) fn span(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Span {
        wait_for(what, || self.spans().into_iter().find(&wanted))
    }

    pub(crate) fn lines(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.join(file)).unwrap_or_default()
    }
}

/// A span as the Collector wrote it, with the resource it came from.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) json: serde_json::Value,
    pub(crate) resource: serde_json::Value,
}

impl Span {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or("")
    }

    /// The value of an attribute, whatever its type.
    pub(crate) fn attribute(&self, key: &str) -> Option<&serde_json::Value> {
        attribute(&self.json["attributes"], key)
    }

    /// OTLP's JSON writes 64-bit numbers as text.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        let value = self.attribute(key)?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    }

    pub(crate) fn string(&self, key: &str) -> Option<String> {
        Some(self.attribute(key)?.as_str()?.to_owned())
    }

    pub(crate) fn kind(&self) -> i64 {
        self.json["kind"].as_i64().unwrap_or(0)
    }
}

pub(crate) fn attribute<'j>(attributes: &'j serde_json::Value, key: &str) -> Option<&'j serde_json::Value> {
    let pair = attributes.as_array()?.iter().find(|pair| pair["key"] == key)?;
    pair["value"].as_object()?.values().next()
}

fn spans_of(request: &serde_json::Value) -> Vec<Span> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut spans = Vec::new();
    for resource_spans in list(&request["resourceSpans"]) {
        for scope_spans in list(&resource_spans["scopeSpans"]) {
            spans.extend(list(&scope_spans["spans"]).into_iter().map(|json| Span { json, resource: resource_spans["resource"].clone() }));
        }
    }
    spans
}

/// Jaeger with its query API.
pub(crate) struct Jaeger {
    _server: Server,
    pub(crate) otlp: u16,
    pub(crate) query: u16,
}

impl Jaeger {
    pub(crate) fn start() -> Self {
        let (otlp, query) = (free_port(), free_port());
        let local = |port: u16| format!("127.0.0.1:{port}");
        let mut command = Command::new(tool("jaeger-1.62.0"));
        command.args([
            format!("--collector.otlp.grpc.host-port={}", local(otlp)),
            format!("--collector.otlp.http.host-port={}", local(free_port())),
            format!("--query.http-server.host-port={}", local(query)),
            format!("--query.grpc-server.host-port={}", local(free_port())),
            format!("--collector.grpc-server.host-port={}", local(free_port())),
            format!("--collector.http-server.host-port={}", local(free_port())),
            format!("--admin.http.host-port={}", local(free_port())),
            format!("--processor.jaeger-compact.server-host-port={}", local(free_port())),
            format!("--processor.jaeger-binary.server-host-port={}", local(free_port())),
            format!("--processor.zipkin-compact.server-host-port={}", local(free_port())),
            format!("--http-server.host-port={}", local(free_port())),
        ]);
        let server = Server::spawn(&mut command, &temp_dir().join("jaeger.log"));
        wait_for("Jaeger", || std::net::TcpStream::connect(("127.0.0.1", query)).ok());
        Jaeger { _server: server, otlp, query }
    }

    /// The spans of a trace, once there are `count` of them.
    pub(crate) fn trace(&self, trace_id: &str, count: usize) -> Vec<serde_json::Value> {
        wait_for("the trace in Jaeger", || {
            let answer = get(([127, 0, 0, 1], self.query).into(), &format!("/api/traces/{trace_id}"));
            let spans = serde_json::from_slice::<serde_json::Value>(&answer.body).ok()?["data"][0]["spans"].as_array()?.clone();
            (spans.len() >= count).then_some(spans)
        })
    }
}

/// Prometheus that scrapes one target, with exemplars and an OTLP receiver.
pub(crate) struct Prometheus {
    _server: Server,
    pub(crate) port: u16,
}

impl Prometheus {
    pub(crate) fn start(target: Option<SocketAddr>) -> Self {
        let targets = target.map_or_else(String::new, |target| format!("'{target}'"));
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs: [{{ job_name: pellucid, static_configs: [{{ targets: [{targets}] }}] }}]\notlp: {{ translation_strategy: UnderscoreEscapingWithSuffixes }}\n"
        );
        Self::run(&config, &["--web.enable-otlp-receiver", "--enable-feature=exemplar-storage,native-histograms"])
    }

    /// From the file that docker-compose mounts, with this gateway in place of the stack's, and with `flags`, those of its command line
    /// that name no place.
    pub(crate) fn shipped(target: SocketAddr, flags: &[String]) -> Self {
        let config = readdressed(&repository_text("deploy/prometheus/prometheus.yml"), "pellucid:9901", &target.to_string());
        let (mounted, rules) = ("/etc/prometheus/rules/", format!("{}/", repository("dashboards/rules").display()));
        assert!(config.contains(mounted), "the rules are mounted at {mounted}:\n{config}");
        Self::run(&config.replace(mounted, &rules), flags)
    }

    fn run(config: &str, flags: &[impl AsRef<OsStr>]) -> Self {
        let (dir, port) = (temp_dir(), free_port());
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let mut command = Command::new(tool("prometheus-0.315.0"));
        command.args([
            format!("--config.file={}", dir.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ]);
        let server = Server::spawn(command.args(flags), &dir.join("prometheus.log"));
        wait_for("Prometheus", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let prometheus = Prometheus { _server: server, port };
        wait_for("Prometheus to be ready", || (prometheus.get("/-/ready").status == 200).then_some(()));
        prometheus
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(([127, 0, 0, 1], self.port).into(), path)
    }

    /// The answer of the query API, once it holds something.
    pub(crate) fn query(&self, path: &str) -> serde_json::Value {
        wait_for(&format!("Prometheus to answer {path}"), || {
            let data = serde_json::from_slice::<serde_json::Value>(&self.get(path).body).ok()?["data"].take();
            let found = data["result"].as_array().or_else(|| data.as_array()).is_some_and(|list| !list.is_empty());
            found.then_some(data)
        })
    }
}

/// A text as a part of a URL's query.
pub(crate) fn encoded(text: &str) -> String {
    let escape = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect::<Vec<String>>().concat()
}
