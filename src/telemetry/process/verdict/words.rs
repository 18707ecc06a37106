//! The words of verdicts: times, sizes and names, in one bounded line.
//!
//! In: numbers, and names that may be hostile. Out: one line of plain text, rounded as one would say it, of at most 240 bytes and cut
//! between two characters. Not here: what is said (`rules`).

use std::fmt::{self, Display, Formatter, Write};

use crate::telemetry::record::legend::EndpointLegend;

pub(super) const TEXT_BYTES_MAX: usize = 240;
/// Characters of one name, so that a long one leaves room for the rest of the sentence.
const UPSTREAM_CHARS_MAX: usize = 40;
const AUTHORITY_CHARS_MAX: usize = 64;
/// What stands where something was cut.
const CUT: &str = "…";

/// A sentence as it is written.
pub(super) struct Line {
    text: String,
    cut: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        Line { text: String::with_capacity(TEXT_BYTES_MAX), cut: false }
    }

    pub(super) fn of(words: fmt::Arguments<'_>) -> Self {
        let mut line = Line::new();
        line.say(words);
        line
    }

    pub(super) fn say(&mut self, words: fmt::Arguments<'_>) {
        // Writing to it never fails: what does not fit is cut.
        let _ = self.write_fmt(words);
    }

    pub(super) fn add(&mut self, words: &str) {
        self.say(format_args!("{words}"));
    }

    pub(super) fn finish(mut self) -> Box<str> {
        if self.cut {
            self.text.truncate(boundary(&self.text, TEXT_BYTES_MAX - CUT.len()));
            self.text.push_str(CUT);
        }
        self.text.into_boxed_str()
    }
}

impl Write for Line {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let room = TEXT_BYTES_MAX - self.text.len();
        self.cut = piece.len() > room;
        self.text.push_str(&piece[..boundary(piece, room)]);
        Ok(())
    }
}

/// The last boundary between two characters at or before `most`.
fn boundary(text: &str, most: usize) -> usize {
    if most >= text.len() {
        return text.len();
    }
    (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// How values up to a limit are written.
struct Scale {
    below: u64,
    unit: f64,
    decimals: usize,
    name: &'static str,
}

const fn scale(below: u64, unit: f64, decimals: usize, name: &'static str) -> Scale {
    Scale { below, unit, decimals, name }
}

const TIMES: [Scale; 6] = [
    scale(999_500, 1e3, 0, "µs"),
    scale(9_950_000, 1e6, 1, "ms"),
    scale(999_500_000, 1e6, 0, "ms"),
    scale(99_950_000_000, 1e9, 1, "s"),
    scale(599_500_000_000, 1e9, 0, "s"),
    scale(u64::MAX, 60e9, 0, "min"),
];
const SIZES: [Scale; 6] = [
    scale(1_000, 1.0, 0, "B"),
    scale(9_950, 1e3, 1, "kB"),
    scale(999_500, 1e3, 0, "kB"),
    scale(9_950_000, 1e6, 1, "MB"),
    scale(999_500_000, 1e6, 0, "MB"),
    scale(u64::MAX, 1e9, 1, "GB"),
];

fn scale_of(scales: &'static [Scale; 6], value: u64) -> &'static Scale {
    scales.iter().find(|scale| value < scale.below).unwrap_or(&scales[5])
}

impl Scale {
    fn number(&self, value: u64, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{:.*}", self.decimals, value as f64 / self.unit)
    }
}

/// Nanoseconds, such as `412 ms`.
pub(super) struct Time(pub(super) u64);

impl Display for Time {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let scale = scale_of(&TIMES, self.0);
        scale.number(self.0, out)?;
        write!(out, " {}", scale.name)
    }
}

/// Nanoseconds of nanoseconds, such as `412 of 431 ms`.
pub(super) struct Of(pub(super) u64, pub(super) u64);

impl Display for Of {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let scale = scale_of(&TIMES, self.1);
        scale.number(self.0, out)?;
        write!(out, " of {}", Time(self.1))
    }
}

/// Bytes, such as `3.1 kB`.
pub(super) struct Size(pub(super) u64);

impl Display for Size {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let scale = scale_of(&SIZES, self.0);
        scale.number(self.0, out)?;
        write!(out, " {}", scale.name)
    }
}

/// A quantile to the two digits that are known of it.
pub(super) fn about(value: u64) -> u64 {
    let step = 10u64.pow(value.checked_ilog10().unwrap_or(0).saturating_sub(1));
    (value.saturating_add(step / 2)) / step * step
}

/// How a time compares with what is typical, such as `8 x typical`. As that is exact to 10 %, large multiples are round ones.
pub(super) struct Versus {
    pub(super) spent: u64,
    pub(super) typical: u64,
}

impl Display for Versus {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let ratio = self.spent as f64 / self.typical as f64;
        match self.typical {
            0 => write!(out, "typically none"),
            _ if ratio < 1.5 => write!(out, "typical"),
            _ if ratio < 2.95 => write!(out, "{ratio:.1} x typical"),
            _ if ratio < 20.0 => write!(out, "{ratio:.0} x typical"),
            _ if ratio < 200.0 => write!(out, "{:.0} x typical", (ratio / 10.0).round() * 10.0),
            _ if ratio < 1000.0 => write!(out, "{:.0} x typical", (ratio / 100.0).round() * 100.0),
            _ => write!(out, "over 1000 x typical"),
        }
    }
}

/// An endpoint, as `upstream (host:port)`.
pub(super) struct Name<'n>(pub(super) Option<&'n EndpointLegend>);

impl Display for Name<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(legend) => {
                write!(out, "{} ({})", Plain(&legend.upstream, UPSTREAM_CHARS_MAX), Plain(&legend.authority, AUTHORITY_CHARS_MAX))
            }
            None => write!(out, "the upstream"),
        }
    }
}

/// An upstream, whichever its endpoint.
pub(super) struct UpstreamOf<'n>(pub(super) Option<&'n EndpointLegend>);

impl Display for UpstreamOf<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(legend) => write!(out, "{}", Plain(&legend.upstream, UPSTREAM_CHARS_MAX)),
            None => write!(out, "the upstream"),
        }
    }
}

/// Text that somebody else chose, at most so many characters of it. What could break a line, a quotation or the direction of writing
/// becomes U+FFFD.
pub(super) struct Plain<'t>(pub(super) &'t str, pub(super) usize);

impl Display for Plain<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (index, character) in self.0.chars().enumerate() {
            if index == self.1 {
                return out.write_str(CUT);
            }
            let plain = character == ' ' || character.is_ascii_graphic() || character.is_alphanumeric();
            let breaks = !plain || matches!(character, '"' | '\\');
            out.write_char(if breaks { char::REPLACEMENT_CHARACTER } else { character })?;
        }
        Ok(())
    }
}
