//! A GiB up and a GiB down, to a slow reader, with back-pressure: the process stays small.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::Client;
use crate::support::origin::Origin;
use crate::support::process::Pellucid;

const GIB: u64 = 1 << 30;
const RESIDENT_KIB_MAX: u64 = 64 * 1024;

/// Watches the largest resident size until told to stop.
fn watch(gateway: &Pellucid) -> (Arc<AtomicBool>, std::thread::JoinHandle<u64>) {
    let (stop, pid) = (Arc::new(AtomicBool::new(false)), gateway.pid());
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut most = 0;
        while !stopped.load(Ordering::Relaxed) {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let now = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
            most = most.max(now.unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        }
        most
    });
    (stop, thread)
}

#[test]
fn a_gib_down_to_a_slow_reader_and_a_gib_up_to_a_slow_origin_stay_under_64_mib() {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let origin = Origin::scripted(move |talk| {
        let head = talk.read_head().unwrap();
        let piece = vec![b'z'; 1 << 20];
        if head.starts_with("GET /down") {
            talk.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"));
            for _ in 0..GIB >> 20 {
                talk.write(&piece);
            }
            return;
        }
        counter.fetch_add(talk.take_buffered() as u64, Ordering::Relaxed);
        let mut buffer = vec![0; 1 << 20];
        let mut pauses = 10;
        while counter.load(Ordering::Relaxed) < GIB {
            let count = talk.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the upload ended early");
            if counter.fetch_add(count as u64, Ordering::Relaxed) > 0 && pauses > 0 {
                pauses -= 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let gateway = Pellucid::start(&origin.config());
    let (stop, watching) = watch(&gateway);

    let mut down = Client::connect(gateway.address);
    down.send("GET /down HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut up = Client::connect(gateway.address);
    let uploading = std::thread::spawn(move || {
        up.send(format!("POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: {GIB}\r\n\r\n"));
        let piece = vec![b'y'; 1 << 20];
        for _ in 0..GIB >> 20 {
            up.stream.write_all(&piece).unwrap();
        }
        up.read_answer("POST").text()
    });
    assert!(down.read_head().unwrap().contains(&format!("content-length: {GIB}")));
    let (mut received, mut pauses) = (0, 0);
    while received < GIB {
        let count = down.skip();
        assert!(count > 0, "the download ended after {received} bytes");
        received += count as u64;
        if pauses < 10 {
            pauses += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert_eq!(uploading.join().unwrap(), "ok");
    stop.store(true, Ordering::Relaxed);
    let most = watching.join().unwrap();
    assert!(most < RESIDENT_KIB_MAX, "{most} KiB resident");
    println!("{most} KiB resident at most");
    for (path, bytes) in [("/down", "response_bytes"), ("/up", "request_bytes")] {
        let record = gateway.record(|record| record["path"] == path);
        assert_eq!(
            (record["status"].as_u64(), record[bytes].as_u64(), record["error"].is_null()),
            (Some(200), Some(GIB), true),
            "{record}"
        );
    }
}
