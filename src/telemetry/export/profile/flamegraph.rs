//! Flame graphs: an SVG in which stacks can be searched and zoomed, drawn by inferno.
//!
//! In: a profile, or two to compare, and what to write above them. Out: the SVG with its script; a small one that says so where there are no
//! samples. Not here: which samples count (`Profile::retain`), folding (`fold`).

use std::collections::BTreeMap;
use std::sync::Arc;

use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{Options, from_lines};

use super::fold::{Split, Stack, counterpart, printable, stacks};
use super::text::measure;
use crate::telemetry::profile::Profile;

/// The most that inferno can tell apart in colour without its arithmetic overflowing.
const COUNT_MAX: i64 = 1 << 53;

/// What stands above the stacks, and how they are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drawing<'a> {
    pub(crate) title: &'a str,
    /// May be empty.
    pub(crate) subtitle: &'a str,
    /// Of the values. Empty: as the profile says. Nanoseconds are shown as milliseconds, or finer where the total is small.
    pub(crate) unit: &'a str,
    /// Drawn as the lowest frames.
    pub(crate) root: Option<Split<'a>>,
}

/// The stacks of a profile, as wide as the sum of one value.
pub(crate) fn draw(profile: &Profile, value: usize, drawing: Drawing<'_>) -> Result<Vec<u8>, String> {
    let counts = counts(profile, value, drawing.root);
    let shown = Shown::of(profile, value, drawing, sum(&counts));
    let lines: Vec<String> = counts.iter().map(|(stack, count)| line(stack, &[*count])).collect();
    render(&lines, &shown, 1.0 / shown.divisor as f64, drawing)
}

/// The stacks of `after`, red where they take more than in `before` and blue where they take less. `before` is scaled to the same total.
/// What is gone in `after` has no width; `text::difference` lists it.
pub(crate) fn draw_difference(before: &Profile, after: &Profile, value: usize, drawing: Drawing<'_>) -> Result<Vec<u8>, String> {
    let old = counts(before, counterpart(before, after, value)?, drawing.root);
    let new = counts(after, value, drawing.root);
    let (old_sum, new_sum) = (sum(&old), sum(&new));
    let shown = Shown::of(after, value, drawing, new_sum);
    let mut pairs: BTreeMap<&Stack, [i64; 2]> = BTreeMap::new();
    for (stack, count) in &old {
        pairs.entry(stack).or_default()[0] = shown.scaled(rescale(*count, old_sum, new_sum));
    }
    for (stack, count) in &new {
        pairs.entry(stack).or_default()[1] = shown.scaled(*count);
    }
    let subtitle = difference_subtitle(drawing.subtitle, old_sum, new_sum, shown.unit);
    let lines: Vec<String> = pairs.iter().map(|(stack, pair)| line(stack, pair)).collect();
    // The change in percent that inferno writes is only right for a factor of 1, so the counts come scaled.
    let lines = if new_sum > 0 { lines } else { Vec::new() };
    render(&lines, &shown, 1.0, Drawing { subtitle: &subtitle, ..drawing })
}

fn counts(profile: &Profile, value: usize, root: Option<Split<'_>>) -> BTreeMap<Stack, i64> {
    let mut counts = stacks(profile, value, root);
    counts.retain(|_, count| *count > 0);
    counts.values_mut().for_each(|count| *count = (*count).min(COUNT_MAX));
    counts
}

fn sum(counts: &BTreeMap<Stack, i64>) -> i64 {
    counts.values().fold(0, |sum, count| sum.saturating_add(*count))
}

fn rescale(count: i64, from: i64, to: i64) -> i64 {
    if from == to || to == 0 { count } else { (count as f64 / from as f64 * to as f64).round() as i64 }
}

fn difference_subtitle(subtitle: &str, old: i64, new: i64, unit: &str) -> String {
    let note = match (old, new) {
        (0, _) => "the first profile holds no samples".to_owned(),
        (_, 0) => "the second profile holds no samples".to_owned(),
        (old, new) if old == new => String::new(),
        (old, new) => format!("{} of the first profile are scaled to {} of the second", measure(old, unit), measure(new, unit)),
    };
    [subtitle, &note].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// How counts are shown.
struct Shown<'a> {
    unit: &'a str,
    name: &'a str,
    divisor: i64,
}

impl<'a> Shown<'a> {
    fn of(profile: &'a Profile, value: usize, drawing: Drawing<'a>, total: i64) -> Self {
        let kind = profile.types.get(value);
        let unit = if drawing.unit.is_empty() { kind.map_or("", |kind| kind.unit.as_str()) } else { drawing.unit };
        let (name, divisor) = match unit {
            // Shares are computed from what is shown, so that a coarse unit would falsify those of a short profile.
            "nanoseconds" if total >= 1_000_000_000 => ("ms", 1_000_000),
            "nanoseconds" if total >= 1_000_000 => ("µs", 1_000),
            "nanoseconds" => ("ns", 1),
            "count" | "" => (kind.map_or("samples", |kind| kind.kind.as_str()), 1),
            other => (other, 1),
        };
        Shown { unit, name, divisor }
    }

    fn scaled(&self, count: i64) -> i64 {
        (count.saturating_add(self.divisor / 2) / self.divisor).min(COUNT_MAX)
    }
}

/// One line as inferno reads it, which takes `# ` at the beginning for a comment, and a number behind a space at the end for a count.
fn line(stack: &Stack, counts: &[i64]) -> String {
    const NO_BREAK_SPACE: &str = "\u{a0}";
    let mut line = stack.join(";");
    if line.starts_with("# ") {
        line.replace_range(1..2, NO_BREAK_SPACE);
    }
    let looks_counted = |space: &usize| line[space + 1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if let Some(space) = line.rfind(' ').filter(looks_counted) {
        line.replace_range(space..=space, NO_BREAK_SPACE);
    }
    for count in counts {
        line.push(' ');
        line.push_str(&count.to_string());
    }
    line
}

fn render(lines: &[String], shown: &Shown<'_>, factor: f64, drawing: Drawing<'_>) -> Result<Vec<u8>, String> {
    let (title, subtitle) = (text(drawing.title), text(drawing.subtitle));
    if lines.is_empty() {
        return Ok(blank(&title, &subtitle));
    }
    let mut options = Options::default();
    options.colors = Palette::Multi(MultiPalette::Rust);
    // The same function has the same colour in every drawing.
    options.hash = true;
    options.title = title.to_string();
    options.subtitle = (!subtitle.is_empty()).then(|| subtitle.to_string());
    options.count_name = text(shown.name).to_string();
    options.factor = factor;
    // Keeps our order, reversed, in which stacks with a common beginning stand together. Sorted as text they would not: `f::g` stands
    // between `f` and `f;g`, and `f` would be drawn twice.
    options.flame_chart = true;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().rev().map(String::as_str), &mut svg)
        .map_err(|error| format!("flame graph of {} stacks, \"{title}\": {error}", lines.len()))?;
    Ok(svg)
}

fn text(text: &str) -> Arc<str> {
    printable(&text.into())
}

/// A drawing of nothing.
fn blank(title: &str, subtitle: &str) -> Vec<u8> {
    let (title, subtitle) = (escape(title), escape(subtitle));
    let svg = format!(
        r##"<?xml version="1.0" encoding="UTF-8"?>
<svg version="1.1" width="1200" height="120" viewBox="0 0 1200 120" xmlns="http://www.w3.org/2000/svg">
<rect width="100%" height="100%" fill="#f8f8f8"/>
<g font-family="monospace" font-size="12" text-anchor="middle">
<text id="title" x="50%" y="24" font-size="17">{title}</text>
<text id="subtitle" x="50%" y="48">{subtitle}</text>
<text x="50%" y="84">no samples</text>
</g>
</svg>
"##
    );
    svg.into_bytes()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    const TITLE: Drawing<'static> = Drawing { title: "CPU <&> time", subtitle: "route users", unit: "", root: None };

    fn svg(drawn: Result<Vec<u8>, String>) -> String {
        String::from_utf8(drawn.unwrap()).unwrap()
    }

    #[test]
    fn a_drawing_shows_stacks_title_and_values() {
        let drawn = svg(draw(&example::profile(), 1, TITLE));
        assert!(drawn.starts_with("<?xml") && drawn.ends_with("</svg>"), "{drawn}");
        assert!(drawn.contains("CPU &lt;&amp;&gt; time") && drawn.contains("route users"));
        assert!(drawn.contains("<title>pellucid::serve (50,000 µs, 71.43%)</title>"));
        assert!(drawn.contains("<title>all (70,000 µs, 100%)</title>"));
        assert!(drawn.contains("function search("), "the script is in it");
        let long = Profile { samples: vec![example::profile().samples; 100].concat(), ..example::profile() };
        assert!(svg(draw(&long, 1, TITLE)).contains("<title>all (7,000 ms, 100%)</title>"));
    }

    #[test]
    fn hostile_labels_stay_text() {
        let drawn = svg(draw(&example::profile(), 0, Drawing { root: Some(Split("route")), title: example::HOSTILE, ..TITLE }));
        assert!(!drawn.contains("<script>alert") && !drawn.contains("</title><script"));
        assert!(drawn.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(!drawn.contains('\u{1b}'));
    }

    #[test]
    fn a_function_is_drawn_once_beside_its_closures() {
        let mut profile = example::profile();
        profile.samples[0].stack = vec![1];
        profile.samples[3].stack = vec![4];
        profile.locations[4].lines = profile.locations[1].lines.clone();
        profile.locations[4].lines[0].function = "pellucid::main::{{closure}}".into();
        let drawn = svg(draw(&profile, 0, TITLE));
        assert_eq!(drawn.matches("<title>pellucid::main (").count(), 1);
        assert!(drawn.contains("<title>pellucid::main (6 samples"));
    }

    #[test]
    fn names_that_look_like_counts_or_comments_are_drawn_whole() {
        let mut profile = example::profile();
        profile.locations[0].lines[0].function = "operator 12".into();
        profile.locations[1].lines[0].function = "# main".into();
        let drawn = svg(draw(&profile, 0, TITLE));
        assert!(drawn.contains("<title>operator\u{a0}12 (3 samples") && drawn.contains("<title>operator 12 (2 samples"), "{drawn}");
        assert!(drawn.contains("<title>all (7 samples"));
    }

    #[test]
    fn no_samples_still_make_a_drawing() {
        let empty = Profile { samples: Vec::new(), ..example::profile() };
        for drawn in [svg(draw(&empty, 1, TITLE)), svg(draw_difference(&example::profile(), &empty, 1, TITLE))] {
            assert!(drawn.contains("no samples") && drawn.contains("CPU &lt;&amp;&gt; time") && drawn.contains("route users"), "{drawn}");
            assert!(drawn.trim_end().ends_with("</svg>"));
        }
        assert!(svg(draw(&Profile::default(), 0, TITLE)).contains("no samples"));
    }

    #[test]
    fn a_difference_is_red_where_there_is_more_and_compares_shares() {
        let before = example::profile();
        let mut after = Profile { samples: vec![before.samples.clone(); 2].concat(), ..before.clone() };
        let same = svg(draw_difference(&before, &after, 1, TITLE));
        assert!(same.contains("route users; 70ms of the first profile are scaled to 140ms of the second"), "{same}");
        assert!(!same.contains("rgb(255,100,100)") && same.contains("rgb(250,250,250)"));
        after.samples[0].values[1] = 200_000_000;
        let more = svg(draw_difference(&before, &after, 1, TITLE));
        let place = more.find("<title>core::ptr::read (").unwrap();
        let frame = &more[place..place + 200];
        assert!(frame.contains("rgb(255,100,100)") && frame.contains("%; +"), "{frame}");
    }

    #[test]
    fn a_value_that_the_first_profile_has_not_is_named() {
        let mut before = example::profile();
        before.types[1].kind = "wall".to_owned();
        let error = draw_difference(&before, &example::profile(), 1, TITLE).unwrap_err();
        assert_eq!(error, "the first profile: found samples in count, wall in nanoseconds, expected cpu in nanoseconds");
    }

    #[test]
    fn the_largest_values_are_drawn() {
        let mut profile = example::profile();
        (profile.samples[0].values[1], profile.samples[1].values[1]) = (i64::MAX / 2, -5);
        assert!(draw(&profile, 1, TITLE).is_ok());
        assert!(draw_difference(&example::profile(), &profile, 1, TITLE).is_ok());
        assert!(draw_difference(&profile, &example::profile(), 1, TITLE).is_ok());
    }
}
