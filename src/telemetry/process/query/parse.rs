//! Text to query.
//!
//! In: what somebody typed. Out: its terms in their order, or the column at which it cannot be read, what was found there and what was
//! expected. Every term is checked here, so that a misspelt reason, or an `OR` as in other languages, is no empty answer. Not here: what a
//! term means (`matching`).

use std::net::{IpAddr, SocketAddr};

use super::{Bad, Clients, KEYS, KeptAs, Pattern, QUERY_BYTES_MAX, QUERY_TERMS_MAX, Query, Sign, Subject, Term, Test, Timed, widest};
use crate::base::spelling::meant;
use crate::telemetry::process::verdict::Code;
use crate::telemetry::record::reason::Reason;

/// What precedes the name of a header in a key.
const HEADER_PREFIX: &str = "header.";

impl Query {
    /// An empty text means all requests.
    pub(crate) fn parse(text: &str) -> Result<Query, Bad> {
        if text.len() > QUERY_BYTES_MAX {
            let fitting = text.char_indices().take_while(|(at, _)| *at < QUERY_BYTES_MAX).count();
            let message = format!("found a query of {} bytes, expected at most {QUERY_BYTES_MAX}", text.len());
            return Err(Bad { at: fitting, message });
        }
        let mut reader = Reader { text, at: 0, number_before: None };
        let mut terms = Vec::new();
        while reader.skip_space() {
            if terms.len() == QUERY_TERMS_MAX {
                return Err(reader.bad(reader.at, format!("found more terms, expected at most {QUERY_TERMS_MAX}")));
            }
            terms.push(reader.term()?);
        }
        Ok(Query { terms })
    }
}

/// Bytes of the key that `text` begins with, if a colon stands behind it: a letter, then letters, digits, `_`, `-` and `.`.
pub(super) fn key_length(text: &str) -> Option<usize> {
    let colon = text.find(':')?;
    let key = &text.as_bytes()[..colon];
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (key.first().is_some_and(u8::is_ascii_alphabetic) && key.iter().all(fits)).then_some(colon)
}

/// What a bare word has of other languages, which join and negate terms by it, and what stands in its place here.
pub(super) fn operator(word: &str) -> Option<(&str, &'static str)> {
    match word {
        "OR" | "||" => Some((word, "a term: all of them have to hold, so ask for each alternative by itself")),
        "AND" | "&&" => Some((word, "a term: all of them have to hold, with only spaces between them")),
        "NOT" => Some((word, "`-` directly before the term to negate, such as `-route:x`")),
        _ => word.starts_with('!').then_some(("!", "`-` to negate a term, such as `-route:x`")),
    }
}

/// Why a bare word is refused: it would be looked for, find nothing, and not tell why. `number` is what it may be the unit of.
fn mistaken(word: &str, number: Option<&str>) -> Option<String> {
    let unit = word.to_ascii_lowercase();
    let (found, expected) = match (operator(word), number) {
        (Some((found, expected)), _) => (found, expected.to_owned()),
        (None, Some(number)) if unit_ns(&unit).is_some() => (word, format!("the unit directly behind its number: `{number}{unit}`")),
        _ => return None,
    };
    Some(format!("found `{found}`, expected {expected}; what is meant as a word stands in quotes"))
}

/// The bound of a term that bounds a time, where it has no unit.
fn number_of(term: &str) -> Option<&str> {
    let (_, bound) = term.rsplit_once(':')?;
    let bound = bound.trim_matches('"');
    bound.ends_with(|last: char| last.is_ascii_digit()).then_some(bound)
}

/// Characters before the byte `at`.
fn column(text: &str, at: usize) -> usize {
    text[..at].chars().count()
}

struct Reader<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
    /// The bound of the term before, where it bounds a time and has no unit.
    number_before: Option<&'t str>,
}

/// What stands behind a key, or a bare word: the pieces around its stars.
struct Value {
    pieces: Vec<String>,
    /// Where it begins.
    at: usize,
    quoted: bool,
}

impl Value {
    /// With its stars.
    fn text(&self) -> String {
        self.pieces.join("*")
    }

    fn has_star(&self) -> bool {
        self.pieces.len() > 1
    }

    fn pattern(self, any_case: bool) -> Pattern {
        let last = self.pieces.len() - 1;
        // Stars side by side are one.
        let pieces = self.pieces.into_iter().enumerate().filter(|(index, piece)| *index == 0 || *index == last || !piece.is_empty());
        let pieces = pieces
            .map(|(_, piece)| piece)
            .map(|piece| if any_case { piece.to_ascii_lowercase() } else { piece }.into_boxed_str())
            .collect();
        Pattern { pieces, any_case }
    }
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn bad(&self, at: usize, message: String) -> Bad {
        Bad { at: column(self.text, at), message }
    }

    /// False at the end.
    fn skip_space(&mut self) -> bool {
        self.at = self.text.len() - self.rest().trim_start().len();
        !self.rest().is_empty()
    }

    fn term(&mut self) -> Result<Term, Bad> {
        let begins = self.at;
        let number = self.number_before.take();
        let negated = self.rest().starts_with('-');
        self.at += usize::from(negated);
        if negated && self.rest().starts_with(|next: char| next == '-' || next.is_whitespace()) || self.rest().is_empty() {
            let message = "found `-` with no term behind it, expected one; a word that begins with `-` stands in quotes";
            return Err(self.bad(begins, message.to_owned()));
        }
        let test = match key_length(self.rest()) {
            Some(length) => self.keyed(length)?,
            None => self.word(number.filter(|_| !negated))?,
        };
        if matches!(test, Test::Time(..)) {
            self.number_before = number_of(&self.text[begins..self.at]);
        }
        Ok(Term { negated, test })
    }

    fn word(&mut self, number: Option<&str>) -> Result<Test, Bad> {
        let value = self.value()?;
        let mistake = if value.quoted { None } else { mistaken(&value.text(), number) };
        match mistake {
            Some(message) => Err(self.bad(value.at, message)),
            None => Ok(Test::Word(value.pattern(true))),
        }
    }

    fn keyed(&mut self, length: usize) -> Result<Test, Bad> {
        let key_at = self.at;
        let key = self.rest()[..length].to_ascii_lowercase();
        self.at += length + 1;
        let header = key.strip_prefix(HEADER_PREFIX).filter(|name| !name.is_empty());
        let wanted = if header.is_some() { "header.NAME" } else { key.as_str() };
        let Some((_, expected)) = KEYS.iter().find(|(known, _)| *known == wanted) else {
            let known = KEYS.map(|(known, _)| known);
            let (listed, meant) = (known.join(", "), meant(&key, known));
            let message = format!("found the key `{key}`, expected one of {listed}; a word with a colon stands in quotes{meant}");
            return Err(self.bad(key_at, message));
        };
        let value = self.value()?;
        let (at, found) = (value.at, value.text());
        if found.is_empty() && !value.quoted {
            return Err(self.bad(at, format!("{key}: found nothing, expected {expected}")));
        }
        let test = match header {
            Some(name) => Some(Test::Header(name.into(), value.pattern(false))),
            None => test_of(&key, value, &found),
        };
        test.ok_or_else(|| self.bad(at, format!("{key}: found `{found}`, expected {expected}{}", meant(&found, words_of(&key)))))
    }

    /// Up to the next space, or to the closing quote.
    fn value(&mut self) -> Result<Value, Bad> {
        let at = self.at;
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let length = self.rest().find(char::is_whitespace).unwrap_or(self.rest().len());
        let pieces = self.rest()[..length].split('*').map(str::to_owned).collect();
        self.at += length;
        Ok(Value { pieces, at, quoted: false })
    }

    /// Inside quotes a backslash takes its special meaning from a quote, a star or a backslash.
    fn quoted(&mut self) -> Result<Value, Bad> {
        let at = self.at;
        let mut pieces = vec![String::new()];
        let mut characters = self.rest().char_indices().skip(1).peekable();
        while let Some((index, character)) = characters.next() {
            let literal = match character {
                '"' => {
                    self.at += index + 1;
                    return self.closed(Value { pieces, at, quoted: true });
                }
                '*' => {
                    pieces.push(String::new());
                    continue;
                }
                '\\' => characters.next_if(|(_, next)| matches!(next, '"' | '*' | '\\')).map_or('\\', |(_, next)| next),
                other => other,
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(literal);
            }
        }
        Err(self.bad(at, "found a quote that nothing closes, expected `\"` at the end of the value".to_owned()))
    }

    fn closed(&self, value: Value) -> Result<Value, Bad> {
        match self.rest().chars().next().filter(|next| !next.is_whitespace()) {
            Some(next) => Err(self.bad(self.at, format!("found `{next}` behind the closing quote, expected a space"))),
            None => Ok(value),
        }
    }
}

/// None where the value is none that the key can have.
fn test_of(key: &str, value: Value, found: &str) -> Option<Test> {
    if let Some(subject) = Subject::ALL.into_iter().find(|subject| subject.key() == key) {
        let has_star = value.has_star();
        let pattern = value.pattern(subject.any_case());
        return is_known(subject, &pattern, has_star, found).then_some(Test::Text(subject, pattern));
    }
    if let Some(timed) = Timed::of(key) {
        let (sign, number) = signed(found, Sign::AtLeast);
        return time_ns(number).filter(|_| sign != Sign::Equal).map(|nanos| Test::Time(timed, sign, nanos));
    }
    match key {
        "client" => clients(value, found).map(Test::Client),
        "status" => status(found),
        "kept" => KeptAs::ALL.into_iter().find(|kept| kept.label().eq_ignore_ascii_case(found)).map(Test::Kept),
        "attempts" => {
            let (sign, number) = signed(found, Sign::Equal);
            whole_number(number).map(|count| Test::Attempts(sign, count))
        }
        "reused" => found.to_ascii_lowercase().parse().ok().map(Test::Reused),
        "trace" => {
            let fits = (1..=32).contains(&found.len()) && found.bytes().all(|byte| byte.is_ascii_hexdigit());
            fits.then(|| Test::Trace(found.to_ascii_lowercase().into_boxed_str()))
        }
        _ => None,
    }
}

/// Reasons and codes of verdicts come from closed lists, so that a pattern must be like one of the codes. Methods do not.
fn is_known(subject: Subject, pattern: &Pattern, has_star: bool, found: &str) -> bool {
    match subject {
        Subject::Verdict => Code::LABELS.iter().any(|(_, label)| pattern.is_like(label)),
        _ if has_star => true,
        Subject::Error | Subject::AttemptError => {
            let is_status = found.len() == 3 && matches!(found.as_bytes()[0], b'4' | b'5') && whole_number(found).is_some();
            is_status || Reason::ALL.iter().any(|reason| reason.label().eq_ignore_ascii_case(found))
        }
        Subject::Method => !found.is_empty(),
        Subject::Route | Subject::Upstream | Subject::Endpoint | Subject::Path | Subject::Host => true,
    }
}

/// The words that can stand behind a key, where there is a closed list of them.
fn words_of(key: &str) -> Vec<&'static str> {
    match key {
        "error" | "attempt_error" => Reason::ALL.map(Reason::label).to_vec(),
        "verdict" => Code::LABELS.map(|(_, label)| label).to_vec(),
        "kept" => KeptAs::ALL.map(KeptAs::label).to_vec(),
        _ => Vec::new(),
    }
}

/// The sign before a number, or the one that it has without.
fn signed(text: &str, unsigned: Sign) -> (Sign, &str) {
    let found = Sign::ALL.into_iter().find_map(|sign| Some((sign, text.strip_prefix(sign.text())?)));
    found.unwrap_or((unsigned, text))
}

/// Digits only: `parse` would also take a plus.
fn whole_number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn status(text: &str) -> Option<Test> {
    if let Some(class) = text.to_ascii_lowercase().strip_suffix("xx") {
        return whole_number(class).filter(|class| (1..=5).contains(class)).map(|class| Test::StatusClass(class as u16));
    }
    let (sign, number) = signed(text, Sign::Equal);
    whole_number(number).filter(|status| (100..1000).contains(status)).map(|status| Test::Status(sign, status as u16))
}

/// Nanoseconds of `200ms`, `1.5s`, or of a plain number of milliseconds.
fn time_ns(text: &str) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = unit_ns(if unit.is_empty() { "ms" } else { unit })?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let nanos = whole.parse::<u128>().ok()? * factor + fraction.parse::<u128>().ok()? * factor / scale;
    u64::try_from(nanos).ok()
}

fn unit_ns(unit: &str) -> Option<u128> {
    match unit {
        "ns" => Some(1),
        "us" | "µs" | "μs" => Some(1000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

fn clients(value: Value, found: &str) -> Option<Clients> {
    if value.has_star() {
        return Some(Clients::Like(value.pattern(true)));
    }
    if let Ok(socket) = found.parse::<SocketAddr>() {
        return Some(Clients::Socket(SocketAddr::new(socket.ip().to_canonical(), socket.port())));
    }
    let Some((address, bits)) = found.split_once('/') else {
        let address = found.parse::<IpAddr>().ok()?.to_canonical();
        return Some(Clients::Network { address, bits: widest(address) });
    };
    let address = address.parse::<IpAddr>().ok()?;
    let bits = whole_number(bits).and_then(|bits| u8::try_from(bits).ok()).filter(|bits| *bits <= widest(address))?;
    let (canonical, narrower) = (address.to_canonical(), widest(address) - widest(address.to_canonical()));
    // A network of IPv4 addresses that is written in the form of IPv6.
    Some(match bits.checked_sub(narrower) {
        Some(bits) => Clients::Network { address: canonical, bits },
        None => Clients::Network { address, bits },
    })
}
