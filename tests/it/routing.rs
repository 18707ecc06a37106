//! Routes and filters, end to end; what the table promises in detail stands beside it.

use crate::support::ask;
use crate::support::origin::Origin;
use crate::support::process::Pellucid;

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let yaml = "routes:
- { name: any, filters: [{ respond: { body: any } }] }
- { name: users, match: { path: '/users/{id}' }, filters: [{ respond: { body: user } }] }
- { name: me, match: { path: /users/me }, filters: [{ respond: { body: me } }] }
- { name: removed, match: { path: '/users/{id}', methods: [DELETE] }, filters: [{ respond: { body: removed, status: 202 } }] }
- { name: canary, match: { path: '/users/{id}', headers: { x-canary: '1' } }, filters: [{ respond: { body: canary } }] }
- { name: host, match: { hosts: ['*.example.org'], path: '/**' }, filters: [{ respond: { body: host } }] }
- { name: exact, match: { hosts: [api.example.org], path: '/**' }, filters: [{ respond: { body: exact } }] }
";
    let gateway = Pellucid::start(yaml);
    for (request, body) in [
        ("GET /x HTTP/1.1\r\nHost: h", "any"),
        ("GET /users/7 HTTP/1.1\r\nHost: h", "user"),
        ("GET /users/me HTTP/1.1\r\nHost: h", "me"),
        ("GET /users/%6De HTTP/1.1\r\nHost: h", "me"),
        ("DELETE /users/7 HTTP/1.1\r\nHost: h", "removed"),
        ("GET /users/7 HTTP/1.1\r\nHost: h\r\nX-Canary: 1", "canary"),
        ("GET /users/7/more HTTP/1.1\r\nHost: h", "any"),
        ("GET /users/7 HTTP/1.1\r\nHost: a.EXAMPLE.org:80", "host"),
        ("GET /users/7 HTTP/1.1\r\nHost: api.example.org", "exact"),
    ] {
        assert_eq!(ask(gateway.address, format!("{request}\r\n\r\n")).text(), body, "{request}");
    }
}

#[test]
fn a_request_that_nothing_matches_is_told_so() {
    let gateway = Pellucid::start("routes: [{ name: one, match: { path: /one }, filters: [{ respond: {} }] }]");
    let answer = gateway.get("/two");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (404, Some("no_route")));
    assert_eq!(gateway.record(|record| record["path"] == "/two")["route"], "");
}

#[test]
fn filters_change_what_the_origin_and_the_client_see() {
    let origin = Origin::echo();
    let yaml = format!(
        "routes:
- name: api
  match: {{ path: '/api/{{name}}/**' }}
  filters:
  - strip_prefix: /api
  - request_headers: {{ remove: [cookie], set: {{ x-from: edge }}, add: {{ x-many: b }} }}
  - response_headers: {{ set: {{ x-served-by: pellucid }}, remove: [server] }}
  upstream: o
- {{ name: rewritten, match: {{ path: '/old/{{id}}' }}, filters: [{{ rewrite: '/new/{{id}}/view' }}], upstream: o }}
- {{ name: moved, match: {{ path: '/moved/**' }}, filters: [{{ redirect: {{ status: 301, scheme: https, host: new.example, path: '/to/**' }} }}] }}
- {{ name: fixed, match: {{ path: /fixed }}, filters: [{{ respond: {{ status: 418, body: short, headers: {{ x-a: b }} }} }}] }}
upstreams: [{{ name: o, endpoints: ['{}'] }}]
",
        origin.address
    );
    let gateway = Pellucid::start(&yaml);
    let answer = ask(gateway.address, "GET /api/a%2Fb/c?d=%20 HTTP/1.1\r\nHost: h\r\nCookie: s=1\r\nX-From: me\r\nX-Many: a\r\n\r\n");
    assert_eq!(answer.header("x-served-by").as_deref(), Some("pellucid"));
    let seen = origin.last();
    assert_eq!((seen.path(), seen.header("cookie"), seen.header("x-from").as_deref()), ("/a%2Fb/c?d=%20", None, Some("edge")));
    assert_eq!(seen.headers("x-many"), ["a", "b"]);
    gateway.get("/old/7%2F8?x=1");
    assert_eq!(origin.last().path(), "/new/7%2F8/view?x=1");
    let moved = gateway.get("/moved/a/b?c");
    assert_eq!((moved.status, moved.header("location").as_deref()), (301, Some("https://new.example/to/a/b?c")));
    let fixed = gateway.get("/fixed");
    assert_eq!((fixed.status, fixed.text().as_str(), fixed.header("x-a").as_deref()), (418, "short", Some("b")));
}

#[test]
fn a_split_deals_by_weight() {
    let (a, b) = (Origin::echo(), Origin::echo());
    let yaml = format!(
        "routes: [{{ name: r, split: [{{ upstream: a, weight: 90 }}, {{ upstream: b, weight: 10 }}] }}]\nupstreams: [{{ name: a, endpoints: ['{}'] }}, {{ name: b, endpoints: ['{}'] }}]\n",
        a.address, b.address
    );
    let gateway = Pellucid::start(&yaml);
    let mut client = crate::support::Client::connect(gateway.address);
    for _ in 0..1000 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_answer("GET").status, 200);
    }
    // 100 expected, standard deviation 9.5; five of them either way.
    assert!((52..=148).contains(&b.seen().len()), "{}", b.seen().len());
}
