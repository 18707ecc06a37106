use super::*;
use proptest::prelude::*;

fn matcher(hosts: &[&str], path: &str, methods: &[&str], headers: &[(&str, &str)]) -> Matcher {
    Matcher {
        hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
        path: PathPattern::parse(path).unwrap(),
        methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
        headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
    }
}

fn find(table: &Table, request: &str) -> Option<usize> {
    let mut words = request.split(' ');
    let (method, host, path) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let headers = words.map(|pair| pair.split_once('=').unwrap());
    table.find(host.as_bytes(), path.as_bytes(), &method.parse().unwrap(), &headers.collect::<Fields>()).ok()
}

#[test]
fn the_most_specific_route_wins_in_any_order() {
    let mut matchers = vec![
        matcher(&[], "/**", &[], &[]),
        matcher(&["*.example.com"], "/**", &[], &[]),
        matcher(&["*.eu.example.com"], "/**", &[], &[]),
        matcher(&["api.example.com"], "/users/{id}", &[], &[]),
        matcher(&["api.example.com"], "/users/me", &[], &[]),
        matcher(&["api.example.com"], "/users/{id}", &["DELETE"], &[]),
        matcher(&["api.example.com"], "/users/{id}", &[], &[("x-canary", "1")]),
        matcher(&["api.example.com"], "/users/**", &[], &[]),
        matcher(&["api.example.com"], "/users/{id}/posts", &[], &[]),
    ];
    let cases = [
        ("GET other.org /x", 0),
        ("GET a.b.example.com /x", 1),
        ("GET x.eu.example.com /x", 2),
        ("GET API.example.com:8080 /users/7", 3),
        ("GET api.example.com. /users/me", 4),
        ("DELETE api.example.com /users/7", 5),
        ("GET api.example.com /users/7 x-canary=1", 6),
        ("DELETE api.example.com /users/7 x-canary=1", 5),
        ("GET api.example.com /users/7/more", 7),
        ("GET api.example.com /users", 7),
        ("GET api.example.com /users/", 7),
        ("GET api.example.com /users/7/posts", 8),
        ("GET api.example.com /else", 1),
        ("GET example.com /x", 0),
    ];
    for turn in 0..matchers.len() {
        let table = Table::build(&matchers).unwrap();
        for (request, expected) in cases {
            let expected = (expected + matchers.len() - turn) % matchers.len();
            assert_eq!(find(&table, request), Some(expected), "{request} after {turn} turns");
        }
        matchers.rotate_left(1);
    }
}

#[test]
fn a_route_that_fails_on_its_method_leaves_the_request_to_the_next() {
    let table = Table::build(&[matcher(&[], "/a", &["POST"], &[]), matcher(&[], "/{x}", &["PUT"], &[])]).unwrap();
    assert_eq!(find(&table, "POST h /a"), Some(0));
    assert_eq!(find(&table, "PUT h /a"), Some(1));
    assert_eq!(find(&table, "GET h /a"), None);
    assert_eq!(find(&table, "PUT h /"), None, "a parameter is never empty");
}

#[test]
fn a_true_tie_names_both_routes() {
    let ties = |matchers: &[Matcher]| Table::build(matchers).err().unwrap_or_default();
    let tie = |first, second| vec![Tie { first, second }];
    assert_eq!(ties(&[matcher(&[], "/{a}", &[], &[]), matcher(&[], "/{b}", &[], &[])]), tie(0, 1));
    assert_eq!(ties(&[matcher(&["a.b", "c.d"], "/x", &[], &[]), matcher(&["c.d"], "/x", &[], &[])]), tie(0, 1));
    assert_eq!(ties(&[matcher(&[], "/x", &["GET", "PUT"], &[]), matcher(&[], "/x", &["PUT"], &[])]), tie(0, 1));
    assert_eq!(ties(&[matcher(&[], "/x", &[], &[("a", "1")]), matcher(&[], "/x", &[], &[("b", "1")])]), tie(0, 1));
    assert_eq!(ties(&[matcher(&[], "/x", &["GET"], &[]), matcher(&[], "/x", &["PUT"], &[])]), vec![]);
    assert_eq!(ties(&[matcher(&[], "/x", &[], &[("a", "1")]), matcher(&[], "/x", &[], &[("a", "2")])]), vec![]);
    assert_eq!(ties(&[matcher(&[], "/x", &[], &[]), matcher(&[], "/x", &["GET"], &[])]), vec![]);
}

#[test]
fn ten_thousand_routes_match_at_the_cost_of_ten() {
    let table = |count: usize| {
        let matchers: Vec<_> = (0..count)
            .map(|n| matcher(&[&format!("h{}.example.com", n % 100)], &format!("/api/v{}/users/{{id}}/x{n}", n % 7), &[], &[]))
            .collect();
        Table::build(&matchers).unwrap()
    };
    let (few, many) = (table(10), table(10_000));
    let shown = |table: &Table| {
        let mut shown = 0;
        table.visit(b"h3.example.com", b"/api/v3/users/7/x3", &mut |_| {
            shown += 1;
            false
        });
        shown
    };
    // What a look-up touches is one node a segment and the routes that fit: the same in both.
    assert_eq!((shown(&few), shown(&many)), (1, 1));
    assert_eq!(find(&many, "GET h99.example.com /api/v3/users/7/x9999"), Some(9999));
}

/// The rule of the module, written down a second time as a search over all routes.
fn find_slowly(matchers: &[Matcher], path: &[u8]) -> Option<usize> {
    let fitting = (0..matchers.len()).filter(|index| matchers[*index].path.matches(path));
    fitting.min_by_key(|index| matchers[*index].path.specificity())
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_search_over_all_routes_finds(
        patterns in proptest::collection::hash_set("(/([ab]|\\{x\\})){1,3}(/\\*\\*)?", 1..12),
        path in "(/[abc]?){1,4}",
    ) {
        let named = |pattern: &String| (0..3).fold(pattern.clone(), |text, number| text.replacen("{x}", &format!("{{p{number}}}"), 1));
        let matchers: Vec<_> = patterns.iter().map(|pattern| matcher(&[], &named(pattern), &[], &[])).collect();
        if let Ok(table) = Table::build(&matchers) {
            let found = table.find(b"h", path.as_bytes(), &Method::GET, &Fields::new()).ok();
            prop_assert_eq!(found, find_slowly(&matchers, path.as_bytes()));
        }
    }
}
