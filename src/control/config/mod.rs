//! The configuration file: its shape, its reading, its mistakes.
//!
//! In: YAML. Out: typed sections in which every value knows its place, or every mistake at once with `file:line:column`, what was found, what
//! was expected, and the nearest valid name. Not here: what sections mean together (`control::compile`).

#[macro_use]
mod section;
pub(crate) mod problem;
pub(crate) mod yaml;
pub(crate) mod decode;
pub(crate) mod values;
pub(crate) mod trace_url;
pub(crate) mod telemetry;
pub(crate) mod schema;
pub(crate) mod filters;
pub(crate) mod environment;

use problem::Problems;
use schema::Config;

/// Reads a configuration, as far as it can be read, and says what is wrong with it. `environment` answers `${NAME}`.
pub(crate) fn read(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> (Option<Config>, Problems) {
    let mut problems = Problems::default();
    let node = yaml::parse(text, environment, &mut problems);
    let config = node.and_then(|node| <Config as decode::Decode>::decode(&node, &mut problems));
    (config, problems)
}

/// The JSON Schema of the file, for editors.
pub(crate) fn json_schema() -> serde_json::Value {
    let mut schema = <Config as decode::Decode>::schema();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        object.insert("title".to_owned(), "Pellucid configuration".into());
    }
    schema
}

#[cfg(test)]
mod tests;
