//! The local stack: its files are sound, and what of it can run without containers does from these very files what docs/stack.md says.
//!
//! In: docker-compose.yml as the real Compose reads it, the Dockerfile, `deploy`, `otel-collector`, `dashboards/rules`; gateways, the
//! Collector, Prometheus, and Jaeger in place of Tempo. Out: what one process handed to the next. Not here: the images of Tempo, Loki,
//! Pyroscope and Grafana, which need a container engine; what the Collector would send to Loki and Pyroscope ends at a socket of ours.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::stack::{
    Collector, Jaeger, Prometheus, Server, Span, attribute, encoded, readdressed, repository, repository_text, tool,
};
use crate::support::{Client, ask, free_port, temp_dir, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const RULES: [&str; 2] = ["recording.yaml", "alerts.yaml"];
/// Profiles are pushed every ten seconds, and rules are evaluated every five.
const PATIENCE: Duration = Duration::from_secs(60);
/// What starts once, does its work and ends, and so has no health to check.
const ENDS_BY_ITSELF: &str = "probe";
/// Names of settings that hold secrets.
const SECRETS: [&str; 8] = ["password", "passwd", "secret", "token", "api_key", "apikey", "credential", "private_key"];
/// A word of letters and digits that is no word of a language is at least so long if it is a key.
const KEY_LENGTH_MIN: usize = 24;

// ---- the files -------------------------------------------------------------------------------------------------------------------------

/// docker-compose.yml as Compose itself understands it.
fn compose() -> Value {
    let home = temp_dir();
    let mut command = Command::new(tool("compose-2.40.0"));
    command.args(["-f", "docker-compose.yml", "config", "--format", "json"]).current_dir(repository(""));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home).env("DOCKER_CONFIG", &home);
    let run = command.output().unwrap();
    assert!(run.status.success(), "docker compose config: {}", said(&run));
    let warned = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(warned.trim().is_empty(), "docker compose config: {warned}");
    serde_json::from_slice(&run.stdout).unwrap()
}

fn services(compose: &Value) -> Vec<(&str, &Value)> {
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service)).collect()
}

/// The command line of a service, without the program.
fn command_of(compose: &Value, service: &str) -> Vec<String> {
    strings(&compose["services"][service]["command"])
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(|item| item.as_str().unwrap_or_else(|| panic!("a text instead of {item}")).to_owned()).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn said(run: &Output) -> String {
    String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr)
}

fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n{}", offences.join("\n"));
}

/// Like `wait_for`, with more patience.
fn wait_long<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All files of the stack that someone might write a secret or an address into.
fn files_of_the_stack() -> Vec<PathBuf> {
    let mut found = vec![repository("docker-compose.yml"), repository("Dockerfile")];
    let mut folders = vec![repository("deploy"), repository("otel-collector"), repository("dashboards/rules")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// A tag that names one version: not `latest`, and with a number in it.
fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit('/').next().unwrap_or("").split_once(':').map_or("", |(_, tag)| tag);
    tag != "latest" && tag.contains(|character: char| character.is_ascii_digit())
}

#[test]
fn every_image_of_the_stack_is_one_version_and_everything_listens_on_loopback_only() {
    let compose = compose();
    let mut wrong = Vec::new();
    for (name, service) in services(&compose) {
        let image = service["image"].as_str().unwrap_or("");
        let ours = image == "pellucid:local" && (service["build"].is_object() || service["pull_policy"] == "never");
        if !ours && !is_pinned(image) {
            wrong.push(format!("{name}: the image {image} is not pinned"));
        }
        for port in list(&service["ports"]).iter().filter(|port| port["host_ip"] != "127.0.0.1") {
            wrong.push(format!("{name}: published beyond this machine: {port}"));
        }
        let network = service["network_mode"].as_str().unwrap_or("");
        if network == "host" || service["privileged"] == true || service["volumes"].to_string().contains("docker.sock") {
            wrong.push(format!("{name}: reaches out of its container"));
        }
    }
    assert_none("images are pinned, ports are local", &wrong);
    let built: Vec<&str> =
        services(&compose).into_iter().filter(|(_, service)| service["build"].is_object()).map(|(name, _)| name).collect();
    assert_eq!(built, ["pellucid"], "one service builds the image that three run");
}

#[test]
fn every_service_has_limits_a_health_check_and_no_privileges() {
    let (compose, docs) = (compose(), repository_text("docs/stack.md"));
    let mut wrong = Vec::new();
    for (name, service) in services(&compose) {
        let limits = &service["deploy"]["resources"]["limits"];
        let memory: u64 = limits["memory"].as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        if !(1 << 24..=1 << 30).contains(&memory) || limits["cpus"].as_f64().is_none_or(|cpus| cpus > 1.0) || limits["pids"].is_null() {
            wrong.push(format!("{name}: no limit of memory, CPU or processes, or a very wide one: {limits}"));
        }
        let checked = !list(&service["healthcheck"]["test"]).is_empty();
        let excused = name == ENDS_BY_ITSELF && service["restart"] == "no" && docs.contains(&format!("the service `{name}`"));
        if !checked && !excused {
            wrong.push(format!("{name}: no health check"));
        }
        if service["cap_drop"] != json!(["ALL"]) || service["cap_add"].is_array() {
            wrong.push(format!("{name}: keeps capabilities: {}", service["cap_drop"]));
        }
        if !strings(&service["security_opt"]).contains(&"no-new-privileges:true".to_owned()) {
            wrong.push(format!("{name}: may gain privileges"));
        }
        if service["logging"]["options"]["max-size"].is_null() {
            wrong.push(format!("{name}: its log may fill the disk"));
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let their_check = list(&compose["services"][other]["healthcheck"]["test"]);
            if how["condition"] == "service_healthy" && their_check.is_empty() {
                wrong.push(format!("{name}: waits for the health of {other}, which has no check"));
            }
        }
    }
    assert_none("services are bounded, checked and unprivileged", &wrong);
}

#[test]
fn the_gateway_of_the_stack_is_not_root_and_cannot_write_to_its_own_files() {
    let compose = compose();
    for name in ["pellucid", "demo", "traffic"] {
        let service = &compose["services"][name];
        assert_eq!((&service["read_only"], &service["image"]), (&json!(true), &json!("pellucid:local")), "{name}");
        assert!(service["user"].is_null(), "{name}: the image says who runs it: {}", service["user"]);
    }
    let dockerfile = repository_text("Dockerfile");
    let (_, last_stage) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(last_stage.starts_with("scratch\n"), "{last_stage}");
    let user = last_stage.lines().filter_map(|line| line.strip_prefix("USER ")).next_back().expect("USER in the last stage");
    let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap_or(0)).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id > 0), "a user and a group by number, neither of them root: {user}");
    assert!(last_stage.contains("\nENTRYPOINT [\"/pellucid\"]"), "{last_stage}");
}

#[test]
fn the_dockerfile_builds_from_pinned_images_and_copies_what_is_there() {
    let (dockerfile, allowed) = (repository_text("Dockerfile"), repository_text(".dockerignore"));
    let from = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).map(|rest| rest.split(' ').next().unwrap());
    let unpinned: Vec<String> = from.filter(|image| *image != "scratch" && !is_pinned(image)).map(str::to_owned).collect();
    assert_none("base images are pinned", &unpinned);
    let copied = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|rest| !rest.starts_with("--from"));
    let mut sources: Vec<&str> = Vec::new();
    for line in copied {
        let words: Vec<&str> = line.split_whitespace().collect();
        sources.extend(&words[..words.len() - 1]);
    }
    assert!(sources.contains(&"src"), "{sources:?}");
    let absent = sources.iter().filter(|source| !repository(source).exists() || !allowed.lines().any(|line| line == format!("!{source}")));
    let absent: Vec<String> = absent.map(|source| (*source).to_owned()).collect();
    assert_none("what is copied is there, and .dockerignore lets it through", &absent);
    assert!(dockerfile.contains("--profile dist") && repository_text("Cargo.toml").contains("[profile.dist]"));
}

#[test]
fn every_file_that_the_stack_mounts_or_names_is_there() {
    let compose = compose();
    let mut wrong = Vec::new();
    let mut resolved = 0;
    let checkout = repository("").canonicalize().unwrap();
    for (name, service) in services(&compose) {
        let binds: Vec<(&str, &str)> = list(&service["volumes"])
            .iter()
            .filter(|volume| volume["type"] == "bind")
            .map(|volume| (volume["source"].as_str().unwrap(), volume["target"].as_str().unwrap()))
            .collect();
        for (source, target) in &binds {
            if !Path::new(source).starts_with(&checkout) || !Path::new(source).exists() {
                wrong.push(format!("{name}: {source}, to be mounted at {target}, is not there"));
            }
        }
        for volume in list(&service["volumes"]).iter().filter(|volume| volume["type"] == "bind" && volume["read_only"] != true) {
            wrong.push(format!("{name}: could write into the checkout: {volume}"));
        }
        let settings = service["environment"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
        let settings: Vec<String> = settings.map(str::to_owned).chain(strings(&service["command"])).collect();
        for (source, target) in &binds {
            for rest in settings.iter().flat_map(|setting| setting.split(*target).skip(1)) {
                let path = format!("{source}{}", rest.split_whitespace().next().unwrap_or(""));
                resolved += 1;
                if !Path::new(&path).exists() {
                    wrong.push(format!("{name}: {target}{rest} would be {path}, which is not there"));
                }
            }
        }
        let asks_busybox = service["healthcheck"]["test"].to_string().contains("/probe/busybox");
        let has_busybox = list(&service["volumes"]).iter().any(|volume| volume["source"] == "probe" && volume["target"] == "/probe");
        let waits = service["depends_on"]["probe"]["condition"] == "service_completed_successfully";
        if asks_busybox && !(has_busybox && waits) {
            wrong.push(format!("{name}: its health check runs what it does not have"));
        }
    }
    assert_none("what is mounted and named is there", &wrong);
    assert!(resolved >= 6, "files that settings name below a mount: {resolved}");
    let dashboards = repository_text("deploy/grafana/provisioning/dashboards/dashboards.yaml");
    assert!(dashboards.contains("path: /var/lib/grafana/dashboards\n"), "{dashboards}");
}

#[test]
fn every_address_in_the_stacks_files_is_a_service_of_it() {
    let compose = compose();
    let known: BTreeSet<&str> = services(&compose).into_iter().map(|(name, _)| name).chain(["host.docker.internal", "localhost"]).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files_of_the_stack().into_iter().filter(|path| !path.starts_with(repository("dashboards")) && !path.ends_with("Dockerfile"))
    {
        for word in std::fs::read_to_string(&path)
            .unwrap()
            .split(|character: char| !character.is_ascii_alphanumeric() && !".-:".contains(character))
        {
            let Some((host, port)) = word.split_once(':') else { continue };
            let is_name =
                host.starts_with(|first: char| first.is_ascii_lowercase()) && !host.contains('.') || host == "host.docker.internal";
            if (is_name || host == "host.docker.internal") && port.parse::<u16>().is_ok_and(|port| port > 1000) {
                seen += 1;
                wrong.extend((!known.contains(host)).then(|| format!("{}: {word}", path.display())));
            }
        }
    }
    assert_none("addresses name services", &wrong);
    assert!(seen > 10, "addresses in all files: {seen}");
}

#[test]
fn nothing_in_the_stack_looks_like_a_secret() {
    let compose = compose();
    let mut wrong = Vec::new();
    for (name, service) in services(&compose) {
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            if SECRETS.iter().any(|word| key.to_lowercase().contains(*word))
                || value.as_str().is_some_and(|value| value.split(' ').any(is_a_key))
            {
                wrong.push(format!("{name}: the setting {key}"));
            }
        }
        if service["secrets"].is_array() || service["env_file"].is_array() {
            wrong.push(format!("{name}: takes secrets"));
        }
    }
    for path in files_of_the_stack() {
        for (index, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let words = line.split(|character: char| !character.is_ascii_alphanumeric() && !"+/_-".contains(character));
            if sets_a_secret(line) || line.contains("-----BEGIN") || words.flat_map(|word| word.split('/')).any(is_a_key) {
                wrong.push(format!("{}:{}: {line}", path.display(), index + 1));
            }
        }
    }
    assert_none("no setting and no file holds a secret", &wrong);
}

/// `password: x`, `API_TOKEN=x` and the like, outside of comments.
fn sets_a_secret(line: &str) -> bool {
    let setting = line.split('#').next().unwrap_or("").to_lowercase();
    SECRETS.iter().any(|word| {
        let Some(at) = setting.find(*word) else { return false };
        let rest = setting[at + word.len()..]
            .trim_start_matches(|character: char| character.is_ascii_alphanumeric() || "_-\"'".contains(character));
        rest.trim_start().strip_prefix([':', '=']).is_some_and(|value| !value.trim().is_empty())
    })
}

/// Long, and mixed in a way in which no name is.
fn is_a_key(word: &str) -> bool {
    let has = |wanted: fn(&char) -> bool| word.chars().any(|character| wanted(&character));
    let mixed = has(char::is_ascii_digit) && has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    let hexadecimal = word.len() >= 32 && word.chars().all(|character| character.is_ascii_hexdigit());
    word.len() >= KEY_LENGTH_MIN && (mixed || hexadecimal)
}

#[test]
fn what_looks_like_a_secret_is_known() {
    for line in ["  password: hunter2", "GF_SECURITY_ADMIN_PASSWORD: \"x\"", "export API_TOKEN=abc", "client_secret = 'x'"] {
        assert!(sets_a_secret(line), "{line}");
    }
    for line in ["# no password: it listens on loopback", "password:", "token_bucket", "  - tokens"] {
        assert!(!sets_a_secret(line), "{line}");
    }
    assert!(is_a_key("AKIAabcdefghijklmnop1234") && is_a_key("0af7651916cd43dd8448eb211c80319c"));
    assert!(!is_a_key("UnderscoreEscapingWithSuffixes") && !is_a_key("opentelemetry-collector-contrib"));
}

#[test]
fn the_stacks_configuration_passes_the_gateways_own_check() {
    let check = |path: &Path| Command::new(env!("CARGO_BIN_EXE_pellucid")).arg("check").arg(path).output().unwrap();
    let run = check(&repository("deploy/pellucid.yaml"));
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    let compose = compose();
    assert_eq!(command_of(&compose, "pellucid"), ["run", "--config", "/etc/pellucid/pellucid.yaml"]);
    // What is in comments there is to work as it stands once the comments are gone.
    let text = repository_text("deploy/pellucid.yaml");
    let uncommented = text.replace("  # - {", "  - {");
    assert_eq!(uncommented.matches("name: mine").count(), 2, "a route and an upstream to begin with:\n{text}");
    let path = temp_dir().join("pellucid.yaml");
    std::fs::write(&path, uncommented).unwrap();
    let run = check(&path);
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
}

#[test]
fn the_collector_takes_the_shipped_configuration_with_the_stacks_own_command_line() {
    let compose = compose();
    let mounted = "/etc/otelcol/config.yaml";
    let flags = command_of(&compose, "otel-collector");
    assert!(flags.iter().any(|flag| flag.contains(mounted)), "{flags:?}");
    let flags = flags.iter().map(|flag| flag.replace(mounted, &repository("otel-collector/config.yaml").to_string_lossy()));
    let run = Command::new(tool("otelcol-0.159.0")).arg("validate").args(flags).output().unwrap();
    assert!(run.status.success(), "{}", said(&run));
    let image = compose["services"]["otel-collector"]["image"].as_str().unwrap();
    assert!(image.ends_with(":0.159.0"), "another version than the tests run: {image}");
}

#[test]
fn promtool_finds_nothing_to_mend_in_the_rules_and_each_rule_is_tested() {
    let folder = repository("dashboards/rules");
    let promtool = |arguments: &[&str]| {
        let run = Command::new(tool("promtool-0.315.0")).args(arguments).current_dir(&folder).output().unwrap();
        assert!(run.status.success(), "promtool {arguments:?}: {}", said(&run));
    };
    promtool(&["check", "rules", "--lint-fatal", RULES[0], RULES[1]]);
    promtool(&["test", "rules", "tests.yaml"]);
    let tests = repository_text("dashboards/rules/tests.yaml");
    let mut wrong = Vec::new();
    for (kind, name) in rules() {
        let missing = match kind {
            "record" if !tests.contains(&format!("- expr: {name}\n")) => "its value",
            "alert" if !tests.contains(&format!("- alertname: {name}\n")) => "that it fires",
            "alert" if !tests.contains(&format!("- {{ alertname: {name}, ")) => "that it does not fire",
            _ => continue,
        };
        wrong.push(format!("{kind} {name}: tests.yaml does not test {missing}"));
    }
    assert_none("each rule is tested", &wrong);
}

/// `record` or `alert`, and the name, of all rules.
fn rules() -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for file in RULES {
        for line in repository_text(&format!("dashboards/rules/{file}")).lines() {
            let named = ["record", "alert"].map(|kind| Some((kind, line.trim().strip_prefix(&format!("- {kind}: "))?.to_owned())));
            found.extend(named.into_iter().flatten());
        }
    }
    assert!(found.len() > 40, "{found:?}");
    found
}

#[test]
fn systemd_finds_nothing_to_mend_in_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("this machine has no systemd-analyze: the units were not looked at");
        return;
    }
    let dir = temp_dir();
    let unit = readdressed(
        &repository_text("deploy/systemd/pellucid.service"),
        "ExecStart=/usr/local/bin/pellucid",
        &format!("ExecStart={}", env!("CARGO_BIN_EXE_pellucid")),
    );
    std::fs::write(dir.join("pellucid.service"), unit).unwrap();
    std::fs::copy(repository("deploy/systemd/pellucid.socket"), dir.join("pellucid.socket")).unwrap();
    let run = Command::new("systemd-analyze")
        .arg("verify")
        .args(["pellucid.service", "pellucid.socket"].map(|unit| dir.join(unit)))
        .output()
        .unwrap();
    // What it says of the machine's own units is nothing of ours.
    let complaints: Vec<String> = said(&run).lines().filter(|line| line.contains("pellucid")).map(str::to_owned).collect();
    assert_none("systemd-analyze verify", &complaints);
}

// ---- the processes ---------------------------------------------------------------------------------------------------------------------

/// The stack's gateway, the demo's services behind it and the Collector, each from its own file, on addresses of the system's choice.
struct Stack {
    _services: Server,
    collector: Collector,
    gateway: Pellucid,
    url: String,
}

impl Stack {
    /// `environment` says where the Collector passes signals on to.
    fn start(environment: &[(&str, String)]) -> Self {
        let (compose, collector) = (compose(), Collector::start_with(environment));
        let address = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{address}");
        let (services, [shop, catalog, payments, slow_catalog]) = demo_services(&compose, &url);
        let mut yaml = repository_text("deploy/pellucid.yaml");
        for (from, to) in [
            ("bind: 0.0.0.0:8080", format!("bind: '{address}'")),
            ("bind: 0.0.0.0:9901", "bind: 127.0.0.1:0".to_owned()),
            ("demo:9101", shop.to_string()),
            ("demo:9102", catalog.to_string()),
            ("demo:9103", payments.to_string()),
            ("demo:9104", slow_catalog.to_string()),
            ("http://otel-collector:4317", format!("http://127.0.0.1:{}", collector.grpc)),
            ("/var/log/pellucid/access.jsonl", collector.access_log().display().to_string()),
        ] {
            yaml = readdressed(&yaml, from, &to);
        }
        let gateway = Pellucid::start_config(&yaml, &[]);
        Stack { _services: services, collector, gateway, url }
    }

    /// One request that belongs to a trace of the caller's, who has sampled it.
    fn look_up(&self) {
        let head =
            format!("GET /catalog/7 HTTP/1.1\r\nHost: shop.example\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\nConnection: close\r\n\r\n");
        let answer = ask(self.gateway.address, head);
        assert_eq!((answer.status, answer.header("x-trace-id").as_deref()), (200, Some(TRACE)));
    }

    fn server_span(&self) -> Span {
        self.collector.span("the SERVER span", |span| span.text("traceId") == TRACE && span.kind() == 2)
    }

    /// The stack's own traffic, until the handle is dropped.
    fn traffic(&self) -> Server {
        let arguments = command_of(&compose(), "traffic").into_iter().map(|argument| argument.replace("http://pellucid:8080", &self.url));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
        Server::spawn(command.args(arguments), &temp_dir().join("traffic.log"))
    }
}

/// As the stack runs them, on any ports: in the order in which they are told.
fn demo_services(compose: &Value, gateway: &str) -> (Server, [SocketAddr; 4]) {
    let arguments = command_of(compose, "demo");
    assert!(arguments.contains(&"0.0.0.0".to_owned()) && arguments.contains(&"http://pellucid:8080".to_owned()), "{arguments:?}");
    let arguments = arguments.iter().map(|argument| argument.replace("0.0.0.0", "127.0.0.1").replace("http://pellucid:8080", gateway));
    let log = temp_dir().join("services.log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    let server = Server::spawn(command.args(arguments).args(["--port", "0"]), &log);
    let names = ["shop", "catalog", "payments", "catalog"];
    let addresses = wait_for("the services' addresses", || {
        let text = std::fs::read_to_string(&log).ok()?;
        let told: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(" http://")).collect();
        let addresses = names.iter().zip(told).map(|(name, (said, address))| address.parse().ok().filter(|_| said.trim() == *name));
        addresses.collect::<Option<Vec<SocketAddr>>>()?.try_into().ok()
    });
    (server, addresses)
}

/// The flags of the stack's Prometheus that name no place.
fn prometheus_flags() -> Vec<String> {
    let flags = command_of(&compose(), "prometheus");
    assert!(flags.contains(&"--enable-feature=exemplar-storage".to_owned()), "{flags:?}");
    flags.into_iter().filter(|flag| !flag.starts_with("--config.file=") && !flag.starts_with("--storage.tsdb.path=")).collect()
}

/// A log record with the resource it came from.
struct LogRecord {
    json: Value,
    resource: Value,
}

fn log_records(collector: &Collector) -> Vec<LogRecord> {
    let mut found = Vec::new();
    for request in collector.requests("logs.jsonl") {
        for of_resource in list(&request["resourceLogs"]) {
            let records = list(&of_resource["scopeLogs"]).iter().flat_map(|scope| list(&scope["logRecords"]));
            found.extend(records.map(|json| LogRecord { json: json.clone(), resource: of_resource["resource"].clone() }));
        }
    }
    found
}

/// Whether a request of the profiles' file has samples of `service`. Names in it are places in a table.
fn has_samples_of(request: &Value, service: &str) -> bool {
    let table = list(&request["dictionary"]["stringTable"]);
    let place = |name: &str| table.iter().position(|text| text == name).map(|at| at as u64);
    let (Some(key), Some(value)) = (place("service.name"), place(service)) else { return false };
    list(&request["resourceProfiles"]).iter().any(|of_resource| {
        let mut attributes = list(&of_resource["resource"]["attributes"]).iter();
        let ours = attributes
            .any(|pair| pair["keyStrindex"].as_u64() == Some(key) && pair["value"]["stringValueStrindex"].as_u64() == Some(value));
        let mut profiles = list(&of_resource["scopeProfiles"]).iter().flat_map(|scope| list(&scope["profiles"]));
        ours && profiles.any(|profile| !list(&profile["samples"]).is_empty())
    })
}

/// A stand-in for a backend that takes OTLP over HTTP, and the URL by which the Collector's file would have it, but for the host.
fn backend(variable: &str, host: &str) -> (Origin, String) {
    let origin = Origin::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n".to_vec());
    let config = repository_text("otel-collector/config.yaml");
    let default = config.split(&format!("${{env:{variable}:-")).nth(1).and_then(|rest| rest.split('}').next());
    let default = default.unwrap_or_else(|| panic!("{variable} has a default in\n{config}"));
    let url = readdressed(default, host, &origin.address.to_string());
    (origin, url)
}

fn nanos(span: &Span, key: &str) -> u64 {
    span.text(key).parse().unwrap()
}

#[test]
fn one_request_is_a_trace_a_log_line_and_samples_behind_the_shipped_collector() {
    let (loki, logs_url) = backend("LOGS_ENDPOINT", "loki:3100");
    let (pyroscope, profiles_url) = backend("PROFILES_ENDPOINT", "pyroscope:4040");
    let stack = Stack::start(&[("LOGS_ENDPOINT", logs_url), ("PROFILES_ENDPOINT", profiles_url)]);
    stack.look_up();

    let span = stack.server_span();
    assert_eq!(span.string("pellucid.route").as_deref(), Some("catalog"));
    assert_eq!(span.string("pyroscope.profile.id").as_deref(), Some(span.text("spanId")), "by which Grafana finds the profile of a span");

    let line = wait_for("the access log's line", || log_records(&stack.collector).into_iter().find(|line| line.json["traceId"] == TRACE));
    assert_eq!(line.json["spanId"], span.text("spanId"));
    assert_eq!(line.json["severityText"], "INFO");
    let started: u64 = line.json["timeUnixNano"].as_str().unwrap().parse().unwrap();
    assert!(started.abs_diff(nanos(&span, "startTimeUnixNano")) < 1000, "{started} and {}", nanos(&span, "startTimeUnixNano"));
    let body: Value = serde_json::from_str(line.json["body"]["stringValue"].as_str().unwrap()).expect("the line is whole");
    assert_eq!((&body["trace_id"], &body["url.path"]), (&json!(TRACE), &json!("/catalog/7")));
    let value = |key: &str| attribute(&line.json["attributes"], key).cloned();
    assert_eq!((value("http.response.status_code"), value("url.path")), (Some(json!("200")), Some(json!("/catalog/7"))));
    assert_eq!((value("trace_id"), value("span_id"), value("timestamp")), (None, None, None), "said once is enough");
    assert_eq!(attribute(&line.resource["attributes"], "service.name"), Some(&json!("pellucid")));
    wait_for("what the gateway says of itself", || stack.collector.lines("logs.jsonl").contains("the admin plane is up").then_some(()));

    let _traffic = stack.traffic();
    wait_long("samples in the Collector's file", || {
        let mut client = Client::connect(stack.gateway.address);
        for _ in 0..200 {
            client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").read_answer("GET");
        }
        stack.collector.profiles().iter().any(|request| has_samples_of(request, "pellucid")).then_some(())
    });
    wait_for("traces of the stack's own traffic", || {
        stack.collector.spans().iter().any(|span| span.string("url.path").is_some_and(|path| path.starts_with("/shop/"))).then_some(())
    });
    for (backend, path) in [(&loki, "/otlp/v1/logs"), (&pyroscope, "/v1development/profiles")] {
        wait_for(path, || backend.seen().iter().any(|seen| seen.path() == path && !seen.body.is_empty()).then_some(()));
        let others: Vec<String> = backend.seen().iter().map(|seen| seen.line().to_owned()).filter(|line| !line.contains(path)).collect();
        assert_none("requests that the backend does not know", &others);
    }
}

#[test]
fn an_exemplar_in_the_stacks_prometheus_leads_to_the_server_span_of_its_request() {
    let jaeger = Jaeger::start();
    let stack = Stack::start(&[("TRACES_ENDPOINT", format!("127.0.0.1:{}", jaeger.otlp))]);
    let prometheus = Prometheus::shipped(stack.gateway.admin, &prometheus_flags());
    stack.look_up();

    let query = encoded("http_server_request_duration_seconds_bucket{pellucid_route=\"catalog\"}");
    let found = prometheus.query(&format!("/api/v1/query_exemplars?query={query}&start=0&end=9999999999"));
    assert_eq!(
        (&found[0]["seriesLabels"]["job"], &found[0]["seriesLabels"]["http_route"]),
        (&json!("pellucid"), &json!("/catalog/{item}"))
    );
    let exemplar = &found[0]["exemplars"][0];
    let seconds: f64 = exemplar["value"].as_str().unwrap().parse().unwrap();
    let trace_id = exemplar["labels"]["trace_id"].as_str().unwrap();
    assert_eq!(trace_id, TRACE);
    let sources = repository_text("deploy/grafana/provisioning/datasources/datasources.yaml");
    assert!(sources.contains("exemplarTraceIdDestinations:\n        - name: trace_id\n          datasourceUid: tempo\n"), "{sources}");

    let spans = jaeger.trace(trace_id, 2);
    let server = spans.iter().find(|span| span["spanID"] == exemplar["labels"]["span_id"]).expect("the span that the exemplar names");
    let tag = |key: &str| list(&server["tags"]).iter().find(|tag| tag["key"] == key).map(|tag| tag["value"].clone());
    assert_eq!(server["operationName"], "GET /catalog/{item}");
    assert_eq!(
        (tag("span.kind"), tag("pellucid.route"), tag("url.path")),
        (Some(json!("server")), Some(json!("catalog")), Some(json!("/catalog/7")))
    );
    let lasted = server["duration"].as_f64().unwrap() / 1e6;
    assert!((lasted - seconds).abs() < 1e-5, "the span lasted {lasted} s, and the exemplar says {seconds} s");
}

#[test]
fn the_stacks_prometheus_loads_every_rule_and_evaluates_it() {
    let gateway = Pellucid::start("routes: [{ name: r, filters: [{ respond: { status: 204 } }] }]");
    let prometheus = Prometheus::shipped(gateway.admin, &prometheus_flags());
    assert_eq!(gateway.get("/").status, 204);
    let evaluated = wait_long("every rule to be evaluated", || {
        let groups = list(&prometheus.get("/api/v1/rules").json()["data"]["groups"]).to_vec();
        let rules: Vec<Value> = groups.iter().flat_map(|group| list(&group["rules"])).cloned().collect();
        let ill: Vec<String> = rules.iter().filter(|rule| rule["health"] == "err").map(Value::to_string).collect();
        assert_none("rules that cannot be evaluated", &ill);
        (!rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")).then_some(groups)
    });
    let mut shown = BTreeSet::new();
    for group in &evaluated {
        let file = Path::new(group["file"].as_str().unwrap()).file_name().unwrap().to_string_lossy().into_owned();
        shown.insert((file, group["name"].as_str().unwrap().to_owned()));
    }
    let mut written = BTreeSet::new();
    for file in RULES {
        let text = repository_text(&format!("dashboards/rules/{file}"));
        written.extend(text.lines().filter_map(|line| line.strip_prefix("  - name: ")).map(|name| (file.to_owned(), name.to_owned())));
    }
    assert_eq!(shown, written);
    let names: BTreeSet<String> =
        evaluated.iter().flat_map(|group| list(&group["rules"])).map(|rule| rule["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, rules().into_iter().map(|(_, name)| name).collect::<BTreeSet<String>>());
    let up = prometheus.query(&format!("/api/v1/query?query={}", encoded("up{job=\"pellucid\"} == 1")));
    assert_eq!(list(&up["result"]).len(), 1, "{up}");
}

#[test]
fn metrics_that_a_service_pushes_reach_the_stacks_prometheus() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let prometheus = Prometheus::shipped(nobody, &prometheus_flags());
    let receiver = format!("http://127.0.0.1:{}/api/v1/otlp/v1/metrics", prometheus.port);
    let collector = Collector::start_with(&[("METRICS_ENDPOINT", receiver)]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().to_string();
    let point = json!({ "asInt": "7", "startTimeUnixNano": now, "timeUnixNano": now });
    let sum = json!({ "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point] });
    let of = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let body = json!({ "resourceMetrics": [{
        "resource": { "attributes": [of("service.name", "orders"), of("service.instance.id", "one")] },
        "scopeMetrics": [{ "metrics": [{ "name": "shop.orders", "unit": "{order}", "sum": sum }] }],
    }] })
    .to_string();
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let answer = ask(([127, 0, 0, 1], collector.http).into(), head + &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = prometheus.query(&format!("/api/v1/query?query={}", encoded("shop_orders_total{job=\"orders\", instance=\"one\"}")));
    assert_eq!(found["result"][0]["value"][1], "7");
    wait_for("the same in the Collector's file", || collector.lines("metrics.jsonl").contains("shop.orders").then_some(()));
}
