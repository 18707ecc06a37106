//! What `pellucid top` draws and asks, against a terminal and answers of the tests' own.
//!
//! In: answers with long names and hostile values, and keys. Out: the cells of a screen, and the questions. Not here: a real terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::answer::{Answer, Overview, Plain, Request};
use super::asker::{Question, Refusal, Told, wanted};
use super::state::{Next, State};
use super::view::{self, Paint};
use crate::base::clock::Tick;

const SECOND: u64 = 1_000_000_000;
const PAINT: Paint = Paint { colours: true };

fn route(name: &str, errors: f64) -> Value {
    json!({"route": name, "rate": 12.25, "errors": errors, "p50": 1.5, "p90": 12.0, "p99": 180.0, "self_p50": 0.02, "self_p99": 0.041,
        "count": 735, "spark": [0, 1, 2, 4, 8.0], "spark_p99": [null, 1]})
}

fn overview(routes: &[Value]) -> Overview {
    let total =
        json!({"rate": 412.5, "errors": 0.0021, "p50": 1.5, "p90": 12.0, "p99": 180.0, "self_p50": null, "self_p99": null, "count": 9});
    let changes = json!([{"what": "p99", "route": "users", "text": "p99 of users rose from 12 ms to 180 ms since 12:03:10\u{1b}[2J"}]);
    let body = json!({"now": 1, "window_s": 60, "total": total, "in_flight": 7, "routes": routes, "folded": 0, "changes": changes});
    serde_json::from_value(body).unwrap()
}

fn request(path: &str, status: u16, verdict: &Value) -> Request {
    let body = json!({"start": "2025-01-02T12:03:10.123Z", "method": "GET", "path": path, "route": "users", "status": status,
        "duration_ms": 431.2, "verdict": verdict});
    serde_json::from_value(body).unwrap()
}

fn state(routes: &[Value], tail: Vec<Request>) -> State {
    State::new(Question::default(), Answer { overview: overview(routes), tail: Ok(tail) }, Tick(0))
}

fn drawn(state: &State, now: Tick, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state, now, PAINT)).unwrap();
    let buffer = terminal.backend().buffer();
    (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect()).collect()
}

fn press(state: &mut State, code: KeyCode) -> Next {
    state.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn type_in(state: &mut State, text: &str) {
    for one in text.chars() {
        press(state, KeyCode::Char(one));
    }
}

fn type_filter(state: &mut State, text: &str) {
    press(state, KeyCode::Char('/'));
    type_in(state, text);
    press(state, KeyCode::Enter);
}

fn hostile() -> State {
    let routes = [route(&"a-very-long-name-".repeat(20), 0.5), route("\u{1b}]0;owned\u{7}\u{202e}名前名前名前名前名前名前名前", 0.0)];
    let verdict = json!({"code": "slow_upstream", "text": "412 of 431 ms\r\n\u{9b}31m waiting", "confidence": "certain"});
    state(
        &routes,
        vec![request("/a\u{1b}[31m\nb", 503, &Value::Null), request("/", 200, &verdict), request(&"/名".repeat(99), 404, &Value::Null)],
    )
}

#[test]
fn eighty_columns_hold_every_figure() {
    let state = state(&[route("users", 0.0), route("orders", 0.5)], vec![request("/users/1", 200, &Value::Null)]);
    let lines = drawn(&state, Tick(0), (80, 24));
    assert!(lines[0].starts_with("412.5/s  0.21% errors  p99 180ms  7 in flight"), "{lines:#?}");
    assert!(lines[1].starts_with("! p99 of users rose from 12 ms to 180 ms"), "{lines:#?}");
    for title in ["route", "req/s", "errors", "p50", "p90", "p99", "self p99", "rate"] {
        assert!(lines[2].contains(title), "{title}: {lines:#?}");
    }
    for figure in ["users", "12.2", "0%", "1.50ms", "12.0ms", "180ms", "41us", "▁▂▄█"] {
        assert!(lines[3].contains(figure), "{figure}: {lines:#?}");
    }
    assert!(lines[4].starts_with("orders") && lines[4].contains("50.0%"), "{lines:#?}");
    for part in ["12:03:10", "GET", "users", "200", "431ms", "/users/1"] {
        assert!(lines[6].contains(part), "{part}: {lines:#?}");
    }
    assert!(lines[23].starts_with("q quit"), "{lines:#?}");
}

#[test]
fn forty_columns_keep_what_matters() {
    let lines = drawn(&hostile(), Tick(0), (40, 12));
    assert!(lines[0].starts_with("412.5/s  0.21% errors  p99 180ms"), "{lines:#?}");
    assert!(
        lines[2].contains("req/s") && lines[2].contains("errors") && lines[2].contains("p99") && !lines[2].contains("p90"),
        "{lines:#?}"
    );
    assert!(lines[3].starts_with("a-very-long-n…") && lines[3].contains("50.0%"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("12:03:10 503") && line.contains("431ms /a·[31m·b")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("slow_upstream")), "{lines:#?}");
}

#[test]
fn no_screen_is_too_small() {
    let mut state = hostile();
    for width in 1..90 {
        for height in 1..14 {
            drawn(&state, Tick(0), (width, height));
        }
    }
    press(&mut state, KeyCode::Char('/'));
    type_in(&mut state, "path:/名名名名");
    for width in 1..20 {
        drawn(&state, Tick(0), (width, 3));
    }
}

#[test]
fn nothing_from_the_server_steers_the_terminal() {
    let state = hostile();
    let snapshot = view::snapshot(&Answer { overview: state.overview.clone(), tail: Ok(state.tail.clone()) });
    let screens = [drawn(&state, Tick(0), (80, 24)).join("\n"), drawn(&state, Tick(0), (300, 50)).join("\n"), snapshot];
    for screen in screens {
        let found = screen.chars().find(|one| (one.is_control() && *one != '\n') || *one == '\u{202e}');
        assert_eq!(found, None, "{screen}");
        assert!(screen.contains('·'), "{screen}");
    }
}

#[test]
fn a_snapshot_holds_names_and_paths_whole() {
    let name = "a-very-long-name-".repeat(20);
    let path = "/p".repeat(200);
    let tail = vec![request(&path, 200, &Value::Null)];
    let text = view::snapshot(&Answer { overview: overview(&[route(&name, 0.0)]), tail: Ok(tail) });
    assert!(text.contains(&name) && text.contains(&path) && !text.contains('…'), "{text}");
    assert!(text.lines().next().unwrap().contains("last 60 s"), "{text}");
}

#[test]
fn colours_stand_only_where_something_is_wrong() {
    let state = state(&[route("users", 0.5)], vec![request("/", 503, &Value::Null)]);
    let coloured = |paint: Paint| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| view::draw(frame, &state, Tick(0), paint)).unwrap();
        let cells = terminal.backend().buffer().content().to_vec();
        cells.iter().filter(|cell| cell.fg != Color::Reset && cell.symbol() != " ").map(|cell| cell.symbol()).collect::<String>()
    };
    assert!(coloured(PAINT).ends_with("50.0%503"), "{}", coloured(PAINT));
    assert_eq!(coloured(Paint { colours: false }), "");
}

#[test]
fn a_selected_route_is_asked_by_its_own_name_and_kept_in_sight() {
    let names: Vec<Value> = (0..40).map(|n| route(&format!("r{n}\u{1b}"), 0.0)).collect();
    let mut state = state(&names, Vec::new());
    for _ in 0..31 {
        press(&mut state, KeyCode::Down);
    }
    assert_eq!(state.question.route.as_deref(), Some("r30\u{1b}"));
    let lines = drawn(&state, Tick(0), (80, 24));
    assert!(lines.iter().any(|line| line.starts_with("r30·")), "{lines:#?}");
    press(&mut state, KeyCode::Up);
    assert_eq!(state.question.route.as_deref(), Some("r29\u{1b}"));
    press(&mut state, KeyCode::Esc);
    assert_eq!((state.question.route.as_deref(), state.selected_line()), (None, None));
}

#[test]
fn a_filter_that_the_server_refuses_is_shown_with_its_message() {
    let mut state = state(&[], vec![request("/kept", 200, &Value::Null)]);
    press(&mut state, KeyCode::Char('/'));
    type_in(&mut state, "statuss:1q");
    press(&mut state, KeyCode::Left);
    press(&mut state, KeyCode::Delete);
    assert!(drawn(&state, Tick(0), (80, 24))[23].starts_with("/statuss:1 "));
    press(&mut state, KeyCode::Enter);
    assert_eq!((state.question.query.as_str(), state.question.number), ("statuss:1", 1));
    let refusal = Refusal { message: Plain::of("unknown key\u{1b} statuss"), at: Some(1) };
    let answer = Answer { overview: overview(&[]), tail: Err(refusal) };
    state.hear(Told { number: 1, answer: Ok(answer) }, Tick(0));
    let lines = drawn(&state, Tick(0), (80, 24));
    assert!(lines[23].starts_with("filter refused: unknown key· statuss (at character 2)"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("/kept")), "{lines:#?}");
}

#[test]
fn the_place_of_a_mistake_is_told_once() {
    let told = "q: at character 1: found the key `statuss`";
    assert_eq!(view::refusal(&Plain::of(told), Some(0)), told);
}

#[test]
fn requests_that_no_route_took_have_a_line_that_can_be_selected() {
    let mut state = state(&[route("", 0.0)], vec![request("/nowhere", 404, &Value::Null)]);
    state.tail[0].route = serde_json::from_value(json!("")).unwrap();
    let lines = drawn(&state, Tick(0), (100, 24));
    assert!(lines[3].starts_with("(no route)"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("GET     (no route)")), "{lines:#?}");
    type_filter(&mut state, "status:404");
    press(&mut state, KeyCode::Down);
    let limit = ("limit", "30".to_owned());
    assert_eq!(wanted(&state.question), [limit.clone(), ("q", "status:404 route:\"\"".to_owned())]);
    press(&mut state, KeyCode::Esc);
    assert_eq!(wanted(&state.question), [limit]);
    let text = view::snapshot(&Answer { overview: state.overview.clone(), tail: Ok(state.tail.clone()) });
    assert_eq!(text.matches("(no route)").count(), 2, "{text}");
}

#[test]
fn the_answer_to_an_older_question_does_not_change_the_tail() {
    let mut state = state(&[route("users", 0.0)], Vec::new());
    press(&mut state, KeyCode::Down);
    let stale = Answer { overview: overview(&[]), tail: Ok(vec![request("/stale", 200, &Value::Null)]) };
    state.hear(Told { number: 0, answer: Ok(stale) }, Tick(0));
    assert!(state.tail.is_empty());
}

#[test]
fn silence_is_counted_until_an_answer_comes() {
    let mut state = state(&[], Vec::new());
    let silence = || Told { number: 0, answer: Err("connection refused".to_owned()) };
    state.hear(silence(), Tick(2 * SECOND));
    let lines = drawn(&state, Tick(5 * SECOND), (80, 24));
    assert!(lines[23].starts_with("no answer since 5 s: connection refused"), "{lines:#?}");
    let answer = Answer { overview: overview(&[]), tail: Ok(Vec::new()) };
    state.hear(Told { number: 0, answer: Ok(answer) }, Tick(6 * SECOND));
    assert!(drawn(&state, Tick(6 * SECOND), (80, 24))[23].starts_with("q quit"));
}

#[test]
fn keys_do_what_the_help_says() {
    let mut state = state(&[], Vec::new());
    press(&mut state, KeyCode::Char('p'));
    assert!(state.question.paused && drawn(&state, Tick(0), (80, 24))[23].starts_with("paused"));
    press(&mut state, KeyCode::Char('p'));
    assert_eq!((state.question.paused, state.question.number), (false, 1));
    press(&mut state, KeyCode::Char('?'));
    assert!(drawn(&state, Tick(0), (80, 24))[0].contains("quit"));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Next::Go);
    press(&mut state, KeyCode::Char('/'));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Next::Go);
    assert_eq!(state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::End);
    press(&mut state, KeyCode::Esc);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Next::End);
}
