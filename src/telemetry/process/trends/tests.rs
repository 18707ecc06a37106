//! The memory of the last hour, driven by hand: requests of scripted flows, with seeded draws, at scripted times.
//!
//! In: flows of which it is known what they are and when they change. Out: what the admin plane would say of them.

use serde_json::Value;

use super::*;
use crate::base::draw::Draw;
use crate::base::ids::SpanId;
use crate::telemetry::record::legend::{EndpointId, Legends, RouteId};
use crate::telemetry::record::reason::Reason;
use crate::telemetry::record::{Phase, Record};

const SECOND: u64 = 1_000_000_000;

/// A request as a script wants it.
#[derive(Clone, Debug, Default)]
struct Scripted {
    millis: f64,
    self_micros: f64,
    status: u16,
    reason: Option<Reason>,
    attempts: Vec<Try>,
}

#[derive(Clone, Debug)]
struct Try {
    endpoint: u32,
    phase: Phase,
    millis: f64,
    reason: Option<Reason>,
}

type Script = Box<dyn Fn(&mut Draw, f64) -> Scripted>;

/// Requests of one route that come at random, so many a second; both may change with time.
struct Flow {
    route: RouteId,
    rate: Box<dyn Fn(f64) -> f64>,
    script: Script,
    next: u64,
}

struct World {
    trends: Trends,
    legends: Legends,
    draw: Draw,
    flows: Vec<Flow>,
    now: Tick,
}

impl World {
    fn new(seed: u64) -> Self {
        let legends = Legends::new();
        (1..4).for_each(|number| assert_eq!(legends.endpoint("users", "127.0.0.1", 9000 + number).0, u32::from(number) - 1));
        World { trends: Trends::new(Tick(0)), legends, draw: Draw::seeded(seed), flows: Vec::new(), now: Tick(0) }
    }

    fn flow(mut self, name: &str, rate: impl Fn(f64) -> f64 + 'static, script: impl Fn(&mut Draw, f64) -> Scripted + 'static) -> Self {
        let route = self.legends.route(name, name);
        let next = u64::from(self.draw.below(1000)) * 1_000_000;
        self.flows.push(Flow { route, rate: Box::new(rate), script: Box::new(script), next });
        self
    }

    fn run(&mut self, until_s: u64) -> &mut Self {
        let until = until_s * SECOND;
        while let Some(flow) = self.flows.iter_mut().filter(|flow| flow.next < until).min_by_key(|flow| flow.next) {
            let at = flow.next as f64 / 1e9;
            let rate = (flow.rate)(at);
            let pause = -(1.0 - uniform(&mut self.draw)).ln() / rate.max(0.001);
            let record = record(flow.route, flow.next, &(flow.script)(&mut self.draw, at));
            flow.next += (pause * 1e9).min(1e9) as u64;
            // Where the rate is next to nothing, time passes without a request.
            if rate > 0.001 {
                self.trends.note(&record);
            }
        }
        self.now = Tick(until);
        self.trends.advance(self.now);
        self
    }

    fn overview(&mut self, window_s: u32) -> Value {
        let (routes, endpoints) = self.legends.tables();
        self.trends.overview(window_s, self.now, 0, 0, &routes, &endpoints)
    }

    fn changes(&mut self) -> Vec<Value> {
        self.overview(60)["changes"].as_array().unwrap().clone()
    }

    fn history(&self, route: Option<&str>, span_s: u32) -> Vec<Value> {
        self.history_in(route, span_s, None)
    }

    fn history_in(&self, route: Option<&str>, span_s: u32, step_s: Option<u32>) -> Vec<Value> {
        let history = self.trends.history(route, span_s, step_s, self.now, 0, &self.legends.tables().0);
        history["steps"].as_array().unwrap().clone()
    }
}

fn uniform(draw: &mut Draw) -> f64 {
    f64::from(draw.below(1 << 30)) / f64::from(1 << 30)
}

/// A value that is often small and seldom large, as durations are.
fn long_tailed(draw: &mut Draw, median: f64, sigma: f64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(draw)).ln()).sqrt();
    median * (sigma * radius * (std::f64::consts::TAU * uniform(draw)).cos()).exp()
}

fn record(route: RouteId, ended: u64, scripted: &Scripted) -> Record {
    let mut record = Record::empty();
    let nanos = |millis: f64| (millis * 1e6) as u64;
    // A record may begin before tick zero here; its length is what matters.
    let began = Tick(ended.saturating_sub(nanos(scripted.millis)));
    (record.route, record.began, record.ended) = (route, began, Tick(ended));
    (record.status, record.reason, record.self_ns) = (scripted.status, scripted.reason, (scripted.self_micros * 1e3) as u64);
    for tried in &scripted.attempts {
        let attempt = record.open_attempt(SpanId([1; 8]), began);
        attempt.endpoint = EndpointId(tried.endpoint);
        attempt.ended = Tick(began.0 + nanos(tried.millis));
        (attempt.reason, attempt.status) = (tried.reason, if tried.reason.is_some() { 0 } else { 200 });
        attempt.phases.add(tried.phase, nanos(tried.millis));
    }
    record
}

fn answered(millis: f64, attempts: Vec<Try>) -> Scripted {
    Scripted { millis, self_micros: 20.0, status: 200, reason: None, attempts }
}

fn waited(endpoint: u32, millis: f64) -> Try {
    Try { endpoint, phase: Phase::Wait, millis, reason: None }
}

fn refused(endpoint: u32) -> Try {
    Try { endpoint, phase: Phase::Connect, millis: 0.3, reason: Some(Reason::ConnectRefused) }
}

/// Users' requests, spread over three endpoints; what each of them takes is in the hands of the test.
fn users(rate: f64, millis: impl Fn(&mut Draw, u32, f64) -> f64 + 'static) -> World {
    World::new(7).flow(
        "users",
        move |_| rate,
        move |draw, at| {
            let endpoint = draw.below(3);
            let took = millis(draw, endpoint, at);
            answered(took + 0.1, vec![waited(endpoint, took)])
        },
    )
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn counts(steps: &[Value]) -> u64 {
    steps.iter().map(|step| step["count"].as_u64().unwrap()).sum()
}

#[test]
fn quantiles_are_within_a_seventh_of_the_exact_ones() {
    for (seed, sigma) in [(1, 0.3), (2, 1.0), (3, 1.8)] {
        let mut world = World::new(seed);
        let route = world.legends.route("users", "/users");
        let mut millis: Vec<f64> = (0..20_000).map(|_| long_tailed(&mut world.draw, 12.0, sigma).clamp(0.01, 900_000.0)).collect();
        for (index, millis) in millis.iter().enumerate() {
            let at = 1_000 * SECOND + index as u64 * 2_000_000;
            world.trends.note(&record(route, at, &answered(*millis, Vec::new())));
        }
        world.now = Tick(1_045 * SECOND);
        millis.sort_by(f64::total_cmp);
        for window in [60, 300] {
            let overview = world.overview(window);
            for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
                let exact = millis[(20_000.0 * share) as usize - 1];
                for stats in [&overview["total"], &overview["routes"][0]] {
                    let told = number(&stats[name]);
                    assert!((told / exact - 1.0).abs() < 0.144, "{name} over {window} s: {told} for {exact}");
                }
            }
            assert_eq!((overview["total"]["count"].as_u64(), &overview["routes"][0]["route"]), (Some(20_000), &Value::from("users")));
        }
    }
}

#[test]
fn an_hour_is_remembered_and_no_more() {
    let mut world = World::new(1);
    let route = world.legends.route("users", "/users");
    for second in 0..9_000 {
        world.trends.note(&record(route, second * SECOND + SECOND / 2, &answered(5.0, Vec::new())));
    }
    world.now = Tick(9_000 * SECOND);
    world.trends.advance(world.now);
    for route in [None, Some("users")] {
        let steps = world.history(route, 3600);
        let times: Vec<u64> = steps.iter().map(|step| step["t"].as_u64().unwrap()).collect();
        assert_eq!((times[0], times[times.len() - 1]), (5_400_000, 8_999_000));
        assert!(steps.windows(2).all(|pair| pair[0]["t"].as_u64().unwrap() + pair[0]["step_s"].as_u64().unwrap() * 1000 == pair[1]["t"]));
        assert_eq!((counts(&steps), steps.iter().filter(|step| step["step_s"] == 1).count()), (3600, 120));
        assert_eq!(counts(&world.history(route, 60)), 60);
    }
    assert_eq!((world.overview(3600)["total"]["count"].as_u64(), world.overview(60)["total"]["rate"].as_f64()), (Some(3600), Some(1.0)));
    assert!(world.history(Some("nobody"), 3600).is_empty());
    world.now = Tick(12_700 * SECOND);
    world.trends.advance(world.now);
    let overview = world.overview(3600);
    assert_eq!(
        (&overview["routes"], &overview["total"]["count"], &overview["total"]["p99"]),
        (&Value::from(Vec::<Value>::new()), &Value::from(0), &Value::Null)
    );
}

#[test]
fn a_history_can_be_read_in_steps_of_one_length() {
    let mut world = World::new(1);
    let route = world.legends.route("users", "/users");
    for second in 0..600 {
        world.trends.note(&record(route, second * SECOND + SECOND / 2, &answered(5.0, Vec::new())));
    }
    world.now = Tick(600 * SECOND + SECOND / 4);
    world.trends.advance(world.now);
    for (span_s, step_s, len, first_ms) in [(3600, 10, 60, 0), (300, 10, 29, 310_000), (3600, 1, 120, 480_000), (60, 1, 59, 541_000)] {
        let steps = world.history_in(Some("users"), span_s, Some(step_s));
        assert_eq!((steps.len(), &steps[0]["t"]), (len, &Value::from(first_ms)), "{span_s} {step_s}");
        assert!(steps.iter().all(|step| step["step_s"] == step_s && step["count"] == step_s), "{span_s} {step_s}");
    }
    assert!(world.history_in(Some("nobody"), 3600, Some(10)).is_empty());
}

#[test]
fn a_step_that_nobody_closed_in_time_closes_when_time_is_told() {
    let mut world = World::new(1);
    let route = world.legends.route("users", "/users");
    world.trends.note(&record(route, SECOND / 2, &answered(5.0, Vec::new())));
    // The process stood still, over many steps.
    world.trends.note(&record(route, 725 * SECOND, &answered(5.0, Vec::new())));
    world.now = Tick(726 * SECOND);
    world.trends.advance(world.now);
    let steps = world.history(None, 3600);
    let with_traffic: Vec<u64> = steps.iter().filter(|step| step["count"] == 1).map(|step| step["t"].as_u64().unwrap()).collect();
    assert_eq!(with_traffic, [0, 725_000]);
}

#[test]
fn late_records_go_into_the_open_step() {
    let mut world = World::new(1);
    let route = world.legends.route("users", "/users");
    world.trends.advance(Tick(100 * SECOND));
    world.trends.note(&record(route, 99 * SECOND, &answered(5.0, Vec::new())));
    world.trends.note(&record(route, 12 * SECOND, &answered(5.0, Vec::new())));
    world.trends.note(&record(route, 100 * SECOND + 1, &answered(5.0, Vec::new())));
    world.now = Tick(102 * SECOND);
    world.trends.advance(world.now);
    let steps = world.history(Some("users"), 120);
    let with_traffic: Vec<_> = steps.iter().filter(|step| step["count"] != 0).map(|step| (&step["t"], &step["count"])).collect();
    assert_eq!(with_traffic, [(&Value::from(100_000), &Value::from(3))]);
}

/// Four attempts and one more, so that each of 200 routes has five endpoints; short ones and long ones, so that every step holds all buckets
/// between them.
fn fill(world: &mut World, second: u64) {
    for route in 0..200 {
        for ((millis, self_micros), attempts) in
            [(0.01, 1.0), (100_000.0, 400_000.0)].into_iter().flat_map(|took| [0..4, 4..5].map(|attempts| (took, attempts)))
        {
            let tries = attempts.map(|index| waited(route % 80 * 5 + index, millis)).collect();
            let scripted = Scripted { self_micros, ..answered(millis, tries) };
            world.trends.note(&record(RouteId(route), second * SECOND, &scripted));
        }
    }
}

#[test]
fn memory_is_bounded_where_every_subject_has_traffic_in_every_step() {
    let mut world = World::new(1);
    (0..348).for_each(|step| fill(&mut world, step * 10));
    (3480..3601).for_each(|second| fill(&mut world, second));
    // More of everything finds no place.
    for second in 3480..3601 {
        for id in 0..50 {
            let tries = vec![waited(1000 + second as u32 % 7 * 50 + id, 2.0)];
            world.trends.note(&record(RouteId(1000 + id), 3600 * SECOND + second, &answered(5.0, tries)));
        }
    }
    let bytes = world.trends.bytes();
    assert!((50_000_000..62_000_000).contains(&bytes), "{bytes}");
    assert_eq!((world.trends.routes.len(), world.trends.pairs.iter().count(), world.trends.route_places.folded()), (201, 1001, 50));
}

#[test]
fn nothing_is_held_for_routes_without_traffic() {
    let mut world = users(20.0, |_, _, _| 5.0);
    world.run(3700);
    assert!(world.trends.bytes() < 400_000, "{}", world.trends.bytes());
}

#[test]
fn routes_beyond_the_limit_are_counted_together_and_the_most_used_have_a_place() {
    let mut world = World::new(1);
    let ids: Vec<RouteId> = (0..300).map(|number| world.legends.route(&format!("route-{number}"), "/")).collect();
    let mut noted = 0;
    for second in 0..60 {
        for (index, id) in ids.iter().enumerate() {
            // The last ones are the busiest.
            for _ in 0..if index >= 295 { 5 } else { 1 } {
                world.trends.note(&record(*id, second * SECOND, &answered(5.0, vec![waited(index as u32 % 3, 4.0)])));
                noted += 1;
            }
        }
    }
    world.now = Tick(60 * SECOND);
    let overview = world.overview(300);
    let rows = overview["routes"].as_array().unwrap();
    let counted: u64 = rows.iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!((counted, overview["total"]["count"].as_u64(), rows.len()), (noted, Some(noted), 201));
    assert_eq!((overview["folded"].as_u64(), &rows[0]["route"]), (Some(100), &Value::from("_other")));
    assert!((295..300).all(|number| rows[1..6].iter().any(|row| row["route"] == format!("route-{number}"))));
    check_topology(&world, 300, noted, noted);
}

#[test]
fn a_route_keeps_its_name_through_reloads() {
    let mut world = World::new(1);
    for (second, template) in [(1, "/users"), (2, "/people"), (3, "/users")] {
        let id = world.legends.route("users", template);
        world.trends.note(&record(id, second * SECOND, &answered(5.0, Vec::new())));
    }
    world.now = Tick(5 * SECOND);
    let overview = world.overview(60);
    assert_eq!((overview["routes"].as_array().unwrap().len(), overview["routes"][0]["count"].as_u64()), (1, Some(3)));
    assert_eq!(counts(&world.history(Some("users"), 60)), 3);
}

#[test]
fn sparks_have_a_point_a_step_and_sixty_at_most() {
    let mut world = users(50.0, |_, _, _| 5.0);
    world.run(3700);
    for (window, least) in [(5, 4), (60, 59), (90, 45), (120, 60), (300, 29), (600, 59), (3600, 59)] {
        let overview = world.overview(window);
        let row = &overview["routes"][0];
        let (rates, quantiles) = (row["spark"].as_array().unwrap(), row["spark_p99"].as_array().unwrap());
        assert!((least..=60).contains(&rates.len()) && rates.len() == quantiles.len(), "{window} s: {}", rates.len());
        assert!((40.0..60.0).contains(&number(&row["rate"])), "{window} s: {row}");
        assert!(rates.iter().all(|rate| (15.0..90.0).contains(&number(rate))), "{window} s: {rates:?}");
    }
}

#[test]
fn a_slow_endpoint_is_found_with_its_phase_and_since_when() {
    let mut world = users(20.0, |draw, endpoint, at| long_tailed(draw, 5.0, 0.5) * if endpoint == 1 && at >= 400.0 { 40.0 } else { 1.0 });
    assert_eq!(world.run(400).changes(), Vec::<Value>::new());
    for seconds in [415, 430, 460, 520] {
        let change = world.run(seconds).changes().into_iter().next().unwrap_or_else(|| panic!("nothing at {seconds} s"));
        let found = ["what", "route", "endpoint", "phase", "status", "unit"].map(|name| change[name].as_str().unwrap_or("-"));
        assert_eq!(found, ["p99", "users", "127.0.0.1:9002", "wait", "-", "ms"], "{change}");
        assert!((399_000.0..=402_000.0).contains(&number(&change["since"])), "{change}");
        assert!(number(&change["before"]) < 30.0 && number(&change["after"]) > 300.0 && number(&change["factor"]) > 10.0, "{change}");
        let text = change["text"].as_str().unwrap();
        assert!(text.starts_with("p99 of users rose from ") && text.ends_with(" UTC, in wait at 127.0.0.1:9002"), "{text}");
    }
    assert_eq!(world.run(900).changes(), Vec::<Value>::new());
}

#[test]
fn where_all_endpoints_move_alike_none_is_named() {
    let mut world = users(20.0, |draw, _, at| long_tailed(draw, 5.0, 0.5) * if at >= 400.0 { 20.0 } else { 1.0 });
    let change = &world.run(440).changes()[0];
    assert_eq!(
        (&change["what"], &change["endpoint"], &change["phase"]),
        (&Value::from("p99"), &Value::Null, &Value::from("wait")),
        "{change}"
    );
}

#[test]
fn time_that_no_attempt_explains_is_nobodys_fault() {
    let mut world = World::new(3).flow(
        "users",
        |_| 20.0,
        |draw, at| {
            let endpoint = draw.below(3);
            let upload = if at >= 400.0 { 300.0 } else { 0.0 };
            answered(upload + 5.0, vec![waited(endpoint, long_tailed(draw, 5.0, 0.3))])
        },
    );
    let change = &world.run(440).changes()[0];
    assert_eq!((&change["what"], &change["endpoint"], &change["phase"]), (&Value::from("p99"), &Value::Null, &Value::Null), "{change}");
}

#[test]
fn failures_are_found_with_their_endpoint_and_status() {
    let mut world = World::new(4).flow(
        "users",
        |_| 30.0,
        |draw, at| {
            let endpoint = draw.below(3);
            if at >= 400.0 && endpoint == 2 {
                Scripted { millis: 1.0, self_micros: 20.0, status: 502, reason: Some(Reason::ConnectRefused), attempts: vec![refused(2)] }
            } else {
                answered(5.0, vec![waited(endpoint, 4.5)])
            }
        },
    );
    let changes = world.run(432).changes();
    let change = &changes[0];
    let found = ["what", "route", "endpoint", "status"].map(|name| change[name].as_str().unwrap_or("-"));
    assert_eq!(found, ["errors", "users", "127.0.0.1:9003", "5xx"], "{change}");
    assert!((0.2..0.5).contains(&number(&change["after"])) && (399_000.0..=401_000.0).contains(&number(&change["since"])), "{change}");
    assert_eq!(changes.iter().filter(|change| change["what"] == "errors").count(), 1, "the attempts are not told again: {changes:?}");
}

#[test]
fn what_retries_hide_from_clients_is_found() {
    let mut world = World::new(5).flow(
        "users",
        |_| 30.0,
        |draw, at| {
            let endpoint = draw.below(3);
            let failed = (at >= 400.0 && endpoint == 0).then(|| refused(0));
            answered(5.0, failed.into_iter().chain([waited(1 + draw.below(2), 4.5)]).collect())
        },
    );
    // The endpoint had traffic before as well.
    world = world.flow("others", |_| 10.0, |_, _| answered(5.0, vec![waited(0, 4.5)]));
    assert!(world.run(432).changes().iter().all(|change| change["route"] != "others"));
    let mut world = World::new(5).flow(
        "users",
        |_| 30.0,
        |draw, at| {
            let endpoint = draw.below(3);
            let fails = at >= 400.0 && endpoint == 0;
            answered(5.0, if fails { vec![refused(0), waited(1, 4.5)] } else { vec![waited(endpoint, 4.5)] })
        },
    );
    let change = &world.run(432).changes()[0];
    let text = change["text"].as_str().unwrap();
    assert!(text.starts_with("failed attempts of users at 127.0.0.1:9001 rose from 0 % to 100 % since "), "{change}");
    assert_eq!((&change["what"], &change["endpoint"]), (&Value::from("errors"), &Value::from("127.0.0.1:9001")));
}

#[test]
fn rates_that_fall_or_rise_threefold_are_found() {
    for (rate, seconds, word) in [(0.0_f64, 430, "fell"), (150.0, 415, "rose")] {
        let mut world = World::new(6)
            .flow("users", move |at| if at >= 400.0 { rate } else { 20.0 }, |_, _| answered(5.0, Vec::new()))
            .flow("rare", move |at| if at >= 400.0 { 0.9 } else { 0.1 }, |_, _| answered(5.0, Vec::new()));
        let changes = world.run(seconds).changes();
        let [change] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(
            (&change["what"], &change["route"], &change["unit"]),
            (&Value::from("rate"), &Value::from("users"), &Value::from("per_s"))
        );
        assert!(change["text"].as_str().unwrap().starts_with(&format!("rate of users {word} from ")), "{change}");
        assert!((399_000.0..=401_000.0).contains(&number(&change["since"])), "{change}");
    }
}

#[test]
fn own_time_and_client_errors_are_found() {
    let mut world = World::new(7).flow(
        "users",
        |_| 30.0,
        |draw, at| {
            let slow = at >= 400.0 && draw.below(10) == 0;
            let lost = at >= 420.0 && draw.below(3) == 0;
            Scripted {
                self_micros: if slow { 3000.0 } else { 20.0 },
                status: if lost { 404 } else { 200 },
                millis: 6.0,
                ..Scripted::default()
            }
        },
    );
    let changes = world.run(445).changes();
    let of = |what: &str| changes.iter().find(|change| change["what"] == what).unwrap_or_else(|| panic!("no {what} in {changes:?}"));
    assert!((399_000.0..=403_000.0).contains(&number(&of("self")["since"])), "{changes:?}");
    assert_eq!((&of("status")["status"], changes.len()), (&Value::from("4xx"), 2), "{changes:?}");
    assert!((418_000.0..=422_000.0).contains(&number(&of("status")["since"])), "{changes:?}");
}

#[test]
fn an_endpoint_that_slows_down_below_the_p99_is_found() {
    let mut world = users(60.0, |draw, endpoint, at| {
        let slowed = if endpoint == 0 && at >= 400.0 { 25.0 } else { 3.0 };
        if draw.below(20) == 0 { long_tailed(draw, 600.0, 0.2) } else { long_tailed(draw, slowed, 0.3) }
    });
    let changes = world.run(440).changes();
    let [change] = &changes[..] else { panic!("{changes:?}") };
    let found = ["what", "endpoint", "phase"].map(|name| change[name].as_str().unwrap_or("-"));
    assert_eq!(found, ["phase", "127.0.0.1:9001", "wait"], "{change}");
}

#[test]
fn an_end_of_trouble_is_a_change_too() {
    let mut world = users(20.0, |draw, endpoint, at| long_tailed(draw, 5.0, 0.4) * if endpoint == 1 && at < 500.0 { 40.0 } else { 1.0 });
    let change = &world.run(540).changes()[0];
    assert!(change["text"].as_str().unwrap().starts_with("p99 of users fell from "), "{change}");
    assert_eq!((&change["endpoint"], &change["phase"]), (&Value::from("127.0.0.1:9002"), &Value::from("wait")), "{change}");
    assert!((498_000.0..=503_000.0).contains(&number(&change["since"])), "{change}");
}

#[test]
fn a_quiet_start_is_no_change() {
    let mut world = World::new(8)
        .flow(
            "first",
            |at| if at < 3.0 { 0.0 } else { 80.0 },
            |draw, at| answered(if at < 8.0 { 300.0 } else { long_tailed(draw, 4.0, 0.5) }, Vec::new()),
        )
        .flow("later", |at| if at < 333.0 { 0.0 } else { 50.0 }, |draw, _| answered(long_tailed(draw, 40.0, 0.5), Vec::new()));
    for seconds in (1..700).step_by(3) {
        assert_eq!(world.run(seconds).changes(), Vec::<Value>::new(), "at {seconds} s");
    }
}

/// Requests as they are where nothing is wrong: few and many, with long tails, some errors, and a gateway that is sometimes held up.
pub(super) fn noisy(seed: u64) -> Vec<Value> {
    let noise = |median: f64, sigma: f64, errors: u32| {
        move |draw: &mut Draw, _: f64| {
            let endpoint = draw.below(3);
            let took = long_tailed(draw, median, sigma);
            let failed = draw.below(1000) < errors;
            let lost = draw.below(1000) < 50;
            let mut request = answered(took + 0.1, vec![waited(endpoint, took)]);
            request.self_micros = long_tailed(draw, 20.0, 0.8);
            (request.status, request.reason) = match (failed, lost) {
                (true, _) => (502, Some(Reason::UpstreamReset)),
                (_, true) => (404, None),
                _ => (200, None),
            };
            request.attempts[0].reason = failed.then_some(Reason::UpstreamReset);
            request
        }
    };
    let mut world = World::new(seed)
        .flow("rare", |_| 0.7, noise(30.0, 1.2, 20))
        .flow("some", |_| 4.0, noise(8.0, 1.0, 10))
        .flow("wavy", |at| 12.0 + 5.0 * (at / 40.0).sin(), noise(15.0, 1.5, 5))
        .flow("busy", |_| 60.0, noise(3.0, 0.7, 2));
    let mut found = Vec::new();
    for seconds in (10..660).step_by(7) {
        found.extend(world.run(seconds).changes());
    }
    found
}

#[test]
fn steady_noisy_traffic_shows_no_change() {
    for seed in 0..4 {
        assert_eq!(noisy(seed), Vec::<Value>::new(), "seed {seed}");
    }
}

/// Edges into the routes add up to the requests, those between upstreams and endpoints to the attempts, and no node gives on more than it
/// gets.
fn check_topology(world: &World, window_s: u32, requests: u64, attempts: u64) {
    let (routes, endpoints) = world.legends.tables();
    let drawn = world.trends.topology(window_s, world.now, &routes, &endpoints);
    let edges = drawn["edges"].as_array().unwrap();
    let sum = |pick: &dyn Fn(&str, &str) -> bool| -> u64 {
        let picked = edges.iter().filter(|edge| pick(edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap()));
        picked.map(|edge| edge["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(sum(&|from, _| from == "client"), requests, "over {window_s} s");
    assert_eq!(sum(&|_, to| to.starts_with("upstream:")), attempts, "over {window_s} s");
    assert_eq!(sum(&|_, to| to.starts_with("endpoint:")), attempts, "over {window_s} s");
    let nodes: Vec<&str> = drawn["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert!(edges.iter().all(|edge| nodes.contains(&edge["from"].as_str().unwrap()) && nodes.contains(&edge["to"].as_str().unwrap())));
    for node in nodes.iter().filter(|node| node.starts_with("upstream:")) {
        assert_eq!(sum(&|_, to| to == *node), sum(&|from, _| from == *node), "{node}");
    }
}

#[test]
fn the_edges_of_the_topology_add_up_to_the_counts() {
    let mut world = World::new(9);
    let orders = world.legends.endpoint("orders", "127.0.0.1", 9003).0;
    let routes = ["users", "orders"].map(|name| world.legends.route(name, name));
    for second in 0..200 {
        for number in 0..6 {
            let endpoint = if number < 4 { (second % 3) as u32 } else { orders };
            let mut tries = vec![waited(endpoint, 4.0)];
            if number == 0 {
                tries.insert(0, refused(2));
            }
            world.trends.note(&record(routes[usize::from(number >= 4)], second * SECOND, &answered(5.0, tries)));
        }
        // No upstream was asked.
        world.trends.note(&record(RouteId::NONE, second * SECOND, &Scripted { status: 404, ..Scripted::default() }));
    }
    world.now = Tick(200 * SECOND);
    for window in [300, 3600] {
        check_topology(&world, window, 1400, 1400);
    }
    let (legends, endpoints) = world.legends.tables();
    let drawn = world.trends.topology(300, world.now, &legends, &endpoints);
    let edge = |from: &str, to: &str| {
        let edges = drawn["edges"].as_array().unwrap();
        edges.iter().find(|edge| edge["from"] == from && edge["to"] == to).unwrap_or_else(|| panic!("no edge from {from} to {to}"))
    };
    assert_eq!(edge("client", "route:")["count"], 200);
    assert_eq!(edge("route:users", "upstream:users")["count"], 1000);
    assert_eq!(edge("route:users", "upstream:users")["errors"], 0.2);
    assert_eq!(
        (&edge("upstream:orders", "endpoint:127.0.0.1:9003")["count"], &edge("client", "route:orders")["rate"]),
        (&Value::from(400), &Value::from(2.0))
    );
    let p50 = number(&edge("upstream:orders", "endpoint:127.0.0.1:9003")["p50"]);
    assert!((p50 / 4.0 - 1.0).abs() < 0.28, "{p50}");
    world.now = Tick(230 * SECOND);
    world.trends.advance(world.now);
    check_topology(&world, 50, 140, 140);
}

#[test]
fn the_topology_is_of_whole_steps_and_says_how_long_they_are() {
    let mut world = World::new(9);
    let route = world.legends.route("users", "/users");
    let note = |world: &mut World, seconds: std::ops::Range<u64>| {
        for second in seconds {
            world.trends.note(&record(route, second * SECOND, &answered(5.0, vec![waited(0, 4.0)])));
        }
    };
    let check = |world: &World, window_s: u32, drawn_s: f64, count: u32| {
        let (routes, endpoints) = world.legends.tables();
        let drawn = world.trends.topology(window_s, world.now, &routes, &endpoints);
        assert_eq!(drawn["window_s"], drawn_s, "{window_s}");
        let edges = drawn["edges"].as_array().unwrap();
        let rate = (f64::from(count) / drawn_s * 1e3).round() / 1e3;
        assert!(edges.len() == 3 && edges.iter().all(|edge| edge["count"] == count && edge["rate"] == rate), "{window_s}: {drawn}");
    };
    note(&mut world, 0..3);
    world.now = Tick(2 * SECOND + SECOND / 2);
    check(&world, 300, 2.5, 3);
    note(&mut world, 3..4000);
    world.now = Tick(3999 * SECOND + SECOND / 2);
    for (window_s, drawn_s) in [(5, 19.5), (10, 19.5), (60, 69.5), (300, 309.5), (359, 359.5), (360, 399.5), (3600, 3579.5)] {
        check(&world, window_s, drawn_s, drawn_s.ceil() as u32);
    }
}

#[test]
fn pairs_beyond_the_limit_are_folded_until_others_go_quiet() {
    let mut world = World::new(10);
    let id = world.legends.route("users", "/users");
    let note = |world: &mut World, endpoint: u32, second: u64| {
        world.trends.note(&record(id, second * SECOND, &answered(5.0, vec![waited(endpoint, 4.0)])));
    };
    world.trends.pairs = Pairs::new(3);
    (0..3).for_each(|endpoint| note(&mut world, endpoint, 1));
    let late = world.legends.endpoint("users", "127.0.0.1", 9009).0;
    note(&mut world, late, 2);
    world.now = Tick(15 * SECOND);
    world.trends.advance(world.now);
    check_topology(&world, 60, 4, 4);
    for second in [400, 415] {
        note(&mut world, late, second);
        note(&mut world, 0, second);
    }
    world.now = Tick(420 * SECOND);
    check_topology(&world, 3600, 8, 8);
    assert!(world.trends.pairs.iter().any(|((_, endpoint), _)| world.trends.endpoint_places.id(endpoint) == Some(late)));
}
