//! Header sections: fields in the order of the wire, as places in the bytes of their message.
//!
//! In: a head that was parsed, or fields one by one. Out: look-ups, changes, and every field in order. A section costs one allocation, and
//! the names that the gateway asks for are told apart once, so asking for an absent one costs a bit test (evidence: a hash map of
//! values took 15 % of a request). Not here: what a field means (`http1`), and trailers, which travel as an `http::HeaderMap`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::record::names;

macro_rules! known {
    ($($name:ident = $text:expr,)*) => {
        /// The fields that the gateway itself asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Known { Other, $($name),* }

        impl Known {
            pub(crate) const fn text(self) -> &'static str {
                match self { Known::Other => "", $(Known::$name => $text),* }
            }
        }

        const ALL: &[Known] = &[$(Known::$name),*];
    };
}

known! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Upgrade = "upgrade",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    Expect = "expect",
    Date = "date",
    UserAgent = "user-agent",
    Via = "via",
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    Traceparent = names::HEADER_TRACEPARENT,
    Tracestate = names::HEADER_TRACESTATE,
    Baggage = names::HEADER_BAGGAGE,
    TraceId = names::HEADER_TRACE_ID,
}

/// For each length of a name, the known names that have it; at most [`SAME_LENGTH_MAX`] of them.
const BY_LENGTH: [[Known; SAME_LENGTH_MAX]; NAME_LENGTH_MAX + 1] = by_length();
const NAME_LENGTH_MAX: usize = 19;
const SAME_LENGTH_MAX: usize = 6;

const fn by_length() -> [[Known; SAME_LENGTH_MAX]; NAME_LENGTH_MAX + 1] {
    let mut table = [[Known::Other; SAME_LENGTH_MAX]; NAME_LENGTH_MAX + 1];
    let mut at = 0;
    while at < ALL.len() {
        let row = &mut table[ALL[at].text().len()];
        let mut slot = 0;
        while row[slot] as u8 != Known::Other as u8 {
            slot += 1;
        }
        row[slot] = ALL[at];
        at += 1;
    }
    table
}

impl Known {
    pub(crate) fn of(name: &[u8]) -> Self {
        let Some(row) = BY_LENGTH.get(name.len()) else { return Known::Other };
        row.iter().copied().take_while(|known| *known != Known::Other).find(|known| is_same(name, *known)).unwrap_or(Known::Other)
    }

    pub(crate) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

fn is_same(name: &[u8], known: Known) -> bool {
    name.eq_ignore_ascii_case(known.text().as_bytes())
}

/// A place in the bytes of a section: in its head, or behind it among what was added.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    name: Span,
    value: Span,
    known: Known,
    /// Its line in the head reads `name: value` and CRLF, byte for byte.
    plain: bool,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'f> {
    pub(crate) known: Known,
    /// As it was sent: names are the same whatever their case (RFC 9110, section 5.1).
    pub(crate) name: &'f [u8],
    pub(crate) value: &'f [u8],
    /// Where its line is in the head, if it stands there just as it is to be written.
    line: Option<(u32, u32)>,
}

impl Span {
    fn end(self) -> u32 {
        self.start + self.length
    }
}

/// A part of a section as it is written.
pub(crate) enum Piece<'f> {
    /// Whole lines, each with its CRLF; perhaps none.
    Lines(&'f [u8]),
    Field(Field<'f>),
}

/// A header section.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    head: Bytes,
    /// Bytes of fields that were not in the head.
    added: Vec<u8>,
    list: Vec<Place>,
    /// One bit for each known name that is, or was, there.
    seen: u32,
}

impl Fields {
    pub(crate) fn new() -> Self {
        Fields::default()
    }

    /// The section of a parsed `head`. Names and values of `parsed` lie in it.
    pub(crate) fn of_head(head: Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        let base = head.as_ptr() as usize;
        let place = |bytes: &[u8]| Span { start: (bytes.as_ptr() as usize).wrapping_sub(base) as u32, length: bytes.len() as u32 };
        let mut seen = 0;
        let mut list = Vec::with_capacity(parsed.len() + 1);
        for field in parsed {
            let known = Known::of(field.name.as_bytes());
            seen |= known.bit();
            // An empty value may point anywhere.
            let value = if field.value.is_empty() { Span { start: 0, length: 0 } } else { place(field.value) };
            let name = place(field.name.as_bytes());
            let plain = value.start == name.end() + 2
                && head.get(name.end() as usize..).is_some_and(|rest| rest.starts_with(b": "))
                && head.get(value.end() as usize..).is_some_and(|rest| rest.starts_with(b"\r\n"));
            list.push(Place { name, value, known, plain });
        }
        Fields { head, added: Vec::new(), list, seen }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.list.iter().map(|place| self.field(place))
    }

    /// All but those whose [`Known::bit`] is in `mask`.
    pub(crate) fn without(&self, mask: u32) -> impl Iterator<Item = Field<'_>> {
        self.list.iter().filter(move |place| place.known.bit() & mask == 0).map(|place| self.field(place))
    }

    pub(crate) fn has(&self, known: Known) -> bool {
        self.get(known).is_some()
    }

    /// The first value of a field.
    pub(crate) fn get(&self, known: Known) -> Option<&[u8]> {
        self.get_all(known).next()
    }

    pub(crate) fn get_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let list: &[Place] = if self.seen & known.bit() == 0 { &[] } else { &self.list };
        list.iter().filter(move |place| place.known == known).map(|place| self.bytes(place.value))
    }

    /// The same for any name.
    pub(crate) fn values_of(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The first value of a field, as a part of the head where it lies there.
    pub(crate) fn get_shared(&self, known: Known) -> Option<Bytes> {
        let value = self.get(known)?;
        let inside = self.head.as_ptr_range().contains(&value.as_ptr());
        Some(if inside { self.head.slice_ref(value) } else { Bytes::copy_from_slice(value) })
    }

    /// Adds a field behind the others. The caller vouches for name and value: they come from parsed or checked ones.
    pub(crate) fn append(&mut self, name: &[u8], value: &[u8]) {
        let known = Known::of(name);
        self.seen |= known.bit();
        let place = Place { name: self.keep(name), value: self.keep(value), known, plain: false };
        self.list.push(place);
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        let mut list = std::mem::take(&mut self.list);
        list.retain(|place| !self.bytes(place.name).eq_ignore_ascii_case(name));
        self.list = list;
    }

    /// Puts one field in the place of all of its name.
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.append(name, value);
    }

    /// The lines of `fields`, which are some of this section, in as few pieces as they can be written in.
    pub(crate) fn lines<'f>(&'f self, fields: impl Iterator<Item = Field<'f>>, mut write: impl FnMut(Piece<'f>)) {
        let mut run = (0, 0);
        let lines = |(from, to): (u32, u32)| Piece::Lines(&self.head[from as usize..to as usize]);
        for field in fields {
            match field.line {
                Some((from, to)) if from == run.1 => run.1 = to,
                Some(line) => write(lines(std::mem::replace(&mut run, line))),
                None => {
                    write(lines(std::mem::take(&mut run)));
                    write(Piece::Field(field));
                }
            }
        }
        write(lines(run));
    }

    /// The fields as `http` has them. What it would not take is left out; nothing that was parsed is.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let pair = |field: Field<'_>| Some((HeaderName::from_bytes(field.name).ok()?, HeaderValue::from_bytes(field.value).ok()?));
        let mut map = HeaderMap::new();
        for (name, value) in self.iter().filter_map(pair) {
            map.append(name, value);
        }
        map
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = (self.head.len() + self.added.len()) as u32;
        self.added.extend_from_slice(bytes);
        Span { start, length: bytes.len() as u32 }
    }

    fn field(&self, place: &Place) -> Field<'_> {
        let line = place.plain.then(|| (place.name.start, place.value.end() + 2));
        Field { known: place.known, name: self.bytes(place.name), value: self.bytes(place.value), line }
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let (start, length) = (span.start as usize, span.length as usize);
        match start.checked_sub(self.head.len()) {
            None => &self.head[start..start + length],
            Some(behind) => self.added.get(behind..behind + length).unwrap_or_default(),
        }
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.append(name.as_ref(), value.as_ref());
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &Fields) -> String {
        fields.iter().map(|field| format!("{}={} ", field.name.escape_ascii(), field.value.escape_ascii())).collect()
    }

    #[test]
    fn known_names_are_found_in_any_case_and_others_are_not() {
        for known in ALL {
            assert_eq!(Known::of(known.text().as_bytes()), *known);
            assert_eq!(Known::of(known.text().to_ascii_uppercase().as_bytes()), *known);
            assert_eq!(Known::of(format!("{}x", known.text()).as_bytes()), Known::Other);
        }
        assert_eq!(Known::of(b""), Known::Other);
        assert!(ALL.len() < 32, "a bit for each");
    }

    #[test]
    fn fields_of_a_head_and_added_ones_read_alike() {
        let head = Bytes::from_static(b"Host: a\r\nX: \r\nx: 2\r\n\r\n");
        let mut parsed = [httparse::EMPTY_HEADER; 4];
        let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(&head, &mut parsed) else { panic!("a section") };
        let mut fields = Fields::of_head(head.clone(), parsed);
        assert_eq!(text(&fields), "Host=a X= x=2 ");
        assert_eq!(fields.get_shared(Known::Host).unwrap(), "a");
        fields.append(b"Y", b"");
        fields.set(b"HOST", b"b");
        fields.append(b"via", b"1.1 p");
        assert_eq!(text(&fields), "X= x=2 Y= HOST=b via=1.1 p ");
        assert_eq!((fields.get(Known::Host), fields.get(Known::Date)), (Some(&b"b"[..]), None));
        assert_eq!(fields.values_of(b"x").collect::<Vec<_>>(), [&b""[..], b"2"]);
        fields.remove(b"x");
        fields.remove(b"host");
        assert!(!fields.has(Known::Host));
        assert_eq!(text(&fields), "Y= via=1.1 p ");
        assert_eq!(fields.without(Known::Via.bit()).count(), 1);
        assert_eq!(fields.to_map()["via"], "1.1 p");
    }
}
