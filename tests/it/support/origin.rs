//! Origins on raw sockets: each connection is handed to a script that may do anything, right or wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::find;

/// A server under a test's control.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicU64>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request as it arrived, byte for byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers(name).into_iter().next()
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
    }

    pub(crate) fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or("")
    }
}

/// A connection as a script sees it.
pub(crate) struct Conversation {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Origin {
    /// Runs `script` on each connection.
    pub(crate) fn scripted(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, log, script) = (Arc::clone(&connections), Arc::clone(&seen), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    script(&mut Conversation { stream, buffer: Vec::new(), seen: log });
                });
            }
        });
        Origin { address, connections, seen }
    }

    /// Answers every request with what `answer` returns, and keeps connections alive.
    pub(crate) fn answering(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::scripted(move |talk| {
            while let Some(seen) = talk.read_request() {
                if talk.stream.write_all(&answer(&seen)).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers with the head and body of the request; `/status/N`, `/sleep/MS` and `/length/N` do what they say.
    pub(crate) fn echo() -> Self {
        Self::answering(|seen| {
            let path = seen.path().split('?').next().unwrap().to_owned();
            let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
            if let Some(millis) = number("/sleep/") {
                std::thread::sleep(Duration::from_millis(millis));
            }
            let status = number("/status/").unwrap_or(200);
            let body = number("/length/").map_or_else(|| [seen.head.as_bytes(), &seen.body].concat(), |length| vec![b'x'; length as usize]);
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
            if seen.line().starts_with("HEAD ") { head.into_bytes() } else { [head.into_bytes(), body].concat() }
        })
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("the origin saw a request")
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// A route to this origin alone, for `Pellucid::start`.
    pub(crate) fn config(&self) -> String {
        format!(
            "routes: [{{ name: all, match: {{ path: '/**' }}, upstream: origin }}]\nupstreams: [{{ name: origin, endpoints: ['{}'] }}]\n",
            self.address
        )
    }
}

impl Conversation {
    /// The next request with its body; none where the connection ended.
    pub(crate) fn read_request(&mut self) -> Option<Seen> {
        let mut seen = Seen { head: self.read_head()?, ..Seen::default() };
        if seen.header("transfer-encoding").is_some() {
            self.read_chunks(&mut seen)?;
        } else if let Some(length) = seen.header("content-length") {
            let length = length.parse().ok()?;
            while self.buffer.len() < length {
                self.fill()?;
            }
            seen.body = self.buffer.drain(..length).collect();
        }
        self.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    pub(crate) fn read_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            self.fill()?;
        }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // A gateway that is gone is what some tests are about.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Bytes that came behind the head and were not asked for yet.
    pub(crate) fn take_buffered(&mut self) -> usize {
        std::mem::take(&mut self.buffer).len()
    }

    fn read_chunks(&mut self, seen: &mut Seen) -> Option<()> {
        loop {
            let size = usize::from_str_radix(&self.read_line()?, 16).ok()?;
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.fill()?;
            }
            seen.body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Some(());
            }
            seen.trailers.push_str(&line);
            seen.trailers.push('\n');
        }
    }

    fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Some(())
            }
        }
    }
}
