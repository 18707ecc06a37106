//! Clients that nobody here wrote: curl, wrk, and Python's standard library.
//!
//! In: their command lines. Out: what they say of the gateway's HTTP.

use std::process::{Command, Stdio};

use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::temp_dir;

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_uploads_downloads_and_keeps_its_connection() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let url = |path: &str| format!("http://{}{path}", gateway.address);
    let file = temp_dir().join("upload");
    std::fs::write(&file, vec![b'u'; 3_000_000]).unwrap();
    let upload = format!("@{}", file.display());
    // Above 1 MB curl expects to be told to continue.
    let code = run(Command::new("curl").args([
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_upload}",
        "--data-binary",
        &upload,
        &url("/"),
    ]));
    assert_eq!(code, "200 3000000");
    assert_eq!(origin.last().body.len(), 3_000_000);
    run(Command::new("curl").args(["-sS", "-o", "/dev/null", "-H", "Transfer-Encoding: chunked", "--data-binary", &upload, &url("/")]));
    assert_eq!((origin.last().header("transfer-encoding").as_deref(), origin.last().body.len()), (Some("chunked"), 3_000_000));
    let twice = run(Command::new("curl").args([
        "-sS",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        "%{num_connects} ",
        &url("/length/100000"),
        &url("/"),
    ]));
    assert_eq!(twice.trim(), "1 0", "the second request finds the first one's connection");
    assert!(run(Command::new("curl").args(["-sSI", &url("/length/42")])).to_lowercase().contains("content-length: 42"));
    assert!(run(Command::new("curl").args(["-sS", "--http1.0", &url("/old")])).contains("GET /old HTTP/1.1"));
}

#[test]
fn pythons_client_reads_what_it_is_sent() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&origin.config());
    let script = "
import http.client, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=10)
for body in (None, b'x' * 70000, iter([b'ab', b'cd'])):
    connection.request('POST' if body else 'GET', '/py?a=b', body=body, headers={'X-Py': '1'}, encode_chunked=hasattr(body, '__next__'))
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200 and b'X-Py: 1' in text, (answer.status, text[:300])
    assert len(answer.headers['x-trace-id']) == 32
connection.request('HEAD', '/')
answer = connection.getresponse()
assert answer.read() == b'' and int(answer.headers['content-length']) > 0
print('fine')
";
    let said = run(Command::new("python3").args(["-c", script, &gateway.address.port().to_string()]));
    assert_eq!(said.trim(), "fine");
    assert_eq!(origin.seen()[2].body, b"abcd");
}

#[test]
fn wrk_sees_no_error_and_every_request_is_accounted_for() {
    let origin = Origin::echo();
    let gateway = Pellucid::start(&format!("{}telemetry: {{ access_log: {{ to: /dev/null }} }}\n", origin.config()));
    let said = run(Command::new("wrk").args(["-t1", "-c8", "-d2s", &format!("http://{}/wrk", gateway.address)]));
    assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    let done: u64 = said.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok()).unwrap();
    // What was in flight when wrk left ends a little later, so the figures are asked for until they agree.
    crate::support::wait_for("metrics and log to agree, as they come from the same records", || {
        let logs = gateway.api("/api/v1/telemetry")["signals"]["logs"].clone();
        let counted: u64 = gateway
            .metrics()
            .lines()
            .filter(|line| line.starts_with("http_server_request_duration_seconds_count"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        (counted >= done && logs["produced"] == counted && logs["exported"] == counted).then_some(())
    });
}
