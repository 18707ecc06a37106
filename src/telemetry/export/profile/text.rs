//! Profiles as text, for terminals and `?debug=1`.
//!
//! In: a profile, or two to compare. Out: tables of functions like those of `go tool pprof -top`, the list of stacks that Go's handlers
//! write, and values in units that people read. Not here: what the text is served as.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use super::fold::{counterpart, label_text, names, printable};
use crate::telemetry::profile::{Label, Profile};

/// A value in the unit that suits its size: `1.50s`, `512kB`, `12`.
pub(crate) fn measure(value: i64, unit: &str) -> String {
    const TIMES: [(f64, &str); 6] = [(3.6e12, "h"), (6e10, "min"), (1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    const SIZES: [(f64, &str); 5] =
        [((1u64 << 40) as f64, "TB"), ((1u64 << 30) as f64, "GB"), ((1u64 << 20) as f64, "MB"), (1024.0, "kB"), (1.0, "B")];
    let (scale, plain) = match unit {
        "nanoseconds" => (&TIMES[..], value as f64),
        "microseconds" => (&TIMES[..], value as f64 * 1e3),
        "milliseconds" => (&TIMES[..], value as f64 * 1e6),
        "seconds" => (&TIMES[..], value as f64 * 1e9),
        "bytes" => (&SIZES[..], value as f64),
        "count" | "" => return value.to_string(),
        other => return format!("{value} {other}"),
    };
    match scale.iter().find(|(size, _)| plain.abs() >= *size) {
        Some((size, name)) => format!("{}{name}", format!("{:.2}", plain / size).trim_end_matches(".00")),
        None => "0".to_owned(),
    }
}

/// The functions that take the most of a value, at most `rows` of them.
pub(crate) fn top(profile: &Profile, value: usize, rows: usize) -> String {
    let (kind, unit) = profile.types.get(value).map_or(("", ""), |kind| (kind.kind.as_str(), kind.unit.as_str()));
    let mut weights: Vec<_> = weigh(profile, value).into_iter().collect();
    weights.sort_by(|(name, one), (other, two)| two.rank().cmp(&one.rank()).then_with(|| name.cmp(other)));
    let total = sum(profile, value);
    let shown: i64 = weights.iter().take(rows).map(|(_, weight)| weight.flat).sum();
    let mut out = String::new();
    for comment in &profile.comments {
        let _ = writeln!(out, "{}", printable(&comment.as_str().into()));
    }
    let _ = writeln!(out, "Type: {}", printable(&kind.into()));
    let _ = writeln!(out, "{}", duration(profile, total, unit));
    let _ = writeln!(out, "Showing {}, {} of {} total", measure(shown, unit), percent(shown, total).trim_start(), measure(total, unit));
    if weights.len() > rows {
        let _ = writeln!(out, "Showing top {rows} functions of {}", weights.len());
    }
    let _ = writeln!(out, "{:>10} {:>6} {:>6} {:>10} {:>6}", "flat", "flat%", "sum%", "cum", "cum%");
    let mut so_far = 0;
    for (name, weight) in weights.iter().take(rows) {
        so_far += weight.flat;
        let (flat, cum) = (measure(weight.flat, unit), measure(weight.cum, unit));
        let (flat_share, sum_share, cum_share) = (percent(weight.flat, total), percent(so_far, total), percent(weight.cum, total));
        let _ = writeln!(out, "{flat:>10} {flat_share} {sum_share} {cum:>10} {cum_share}  {name}{}", weight.inlining());
    }
    out
}

/// What every counting profile answers to `?debug=1`, in the form of Go's: each stack with its labels, the most frequent first.
pub(crate) fn legacy(profile: &Profile, heading: &str) -> String {
    let value = profile.types.iter().position(|kind| kind.unit == "count").unwrap_or(0);
    let mut merged: BTreeMap<(&[usize], &BTreeMap<String, Label>), i64> = BTreeMap::new();
    for sample in &profile.samples {
        *merged.entry((&sample.stack, &sample.labels)).or_insert(0) += sample.values.get(value).copied().unwrap_or(0);
    }
    let mut entries: Vec<_> = merged.into_iter().collect();
    entries.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut out = format!("{heading}: total {}\n", sum(profile, value));
    for ((stack, labels), count) in entries {
        write_stack(&mut out, profile, stack, labels, count);
    }
    out
}

/// The functions whose share changed most from one profile to the other, at most `rows` of them.
pub(crate) fn difference(before: &Profile, after: &Profile, value: usize, rows: usize) -> String {
    let earlier = match counterpart(before, after, value) {
        Ok(value) => value,
        Err(error) => return format!("{error}\n"),
    };
    let kind = &after.types[value];
    let (old_sum, new_sum) = (sum(before, earlier), sum(after, value));
    let changes = changes(before, after, (earlier, value), (old_sum, new_sum));
    let mut out = format!("Type: {}\n", printable(&kind.kind.as_str().into()));
    let (old_total, new_total) = (measure(old_sum, &kind.unit), measure(new_sum, &kind.unit));
    let _ = writeln!(out, "Total before = {old_total}, after = {new_total}; shares are of each profile's own total");
    if changes.len() > rows {
        let _ = writeln!(out, "Showing the {rows} functions that changed most, of {}", changes.len());
    }
    let _ = writeln!(out, "{:^26} {:^26}", "flat", "cum");
    let _ = writeln!(out, "{:>8} {:>8} {:>8} {:>8} {:>8} {:>8}", "before", "after", "change", "before", "after", "change");
    for (name, change) in changes.iter().take(rows) {
        for (old, new) in [change.flat, change.cum] {
            let [old, new, grown] = [old, new, new.saturating_sub(old)].map(|share| share as f64 / 100.0);
            let _ = write!(out, "{old:7.2}% {new:7.2}% {grown:+7.2}% ");
        }
        let _ = writeln!(out, " {name}");
    }
    out
}

/// What one function takes.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// In itself.
    flat: i64,
    /// With all that it calls.
    cum: i64,
    /// The sample that was added last, plus one: a function that calls itself counts once.
    seen: usize,
    inlined: bool,
    called: bool,
}

impl Weight {
    /// What sorts functions, the larger first.
    fn rank(&self) -> (u64, u64) {
        (self.flat.unsigned_abs(), self.cum.unsigned_abs())
    }

    fn inlining(&self) -> &'static str {
        match (self.inlined, self.called) {
            (true, false) => " (inline)",
            (true, true) => " (partial-inline)",
            (false, _) => "",
        }
    }
}

fn weigh(profile: &Profile, value: usize) -> HashMap<Arc<str>, Weight> {
    let names = names(profile);
    let mut weights: HashMap<Arc<str>, Weight> = HashMap::new();
    for (index, sample) in profile.samples.iter().enumerate() {
        let count = sample.values.get(value).copied().unwrap_or(0);
        if count == 0 {
            continue;
        }
        let locations = sample.stack.iter().filter_map(|location| names.get(*location));
        let frames = locations.flat_map(|names| names.iter().enumerate().map(|(depth, name)| (name, depth + 1 < names.len())));
        for (position, (name, is_inlined)) in frames.enumerate() {
            let weight = weights.entry(Arc::clone(name)).or_default();
            weight.flat += if position == 0 { count } else { 0 };
            weight.cum += if weight.seen == index + 1 { 0 } else { count };
            weight.seen = index + 1;
            weight.inlined |= is_inlined;
            weight.called |= !is_inlined;
        }
    }
    weights
}

fn sum(profile: &Profile, value: usize) -> i64 {
    profile.samples.iter().filter_map(|sample| sample.values.get(value)).sum()
}

fn duration(profile: &Profile, total: i64, unit: &str) -> String {
    let nanos = i64::try_from(profile.duration_nanos).unwrap_or(i64::MAX);
    let share = match unit {
        "nanoseconds" if nanos > 0 => format!(" ({})", percent(total, nanos).trim_start()),
        _ => String::new(),
    };
    format!("Duration: {}, Total samples = {}{share}", measure(nanos, "nanoseconds"), measure(total, unit))
}

/// Six characters.
fn percent(part: i64, whole: i64) -> String {
    let ratio = if whole == 0 { 0.0 } else { (part as f64 / whole as f64).abs() * 100.0 };
    if (99.95..=100.05).contains(&ratio) { "  100%".to_owned() } else { format!("{ratio:5.2}%") }
}

fn write_stack(out: &mut String, profile: &Profile, stack: &[usize], labels: &BTreeMap<String, Label>, count: i64) {
    let _ = write!(out, "{count} @");
    let locations: Vec<_> = stack.iter().filter_map(|index| profile.locations.get(*index)).collect();
    for location in &locations {
        let _ = write!(out, " {:#x}", location.address);
    }
    out.push('\n');
    if !labels.is_empty() {
        let pairs: Vec<String> = labels.iter().map(|(key, label)| format!("{}:{}", quoted(key), quoted(&label_text(label)))).collect();
        let _ = writeln!(out, "# labels: {{{}}}", pairs.join(", "));
    }
    for location in locations {
        let address = location.address;
        if location.lines.is_empty() {
            let _ = writeln!(out, "#\t{address:#x}");
        }
        for line in &location.lines {
            let (function, file) = (printable(&line.function), printable(&line.file));
            let _ = writeln!(out, "#\t{address:#x}\t{function}+0x0\t{file}:{}", line.line);
        }
    }
    out.push('\n');
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Shares of a function before and after, in hundredths of a percent, the last digit that is shown.
#[derive(Clone, Copy, Default)]
struct Change {
    flat: (i64, i64),
    cum: (i64, i64),
}

impl Change {
    /// What sorts changes, the larger first.
    fn size(&self) -> (u64, u64) {
        (self.flat.0.abs_diff(self.flat.1), self.cum.0.abs_diff(self.cum.1))
    }
}

fn changes(before: &Profile, after: &Profile, values: (usize, usize), sums: (i64, i64)) -> Vec<(Arc<str>, Change)> {
    let share = |part: i64, whole: i64| if whole == 0 { 0 } else { (part as f64 / whole as f64 * 10_000.0).round() as i64 };
    let mut changes: HashMap<Arc<str>, Change> = HashMap::new();
    for (name, weight) in weigh(before, values.0) {
        let change = changes.entry(name).or_default();
        (change.flat.0, change.cum.0) = (share(weight.flat, sums.0), share(weight.cum, sums.0));
    }
    for (name, weight) in weigh(after, values.1) {
        let change = changes.entry(name).or_default();
        (change.flat.1, change.cum.1) = (share(weight.flat, sums.1), share(weight.cum, sums.1));
    }
    let mut changes: Vec<_> = changes.into_iter().filter(|(_, change)| change.size() != (0, 0)).collect();
    changes.sort_by(|(name, one), (other, two)| two.size().cmp(&one.size()).then_with(|| name.cmp(other)));
    changes
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn values_are_shown_in_the_unit_that_suits_them() {
        let cases = [
            (0, "nanoseconds", "0"),
            (999, "nanoseconds", "999ns"),
            (1_500_000_000, "nanoseconds", "1.50s"),
            (7_200_000_000_000, "nanoseconds", "2h"),
            (-20, "milliseconds", "-20ms"),
            (512, "bytes", "512B"),
            (1 << 20, "bytes", "1MB"),
            (1_234, "count", "1234"),
            (5, "widgets", "5 widgets"),
        ];
        for (value, unit, shown) in cases {
            assert_eq!(measure(value, unit), shown);
        }
    }

    #[test]
    fn the_table_has_what_a_function_takes_itself_and_with_all_it_calls() {
        let table = top(&example::profile(), 1, 3);
        assert_eq!(
            table,
            "3 samples were lost\n\
             Type: cpu\n\
             Duration: 2s, Total samples = 70ms (3.50%)\n\
             Showing 60ms, 85.71% of 70ms total\n\
             Showing top 3 functions of 6\n      \
             flat  flat%   sum%        cum   cum%\n      \
             30ms 42.86% 42.86%       50ms 71.43%  core::ptr::read (inline)\n      \
             20ms 28.57% 71.43%       20ms 28.57%  memcpy\n      \
             10ms 14.29% 85.71%       10ms 14.29%  [libc.so.6]\n"
        );
    }

    #[test]
    fn a_function_that_calls_itself_counts_once() {
        let mut profile = example::profile();
        profile.samples[2].stack = vec![1, 1, 1];
        let table = top(&profile, 0, 10);
        let row = table.lines().find(|line| line.contains("pellucid::main")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["1", "14.29%", "85.71%", "6", "85.71%", "pellucid::main"]);
        assert!(top(&Profile::default(), 0, 10).contains("0.00% of 0 total"));
    }

    #[test]
    fn stacks_are_listed_as_go_lists_them() {
        let mut profile = example::profile();
        profile.samples.push(profile.samples[0].clone());
        let text = legacy(&profile, "request profile");
        let expected = "request profile: total 10\n\
            6 @ 0x5010 0x5100\n\
            # labels: {\"route\":\"users\", \"span_id\":\"00f067aa0ba902b7\", \"thread\":\"w0\", \"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}\n\
            #\t0x5010\tcore::ptr::read+0x0\tptr.rs:10\n\
            #\t0x5010\tpellucid::serve+0x0\tmain.rs:20\n\
            #\t0x5100\tpellucid::main+0x0\tmain.rs:5\n\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n1 @ 0x1234\n#\t0x1234\n\n"), "{text}");
        assert!(text.contains("\"size\":\"64 bytes\""), "{text}");
    }

    #[test]
    fn what_changed_most_comes_first() {
        let (before, mut after) = (example::profile(), example::profile());
        after.samples[1].stack = vec![0, 1];
        let table = difference(&before, &after, 1, 2);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1].join(" "), "Total before = 70ms, after = 70ms; shares are of each profile's own total");
        assert_eq!(rows[4], ["28.57%", "0.00%", "-28.57%", "28.57%", "0.00%", "-28.57%", "memcpy"]);
        assert_eq!(rows[5], ["42.86%", "71.43%", "+28.57%", "71.43%", "71.43%", "+0.00%", "core::ptr::read"]);
        assert_eq!(rows.len(), 6, "{table}");
        after.types[1].unit = "bytes".to_owned();
        assert!(difference(&before, &after, 1, 2).contains("expected cpu in bytes"));
    }
}
