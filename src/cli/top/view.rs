//! What a frame holds, and the same as plain text.
//!
//! In: the state, and a size. Out: lines that fit; narrow screens lose columns, short ones lose rows, none loses the totals.
//! Not here: keys, and where the figures come from. A colour says that something is wrong; nothing is said by colour alone.

mod sheet;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::answer::{Answer, Overview, Plain, Request};
use super::state::{Editor, State};
use crate::base::clock::Tick;
use sheet::{Sheet, fit, share, time, width_of};

/// Of lines that say what changed: so many, and fewer on short screens.
const CHANGES_LEN_MAX: usize = 3;
const HINTS: &str = "q quit  ? help  / filter  ↑↓ route  p pause  Esc clear";
const HELP: &[&str] = &[
    "q, Ctrl-C   quit",
    "p           pause, and go on",
    "/           edit the filter: Enter takes it, Esc leaves it",
    "up, down    select a route; the tail shows it alone",
    "Esc         clear the filter and the route",
    "?           this",
    "",
    "A filter: status:5xx duration:>200ms route:users -path:/health*",
    "",
    "Any key goes back.",
];

/// Whether what is wrong may be coloured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) colours: bool,
}

impl Paint {
    fn bad(self) -> Style {
        self.with(Color::Red)
    }

    fn notable(self) -> Style {
        self.with(Color::Yellow)
    }

    fn with(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}

/// The rows that each part of a frame has, between the totals and the foot.
struct Parts {
    changes: usize,
    routes: usize,
    tail: usize,
}

pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: Tick, paint: Paint) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    if width == 0 || height == 0 {
        return;
    }
    let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
    let body = Rect { height: area.height - 1, ..area };
    if state.help {
        frame.render_widget(Paragraph::new(HELP.iter().map(|line| Line::raw(*line)).collect::<Vec<_>>()), body);
    } else {
        frame.render_widget(Paragraph::new(lines(state, width, height.saturating_sub(2), paint)), body);
    }
    if let Some(editor) = &state.editor {
        draw_editor(frame, editor, foot);
    } else {
        frame.render_widget(Paragraph::new(foot_of(state, now, width, paint)), foot);
    }
}

/// A frame without its foot; `room` is the rows below the totals.
fn lines(state: &State, width: usize, room: usize, paint: Paint) -> Vec<Line<'static>> {
    let overview = &state.overview;
    let parts = Parts::of(overview, room);
    let sheet = Sheet { width: Some(width), paint };
    let mut lines = vec![Line::raw(totals(overview, width))];
    lines.extend(overview.changes.iter().take(parts.changes).map(|change| changed(&change.text, width, paint)));
    lines.extend(sheet.routes(overview, state.selected_line(), parts.routes));
    lines.extend(sheet.tail(&state.tail, parts.tail));
    lines
}

impl Parts {
    /// The tail has at least half of what the changes leave, its head and one row on the shortest screen.
    fn of(overview: &Overview, room: usize) -> Self {
        let changes = overview.changes.len().min(CHANGES_LEN_MAX).min(room / 6);
        let left = room - changes;
        let routes = (overview.routes.len() + 1 + usize::from(overview.folded > 0)).min(left / 2);
        Parts { changes, routes, tail: left - routes }
    }
}

/// As many totals as fit, the most telling first.
fn totals(overview: &Overview, width: usize) -> String {
    let total = &overview.total;
    let pieces = [
        format!("{:.1}/s", total.rate),
        format!("{} errors", share(total.errors)),
        format!("p99 {}", time(total.p99)),
        format!("{} in flight", overview.in_flight),
        format!("p50 {}", time(total.p50)),
        format!("p90 {}", time(total.p90)),
        format!("self p99 {}", time(total.self_p99)),
        format!("last {} s", overview.window_s),
    ];
    let mut line = String::new();
    for piece in pieces {
        let gap = if line.is_empty() { "" } else { "  " };
        if width_of(&line) + gap.len() + width_of(&piece) > width {
            break;
        }
        line.push_str(gap);
        line.push_str(&piece);
    }
    line
}

fn changed(text: &Plain, width: usize, paint: Paint) -> Line<'static> {
    Line::styled(fit(&format!("! {text}"), width), paint.notable())
}

fn foot_of(state: &State, now: Tick, width: usize, paint: Paint) -> Line<'static> {
    let mut spans = Vec::new();
    if let (Some(seconds), false) = (state.silent_s(now), state.question.paused) {
        let why = state.silent.as_ref().map(Plain::as_str).unwrap_or_default();
        return Line::styled(fit(&format!("no answer since {seconds} s: {why}"), width), paint.bad());
    }
    if let Some(refused) = &state.refused {
        let shown = Plain::of(&format!("filter refused: {}  (/ to edit, Esc to clear)", refusal(&refused.message, refused.at)));
        return Line::styled(fit(shown.as_str(), width), paint.bad());
    }
    if state.question.paused {
        spans.push(Span::styled("paused", Style::new().add_modifier(Modifier::REVERSED)));
        spans.push(Span::raw("  "));
    }
    let mut shown = String::new();
    if !state.question.query.trim().is_empty() {
        shown.push_str(&format!("filter {}  ", Plain::of(&state.question.query)));
    }
    if let Some(name) = &state.selected {
        shown.push_str(&format!("route {}  ", name.shown));
    }
    shown.push_str(HINTS);
    let left = width.saturating_sub(spans.iter().map(Span::width).sum());
    spans.push(Span::raw(fit(&shown, left)));
    Line::from(spans)
}

/// The end of a long filter is what is seen: it is what is typed.
fn draw_editor(frame: &mut Frame<'_>, editor: &Editor, area: Rect) {
    let before: String = editor.text[..editor.cursor].iter().collect();
    let text = Plain::of(&editor.text.iter().collect::<String>());
    let room = usize::from(area.width).saturating_sub(2);
    let column = width_of(Plain::of(&before).as_str());
    let hidden = column.saturating_sub(room);
    let line = Line::from(vec![Span::raw("/"), Span::raw(sheet::without_columns(text.as_str(), hidden))]);
    frame.render_widget(Paragraph::new(line), area);
    let x = u16::try_from(1 + column - hidden).unwrap_or(u16::MAX);
    frame.set_cursor_position(Position { x: area.x.saturating_add(x).min(area.right().saturating_sub(1)), y: area.y });
}

/// Why the server did not take a filter, and where it stands, counted from 1 as its messages do. They name the place themselves as a rule.
pub(super) fn refusal(message: &Plain, at: Option<u64>) -> String {
    match at {
        Some(at) if !message.as_str().contains("at character") => format!("{message} (at character {})", at.saturating_add(1)),
        _ => message.to_string(),
    }
}

/// One answer as plain text. Names and paths are whole: it is read by other programs too.
pub(super) fn snapshot(answer: &Answer) -> String {
    let overview = &answer.overview;
    let tail: &[Request] = answer.tail.as_deref().unwrap_or_default();
    let sheet = Sheet { width: None, paint: Paint { colours: false } };
    let mut lines = vec![Line::raw(totals(overview, usize::MAX))];
    lines.extend(overview.changes.iter().map(|change| Line::raw(format!("! {}", change.text))));
    lines.push(Line::default());
    lines.extend(sheet.routes(overview, None, usize::MAX));
    lines.push(Line::default());
    lines.extend(sheet.tail(tail, usize::MAX));
    let lines: Vec<String> = lines.iter().map(|line| line.to_string().trim_end().to_owned()).collect();
    lines.join("\n")
}
