//! Idle connections by the thousand: what each costs while it is kept, and that its memory comes back.
//!
//! In: clients that made one request and stay. Out: resident memory a connection, and the count of them.
//! Not here: idle timeouts (`limits`), and peers that are slow on purpose (`floods`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::floods::{GOOD_ANSWER, GOOD_REQUEST, affordable, alone, resident};
use crate::limits::{connect, metric, socket_of};
use crate::support::origin::Origin;
use crate::support::process::Pellucid;
use crate::support::{PATIENCE, temp_dir, wait_for};

const IDLE_LEN: usize = 15_000;
const IDLE_BYTES_MAX: usize = 3000;
/// Connections that are opened and asked at once.
const BATCH_LEN: usize = 100;
/// Connections from one address: few enough that it does not run out of ports.
const ADDRESS_LEN: usize = 4000;

/// A connection for each place, from as many addresses as it takes.
fn open_some(gateway: SocketAddr, places: Range<usize>) -> Vec<TcpStream> {
    places.map(|place| connect(socket_of([127, 0, 0, 3 + (place / ADDRESS_LEN) as u8]), gateway)).collect()
}

/// One request on each connection, then all their answers.
fn ask_all(streams: &mut [TcpStream]) {
    for stream in &mut *streams {
        stream.write_all(GOOD_REQUEST).unwrap();
    }
    for stream in streams {
        let mut answer: Vec<u8> = Vec::new();
        let mut piece = [0; 1024];
        while !answer.ends_with(b"\r\n\r\ndone.") {
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Resident memory once it is down to `most`, else as it is in the end. The allocator gives pages back in the course of its work, so there
/// are clients that come and go.
fn settle(gateway: &Pellucid, most: usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = resident(gateway);
        if now <= most || Instant::now() > deadline {
            return now;
        }
        ask_all(&mut open_some(gateway.address, 0..BATCH_LEN));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_idle_connection_costs_at_most_three_kilobytes_and_gives_them_back() {
    let _alone = alone();
    let count = affordable(IDLE_LEN, 1);
    let origin = Origin::answering(|_| GOOD_ANSWER.to_vec());
    let gateway = Pellucid::start_config(
        &format!(
            "listeners: [{{ name: p, bind: 127.0.0.1:0, limits: {{ connections: 20000, idle_timeout: 10m }} }}]\n\
             admin: {{ bind: 127.0.0.1:0 }}\n\
             routes: [{{ name: all, upstream: o }}]\n\
             upstreams: [{{ name: o, endpoints: ['{}'], connect_timeout: 20s, pool: {{ idle_per_endpoint: 512 }} }}]\n",
            origin.address
        ),
        &[],
    );
    let open = |expected: usize| (metric(&gateway, "pellucid_connections") == expected as f64).then_some(());
    // What is made once, or kept however many clients there are: rings, recent records, series, connections to the origin.
    let mut first = open_some(gateway.address, 0..BATCH_LEN);
    for _ in 0..60 {
        ask_all(&mut first);
    }
    drop(first);
    wait_for("the first clients to be counted out", || open(0));
    let before = resident(&gateway);

    let mut idle = Vec::with_capacity(count);
    while idle.len() < count {
        let mut batch = open_some(gateway.address, idle.len()..count.min(idle.len() + BATCH_LEN));
        ask_all(&mut batch);
        idle.append(&mut batch);
    }
    wait_for("all connections to be counted", || open(count));
    let full = settle(&gateway, before + count * IDLE_BYTES_MAX);
    let each = full.saturating_sub(before) / count;
    println!("{count} idle connections: {each} bytes each, on top of {} KiB", before >> 10);
    assert!(each <= IDLE_BYTES_MAX, "{count} idle connections cost {each} bytes each");
    ask_all(&mut idle[..BATCH_LEN.min(count)]);

    drop(idle);
    wait_for("all connections to be counted out", || open(0));
    let half = before + full.saturating_sub(before) / 2;
    let after = settle(&gateway, half);
    assert!(after <= half, "{} KiB before, {} KiB with them, {} KiB after", before >> 10, full >> 10, after >> 10);
}

#[test]
fn a_low_soft_limit_on_descriptors_does_not_limit_connections() {
    let origin = Origin::answering(|_| GOOD_ANSWER.to_vec());
    let config = temp_dir().join("pellucid.yaml");
    let listener = "listeners: [{ name: p, bind: 127.0.0.1:0 }]\nadmin: { bind: 127.0.0.1:0 }\n";
    std::fs::write(&config, format!("{listener}{}", origin.config())).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 64 && exec \"$0\" run --config \"$1\"", env!("CARGO_BIN_EXE_pellucid")]).arg(&config);
    let gateway = Pellucid::spawn(command, config);
    ask_all(&mut open_some(gateway.address, 0..BATCH_LEN * 2));
}
