//! Watching the file: whoever changes it, and however, the gateway follows.
//!
//! In: files that are rewritten in place, renamed over, swapped behind symlinks, written slowly, broken, deleted. Out: what is served
//! then, and what the history says.
//! Not here: what a reload does (`reload`).

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::reload::{counted, generation, history, start};
use crate::support::process::Pellucid;
use crate::support::{temp_dir, wait_for};

/// A file that is not touched for this long may pass for one that is done.
const QUIET: Duration = Duration::from_millis(300);
/// Routes of the file that is written slowly.
const PIECES: usize = 20;
const HEAD: &str = "listeners: [{ name: public, bind: 127.0.0.1:0 }]\nadmin: { bind: 127.0.0.1:0 }\n";

/// A configuration that answers with `body`.
fn yaml(body: &str) -> String {
    format!("{HEAD}routes: [{{ name: all, filters: [{{ respond: {{ body: {body} }} }}] }}]\n")
}

fn wait_until_it_says(gateway: &Pellucid, path: &str, body: &str) {
    wait_for(&format!("{path} to say {body}"), || (gateway.get(path).text() == body).then_some(()));
}

/// The triggers and results of all reloads, newest first, once there are `count`.
fn told(gateway: &Pellucid, count: usize) -> Vec<(String, String)> {
    let entries = wait_for("the history", || Some(history(gateway)).filter(|entries| entries.len() >= count));
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| (text(&entry["trigger"]), text(&entry["result"]))).collect()
}

/// So many changes were seen, each at once and whole.
fn assert_applied(gateway: &Pellucid, count: usize) {
    assert_eq!(told(gateway, count), vec![("file".to_owned(), "applied".to_owned()); count]);
    assert_eq!((counted(gateway, "applied"), counted(gateway, "refused")), (count as f64, 0.0));
}

#[test]
fn a_file_that_is_rewritten_in_place_is_read_again() {
    let gateway = start(&yaml("one"));
    for body in ["two", "three"] {
        std::fs::write(&gateway.config, yaml(body)).unwrap();
        wait_until_it_says(&gateway, "/", body);
    }
    assert_applied(&gateway, 2);
    assert_eq!(generation(&gateway), 3);
}

#[test]
fn a_file_that_is_renamed_over_the_old_one_is_read() {
    let gateway = start(&yaml("one"));
    for body in ["two", "three"] {
        let fresh = gateway.config.with_extension("new");
        std::fs::write(&fresh, yaml(body)).unwrap();
        std::fs::rename(&fresh, &gateway.config).unwrap();
        wait_until_it_says(&gateway, "/", body);
    }
    assert_applied(&gateway, 2);
}

#[test]
fn a_swap_of_symlinks_as_kubernetes_does_it_is_followed() {
    let dir = temp_dir();
    let write = |version: &str, body: &str| {
        std::fs::create_dir(dir.join(version)).unwrap();
        std::fs::write(dir.join(version).join("config.yaml"), yaml(body)).unwrap();
    };
    write("..version-1", "one");
    std::os::unix::fs::symlink("..version-1", dir.join("..data")).unwrap();
    let config = dir.join("config.yaml");
    std::os::unix::fs::symlink(Path::new("..data").join("config.yaml"), &config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pellucid"));
    command.args(["run", "--config"]).arg(&config);
    let gateway = Pellucid::spawn(command, config);
    assert_eq!(gateway.get("/").text(), "one");
    for (former, version, body) in [("..version-1", "..version-2", "two"), ("..version-2", "..version-3", "three")] {
        write(version, body);
        std::os::unix::fs::symlink(version, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        std::fs::remove_dir_all(dir.join(former)).unwrap();
        wait_until_it_says(&gateway, "/", body);
    }
    assert_applied(&gateway, 2);
}

#[test]
fn a_file_that_an_editor_replaces_beside_a_backup_is_read() {
    let gateway = start(&yaml("one"));
    let backup = gateway.config.with_extension("yaml~");
    for body in ["two", "three"] {
        std::fs::rename(&gateway.config, &backup).unwrap();
        std::fs::write(&gateway.config, yaml(body)).unwrap();
        std::fs::remove_file(&backup).unwrap();
        wait_until_it_says(&gateway, "/", body);
    }
    assert_applied(&gateway, 2);
}

/// The first routes of a configuration; any number of them is a good one.
fn routes(count: usize, body: &str) -> Vec<String> {
    let line =
        |number: usize| format!("- {{ name: r{number}, match: {{ path: /r{number} }}, filters: [{{ respond: {{ body: {body} }} }}] }}\n");
    (0..count).map(|number| if number == 0 { format!("{HEAD}routes:\n{}", line(number)) } else { line(number) }).collect()
}

/// Writes a route every tenth of a second. Returns the longest pause that it came to.
fn write_slowly(path: &Path, body: &str) -> Duration {
    let mut file = std::fs::File::create(path).unwrap();
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    for piece in routes(PIECES, body) {
        file.write_all(piece.as_bytes()).unwrap();
        longest = longest.max(last.elapsed());
        last = Instant::now();
        std::thread::sleep(Duration::from_millis(100));
    }
    longest
}

#[test]
fn a_file_that_is_written_slowly_comes_into_force_whole() {
    let gateway = start(&yaml("one"));
    let last = format!("/r{}", PIECES - 1);
    // Where the machine holds the writer up for too long, it may be taken for done, and must try again.
    let even = (0..5).find(|attempt| {
        let (before, body) = (generation(&gateway), format!("a{attempt}"));
        let longest = write_slowly(&gateway.config, &body);
        wait_until_it_says(&gateway, &last, &body);
        let after = wait_for("the next generation", || Some(generation(&gateway)).filter(|now| *now > before));
        assert!(longest >= QUIET || after == before + 1, "{} parts came into force: {:?}", after - before, history(&gateway));
        longest < QUIET
    });
    assert!(even.is_some(), "the machine is too busy to write at an even pace");
    // What lay there in between could have been taken, and was not.
    std::fs::write(&gateway.config, routes(1, "short").concat()).unwrap();
    wait_until_it_says(&gateway, "/r0", "short");
    assert_eq!(gateway.get(&last).status, 404);
}

#[test]
fn a_deleted_file_changes_nothing_and_its_return_is_noticed() {
    let gateway = start(&yaml("one"));
    std::fs::remove_file(&gateway.config).unwrap();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(gateway.get("/").text(), "one");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(generation(&gateway), 1);
    std::fs::write(&gateway.config, yaml("two")).unwrap();
    wait_until_it_says(&gateway, "/", "two");
    assert_eq!(told(&gateway, 1)[0], ("file".to_owned(), "applied".to_owned()));
    assert_eq!(generation(&gateway), 2);
}

#[test]
fn a_broken_file_is_shown_once_and_the_mended_one_is_taken() {
    let gateway = start(&yaml("one"));
    std::fs::write(&gateway.config, yaml("two").replace("respond", "respnd")).unwrap();
    let entry = wait_for("the refusal", || history(&gateway).first().cloned());
    assert_eq!((entry["trigger"].as_str(), entry["result"].as_str()), (Some("file"), Some("refused")), "{entry}");
    assert!(entry["errors"][0].as_str().unwrap().contains("`respnd`"), "{entry}");
    wait_for("the mistake in the log", || gateway.log().contains("`respnd`").then_some(()));
    assert_eq!((gateway.get("/").text().as_str(), generation(&gateway)), ("one", 1));
    std::fs::write(&gateway.config, yaml("three")).unwrap();
    wait_until_it_says(&gateway, "/", "three");
    let results: Vec<String> = told(&gateway, 2).into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, ["applied", "refused"], "a file is refused once, however long it lies there");
    assert_eq!((counted(&gateway, "refused"), generation(&gateway)), (1.0, 2));
}

#[test]
fn a_gateway_that_is_not_to_watch_waits_until_it_is_told() {
    let unwatched = |body: &str| yaml(body) + "runtime: { watch: false }\n";
    let (watching, waiting) = (start(&yaml("one")), start(&unwatched("one")));
    std::fs::write(&waiting.config, unwatched("two")).unwrap();
    std::fs::write(&watching.config, yaml("two")).unwrap();
    wait_until_it_says(&watching, "/", "two");
    assert_eq!((waiting.get("/").text().as_str(), history(&waiting).len()), ("one", 0));
    waiting.signal("HUP");
    wait_until_it_says(&waiting, "/", "two");
    assert_eq!(told(&waiting, 1), [("signal".to_owned(), "applied".to_owned())]);
}

#[test]
fn what_was_reloaded_on_request_is_not_reloaded_again_by_the_watcher() {
    let gateway = start(&yaml("one"));
    for (text, status) in [(yaml("two"), 200), ("listeners: 7\n".to_owned(), 422)] {
        std::fs::write(&gateway.config, text).unwrap();
        let answer =
            crate::support::ask(gateway.admin, "POST /api/v1/reload HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.status, status);
    }
    // Longer than the watcher takes to notice a change.
    std::thread::sleep(Duration::from_millis(1500));
    let told: Vec<_> = history(&gateway).iter().map(|entry| (entry["trigger"].clone(), entry["result"].clone())).collect();
    assert_eq!(told, [("api".into(), "refused".into()), ("api".into(), "applied".into())]);
    assert_eq!(gateway.get("/").text(), "two");
}
