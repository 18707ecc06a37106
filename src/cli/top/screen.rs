//! The terminal: taken, drawn on, and always given back.
//!
//! In: keys, answers, signals. Out: frames; the terminal as it was found, after the last key, a signal, an error or a panic.
//! Not here: what a key means, and what a frame holds.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::answer::Answer;
use super::asker::{Asker, Question};
use super::state::{Next, State};
use super::view::{self, Paint};
use crate::base::clock::Clock;

/// How soon the thread of keys sees that the screen has ended.
const KEY_PAUSE: Duration = Duration::from_millis(100);
const EVENTS_LEN_MAX: usize = 64;
/// A frame is drawn at least so often: "no answer since" counts on.
const FRAME_PAUSE: Duration = Duration::from_millis(500);

/// Gives the terminal back when it goes; for a panic, ratatui's hook does so before the message is written.
/// Never dropped itself: it would report a terminal that has closed on that terminal, and panic.
struct Taken {
    terminal: ManuallyDrop<DefaultTerminal>,
}

/// A thread, for a terminal is read with calls that block. It ends with the screen.
struct Keys {
    events: mpsc::Receiver<Event>,
    ended: Arc<AtomicBool>,
}

/// What ends the screen from outside: a terminal that closed, a service manager, another terminal.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
}

pub(super) async fn run(asker: Asker, question: Question, first: Answer, paint: Paint) -> Result<(), String> {
    // Signals are listened for first: none may find the system's default once the terminal is ours.
    let mut ends = Ends::listen().map_err(|error| format!("signals cannot be listened for: {error}"))?;
    let clock = Clock::system();
    let mut state = State::new(question, first, clock.now());
    let (questions, asked) = watch::channel(state.question.clone());
    let (tell, mut told) = mpsc::channel(1);
    tokio::spawn(asker.keep_asking(asked, tell));
    let mut taken = Taken { terminal: ManuallyDrop::new(ratatui::try_init().map_err(terminal_trouble)?) };
    let mut keys = Keys::listen();
    loop {
        let now = clock.now();
        taken.terminal.draw(|frame| view::draw(frame, &state, now, paint)).map_err(terminal_trouble)?;
        tokio::select! {
            () = ends.any() => return Ok(()),
            event = keys.events.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if state.press(key) == Next::End {
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => return Err("the terminal cannot be read any more".to_owned()),
            },
            Some(heard) = told.recv() => state.hear(heard, clock.now()),
            () = tokio::time::sleep(FRAME_PAUSE) => {}
        }
        questions.send_if_modified(|known| {
            let is_new = *known != state.question;
            known.clone_from(&state.question);
            is_new
        });
    }
}

fn terminal_trouble(error: std::io::Error) -> String {
    format!("the terminal: {error}")
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Nobody is left to be told: the terminal is what failed.
        let _ = ratatui::try_restore();
        let _ = self.terminal.show_cursor();
    }
}

impl Keys {
    fn listen() -> Self {
        let (send, events) = mpsc::channel(EVENTS_LEN_MAX);
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match event::poll(KEY_PAUSE) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => return,
                }
                let Ok(event) = event::read() else { return };
                if send.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Keys { events, ended }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Ends {
    fn listen() -> std::io::Result<Self> {
        Ok(Ends {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}
