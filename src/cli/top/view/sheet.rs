//! Tables that fit: of routes, and of requests.
//!
//! In: rows, and a width in columns. Out: lines of exactly the columns that there is room for.
//! Not here: which rows, but for keeping the selected one in sight.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::Paint;
use crate::cli::top::answer::{Overview, Plain, Request, Route};

const NAME_COLUMNS_MIN: usize = 14;
const NAME_COLUMNS_MAX: usize = 40;
const SPARK_COLUMNS_MIN: usize = 8;
const SPARK_COLUMNS_MAX: usize = 30;
const TAIL_REST_COLUMNS_MIN: usize = 16;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The columns of figures, with the width of each; in the order in which a narrow screen loses them, the last first.
const FIGURES: [(Figure, &str, usize); 6] = [
    (Figure::Rate, "req/s", 9),
    (Figure::Errors, "errors", 8),
    (Figure::P99, "p99", 9),
    (Figure::P50, "p50", 9),
    (Figure::SelfP99, "self p99", 10),
    (Figure::P90, "p90", 9),
];

/// In the order in which they stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Figure {
    Rate,
    Errors,
    P50,
    P90,
    P99,
    SelfP99,
}

pub(super) struct Sheet {
    /// The columns that there are; none where a line may be as long as what it holds.
    pub(super) width: Option<usize>,
    pub(super) paint: Paint,
}

/// How wide each part of a table of routes is.
struct RouteColumns {
    name: usize,
    figures: Vec<(Figure, &'static str, usize)>,
    spark: usize,
}

/// How wide each part of the tail is; zero where there is no room for it.
struct TailColumns {
    method: usize,
    route: usize,
    rest: usize,
}

/// A time of day, a status and a duration, each with the gap after it.
const TAIL_FIXED_COLUMNS: usize = 9 + 4 + 9;
const METHOD_COLUMNS: usize = 8;

impl Sheet {
    /// At most `rows` lines, with the head, and with the selected one among them.
    pub(super) fn routes(&self, overview: &Overview, selected: Option<usize>, rows: usize) -> Vec<Line<'static>> {
        if rows == 0 {
            return Vec::new();
        }
        let longest = overview.routes.iter().map(|route| width_of(route.name.shown.as_str())).max().unwrap_or(0);
        let columns = self.width.map_or_else(|| RouteColumns::whole(longest), |width| RouteColumns::of(width, longest));
        let shown = (rows - 1).min(overview.routes.len());
        let first = selected.map_or(0, |line| (line + 1).saturating_sub(shown));
        let mut lines = vec![columns.head()];
        let visible = overview.routes.iter().enumerate().skip(first).take(shown);
        lines.extend(visible.map(|(at, route)| columns.line(route, selected == Some(at), self.paint)));
        if overview.folded > 0 && lines.len() < rows {
            lines.push(self.note(&format!("and {} more routes, counted as one", overview.folded)));
        }
        lines
    }

    pub(super) fn tail(&self, rows: &[Request], lines_max: usize) -> Vec<Line<'static>> {
        if lines_max == 0 {
            return Vec::new();
        }
        let columns = self.width.map_or_else(|| TailColumns::whole(rows), TailColumns::of);
        let mut lines = vec![columns.head()];
        if rows.is_empty() && lines_max > 1 {
            lines.push(self.note("no requests"));
        }
        lines.extend(rows.iter().take(lines_max - 1).map(|row| columns.line(row, self.paint)));
        lines
    }

    fn note(&self, text: &str) -> Line<'static> {
        Line::raw(fit(text, self.width.unwrap_or_else(|| width_of(text))))
    }
}

impl RouteColumns {
    fn whole(longest: usize) -> Self {
        let mut figures = FIGURES.to_vec();
        figures.sort_by_key(|(figure, _, _)| *figure);
        RouteColumns { name: longest.max(NAME_COLUMNS_MIN), figures, spark: SPARK_COLUMNS_MAX }
    }

    fn of(width: usize, longest: usize) -> Self {
        let wanted = longest.clamp(NAME_COLUMNS_MIN, NAME_COLUMNS_MAX.max(width / 3));
        let mut figures = FIGURES.to_vec();
        let taken = |figures: &[(Figure, &str, usize)]| figures.iter().map(|(_, _, columns)| columns).sum::<usize>();
        while figures.len() > 1 && taken(&figures) + NAME_COLUMNS_MIN > width {
            figures.pop();
        }
        let left = width.saturating_sub(taken(&figures));
        figures.sort_by_key(|(figure, _, _)| *figure);
        // A long name takes what the spark does not need.
        let has_spark = left > NAME_COLUMNS_MIN + SPARK_COLUMNS_MIN;
        let name = if has_spark { wanted.min(left - SPARK_COLUMNS_MIN - 1) } else { left };
        let spark = if has_spark { (left - name - 1).min(SPARK_COLUMNS_MAX) } else { 0 };
        RouteColumns { name, figures, spark }
    }

    fn head(&self) -> Line<'static> {
        let mut text = fit("route", self.name);
        for (_, title, columns) in &self.figures {
            text.push_str(&format!("{title:>columns$}"));
        }
        if self.spark > 0 {
            text.push_str(" rate");
        }
        Line::styled(text, heading())
    }

    fn line(&self, route: &Route, is_selected: bool, paint: Paint) -> Line<'static> {
        let mut spans = vec![Span::raw(fit(route.name.shown.as_str(), self.name))];
        for (figure, _, columns) in &self.figures {
            let (text, style) = figure.of(route, paint);
            spans.push(Span::styled(format!("{text:>columns$}"), style));
        }
        if self.spark > 0 {
            spans.push(Span::raw(format!(" {}", spark(&route.spark, self.spark))));
        }
        let style = if is_selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Line::from(spans).style(style)
    }
}

impl Figure {
    fn of(self, route: &Route, paint: Paint) -> (String, Style) {
        let stats = &route.stats;
        match self {
            Figure::Rate => (format!("{:.1}", stats.rate), Style::new()),
            Figure::Errors if stats.errors > 0.0 => (share(stats.errors), paint.bad()),
            Figure::Errors => (share(stats.errors), Style::new()),
            Figure::P50 => (time(stats.p50), Style::new()),
            Figure::P90 => (time(stats.p90), Style::new()),
            Figure::P99 => (time(stats.p99), Style::new()),
            Figure::SelfP99 => (time(stats.self_p99), Style::new()),
        }
    }
}

impl TailColumns {
    fn whole(rows: &[Request]) -> Self {
        let route = rows.iter().map(|row| row.route.as_ref().map_or(0, |route| width_of(route.shown.as_str()))).max().unwrap_or(0);
        let rest = rows.iter().map(|row| width_of(&rest_of(row).0)).max().unwrap_or(0);
        TailColumns { method: METHOD_COLUMNS, route: route.max(NAME_COLUMNS_MIN) + 1, rest: rest.max(TAIL_REST_COLUMNS_MIN) }
    }

    fn of(width: usize) -> Self {
        let left = width.saturating_sub(TAIL_FIXED_COLUMNS);
        let method = if left >= TAIL_REST_COLUMNS_MIN + METHOD_COLUMNS { METHOD_COLUMNS } else { 0 };
        let left = left - method;
        let route = if left >= TAIL_REST_COLUMNS_MIN * 2 { left / 3 } else { 0 };
        TailColumns { method, route, rest: left - route }
    }

    fn head(&self) -> Line<'static> {
        let (method, route) = (cell("method", self.method), cell("route", self.route));
        Line::styled(format!("time     {method}{route}st  {:>8} {}", "duration", fit("verdict or path", self.rest)), heading())
    }

    fn line(&self, row: &Request, paint: Paint) -> Line<'static> {
        let plain = |text: &Option<Plain>| text.as_ref().map_or_else(|| "-".to_owned(), Plain::to_string);
        let before = format!(
            "{}{}{}",
            cell(&row.start.as_ref().map_or_else(|| "-".to_owned(), |start| time_of_day(start.as_str())), 9),
            cell(&plain(&row.method), self.method),
            cell(row.route.as_ref().map_or("-", |route| route.shown.as_str()), self.route)
        );
        let status = row.status.filter(|status| *status > 0);
        let style = match status {
            Some(500..) => paint.bad(),
            Some(400..) => paint.notable(),
            _ => Style::new(),
        };
        let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let (rest, is_verdict) = rest_of(row);
        let rest_style = if is_verdict { paint.notable() } else { Style::new() };
        Line::from(vec![
            Span::raw(before),
            Span::styled(cell(&status, 4), style),
            Span::raw(format!("{:>8} ", time(row.duration_ms))),
            Span::styled(fit(&rest, self.rest), rest_style),
        ])
    }
}

/// What is most worth saying of a request, and whether that is a verdict.
fn rest_of(row: &Request) -> (String, bool) {
    match (&row.verdict, &row.path) {
        (Some(verdict), _) => (format!("{}: {}", verdict.code, verdict.text), true),
        (None, Some(path)) => (path.to_string(), false),
        (None, None) => ("-".to_owned(), false),
    }
}

/// The seconds of an RFC 3339 time, in UTC as the gateway writes it.
fn time_of_day(start: &str) -> String {
    start.get(11..19).unwrap_or(start).to_owned()
}

fn heading() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// The newest values, against the highest of them.
fn spark(values: &[Option<f64>], columns: usize) -> String {
    let newest = &values[values.len().saturating_sub(columns)..];
    let highest = newest.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |value: Option<f64>| match value {
        Some(value) if value > 0.0 => BARS[((value / highest * 8.0).ceil() as usize).clamp(1, BARS.len()) - 1],
        _ => ' ',
    };
    newest.iter().map(|value| bar(*value)).collect()
}

/// A share as a percentage that is zero only where there were none.
pub(super) fn share(share: f64) -> String {
    match share * 100.0 {
        percent if percent <= 0.0 => "0%".to_owned(),
        percent if percent < 0.01 => "<0.01%".to_owned(),
        percent if percent < 10.0 => format!("{percent:.2}%"),
        percent => format!("{percent:.1}%"),
    }
}

/// Milliseconds with three digits that count, in the unit that suits them.
pub(super) fn time(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 1.0 => format!("{:.0}us", ms * 1000.0),
        Some(ms) if ms < 10.0 => format!("{ms:.2}ms"),
        Some(ms) if ms < 100.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 10_000.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{:.1}s", ms / 1000.0),
    }
}

/// A text and the gap after it; nothing where a column has no room.
fn cell(text: &str, columns: usize) -> String {
    if columns == 0 { String::new() } else { fit(text, columns - 1) + " " }
}

/// The columns of a terminal that a text takes, which letters of some scripts take two of.
pub(super) fn width_of(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text in exactly so many columns: filled up, or cut with a mark.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let width = width_of(text);
    if width <= columns {
        return format!("{text}{}", " ".repeat(columns - width));
    }
    let mut cut = String::new();
    let mut used = 0;
    for one in text.chars() {
        let wide = width_of(one.encode_utf8(&mut [0; 4]));
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        cut.push(one);
    }
    if columns > used {
        cut.push('…');
        used += 1;
    }
    cut + &" ".repeat(columns - used)
}

/// A text from the given column on.
pub(super) fn without_columns(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, one) in text.char_indices() {
        if used >= columns {
            return &text[at..];
        }
        used += width_of(one.encode_utf8(&mut [0; 4]));
    }
    ""
}
