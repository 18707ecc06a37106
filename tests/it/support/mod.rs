//! What the tests talk to: gateways as processes of the built binary, origins on raw sockets, the real Collector and its friends.
//!
//! Everything listens on a free port and dies with its handle. Waiting is always for a fact, with a deadline that fails the test.

pub(crate) mod origin;
pub(crate) mod pprof;
pub(crate) mod process;
pub(crate) mod stack;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a fact may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `fact` is there.
pub(crate) fn wait_for<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A fresh directory for one test.
pub(crate) fn temp_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = std::env::temp_dir().join(format!("pellucid-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A port that was free a moment ago, for programs that cannot tell which one they took.
///
/// It lies below the range from which the kernel gives ports to whoever asks for none in particular: one of those could be given to a
/// client of another test before the server that it is meant for has bound it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Runs beside one another begin at different places.
    let begin = std::process::id().wrapping_mul(331);
    let ports = std::iter::from_fn(|| Some(FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT));
    let mut ports = ports.take(COUNT as usize).filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("one of 12,000 ports is free")
}

/// A response as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// A client on a raw socket that understands just enough to find the end of a response.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Everything up to the end of the connection.
    pub(crate) fn read_all(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer);
        let _ = self.stream.read_to_end(&mut all);
        all
    }

    /// The next head, as text with its empty line; none where the connection ended before.
    pub(crate) fn read_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next response, whatever its framing; `to` is the method it answers.
    pub(crate) fn read_answer(&mut self, to: &str) -> Answer {
        let head = self.read_head().expect("a response");
        let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("a status in {head:?}"));
        let mut answer = Answer { status, head, body: Vec::new() };
        if to == "HEAD" || status == 204 || status == 304 || status < 200 {
            return answer;
        }
        answer.body = if answer.header("transfer-encoding").is_some() {
            self.read_chunks()
        } else if let Some(length) = answer.header("content-length") {
            self.read_exact(length.parse().unwrap())
        } else {
            self.read_all()
        };
        answer
    }

    /// The rest is at its end: nothing more comes.
    pub(crate) fn is_closed(&mut self) -> bool {
        let ended = match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        ended && self.buffer.is_empty()
    }

    pub(crate) fn read_exact(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill(), "the connection ended after {} of {length} bytes", self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    /// Takes what there is and throws it away; zero where the connection ended.
    pub(crate) fn skip(&mut self) -> usize {
        if self.buffer.is_empty() && !self.fill() {
            return 0;
        }
        let count = self.buffer.len();
        self.buffer.clear();
        count
    }

    pub(crate) fn read_line(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return String::from_utf8_lossy(&line[..at]).into_owned();
            }
            assert!(self.fill(), "the connection ended in the middle of a line");
        }
    }

    fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line();
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                while !self.read_line().is_empty() {}
                return body;
            }
            body.extend(self.read_exact(size));
            assert_eq!(self.read_line(), "");
        }
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                true
            }
        }
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let request = request.as_ref();
    let method = String::from_utf8_lossy(request.split(|byte| *byte == b' ').next().unwrap()).into_owned();
    Client::connect(address).send(request).read_answer(&method)
}

/// GET with `Host: test`.
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
