//! A record as spans: one SERVER span, and one CLIENT span an attempt.
//!
//! In: a kept record. Out: the bytes of `opentelemetry.proto.trace.v1.Span`, appended to a batch that becomes one export request. Attributes
//! that only depend on route or endpoint are copied as they were encoded once. Not here: sending (`sender`).

use super::super::access_log::{Entry, error_type, split_host};
use super::super::keep_reason::KeepReason;
use super::super::redact;
use crate::base::ids::SpanId;
use crate::base::text::{AddressText, Piece};
use crate::telemetry::record::legend::EndpointLegend;
use crate::telemetry::record::names::{self, METHODS, VERSIONS};
use crate::telemetry::record::wire::{self, Block, Number, SPAN_ATTRIBUTES, Slot, TextSlot};
use crate::telemetry::record::{Attempt, MethodTag, Phase, Record};

/// Field numbers of `Span`.
mod span {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const TRACE_STATE: u32 = 3;
    pub(super) const PARENT_SPAN_ID: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START: u32 = 7;
    pub(super) const END: u32 = 8;
    pub(super) const LINKS: u32 = 13;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
}

const KIND_SERVER: u64 = 2;
const KIND_CLIENT: u64 = 3;
const STATUS_CODE: u32 = 3;
const STATUS_ERROR: u64 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const FLAG_KNOWS_REMOTE: u32 = 0x100;
const FLAG_REMOTE: u32 = 0x200;

/// Spans that will travel in one request.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    spans: u64,
    resource_spans: Option<(wire::Open, wire::Open)>,
    resource: Vec<u8>,
    known: Known,
}

/// Attributes, or parts of them, that are the same on many spans: encoded once.
struct Known {
    methods: [Vec<u8>; 10],
    versions: [Vec<u8>; 3],
    reasons: [Vec<u8>; KeepReason::ALL.len()],
    /// Of every SERVER span: ports, status, sizes and self time.
    server: Block<6>,
    /// Of every CLIENT span: the phases; by whether the connection had been used before.
    client: [Block<{ Phase::COUNT }>; 2],
    phases: [Slot; Phase::COUNT],
    status: Slot,
    path: TextSlot,
    server_address: TextSlot,
    client_address: TextSlot,
    user_agent: TextSlot,
    url_full: TextSlot,
}

impl Known {
    fn new() -> Self {
        let text = |key: &str, value: &str| {
            let mut out = Vec::new();
            wire::string_attribute(&mut out, SPAN_ATTRIBUTES, key, value);
            out
        };
        let client = |reused| {
            let mut fixed = text(names::NETWORK_PROTOCOL_VERSION, "1.1");
            wire::bool_attribute(&mut fixed, SPAN_ATTRIBUTES, names::PELLUCID_CONNECTION_REUSED, reused);
            Block::new(&fixed, names::PELLUCID_PHASE_MS.map(|name| Slot::double(SPAN_ATTRIBUTES, name)))
        };
        let server = [
            Slot::small_int(SPAN_ATTRIBUTES, names::SERVER_PORT),
            Slot::small_int(SPAN_ATTRIBUTES, names::HTTP_RESPONSE_STATUS_CODE),
            Slot::small_int(SPAN_ATTRIBUTES, names::CLIENT_PORT),
            Slot::large_int(SPAN_ATTRIBUTES, names::HTTP_REQUEST_BODY_SIZE),
            Slot::large_int(SPAN_ATTRIBUTES, names::HTTP_RESPONSE_BODY_SIZE),
            Slot::double(SPAN_ATTRIBUTES, names::PELLUCID_SELF_TIME_MS),
        ];
        Known {
            methods: METHODS.map(|method| text(names::HTTP_REQUEST_METHOD, method)),
            versions: VERSIONS.map(|version| text(names::NETWORK_PROTOCOL_VERSION, version)),
            reasons: KeepReason::ALL.map(|reason| text(names::PELLUCID_KEEP_REASON, reason.label())),
            server: Block::new(&text(names::URL_SCHEME, "http"), server),
            client: [client(false), client(true)],
            phases: names::PELLUCID_PHASE_MS.map(|name| Slot::double(SPAN_ATTRIBUTES, name)),
            status: Slot::small_int(SPAN_ATTRIBUTES, names::HTTP_RESPONSE_STATUS_CODE),
            path: TextSlot::new(SPAN_ATTRIBUTES, names::URL_PATH),
            server_address: TextSlot::new(SPAN_ATTRIBUTES, names::SERVER_ADDRESS),
            client_address: TextSlot::new(SPAN_ATTRIBUTES, names::CLIENT_ADDRESS),
            user_agent: TextSlot::new(SPAN_ATTRIBUTES, names::USER_AGENT_ORIGINAL),
            url_full: TextSlot::new(SPAN_ATTRIBUTES, names::URL_FULL),
        }
    }
}

impl Batch {
    pub(crate) fn new(resource: Vec<u8>) -> Self {
        Batch { bytes: Vec::new(), spans: 0, resource_spans: None, resource, known: Known::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn spans(&self) -> u64 {
        self.spans
    }

    /// Adds all spans of a record. `endpoints` are looked up by the attempts' ids.
    pub(crate) fn add<'e>(&mut self, entry: Entry<'_>, reason: KeepReason, endpoints: impl Fn(&Attempt) -> Option<&'e EndpointLegend>) {
        if self.resource_spans.is_none() {
            self.begin();
        }
        server(&mut self.bytes, &self.known, entry, reason);
        for (index, attempt) in entry.record.attempts().iter().enumerate() {
            if let Some(endpoint) = endpoints(attempt) {
                client(&mut self.bytes, &self.known, entry, attempt, endpoint, index);
            }
        }
        self.spans += entry.record.span_count();
    }

    /// The finished `ExportTraceServiceRequest`, and how many spans it holds.
    pub(crate) fn take(&mut self) -> Option<(Vec<u8>, u64)> {
        let (resource_spans, scope_spans) = self.resource_spans.take()?;
        wire::close(&mut self.bytes, scope_spans);
        wire::close(&mut self.bytes, resource_spans);
        let capacity = self.bytes.len() + self.bytes.len() / 8;
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity));
        Some((bytes, std::mem::take(&mut self.spans)))
    }

    fn begin(&mut self) {
        let out = &mut self.bytes;
        let resource_spans = wire::open(out, 1);
        wire::bytes(out, 1, &self.resource);
        let scope_spans = wire::open(out, 2);
        let scope = wire::open(out, 1);
        wire::bytes(out, 1, names::SCOPE.as_bytes());
        wire::bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
        wire::close(out, scope);
        self.resource_spans = Some((resource_spans, scope_spans));
    }
}

fn server(out: &mut Vec<u8>, known: &Known, entry: Entry<'_>, reason: KeepReason) {
    let record = entry.record;
    let open = wire::open(out, 2);
    let parent = record.parent.filter(|caller| !caller.is_link).map(|caller| caller.span_id);
    identity(out, record, record.span_id, parent);
    server_name(out, entry);
    wire::uint(out, span::KIND, KIND_SERVER);
    wire::fixed64(out, span::START, entry.wall_offset + record.began.0);
    wire::fixed64(out, span::END, entry.wall_offset + record.ended.0);
    out.extend_from_slice(&entry.route.attributes);
    server_attributes(out, known, entry, reason);
    if let Some(caller) = record.parent.filter(|caller| caller.is_link) {
        let link = wire::open(out, span::LINKS);
        wire::bytes(out, 1, &caller.trace_id.0);
        wire::bytes(out, 2, &caller.span_id.0);
        wire::close(out, link);
    }
    if record.status >= 500 || record.reason.is_some_and(|_| !(400..500).contains(&record.status)) {
        status_error(out);
    }
    wire::fixed32(out, span::FLAGS, flags(record) | if parent.is_some() { FLAG_REMOTE } else { 0 });
    wire::close(out, open);
}

fn server_attributes(out: &mut Vec<u8>, known: &Known, entry: Entry<'_>, reason: KeepReason) {
    let record = entry.record;
    method(out, known, record);
    piece(out, &known.path, record, record.path);
    if !record.query.is_empty() {
        wire::string_attribute(out, SPAN_ATTRIBUTES, names::URL_QUERY, &redact::query(&record.text.str(record.query)));
    }
    let (address, port) = split_host(record.text.bytes(record.host));
    if !address.is_empty() {
        known.server_address.put(out, &String::from_utf8_lossy(address));
    }
    let numbers = [
        Number::Int(u64::from(port.unwrap_or(record.listener_port))),
        Number::Int(u64::from(record.status)),
        Number::Int(u64::from(record.client.port())),
        Number::Int(record.request_bytes),
        Number::Int(record.response_bytes),
        Number::Double(millis(record.self_ns)),
    ];
    known.server.put(out, numbers);
    out.extend_from_slice(&known.versions[record.version as usize]);
    known.client_address.put(out, AddressText::of(record.client.ip()).as_str());
    piece(out, &known.user_agent, record, record.user_agent);
    captured(out, entry);
    if let Some(error) = entry.error_type() {
        wire::string_attribute(out, SPAN_ATTRIBUTES, names::ERROR_TYPE, &error);
    }
    out.extend_from_slice(&known.reasons[reason as usize]);
    if let Some((code, words)) = entry.verdict {
        wire::string_attribute(out, SPAN_ATTRIBUTES, names::PELLUCID_VERDICT_CODE, code);
        wire::string_attribute(out, SPAN_ATTRIBUTES, names::PELLUCID_VERDICT, words);
    }
    if let Some(path) = entry.profile(Some(reason)) {
        wire::string_attribute(out, SPAN_ATTRIBUTES, names::PELLUCID_PROFILE, &path);
    }
    let mut totals = [0; Phase::COUNT];
    for attempt in record.attempts() {
        for phase in Phase::ALL {
            totals[phase as usize] += attempt.phases.of(phase);
        }
    }
    for phase in Phase::ALL {
        if totals[phase as usize] > 0 {
            known.phases[phase as usize].put_double(out, millis(totals[phase as usize]));
        }
    }
}

fn client(out: &mut Vec<u8>, known: &Known, entry: Entry<'_>, attempt: &Attempt, endpoint: &EndpointLegend, index: usize) {
    let record = entry.record;
    let open = wire::open(out, 2);
    identity(out, record, attempt.span_id, Some(record.span_id));
    wire::bytes(out, span::NAME, span_method(record).as_bytes());
    wire::uint(out, span::KIND, KIND_CLIENT);
    wire::fixed64(out, span::START, entry.wall_offset + attempt.began.0);
    wire::fixed64(out, span::END, entry.wall_offset + attempt.ended.0);
    out.extend_from_slice(&endpoint.attributes);
    method(out, known, record);
    url_full(out, &known.url_full, record, endpoint);
    if attempt.status > 0 {
        known.status.put_int(out, u64::from(attempt.status));
    }
    if index > 0 {
        wire::int_attribute(out, SPAN_ATTRIBUTES, names::HTTP_REQUEST_RESEND_COUNT, index as i64);
    }
    known.client[usize::from(attempt.reused)].put(out, Phase::ALL.map(|phase| Number::Double(millis(attempt.phases.of(phase)))));
    // On client spans every 4xx and 5xx is an error, and the status its type.
    let failed = attempt.reason.map(|reason| error_type(reason, attempt.status));
    if let Some(error) = failed.or_else(|| (attempt.status >= 400).then(|| attempt.status.to_string())) {
        wire::string_attribute(out, SPAN_ATTRIBUTES, names::ERROR_TYPE, &error);
        status_error(out);
    }
    wire::fixed32(out, span::FLAGS, flags(record));
    wire::close(out, open);
}

fn identity(out: &mut Vec<u8>, record: &Record, span_id: SpanId, parent: Option<SpanId>) {
    wire::bytes(out, span::TRACE_ID, &record.trace_id.0);
    wire::bytes(out, span::SPAN_ID, &span_id.0);
    if !record.trace_state.is_empty() {
        wire::bytes(out, span::TRACE_STATE, record.text.bytes(record.trace_state));
    }
    if let Some(parent) = parent {
        wire::bytes(out, span::PARENT_SPAN_ID, &parent.0);
    }
}

/// `{method} {route template}`, or the method alone where no route matched: never the path.
fn server_name(out: &mut Vec<u8>, entry: Entry<'_>) {
    let name = wire::open(out, span::NAME);
    out.extend_from_slice(span_method(entry.record).as_bytes());
    if !entry.route.template.is_empty() {
        out.push(b' ');
        out.extend_from_slice(entry.route.template.as_bytes());
    }
    wire::close(out, name);
}

/// An unknown method names its span `HTTP`.
fn span_method(record: &Record) -> &'static str {
    if record.method == MethodTag::Other { "HTTP" } else { METHODS[record.method as usize] }
}

fn method(out: &mut Vec<u8>, known: &Known, record: &Record) {
    out.extend_from_slice(&known.methods[record.method as usize]);
    if !record.method_text.is_empty() {
        wire::string_attribute(out, SPAN_ATTRIBUTES, names::HTTP_REQUEST_METHOD_ORIGINAL, &record.text.str(record.method_text));
    }
}

fn piece(out: &mut Vec<u8>, slot: &TextSlot, record: &Record, piece: Piece) {
    if !piece.is_empty() {
        slot.put(out, &record.text.str(piece));
    }
}

/// An array a header.
fn captured(out: &mut Vec<u8>, entry: Entry<'_>) {
    entry.captured().by_name(|legend, values| wire::strings_attribute(out, SPAN_ATTRIBUTES, &legend.attribute, values));
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn status_error(out: &mut Vec<u8>) {
    let status = wire::open(out, span::STATUS);
    wire::uint(out, STATUS_CODE, STATUS_ERROR);
    wire::close(out, status);
}

fn flags(record: &Record) -> u32 {
    u32::from(record.flags.sampled) | u32::from(record.flags.random) << 1 | FLAG_KNOWS_REMOTE
}

/// `url.full`: where the request went. Credentials never stand in a target, and secret query values are replaced.
fn url_full(out: &mut Vec<u8>, slot: &TextSlot, record: &Record, endpoint: &EndpointLegend) {
    let path = if record.sent_path.is_empty() { record.path } else { record.sent_path };
    let text = slot.open(out);
    out.extend_from_slice(b"http://");
    out.extend_from_slice(endpoint.authority.as_bytes());
    out.extend_from_slice(record.text.str(path).as_bytes());
    if !record.query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(redact::query(&record.text.str(record.query)).as_bytes());
    }
    slot.close(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Tick;
    use crate::base::ids::TraceId;
    use crate::telemetry::record::Caller;
    use crate::telemetry::record::captured::capture;
    use crate::telemetry::record::legend::Legends;
    use crate::telemetry::record::reason::Reason;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use prost::Message;

    #[test]
    fn a_record_becomes_a_tree_of_spans_that_the_official_types_can_read() {
        let legends = Legends::new();
        legends.route("users", "/users/{id}");
        let endpoint = legends.endpoint("users", "127.0.0.1", 9001);
        let (routes, endpoints) = legends.tables();
        let mut record = Record::empty();
        record.trace_id = TraceId([1; 16]);
        record.span_id = SpanId([2; 8]);
        record.parent = Some(Caller { trace_id: TraceId([9; 16]), span_id: SpanId([8; 8]), is_link: true });
        record.method = MethodTag::Get;
        record.status = 502;
        record.reason = Some(Reason::UpstreamClosed);
        record.path = record.text.keep(b"/users/7", 100);
        record.host = record.text.keep(b"api.example.com:8443", 100);
        record.ended = Tick(5_000_000);
        for id in [3, 4] {
            let attempt = record.open_attempt(SpanId([id; 8]), Tick(1000));
            attempt.endpoint = endpoint;
            attempt.reason = Some(Reason::UpstreamClosed);
        }
        let headers = capture(&mut record, &[("x-tag", b"one"), ("x-tag", b"two"), ("x-tenant", b"acme")]);
        let mut batch = Batch::new(super::super::resource::Resource::new("edge", "i", &[]).encode());
        for _ in 0..2 {
            let entry = Entry {
                record: &record,
                route: &routes[1],
                endpoint: Some(&endpoints[0]),
                headers: &headers,
                wall_offset: 1_000,
                profiled: false,
                verdict: None,
            };
            batch.add(entry, KeepReason::Error, |attempt| endpoints.get(attempt.endpoint.0 as usize).map(|arc| &**arc));
            let (bytes, count) = batch.take().unwrap();
            let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            let spans = &request.resource_spans[0].scope_spans[0].spans;
            assert_eq!((spans.len(), count), (3, 6 / 2));
            let names: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.kind)).collect();
            assert_eq!(names, [("GET /users/{id}", 2), ("GET", 3), ("GET", 3)]);
            assert!(spans[0].parent_span_id.is_empty());
            assert_eq!(spans[0].links[0].span_id, [8; 8]);
            assert_eq!(spans[2].parent_span_id, spans[0].span_id);
            assert!(spans.iter().all(|span| span.status.as_ref().unwrap().code == 2));
            assert_eq!(request.resource_spans[0].resource.as_ref().unwrap().attributes[0].key, names::SERVICE_NAME);
            let attribute = |name: &str| spans[0].attributes.iter().find(|pair| pair.key == name).unwrap().value.clone().unwrap();
            let Some(Value::ArrayValue(tags)) = attribute("http.request.header.x-tag").value else { panic!("no array") };
            let tags: Vec<_> = tags.values.into_iter().map(|any| any.value.unwrap()).collect();
            assert_eq!(tags, ["one", "two"].map(|tag| Value::StringValue(tag.to_owned())));
            let resend = |span: usize| spans[span].attributes.iter().any(|pair| pair.key == names::HTTP_REQUEST_RESEND_COUNT);
            assert!(!resend(1) && resend(2));
        }
        assert!(batch.take().is_none());
    }
}
