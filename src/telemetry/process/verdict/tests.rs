//! Situations, each with the verdict that an expert would give, word for word; and what holds for whatever traffic.
//!
//! In: records as the data path leaves them, after others that taught what is typical. Out: code, confidence and text. Not here: the data
//! path that writes such records.

use std::sync::Arc;

use proptest::prelude::{any, prop, proptest};

use super::baseline::{EndpointBaseline, RouteBaseline, Trait};
use super::table::{ENTRIES_MAX, Table};
use super::words::{Line, Of, Size, TEXT_BYTES_MAX, Time, Versus, about};
use super::*;
use crate::base::clock::Tick;
use crate::base::draw::Draw;
use crate::base::ids::SpanId;
use crate::telemetry::record::MethodTag;
use crate::telemetry::record::legend::{EndpointId, Legends};
use crate::telemetry::record::reason::Reason;
use Confidence::{Certain, Likely, Unknown};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const LIMIT: Option<u64> = Some(500 * MS);
/// Endpoints of `users`, and the only one of `orders`.
const A: u32 = 0;
const B: u32 = 1;
const C: u32 = 2;
const ORDERS: u32 = 3;

/// A gateway's telemetry thread, as far as verdicts go.
struct World {
    verdicts: Verdicts,
    routes: Vec<Arc<RouteLegend>>,
    endpoints: Vec<Arc<EndpointLegend>>,
    route: RouteId,
    now: u64,
}

impl World {
    /// Nothing is known yet.
    fn new() -> Self {
        let legends = Legends::new();
        let route = legends.route("user", "/users/{id}");
        for host in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            legends.endpoint("users", host, 9001);
        }
        legends.endpoint("orders", "orders.internal", 80);
        let (routes, endpoints) = legends.tables();
        World { verdicts: Verdicts::new(), routes, endpoints, route, now: 1000 * S }
    }

    /// Some `count` requests that went well, 100 ms apart, waiting for this long on this endpoint.
    fn used(mut self, count: u64, endpoint: u32, wait: u64) -> Self {
        for _ in 0..count {
            self.pass(100 * MS);
            let verdict = self.judge(&normal(endpoint, wait));
            assert_eq!(verdict.map(|verdict| verdict.text), None);
        }
        self
    }

    /// The same, whatever the verdicts.
    fn strained(mut self, count: u64, endpoint: u32, wait: u64) -> Self {
        for _ in 0..count {
            self.pass(100 * MS);
            self.judge(&normal(endpoint, wait));
        }
        self
    }

    /// Requests by turns to A, which takes so long, and to B, which takes 2 ms.
    fn divided(mut self, pairs: u64, slow: u64) -> Self {
        for _ in 0..pairs {
            self = self.strained(1, A, slow).used(1, B, 2 * MS);
        }
        self
    }

    /// Nothing came for two minutes.
    fn rested(mut self) -> Self {
        self.pass(120 * S);
        self
    }

    /// A and B have answered in 52 ms.
    fn busy() -> Self {
        World::new().used(150, A, 52 * MS).used(150, B, 52 * MS)
    }

    fn pass(&mut self, nanos: u64) {
        self.now += nanos;
    }

    fn judge(&mut self, told: &Told) -> Option<Verdict> {
        let mut record = told.0;
        let length = record.ended.0;
        let shift = self.now - length.min(self.now);
        let later = |tick: Tick| Tick(tick.0 + shift);
        (record.began, record.head_read, record.ended) = (later(record.began), later(record.head_read), later(record.ended));
        record.left = if record.left == Tick::NEVER { Tick::NEVER } else { later(record.left) };
        record.route = if record.route == SOME_ROUTE { self.route } else { record.route };
        let route = &self.routes[record.route.0 as usize];
        self.verdicts.judge(&record, route, &self.endpoints, LIMIT)
    }
}

const SOME_ROUTE: RouteId = RouteId(7);

/// A record as it is told: it begins at tick 0, and each part makes it longer.
#[derive(Clone, Copy)]
struct Told(Record);

/// One that went well: 60 µs of the gateway's own time, 100 µs to send, and 1 ms of body.
fn normal(endpoint: u32, wait: u64) -> Told {
    Told::new().at(endpoint, &[(Phase::Send, 100 * US), (Phase::Wait, wait), (Phase::Body, MS)]).answers(200, 3100)
}

impl Told {
    fn new() -> Self {
        let mut record = Record::empty();
        record.route = SOME_ROUTE;
        record.method = MethodTag::Get;
        record.self_ns = 60 * US;
        Told(record)
    }

    fn method(mut self, method: MethodTag) -> Self {
        self.0.method = method;
        self
    }

    fn no_route(mut self) -> Self {
        self.0.route = RouteId::NONE;
        self
    }

    fn head(mut self, nanos: u64) -> Self {
        self.0.head_read = Tick(nanos);
        self.passes(nanos)
    }

    fn own(mut self, nanos: u64) -> Self {
        self.0.self_ns = nanos;
        self
    }

    /// Time that no part explains.
    fn passes(mut self, nanos: u64) -> Self {
        self.0.ended.0 += nanos;
        self
    }

    fn at(mut self, endpoint: u32, phases: &[(Phase, u64)]) -> Self {
        let began = self.0.ended;
        let attempt = self.0.open_attempt(SpanId([1; 8]), began);
        attempt.endpoint = EndpointId(endpoint);
        attempt.reused = phases.iter().all(|(phase, _)| *phase != Phase::Connect);
        for (phase, nanos) in phases {
            attempt.phases.add(*phase, *nanos);
        }
        self.passes(phases.iter().map(|(_, nanos)| nanos).sum())
    }

    /// The attempt failed.
    fn fails(mut self, reason: Reason) -> Self {
        self.0.last_attempt().unwrap().reason = Some(reason);
        self
    }

    /// So many bytes of body were sent upstream.
    fn sends(mut self, bytes: u64) -> Self {
        self.0.last_attempt().unwrap().request_bytes = bytes;
        self.0.request_bytes = bytes;
        self
    }

    fn answers(mut self, status: u16, bytes: u64) -> Self {
        let attempt = self.0.last_attempt().unwrap();
        (attempt.status, attempt.response_bytes) = (status, bytes);
        (self.0.status, self.0.response_bytes) = (status, bytes);
        self
    }

    /// The client closed its sending side so long after the beginning.
    fn half_closed(mut self, after: u64) -> Self {
        self.0.left = Tick(after);
        self
    }

    /// The exchange ended so.
    fn ends(mut self, reason: Reason, status: u16) -> Self {
        (self.0.reason, self.0.status) = (Some(reason), status);
        if let Some(attempt) = self.0.last_attempt().filter(|attempt| attempt.status == 0) {
            attempt.reason = attempt.reason.or(Some(reason));
        }
        self
    }

    fn names(mut self, path: &str, host: &str) -> Self {
        self.0.path = self.0.text.keep(path.as_bytes(), 192);
        self.0.host = self.0.text.keep(host.as_bytes(), 64);
        self
    }
}

struct Situation {
    world: World,
    told: Told,
    verdict: (Code, Confidence, &'static str),
}

fn situation(world: World, told: Told, code: Code, confidence: Confidence, text: &'static str) -> Situation {
    Situation { world, told, verdict: (code, confidence, text) }
}

/// What a refused or unreachable attempt took.
const REFUSED: &[(Phase, u64)] = &[(Phase::Connect, 300 * US)];

/// Judges all, and shows every difference at once.
fn check(situations: Vec<Situation>) {
    let mut differences = String::new();
    for Situation { mut world, told, verdict: (code, confidence, text) } in situations {
        world.pass(50 * MS);
        let verdict = world.judge(&told);
        let expected = Verdict { code, confidence, text: text.into() };
        if verdict.as_ref() != Some(&expected) {
            differences += &format!("expected {expected:?}\ngot      {verdict:?}\n");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

fn failing(reason: Reason, status: u16) -> Told {
    Told::new().passes(2 * MS).ends(reason, status)
}

#[test]
fn what_a_client_sent_wrong_or_too_slowly_is_told_of_it() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    check(vec![
        situation(
            World::new(),
            failing(Reason::MalformedRequest, 400).no_route(),
            Code::MalformedRequest,
            Certain,
            "the client's request was malformed and was refused",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Send, 30 * MS)]).sends(900).ends(Reason::MalformedRequest, 400),
            Code::MalformedRequest,
            Certain,
            "the client's body was malformed or not as long as announced; users (10.0.0.1:9001) did not get all of it",
        ),
        situation(
            World::new(),
            failing(Reason::TargetTooLong, 414).no_route(),
            Code::TooLarge,
            Certain,
            "the request's target is longer than this listener allows",
        ),
        situation(
            World::new(),
            failing(Reason::HeadersTooLarge, 431).no_route(),
            Code::TooLarge,
            Certain,
            "the request's head is larger, or has more fields, than this listener allows",
        ),
        situation(
            World::new(),
            failing(Reason::BodyTooLarge, 413),
            Code::TooLarge,
            Certain,
            "the request's body is larger than this listener allows",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Send, 30 * MS)]).sends(1_048_576).ends(Reason::BodyTooLarge, 413),
            Code::TooLarge,
            Certain,
            "the request's body is larger than this listener allows; it was cut off after 1.0 MB",
        ),
        situation(
            World::new(),
            Told::new().no_route().head(10 * S).ends(Reason::HeaderTimeout, 408),
            Code::ClientTooSlow,
            Certain,
            "the client had not sent all of its request's head after 10.0 s",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Send, 31_200 * MS)]).sends(12_340).ends(Reason::BodyTimeout, 408),
            Code::ClientTooSlow,
            Certain,
            "the client stopped sending its body: 12 kB came in 31.2 s",
        ),
        situation(
            World::new(),
            waits(20 * MS).passes(61 * S).answers(200, 340_000).ends(Reason::ClientWriteTimeout, 200),
            Code::ClientTooSlow,
            Certain,
            "the client stopped taking the answer: 340 kB went out in 61.0 s",
        ),
    ]);
}

#[test]
fn a_client_that_left_before_its_answer_is_told_of_with_what_it_waited_for() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    check(vec![
        situation(
            World::new(),
            Told::new().passes(120 * MS).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client left after 120 ms, before an upstream was asked",
        ),
        situation(
            World::new(),
            Told::new().passes(3 * MS).ends(Reason::ClientGone, 302),
            Code::ClientLeft,
            Certain,
            "the client left after 3.0 ms, while it was sent the gateway's own answer",
        ),
        // A connection that is still awaited when the client leaves has no phase yet.
        situation(
            World::new(),
            Told::new().at(ORDERS, &[]).passes(2 * S).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client left after 2.0 s, before there was a connection to orders (orders.internal:80)",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Send, 700 * MS)]).sends(40_000).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client left after 700 ms, while the request was on its way to users (10.0.0.1:9001)",
        ),
        situation(
            World::new(),
            waits(4_980 * MS).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client left after 5.0 s, while users (10.0.0.1:9001) had not answered for 5.0 s",
        ),
        situation(
            World::busy(),
            waits(4_980 * MS).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client left after 5.0 s, while users (10.0.0.1:9001) had not answered for 5.0 s, 100 x typical for this route; \
             users (10.0.0.2:9001) was normal",
        ),
    ]);
}

#[test]
fn a_client_that_closed_its_side_is_told_of_with_when_that_was_and_when_it_was_given_up() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    check(vec![
        // The listener's half-close time is 2 s here.
        situation(
            World::new(),
            waits(2_099_900 * US).half_closed(100 * MS).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client closed its side after 100 ms and was given up 2.0 s later, while users (10.0.0.1:9001) had not answered for 2.1 s",
        ),
        situation(
            World::busy(),
            waits(2_099_900 * US).half_closed(100 * MS).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client closed its side after 100 ms and was given up 2.0 s later, while users (10.0.0.1:9001) had not answered for 2.1 s, \
             40 x typical for this route; users (10.0.0.2:9001) was normal",
        ),
        situation(
            World::new(),
            Told::new().passes(2 * S).half_closed(0).ends(Reason::ClientGone, 499),
            Code::ClientLeft,
            Certain,
            "the client closed its side after 0 µs and was given up 2.0 s later, before an upstream was asked",
        ),
        situation(
            World::new(),
            waits(20 * MS).passes(9_180 * MS).half_closed(1_200 * MS).answers(200, 340_000).ends(Reason::ClientGone, 200),
            Code::ClientLeft,
            Certain,
            "the client closed its side after 1.2 s and was found gone 8.0 s later, with 340 kB of the answer of users (10.0.0.1:9001) sent",
        ),
        // It was answered in time.
        situation(
            World::new(),
            waits(900 * MS).half_closed(100 * MS).answers(500, 20).ends(Reason::UpstreamStatus, 500),
            Code::UpstreamErrorStatus,
            Certain,
            "users (10.0.0.1:9001) itself answered 500 after 900 ms",
        ),
    ]);
}

#[test]
fn a_client_that_left_during_its_answer_is_told_of_with_how_far_that_was() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    check(vec![
        situation(
            World::new(),
            waits(20 * MS).passes(1_180 * MS).answers(200, 340_000).ends(Reason::ClientGone, 200),
            Code::ClientLeft,
            Certain,
            "the client left after 1.2 s, with 340 kB of the answer of users (10.0.0.1:9001) sent",
        ),
        situation(
            World::new(),
            waits(20 * MS).answers(200, 0).ends(Reason::ClientGone, 200),
            Code::ClientLeft,
            Certain,
            "the client left after 20 ms, while the answer of users (10.0.0.1:9001) was sent",
        ),
        situation(
            World::new(),
            waits(20 * MS).passes(12 * S).answers(101, 900).ends(Reason::ClientGone, 101),
            Code::ClientLeft,
            Certain,
            "the client left after 12.0 s, while its tunnel to users (10.0.0.1:9001) was open",
        ),
        situation(
            World::new(),
            Told::new().at(A, REFUSED).fails(Reason::ConnectRefused).passes(MS).ends(Reason::ClientGone, 502),
            Code::ClientLeft,
            Certain,
            "the client left after 1.3 ms, while it was told of an error: connection refused by users (10.0.0.1:9001)",
        ),
    ]);
}

#[test]
fn what_the_gateway_refused_or_broke_off_is_told_of_it() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    check(vec![
        situation(
            World::new(),
            waits(4 * MS).ends(Reason::Internal, 500),
            Code::Internal,
            Certain,
            "the gateway itself broke down over this request; its log names the trace",
        ),
        situation(
            World::new(),
            waits(29 * S).ends(Reason::Draining, 503),
            Code::ShuttingDown,
            Certain,
            "the gateway ended and cut it off after 29.0 s, while users (10.0.0.1:9001) had not answered for 29.0 s",
        ),
        situation(
            World::new(),
            failing(Reason::NoRoute, 404).no_route().names("/wp-login.php", "example.com"),
            Code::NoRoute,
            Certain,
            "no route matches GET \"/wp-login.php\" of host \"example.com\"",
        ),
        situation(
            World::new(),
            failing(Reason::NoEndpoint, 503),
            Code::NoEndpoint,
            Certain,
            "the upstream of route user has no endpoint to send to",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[]).passes(MS).ends(Reason::PendingFull, 503),
            Code::Overloaded,
            Certain,
            "refused at once: as many requests wait for a connection to users as may (pool.pending)",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[]).passes(MS).ends(Reason::InFlightFull, 503),
            Code::Overloaded,
            Certain,
            "refused at once: as many requests are in flight to users as may (pool.in_flight)",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Queue, S)]).ends(Reason::QueueTimeout, 503),
            Code::Overloaded,
            Certain,
            "no connection to users (10.0.0.1:9001) became free within 1.0 s (pool.connections_per_endpoint)",
        ),
    ]);
}

#[test]
fn what_ended_at_a_limit_of_time_is_told_with_where_it_was() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    check(vec![
        situation(
            World::busy(),
            waits(4_990 * MS).ends(Reason::ExchangeTimeout, 504),
            Code::Deadline,
            Certain,
            "the route's timeout passed after 5.0 s, while users (10.0.0.1:9001) had not answered for 5.0 s, 100 x typical for this route; \
             users (10.0.0.2:9001) was normal",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Queue, 5 * S)]).ends(Reason::ExchangeTimeout, 504),
            Code::Deadline,
            Certain,
            "the route's timeout passed after 5.0 s, with 5.0 s in the queue for a connection to users (10.0.0.1:9001)",
        ),
        situation(
            World::new(),
            Told::new()
                .at(A, &[(Phase::Connect, 3 * S)])
                .fails(Reason::ConnectTimeout)
                .at(B, &[(Phase::Connect, 2 * S)])
                .ends(Reason::ExchangeTimeout, 504),
            Code::Deadline,
            Certain,
            "the route's timeout passed after 5.0 s, before there was a connection to users (10.0.0.2:9001); \
             before that, no connection to users (10.0.0.1:9001) within 3.0 s",
        ),
        situation(
            World::new(),
            waits(MS).passes(300 * S).answers(101, 900).fails(Reason::UpgradeIdleTimeout).ends(Reason::UpgradeIdleTimeout, 101),
            Code::Deadline,
            Certain,
            "nothing moved any more in the tunnel to users (10.0.0.1:9001); it was closed after 300 s",
        ),
    ]);
}

#[test]
fn a_filter_that_answers_an_error_is_told_of() {
    check(vec![situation(
        World::new(),
        {
            let mut told = Told::new().passes(80 * US);
            told.0.status = 503;
            told
        },
        Code::AnsweredByFilter,
        Certain,
        "a filter of route user answers 503; no upstream was asked",
    )]);
}

#[test]
fn an_attempt_that_sent_nothing_is_told_of_its_endpoint() {
    let refused = || Told::new().at(A, REFUSED).fails(Reason::ConnectRefused);
    check(vec![
        situation(
            World::new(),
            refused().ends(Reason::ConnectRefused, 502),
            Code::UpstreamRefused,
            Certain,
            "connection refused by users (10.0.0.1:9001); the route makes one attempt",
        ),
        situation(
            World::busy(),
            Told::new().at(C, REFUSED).ends(Reason::ConnectRefused, 502),
            Code::UpstreamRefused,
            Certain,
            "connection refused by users (10.0.0.3:9001); the route makes one attempt; 2 other endpoints were normal",
        ),
        situation(
            World::new(),
            Told::new().at(ORDERS, &[(Phase::Dns, 12 * MS)]).ends(Reason::DnsFailed, 502),
            Code::UpstreamUnreachable,
            Certain,
            "the name of orders (orders.internal:80) did not resolve; the route makes one attempt",
        ),
        situation(
            World::new(),
            Told::new().at(A, REFUSED).ends(Reason::ConnectFailed, 502),
            Code::UpstreamUnreachable,
            Certain,
            "no way to users (10.0.0.1:9001); the route makes one attempt",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Connect, S)]).ends(Reason::ConnectTimeout, 504),
            Code::UpstreamTimeout,
            Certain,
            "no connection to users (10.0.0.1:9001) within 1.0 s; the route makes one attempt",
        ),
        situation(
            World::new(),
            Told::new().method(MethodTag::Post).at(A, &[(Phase::Wait, 300 * US)]).ends(Reason::UpstreamStale, 502),
            Code::UpstreamClosedStale,
            Certain,
            "users (10.0.0.1:9001) closed an idle connection as the request went out; a request that is not idempotent is not sent twice",
        ),
    ]);
}

#[test]
fn a_connection_that_broke_is_told_of_its_endpoint() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    check(vec![
        situation(
            World::new(),
            waits(120 * MS).ends(Reason::UpstreamReset, 502),
            Code::UpstreamReset,
            Certain,
            "users (10.0.0.1:9001) broke the connection before it answered, 120 ms into the request",
        ),
        situation(
            World::new(),
            waits(120 * MS).ends(Reason::UpstreamClosed, 502),
            Code::UpstreamReset,
            Certain,
            "users (10.0.0.1:9001) closed the connection before it answered, 120 ms into the request",
        ),
        situation(
            World::new(),
            waits(120 * MS).answers(200, 34_000).fails(Reason::UpstreamBodyBroken).ends(Reason::UpstreamBodyBroken, 200),
            Code::UpstreamReset,
            Certain,
            "users (10.0.0.1:9001) broke its answer off after 34 kB",
        ),
        situation(
            World::new(),
            waits(MS).passes(12 * S).answers(101, 34_000).fails(Reason::UpstreamReset).ends(Reason::UpstreamReset, 101),
            Code::UpstreamReset,
            Certain,
            "users (10.0.0.1:9001) broke the tunnel after 12.0 s",
        ),
        situation(
            World::new(),
            waits(3 * MS).ends(Reason::UpstreamMalformed, 502),
            Code::UpstreamMalformed,
            Certain,
            "the answer of users (10.0.0.1:9001) is no valid HTTP/1.1",
        ),
        situation(
            World::new(),
            waits(3 * MS).answers(200, 3100).fails(Reason::UpstreamMalformed).ends(Reason::UpstreamMalformed, 200),
            Code::UpstreamMalformed,
            Certain,
            "the answer of users (10.0.0.1:9001) broke the rules of HTTP/1.1 after 3.1 kB of its body",
        ),
    ]);
}

#[test]
fn an_answer_that_was_late_or_an_error_is_told_of_its_endpoint() {
    let waits = |nanos| Told::new().at(A, &[(Phase::Send, 100 * US), (Phase::Wait, nanos)]);
    let refused = || Told::new().at(A, REFUSED).fails(Reason::ConnectRefused);
    check(vec![
        situation(
            World::busy(),
            waits(30 * S).ends(Reason::FirstByteTimeout, 504),
            Code::UpstreamTimeout,
            Certain,
            "users (10.0.0.1:9001) had the request and did not answer within 30.0 s, 600 x typical for this route; \
             users (10.0.0.2:9001) was normal",
        ),
        situation(
            World::new(),
            Told::new().at(A, &[(Phase::Send, 30 * S)]).sends(70_000).ends(Reason::FirstByteTimeout, 504),
            Code::UpstreamTimeout,
            Certain,
            "users (10.0.0.1:9001) neither took the whole request nor answered within 30.0 s",
        ),
        situation(
            World::new(),
            waits(MS).passes(30 * S).answers(200, 34_000).fails(Reason::UpstreamBodyTimeout).ends(Reason::UpstreamBodyTimeout, 200),
            Code::UpstreamTimeout,
            Certain,
            "users (10.0.0.1:9001) stopped sending its answer after 34 kB",
        ),
        situation(
            World::busy(),
            waits(12 * MS).answers(503, 20).ends(Reason::UpstreamStatus, 503),
            Code::UpstreamErrorStatus,
            Certain,
            "users (10.0.0.1:9001) itself answered 503 after 12 ms; users (10.0.0.2:9001) was normal",
        ),
        situation(
            World::new(),
            refused().at(B, &[(Phase::Wait, 12 * MS)]).answers(500, 20).ends(Reason::UpstreamStatus, 500),
            Code::UpstreamErrorStatus,
            Certain,
            "users (10.0.0.2:9001) itself answered 500 after 12 ms; before that, connection refused by users (10.0.0.1:9001)",
        ),
    ]);
}

#[test]
fn what_befell_the_same_endpoint_again_is_told_once() {
    let refused = |told: Told, endpoint| told.at(endpoint, REFUSED).fails(Reason::ConnectRefused);
    let unresolved = |told: Told| told.at(ORDERS, &[(Phase::Dns, 3 * MS)]).fails(Reason::DnsFailed);
    let late = |told: Told, nanos| told.at(A, &[(Phase::Connect, nanos)]).fails(Reason::ConnectTimeout);
    check(vec![
        situation(
            World::new(),
            unresolved(unresolved(Told::new())).ends(Reason::DnsFailed, 502),
            Code::RetriesExhausted,
            Certain,
            "the name of orders (orders.internal:80) did not resolve, twice; no attempt is left",
        ),
        situation(
            World::new(),
            refused(refused(refused(refused(Told::new(), A), A), A), B).ends(Reason::ConnectRefused, 502),
            Code::RetriesExhausted,
            Certain,
            "connection refused by users (10.0.0.1:9001), 3 times, then by users (10.0.0.2:9001); no attempt is left",
        ),
        situation(
            World::new(),
            late(late(Told::new(), S), 1_004 * MS).ends(Reason::ConnectTimeout, 504),
            Code::RetriesExhausted,
            Certain,
            "no connection to users (10.0.0.1:9001) within 1.0 s, twice; no attempt is left",
        ),
        situation(
            World::new(),
            late(late(Told::new(), 500 * MS), S).ends(Reason::ConnectTimeout, 504),
            Code::RetriesExhausted,
            Certain,
            "no connection to users (10.0.0.1:9001) within 500 ms, then no connection to users (10.0.0.1:9001) within 1.0 s; \
             no attempt is left",
        ),
        situation(
            World::new(),
            unresolved(unresolved(Told::new())).at(A, &[(Phase::Wait, 20 * MS)]).answers(200, 900),
            Code::RetriedAndRecovered,
            Certain,
            "the name of orders (orders.internal:80) did not resolve, twice, then retried on users (10.0.0.1:9001)",
        ),
    ]);
}

#[test]
fn attempts_are_told_one_after_the_other() {
    let refused = |endpoint| Told::new().at(endpoint, REFUSED).fails(Reason::ConnectRefused);
    let answered = |told: Told, endpoint, wait| told.at(endpoint, &[(Phase::Wait, wait)]).answers(200, 900);
    check(vec![
        situation(
            World::new(),
            answered(refused(C), A, 20 * MS),
            Code::RetriedAndRecovered,
            Certain,
            "connection refused by users (10.0.0.3:9001), then retried on users (10.0.0.1:9001)",
        ),
        situation(
            World::new(),
            answered(refused(C).at(B, &[(Phase::Connect, S)]).fails(Reason::ConnectTimeout), A, 20 * MS),
            Code::RetriedAndRecovered,
            Certain,
            "connection refused by users (10.0.0.3:9001), then no connection to users (10.0.0.2:9001) within 1.0 s, \
             then retried on users (10.0.0.1:9001)",
        ),
        situation(
            World::new(),
            answered(Told::new().at(A, &[(Phase::Wait, 90 * US)]).fails(Reason::UpstreamStale), A, 20 * MS),
            Code::RetriedAndRecovered,
            Certain,
            "users (10.0.0.1:9001) closed an idle connection as the request went out, then retried on users (10.0.0.1:9001)",
        ),
        situation(
            World::new(),
            answered(refused(C), A, 900 * MS),
            Code::RetriedAndRecovered,
            Certain,
            "connection refused by users (10.0.0.3:9001), then retried on users (10.0.0.1:9001), which took 900 ms to answer",
        ),
        situation(
            World::new(),
            refused(A).at(B, REFUSED).ends(Reason::ConnectRefused, 502),
            Code::RetriesExhausted,
            Certain,
            "connection refused by users (10.0.0.1:9001), then by users (10.0.0.2:9001); no attempt is left",
        ),
        situation(
            World::new(),
            refused(A).at(B, &[(Phase::Connect, S)]).ends(Reason::ConnectTimeout, 504),
            Code::RetriesExhausted,
            Certain,
            "connection refused by users (10.0.0.1:9001), then no connection to users (10.0.0.2:9001) within 1.0 s; no attempt is left",
        ),
        situation(
            World::new(),
            refused(A).method(MethodTag::Post).at(B, &[(Phase::Wait, 90 * US)]).ends(Reason::UpstreamStale, 502),
            Code::RetriesExhausted,
            Certain,
            "connection refused by users (10.0.0.1:9001), then users (10.0.0.2:9001) closed an idle connection as the request went out; \
             a request that is not idempotent is not sent twice",
        ),
        situation(
            World::busy(),
            refused(A).at(B, &[(Phase::Wait, 30 * S)]).ends(Reason::FirstByteTimeout, 504),
            Code::UpstreamTimeout,
            Certain,
            "users (10.0.0.2:9001) had the request and did not answer within 30.0 s, 600 x typical for this route; \
             before that, connection refused by users (10.0.0.1:9001)",
        ),
    ]);
}

/// Large bodies that went well, on the way to or from an endpoint.
fn transfers(mut world: World, endpoint: u32, phase: Phase, bytes: u64, nanos: u64) -> World {
    for _ in 0..40 {
        world.pass(100 * MS);
        let told = Told::new().at(endpoint, &[(Phase::Wait, MS), (phase, nanos)]).answers(200, 900);
        let told = if phase == Phase::Send { told.sends(bytes) } else { told.answers(200, bytes) };
        assert_eq!(world.judge(&told), None);
    }
    world
}

#[test]
fn a_slow_answer_is_compared_with_its_route() {
    let with = |phases: &[(Phase, u64)]| Told::new().at(A, phases).answers(200, 3100);
    check(vec![
        situation(
            World::busy(),
            with(&[(Phase::Send, MS), (Phase::Wait, 412 * MS), (Phase::Body, 18 * MS)]),
            Code::SlowUpstream,
            Certain,
            "412 of 431 ms waiting for users (10.0.0.1:9001), 8 x typical for this route; users (10.0.0.2:9001) was normal",
        ),
        situation(
            World::new(),
            with(&[(Phase::Wait, 612 * MS), (Phase::Body, 18 * MS)]),
            Code::SlowUpstream,
            Certain,
            "612 of 630 ms waiting for users (10.0.0.1:9001)",
        ),
        situation(
            World::new().used(29, A, 52 * MS),
            with(&[(Phase::Wait, 612 * MS)]),
            Code::SlowUpstream,
            Certain,
            "612 of 612 ms waiting for users (10.0.0.1:9001)",
        ),
        situation(
            World::new().used(30, A, 52 * MS),
            with(&[(Phase::Wait, 612 * MS)]),
            Code::SlowUpstream,
            Certain,
            "612 of 612 ms waiting for users (10.0.0.1:9001), 12 x typical for this route",
        ),
        // The upstream is as slow as ever; what was added is the queue.
        situation(
            World::new().used(150, A, 400 * MS),
            with(&[(Phase::Queue, 410 * MS), (Phase::Wait, 420 * MS)]),
            Code::SlowQueue,
            Certain,
            "410 of 830 ms in the queue for a connection to users (10.0.0.1:9001), typically none for this route",
        ),
        // Slow, as it always is.
        situation(
            World::new().used(150, A, 490 * MS),
            with(&[(Phase::Wait, 510 * MS), (Phase::Body, MS)]),
            Code::SlowUpstream,
            Certain,
            "510 of 511 ms waiting for users (10.0.0.1:9001), typical for this route",
        ),
    ]);
}

#[test]
fn a_slow_answer_is_compared_with_the_other_endpoints() {
    let with = |phases: &[(Phase, u64)]| Told::new().at(A, phases).answers(200, 3100);
    check(vec![
        situation(
            World::busy().rested().strained(20, A, 400 * MS).used(20, B, 52 * MS),
            with(&[(Phase::Wait, 520 * MS)]),
            Code::SlowEndpoint,
            Likely,
            "520 of 520 ms waiting for users (10.0.0.1:9001), 10 x typical for this route; lately it takes about 410 ms, \
             users (10.0.0.2:9001) about 52 ms",
        ),
        situation(
            World::busy().rested().strained(20, A, 400 * MS).used(20, B, 52 * MS).used(40, C, 30 * MS),
            with(&[(Phase::Wait, 520 * MS)]),
            Code::SlowEndpoint,
            Likely,
            "520 of 520 ms waiting for users (10.0.0.1:9001), 10 x typical for this route; lately it takes about 410 ms, \
             2 other endpoints at most 52 ms",
        ),
        situation(
            World::busy().rested().strained(15, A, 400 * MS).strained(15, B, 400 * MS),
            with(&[(Phase::Wait, 520 * MS)]),
            Code::SlowUpstream,
            Certain,
            "520 of 520 ms waiting for users (10.0.0.1:9001), 10 x typical for this route; users (10.0.0.2:9001) was slow too",
        ),
        // Half of all requests are slow, so that they are what the route is used to.
        situation(
            World::new().divided(100, 400 * MS),
            with(&[(Phase::Wait, 400 * MS)]),
            Code::SlowEndpoint,
            Likely,
            "400 of 400 ms waiting for users (10.0.0.1:9001), 200 x typical for this route; lately it takes about 410 ms, \
             users (10.0.0.2:9001) about 1.9 ms",
        ),
        // It became slow a while ago.
        situation(
            World::busy().divided(600, 202 * MS),
            with(&[(Phase::Wait, 202 * MS)]),
            Code::SlowEndpoint,
            Likely,
            "202 of 202 ms waiting for users (10.0.0.1:9001), 4 x typical for this route; lately it takes about 210 ms, \
             users (10.0.0.2:9001) about 1.9 ms",
        ),
        // A route that is new.
        situation(
            World::new().used(50, A, 2 * MS),
            with(&[(Phase::Wait, 431 * MS)]),
            Code::SlowUpstream,
            Certain,
            "431 of 431 ms waiting for users (10.0.0.1:9001), 200 x typical for this route",
        ),
        // What is more than a minute ago is not said of now.
        situation(
            World::busy().rested(),
            with(&[(Phase::Wait, 520 * MS)]),
            Code::SlowUpstream,
            Certain,
            "520 of 520 ms waiting for users (10.0.0.1:9001), 10 x typical for this route",
        ),
    ]);
}

#[test]
fn slowness_is_told_of_the_part_that_grew() {
    let with = |phases: &[(Phase, u64)]| Told::new().at(A, phases).answers(200, 3100);
    check(vec![
        situation(
            World::busy(),
            with(&[(Phase::Connect, 500 * MS), (Phase::Wait, 52 * MS)]),
            Code::SlowConnect,
            Certain,
            "500 of 552 ms connecting to users (10.0.0.1:9001), typically none for this route",
        ),
        situation(
            transfers(World::new(), A, Phase::Connect, 900, 4 * MS),
            with(&[(Phase::Connect, 500 * MS), (Phase::Wait, 52 * MS)]),
            Code::SlowConnect,
            Certain,
            "500 of 552 ms connecting to users (10.0.0.1:9001), 130 x typical for it",
        ),
        situation(
            World::new(),
            Told::new().at(ORDERS, &[(Phase::Dns, 1_900 * MS), (Phase::Connect, MS), (Phase::Wait, 9 * MS)]).answers(200, 10),
            Code::SlowDns,
            Certain,
            "1.9 of 1.9 s resolving the name of orders (orders.internal:80)",
        ),
        situation(
            World::busy(),
            Told::new().head(790 * MS).at(A, &[(Phase::Wait, 52 * MS)]).answers(200, 10),
            Code::SlowClientUpload,
            Certain,
            "790 of 842 ms until the client had sent its request's head, typically none for this route",
        ),
        situation(
            World::busy(),
            Told::new().own(700 * MS).at(A, &[(Phase::Wait, 52 * MS), (Phase::Body, 800 * MS)]).answers(200, 10),
            Code::SlowGateway,
            Certain,
            "700 of 852 ms in the gateway itself, over 1000 x typical for this route",
        ),
        situation(
            World::new(),
            Told::new().own(2_100 * MS).at(A, &[(Phase::Wait, 52 * MS), (Phase::Body, 3_800 * MS)]).answers(200, 2_000_000_000),
            Code::SlowGateway,
            Certain,
            "2.1 of 3.9 s in the gateway itself, which carried 2.0 GB",
        ),
    ]);
}

#[test]
fn an_upload_is_compared_with_what_others_have() {
    let sends =
        |bytes, nanos| Told::new().method(MethodTag::Put).at(A, &[(Phase::Send, nanos), (Phase::Wait, MS)]).answers(200, 2).sends(bytes);
    check(vec![
        situation(
            World::new(),
            sends(3_100, 7_900 * MS),
            Code::SlowClientUpload,
            Likely,
            "7.9 of 7.9 s until the client had sent its body of 3.1 kB",
        ),
        situation(
            World::new(),
            sends(1_200_000, 8 * S),
            Code::Unknown,
            Unknown,
            "8.0 of 8.0 s sending 1.2 MB of body to users (10.0.0.1:9001), at 150 kB/s; which side was slow is not recorded",
        ),
        situation(
            transfers(World::new(), A, Phase::Send, 1_200_000, 300 * MS),
            sends(1_200_000, 8 * S),
            Code::SlowClientUpload,
            Likely,
            "8.0 of 8.0 s sending 1.2 MB of body to users (10.0.0.1:9001), 30 x typical for this route, at 150 kB/s; \
             lately others have about 3.8 MB/s",
        ),
        situation(
            transfers(World::new(), A, Phase::Send, 1_200_000, 300 * MS),
            sends(12_000_000, 3 * S),
            Code::LongTransfer,
            Likely,
            "3.0 of 3.0 s sending 12 MB of body to users (10.0.0.1:9001), 10 x typical for this route, at 4.0 MB/s; \
             lately others have about 3.8 MB/s",
        ),
        situation(
            transfers(World::new(), A, Phase::Send, 1_200_000, 300 * MS),
            sends(1_200_000, 800 * MS),
            Code::Unknown,
            Unknown,
            "800 of 801 ms sending 1.2 MB of body to users (10.0.0.1:9001), 2.7 x typical for this route, at 1.5 MB/s; \
             lately others have about 3.8 MB/s; \
             which side was slow is not recorded",
        ),
        situation(
            World::new(),
            sends(0, 800 * MS),
            Code::Unknown,
            Unknown,
            "800 of 801 ms sending the request to users (10.0.0.1:9001); what it waited for is not recorded",
        ),
    ]);
}

#[test]
fn a_download_is_compared_with_what_others_have() {
    let takes = |bytes, nanos| Told::new().at(A, &[(Phase::Wait, MS), (Phase::Body, nanos)]).answers(200, bytes);
    check(vec![
        situation(
            World::busy(),
            takes(3_100, 2 * S),
            Code::SlowUpstream,
            Likely,
            "2.0 of 2.0 s until users (10.0.0.1:9001) had sent its body of 3.1 kB, over 1000 x typical for this route",
        ),
        situation(
            transfers(World::new(), A, Phase::Body, 1_200_000, 300 * MS),
            takes(1_200_000, 8 * S),
            Code::SlowClientDownload,
            Likely,
            "8.0 of 8.0 s passing on 1.2 MB of body from users (10.0.0.1:9001), 30 x typical for this route, at 150 kB/s; \
             lately others have about 3.8 MB/s",
        ),
        // The endpoint is fast with other routes' bodies, and nothing is known of this one's.
        situation(
            {
                let mut world = transfers(World::new(), A, Phase::Body, 1_200_000, 300 * MS);
                world.verdicts.routes = Table::default();
                world
            },
            takes(1_200_000, 8 * S),
            Code::Unknown,
            Unknown,
            "8.0 of 8.0 s passing on 1.2 MB of body from users (10.0.0.1:9001), at 150 kB/s; lately others have about 3.8 MB/s; \
             which side was slow is not recorded",
        ),
        // A stream lasts as long as it is wanted.
        situation(
            transfers(World::new(), A, Phase::Body, 40_000, 490 * MS),
            takes(40_000, 520 * MS),
            Code::LongTransfer,
            Likely,
            "520 of 521 ms passing on 40 kB of body from users (10.0.0.1:9001), typical for this route, at 77 kB/s; \
             lately others have about 85 kB/s",
        ),
        situation(
            World::new(),
            takes(500_000_000, 5 * S),
            Code::LongTransfer,
            Likely,
            "5.0 of 5.0 s passing on 500 MB of body from users (10.0.0.1:9001), at 100 MB/s",
        ),
    ]);
}

#[test]
fn what_the_record_does_not_tell_is_unknown() {
    let failed = |reason| failing(reason, 502);
    check(vec![
        situation(
            World::new(),
            Told::new()
                .at(A, &[(Phase::Queue, 200 * MS), (Phase::Connect, 210 * MS), (Phase::Wait, 205 * MS), (Phase::Body, MS)])
                .answers(200, 10),
            Code::Unknown,
            Unknown,
            "no part of the 616 ms stands out: connect 210 ms, wait 205 ms, queue 200 ms",
        ),
        situation(
            World::new(),
            {
                let mut told = Told::new().passes(700 * MS);
                told.0.status = 302;
                told
            },
            Code::Unknown,
            Unknown,
            "700 of 700 ms in none of the recorded phases",
        ),
        situation(
            World::new(),
            failed(Reason::UpstreamReset),
            Code::Unknown,
            Unknown,
            "it failed with status 502 as upstream_reset; at which attempt was not recorded",
        ),
        situation(World::new(), normal(A, MS).answers(502, 10), Code::Unknown, Unknown, "it failed with status 502; why was not recorded"),
    ]);
}

#[test]
fn every_reason_has_a_rule() {
    for reason in Reason::ALL {
        let told = Told::new().at(A, &[(Phase::Wait, MS)]).ends(reason, 502);
        let verdict = World::new().judge(&told).unwrap();
        assert_ne!(verdict.code, Code::Unknown, "{reason:?}: {}", verdict.text);
        assert_eq!(verdict.confidence, Certain);
    }
    let labels: std::collections::HashSet<_> = Code::LABELS.iter().map(|(_, label)| label).collect();
    assert_eq!(labels.len(), Code::LABELS.len());
    for (code, label) in Code::LABELS {
        assert_eq!(code.label(), label);
    }
}

#[test]
fn a_route_is_slow_by_its_own_past_or_by_the_limit() {
    let lasts = |wait| Told::new().at(A, &[(Phase::Wait, wait)]).answers(200, 10);
    let verdict = |count, wait| World::new().used(count, A, 20 * MS).judge(&lasts(wait)).is_some();
    // 4 x 21 ms, and 50 ms above it.
    assert!(verdict(200, 100 * MS) && !verdict(200, 70 * MS), "by its past");
    assert!(!verdict(29, 100 * MS) && verdict(29, 501 * MS), "by the limit");
    assert!(verdict(30, 100 * MS), "from thirty requests on");
    let tunnel = Told::new().at(A, &[(Phase::Wait, MS), (Phase::Body, 3600 * S)]).answers(101, 10);
    assert_eq!(World::busy().judge(&tunnel), None, "a tunnel lasts as long as it is wanted");
    let mut world = World::busy();
    world.verdicts.judge(&tunnel.0, &world.routes[1], &world.endpoints, None);
    assert!(world.verdicts.typical(world.route).unwrap().duration.p90_ns < 100 * MS, "and teaches nothing");
}

#[test]
fn only_success_teaches_what_is_typical() {
    let mut world = World::busy();
    let before = world.verdicts.typical(world.route).unwrap();
    assert_eq!(before.count, 300);
    for _ in 0..500 {
        world.judge(&Told::new().at(A, &[(Phase::Wait, 9 * S)]).ends(Reason::FirstByteTimeout, 504));
        world.judge(&Told::new().at(A, &[(Phase::Wait, 9 * S)]).answers(404, 10));
        world.judge(&Told::new().at(A, REFUSED).fails(Reason::ConnectRefused).at(B, &[(Phase::Wait, 9 * S)]).answers(200, 10));
    }
    assert_eq!(world.verdicts.typical(world.route), Some(before));
    assert_eq!(world.verdicts.typical(RouteId(99)), None);
    let near = |told: u64, exact: u64| told.abs_diff(exact) * 10 <= exact;
    assert!(near(before.duration.p50_ns, 53 * MS) && near(before.own.p50_ns, 60 * US), "{before:?}");
    assert!(near(before.phases[Phase::Wait as usize].p90_ns, 52 * MS), "{before:?}");
    assert_eq!((before.head, before.phases[Phase::Queue as usize]), (Spread::default(), Spread::default()));
}

#[test]
fn an_old_past_gives_way_to_a_new_one() {
    let mut world = World::new().used(400, A, 20 * MS);
    world.pass(40 * 60 * S);
    world = world.used(100, A, 40 * MS);
    let typical = world.verdicts.typical(world.route).unwrap();
    assert!(typical.count < 150, "what is forty minutes old counts a sixteenth: {typical:?}");
    assert!(typical.duration.p50_ns > 36 * MS, "{typical:?}");
}

#[test]
fn quantiles_are_exact_to_ten_per_cent() {
    let mut draw = Draw::seeded(7);
    for shape in 0..20 {
        let mut past = RouteBaseline::new(Tick(0));
        let mut exact: Vec<u64> = (0..3000)
            .map(|_| {
                // From 2 µs to 100 s, most of them near the lower end of ever wider ranges.
                let octaves = 1 + shape % 25;
                let value = 2100.0 * 2f64.powf((draw.number() % 1_000_000) as f64 / 1e6 * f64::from(octaves as u32));
                value as u64
            })
            .collect();
        for value in &exact {
            let mut record = Record::empty();
            record.ended = Tick(*value);
            past.learn(&record);
        }
        exact.sort_unstable();
        for per_mille in [1, 100, 500, 900, 950, 990, 1000] {
            let (told, exact) = (past.duration(per_mille), exact[(3000 * per_mille as usize).div_ceil(1000) - 1]);
            assert!(told.abs_diff(exact) * 10 <= exact, "shape {shape}, {per_mille}: {told} for {exact}");
        }
    }
}

#[test]
fn the_least_recently_used_makes_room_and_is_counted() {
    let mut table: Table<u32> = Table::default();
    for id in 0..ENTRIES_MAX as u32 {
        table.touch(id, || (u64::from(id % 2), id));
    }
    table.touch(0, || unreachable!("it is there"));
    table.touch(5000, || (7, 5000));
    assert_eq!((table.get(0), table.get(1), table.get(5000), table.forgotten()), (Some(&0), None, Some(&5000), 1));
    assert_eq!(table.of_group(7).collect::<Vec<_>>(), [(5000, &5000)]);
    assert_eq!(table.of_group(1).count(), ENTRIES_MAX / 2 - 1);
}

#[test]
fn lately_is_at_most_a_minute_ago_and_takes_ten_samples() {
    let attempt = |wait| {
        let mut record = Told::new().at(A, &[(Phase::Wait, wait)]).answers(200, 10).0;
        *record.last_attempt().unwrap()
    };
    let mut past = EndpointBaseline::new(Tick(0));
    for second in 0..9 {
        past.learn(&attempt(MS), Tick(second * S));
    }
    assert_eq!(past.lately(Trait::Wait, Tick(9 * S)), None);
    past.learn(&attempt(MS), Tick(9 * S));
    assert!(past.lately(Trait::Wait, Tick(9 * S)).is_some_and(|wait| wait.abs_diff(MS) < MS / 10));
    assert!(past.lately(Trait::Wait, Tick(59 * S)).is_some());
    assert_eq!(past.lately(Trait::Wait, Tick(60 * S)), None);
    for second in 31..200 {
        past.learn(&attempt(8 * MS), Tick(second * S));
    }
    assert!(past.lately(Trait::Wait, Tick(200 * S)).is_some_and(|wait| wait.abs_diff(8 * MS) < MS));
    assert_eq!(past.lately(Trait::Connect, Tick(200 * S)), None);
}

#[test]
fn numbers_are_rounded_as_one_says_them() {
    let times = [(0, "0 µs"), (850 * US, "850 µs"), (999_499, "999 µs"), (999_500, "1.0 ms"), (9_949_999, "9.9 ms"), (9_950_000, "10 ms")];
    let longer = [(999_499_999, "999 ms"), (999_500_000, "1.0 s"), (99_949_999_999, "99.9 s"), (100 * S, "100 s"), (3600 * S, "60 min")];
    for (nanos, text) in times.into_iter().chain(longer) {
        assert_eq!(Time(nanos).to_string(), text);
    }
    assert_eq!(Of(412_400_000, 431_200_000).to_string(), "412 of 431 ms");
    assert_eq!(Of(412_400_000, 1_431_200_000).to_string(), "0.4 of 1.4 s");
    let sizes = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_950, "10 kB"), (999_500, "1.0 MB"), (12_345_678, "12 MB")];
    for (bytes, text) in sizes {
        assert_eq!(Size(bytes).to_string(), text);
    }
    let ratios =
        [(52, 52, "typical"), (80, 50, "1.6 x typical"), (149, 50, "3 x typical"), (412, 51, "8 x typical"), (5, 0, "typically none")];
    for (spent, typical, text) in ratios {
        assert_eq!(Versus { spent, typical }.to_string(), text);
    }
    let round =
        [(1_000, 51, "20 x typical"), (4_980, 51, "100 x typical"), (30_000, 51, "600 x typical"), (u64::MAX, 3, "over 1000 x typical")];
    for (spent, typical, text) in round {
        assert_eq!(Versus { spent, typical }.to_string(), text);
    }
    assert_eq!([0, 7, 99, 414, 996, 12_345].map(about), [0, 7, 99, 410, 1000, 12_000]);
    assert_eq!(about(u64::MAX) / 10u64.pow(18), 18);
}

proptest! {
    /// Whatever a route usually takes, what is within three times of it is normal, and so is what is within 50 ms.
    #[test]
    fn normal_traffic_gets_no_verdict(base in 1u64..150_000, spread in 1u64..=3, jitter in 0u64..45_000, seed in any::<u64>()) {
        let mut world = World::new();
        let mut draw = Draw::seeded(seed);
        for turn in 0..400u32 {
            world.pass(draw.number() % (2 * S));
            let within = base * (spread - 1) * US;
            let extra = (draw.number() % (within + 1)).max(draw.number() % (jitter * US + 1));
            let wait = base * US + extra;
            let told = Told::new().own(draw.number() % (200 * US)).at(turn % 3, &[(Phase::Send, 50 * US), (Phase::Wait, wait)]);
            let verdict = world.judge(&told.answers(200, draw.number() % 9000));
            proptest::prop_assert_eq!(verdict, None);
        }
    }

    /// Names, texts and numbers of any kind make a bounded line of plain text.
    #[test]
    fn no_value_breaks_the_text(
        name in any::<String>(),
        host in prop::collection::vec(any::<char>(), 0..300),
        given in prop::collection::vec(any::<u8>(), 0..600),
        numbers in prop::collection::vec(any::<u64>(), 40),
        reasons in prop::collection::vec(0u8..40, 6),
        status in any::<u16>(),
        attempts in 0usize..6,
        known in any::<bool>(),
    ) {
        let legends = Legends::new();
        let host: String = host.into_iter().collect();
        let route = legends.route(&name, &name);
        let endpoint = legends.endpoint(&name, &host, status);
        let (routes, endpoints) = legends.tables();
        let mut verdicts = Verdicts::new();
        let mut numbers = numbers.into_iter().cycle();
        let mut next = || numbers.next().unwrap();
        if known {
            for _ in 0..200 {
                let mut told = normal(endpoint.0, 5 * MS).0;
                told.route = route;
                verdicts.judge(&told, &routes[route.0 as usize], &endpoints, None);
            }
        }
        let mut record = Record::empty();
        record.route = route;
        (record.began, record.head_read, record.ended) = (Tick(next()), Tick(next()), Tick(next()));
        (record.self_ns, record.request_bytes, record.response_bytes, record.status) = (next(), next(), next(), status);
        record.left = if known { Tick(next()) } else { Tick::NEVER };
        record.method = if known { MethodTag::Put } else { MethodTag::Other };
        record.path = record.text.keep(&given, 192);
        record.host = record.text.keep(&given, 64);
        record.method_text = record.text.keep(&given, 24);
        record.reason = Reason::from_code(reasons[5]);
        for reason in &reasons[..attempts.min(5)] {
            let attempt = record.open_attempt(SpanId([1; 8]), Tick(next()));
            attempt.endpoint = EndpointId(if next() % 4 == 0 { next() as u32 } else { endpoint.0 });
            (attempt.status, attempt.request_bytes, attempt.response_bytes) = (next() as u16, next(), next());
            attempt.reason = Reason::from_code(*reason);
            attempt.phases.spent = std::array::from_fn(|_| next());
        }
        for _ in 0..2 {
            let Some(verdict) = verdicts.judge(&record, &routes[route.0 as usize], &endpoints, Some(5)) else { continue };
            proptest::prop_assert!((1..=TEXT_BYTES_MAX).contains(&verdict.text.len()), "{} bytes", verdict.text.len());
            proptest::prop_assert!(!verdict.text.chars().any(char::is_control), "{:?}", verdict.text);
            proptest::prop_assert!(verdict.text.matches('"').count() <= 4);
            verdicts.typical(route);
        }
    }
}

#[test]
fn a_long_sentence_is_cut_between_two_characters() {
    let legends = Legends::new();
    let route = legends.route("user", "");
    let long = "é".repeat(300);
    for number in 0..4 {
        legends.endpoint(&format!("{long}{number}"), &long, 80);
    }
    let (routes, endpoints) = legends.tables();
    let mut told = Told::new().at(A, REFUSED).fails(Reason::ConnectTimeout).at(B, REFUSED).fails(Reason::ConnectFailed);
    told = told.at(C, REFUSED).ends(Reason::ConnectRefused, 502);
    told.0.route = route;
    let verdict = Verdicts::new().judge(&told.0, &routes[1], &endpoints, None).unwrap();
    assert!(verdict.text.starts_with("no connection to éé") && verdict.text.ends_with('…'), "{}", verdict.text);
    for before in ["", "x", "xx"] {
        let text = Line::of(format_args!("{before}{}", "é".repeat(200))).finish();
        assert!(text.ends_with("é…") && (TEXT_BYTES_MAX - 1..=TEXT_BYTES_MAX).contains(&text.len()), "{}", text.len());
    }
    let fits = Line::of(format_args!("{}", "é".repeat(TEXT_BYTES_MAX / 2))).finish();
    assert!(fits.ends_with('é') && fits.len() == TEXT_BYTES_MAX);
}
