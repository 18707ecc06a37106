//! Telemetry under fault, third part: an access log that cannot be written, or is moved away.
//!
//! In: requests, a full disk, a pipe that nobody reads any more, a log file that is renamed under load. Out: the lines that arrived, those
//! that were counted as lost, and that serving went on. Not here: what a line says (`signals`).

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::process::Pellucid;
use crate::support::{temp_dir, wait_for};
use crate::telemetry_faults::{Load, Shape, Watch, logged, quick_origin, settled};

/// A disk with little room, or what behaves like one where nothing can be mounted.
struct Disk {
    dir: PathBuf,
    mounted: bool,
}

impl Disk {
    fn start() -> Self {
        let dir = temp_dir();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&dir).stderr(Stdio::null()).status();
        let disk = Disk { dir, mounted: mount.is_ok_and(|status| status.success()) };
        if disk.mounted {
            std::fs::write(disk.dir.join("ballast"), vec![0_u8; 200 * 1024]).unwrap();
        } else {
            std::os::unix::fs::symlink("/dev/full", disk.log()).unwrap();
        }
        disk
    }

    fn log(&self) -> PathBuf {
        self.dir.join("access.log")
    }

    fn free(&self) {
        std::fs::remove_file(if self.mounted { self.dir.join("ballast") } else { self.log() }).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
        }
    }
}

fn logging_to(place: &str) -> String {
    format!("telemetry: {{ access_log: {{ to: '{place}' }} }}\n")
}

#[test]
fn a_full_disk_costs_log_lines_but_no_request_until_there_is_room_again() {
    let (disk, origin) = (Disk::start(), quick_origin());
    let gateway = Pellucid::start(&(origin.config() + &logging_to(&disk.log().display().to_string())));
    let watch = Watch::start(&gateway);
    let mut sent = 0;
    let mut send = |count: u64| {
        for _ in 0..count {
            assert_eq!(gateway.get("/full").status, 200);
        }
        sent += count;
        sent
    };
    wait_for("the disk to be full", || {
        let produced = send(50);
        (settled(&gateway, "logs", produced).dropped("sink_failed") > 0).then_some(())
    });
    let produced = send(50);
    let full = settled(&gateway, "logs", produced);
    assert_eq!((full.produced, full.exported + full.dropped("sink_failed")), (produced, produced), "{full:?}");
    assert!(full.dropped("sink_failed") >= 50, "the disk was still full: {full:?}");

    disk.free();
    let produced = send(50);
    let free = settled(&gateway, "logs", produced);
    assert_eq!((free.exported - full.exported, free.lost()), (50, full.lost()), "{free:?}");
    watch.assert_sound();
    // The line that the full disk cut in two stays in the file, and the next one stands right behind it.
    let readable = logged(&disk.log()).len() as u64;
    assert!(readable + 1 >= free.exported, "{readable} readable lines, {} exported", free.exported);
}

#[test]
fn a_pipe_that_nobody_reads_any_more_costs_log_lines_but_no_request() {
    let (dir, origin) = (temp_dir(), quick_origin());
    let (config, fifo) = (dir.join("pellucid.yaml"), dir.join("stdout"));
    let listeners = "listeners: [{ name: public, bind: 127.0.0.1:0 }]\nadmin: { bind: 127.0.0.1:0 }\n";
    std::fs::write(&config, format!("{listeners}{}{}", origin.config(), logging_to("stdout"))).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" run --config \"$1\" > \"$2\"", env!("CARGO_BIN_EXE_pellucid")]).arg(&config).arg(&fifo);
    let reading = std::thread::spawn(move || File::open(fifo).unwrap());
    let mut gateway = Pellucid::spawn(command, config);
    let reader = BufReader::new(reading.join().unwrap());

    let asked: Vec<String> = (0..20).map(|_| gateway.get("/read").header("x-trace-id").unwrap()).collect();
    assert_eq!(settled(&gateway, "logs", 20).exported, 20);
    let lines = reader.lines().take(20).map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let read: Vec<String> = lines.map(|line| line["trace_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(read.iter().collect::<HashSet<_>>(), asked.iter().collect::<HashSet<_>>());

    // The reader has gone with its lines.
    for _ in 0..50 {
        assert_eq!(gateway.get("/unread").status, 200);
    }
    let last = settled(&gateway, "logs", 70);
    assert_eq!((last.produced, last.exported, last.dropped("sink_failed")), (70, 20, 50), "{last:?}");
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn a_log_that_is_moved_away_under_load_loses_no_line() {
    let (dir, origin) = (temp_dir(), quick_origin());
    let log = dir.join("access.log");
    let gateway = Pellucid::start(&(origin.config() + &logging_to(&log.display().to_string())));
    let load = Load::start(gateway.address, 2, Shape { pause: Duration::from_millis(2), long: false });
    let mut files = Vec::new();
    for turn in 1..=3 {
        wait_for("lines", || (logged(&log).len() > 20).then_some(()));
        files.push(dir.join(format!("access.log.{turn}")));
        std::fs::rename(&log, files.last().unwrap()).unwrap();
        gateway.signal("USR1");
        wait_for("the new file", || log.exists().then_some(()));
    }
    wait_for("lines in the last file", || (logged(&log).len() > 20).then_some(()));
    files.push(log);
    let mut asked: Vec<String> = load.stop().into_iter().map(|done| done.trace_id).collect();
    let last = settled(&gateway, "logs", asked.len() as u64);
    assert_eq!((last.exported, last.lost()), (asked.len() as u64, 0));
    let mut found: Vec<String> = files.iter().flat_map(|file| logged(file)).collect();
    asked.sort_unstable();
    found.sort_unstable();
    assert!(asked == found, "{} requests, {} lines", asked.len(), found.len());
}
