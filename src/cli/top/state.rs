//! What the screen is about at this moment.
//!
//! In: keys and answers. Out: the state that is drawn, and the question that it asks. Not here: the terminal, and the network.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::answer::{Answer, Name, Overview, Plain, Request};
use super::asker::{Question, Refusal, Told};
use crate::base::clock::Tick;

/// The longest filter that can be typed.
const QUERY_CHARS_MAX: usize = 500;
const NANOS_IN_S: u64 = 1_000_000_000;

pub(super) struct State {
    pub(super) overview: Overview,
    pub(super) tail: Vec<Request>,
    pub(super) question: Question,
    pub(super) selected: Option<Name>,
    pub(super) editor: Option<Editor>,
    pub(super) refused: Option<Refusal>,
    pub(super) help: bool,
    /// Why the last question had no answer.
    pub(super) silent: Option<Plain>,
    answered: Tick,
}

/// A filter while it is typed.
#[derive(Default)]
pub(super) struct Editor {
    pub(super) text: Vec<char>,
    pub(super) cursor: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    End,
}

impl State {
    pub(super) fn new(question: Question, first: Answer, now: Tick) -> Self {
        let Answer { overview, tail } = first;
        State {
            overview,
            tail: tail.unwrap_or_default(),
            question,
            selected: None,
            editor: None,
            refused: None,
            help: false,
            silent: None,
            answered: now,
        }
    }

    /// Seconds since the last answer, where the last question had none.
    pub(super) fn silent_s(&self, now: Tick) -> Option<u64> {
        self.silent.as_ref().map(|_| now.since(self.answered) / NANOS_IN_S)
    }

    pub(super) fn hear(&mut self, told: Told, now: Tick) {
        let answer = match told.answer {
            Ok(answer) => answer,
            Err(why) => {
                self.silent = Some(Plain::of(&why));
                return;
            }
        };
        self.silent = None;
        self.answered = now;
        self.overview = answer.overview;
        if told.number != self.question.number {
            return;
        }
        match answer.tail {
            Ok(tail) => (self.tail, self.refused) = (tail, None),
            Err(refusal) => self.refused = Some(refusal),
        }
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::End;
        }
        if self.help {
            self.help = false;
            return Next::Go;
        }
        match self.editor.take() {
            Some(editor) => self.edit(editor, key),
            None => return self.command(key.code),
        }
        Next::Go
    }

    fn command(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Char('/') => self.editor = Some(Editor::of(&self.question.query)),
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::Esc => self.clear(),
            _ => {}
        }
        Next::Go
    }

    fn edit(&mut self, mut editor: Editor, key: KeyEvent) {
        match key.code {
            KeyCode::Esc => self.refused = None,
            KeyCode::Enter => self.ask(editor.text.iter().collect(), self.selected.clone()),
            _ => {
                editor.press(key);
                self.editor = Some(editor);
            }
        }
    }

    /// What comes after a pause is asked at once.
    fn pause(&mut self) {
        self.question.paused = !self.question.paused;
        if !self.question.paused {
            self.question.number += 1;
        }
    }

    fn clear(&mut self) {
        self.refused = None;
        self.ask(String::new(), None);
    }

    fn ask(&mut self, query: String, route: Option<Name>) {
        let raw = route.as_ref().map(|name| name.raw.clone());
        self.selected = route;
        let number = self.question.number + 1;
        self.question = Question { number, query, route: raw, paused: self.question.paused };
    }

    /// The order of routes changes from second to second: the name is what is selected, not the line.
    fn select(&mut self, step: isize) {
        let Some(last) = self.overview.routes.len().checked_sub(1) else { return };
        let next = self.selected_line().map_or(0, |line| line.saturating_add_signed(step).min(last));
        let name = self.overview.routes[next].name.clone();
        if self.selected.as_ref() != Some(&name) {
            self.ask(self.question.query.clone(), Some(name));
        }
    }

    pub(super) fn selected_line(&self) -> Option<usize> {
        let name = self.selected.as_ref()?;
        self.overview.routes.iter().position(|route| route.name == *name)
    }
}

impl Editor {
    fn of(text: &str) -> Self {
        let text: Vec<char> = text.chars().collect();
        Editor { cursor: text.len(), text }
    }

    fn press(&mut self, key: KeyEvent) {
        let held = key.modifiers.intersection(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match key.code {
            KeyCode::Char('u') if held == KeyModifiers::CONTROL => *self = Editor::default(),
            KeyCode::Char('a') if held == KeyModifiers::CONTROL => self.cursor = 0,
            KeyCode::Char('e') if held == KeyModifiers::CONTROL => self.cursor = self.text.len(),
            KeyCode::Char(one) if held.is_empty() && !one.is_control() && self.text.len() < QUERY_CHARS_MAX => {
                self.text.insert(self.cursor, one);
                self.cursor += 1;
            }
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.text.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            _ => {}
        }
    }
}
