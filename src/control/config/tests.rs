use super::*;

fn mistakes(text: &str) -> Vec<String> {
    read(text, &|_| None).1.lines("f")
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let found = mistakes("listeners:\n  - nme: a\n    bind: nowhere\nroute: []\ntelemetry: { traces: { sample: 2 } }\n");
    assert_eq!(
        found,
        [
            "f:2:5: found the unknown key `nme`, expected one of `name`, `bind`, `trace_context`, `forwarded`, `response_trace_id`, `limits`; did you mean `name`?",
            "f:2:5: the key `name` is missing",
            "f:3:11: found `nowhere`, expected an address and port such as 127.0.0.1:8080 or [::]:8080",
            "f:4:1: found the unknown key `route`, expected one of `listeners`, `admin`, `routes`, `upstreams`, `telemetry`, `runtime`; did you mean `routes`?",
            "f:5:32: found `2`, expected a share from 0 to 1",
        ]
    );
}

#[test]
fn the_schema_names_every_key() {
    let schema = json_schema();
    let text = schema.to_string();
    for key in ["listeners", "trace_context", "half_close_timeout", "strip_prefix", "connections_per_endpoint", "slower_than"] {
        assert!(text.contains(&format!("\"{key}\"")), "{key}");
    }
    assert_eq!(schema["properties"]["listeners"]["items"]["required"], serde_json::json!(["name", "bind"]));
    assert_eq!(schema["additionalProperties"], false);
}
