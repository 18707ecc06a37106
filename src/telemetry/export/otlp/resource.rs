//! Who speaks: the resource that all signals carry.
//!
//! In: attributes from the configuration and the environment. Out: the same as OTLP bytes, as the SDK's type, and as plain pairs.

use crate::telemetry::record::{names, wire};

/// The attributes of this process, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) attributes: Vec<(String, String)>,
}

impl Resource {
    /// `service_name` and what the operator adds; keys of `extra` win over ours, except the service's name.
    pub(crate) fn new(service_name: &str, instance: &str, extra: &[(String, String)]) -> Self {
        let mut attributes = vec![
            (names::SERVICE_NAME.to_owned(), service_name.to_owned()),
            (names::SERVICE_VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            (names::SERVICE_INSTANCE_ID.to_owned(), instance.to_owned()),
            (names::TELEMETRY_SDK_NAME.to_owned(), names::SCOPE.to_owned()),
            (names::TELEMETRY_SDK_LANGUAGE.to_owned(), "rust".to_owned()),
            (names::TELEMETRY_SDK_VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ];
        for (key, value) in extra.iter().filter(|(key, _)| key != names::SERVICE_NAME) {
            match attributes.iter_mut().find(|(known, _)| known == key) {
                Some(known) => known.1.clone_from(value),
                None => attributes.push((key.clone(), value.clone())),
            }
        }
        Resource { attributes }
    }

    /// An encoded `opentelemetry.proto.resource.v1.Resource`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in &self.attributes {
            wire::string_attribute(&mut out, 1, key, value);
        }
        out
    }

    pub(crate) fn service_name(&self) -> &str {
        &self.attributes[0].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_the_operator_win_and_no_key_stands_twice() {
        let extra = [
            (names::SERVICE_VERSION.to_owned(), "9".to_owned()),
            ("team".to_owned(), "edge".to_owned()),
            (names::SERVICE_NAME.to_owned(), "x".to_owned()),
        ];
        let resource = Resource::new("mine", "i", &extra);
        let value =
            |key: &str| resource.attributes.iter().filter(|(known, _)| known == key).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
        assert_eq!(value(names::SERVICE_NAME), ["mine"]);
        assert_eq!(value(names::SERVICE_VERSION), ["9"]);
        assert_eq!(value("team"), ["edge"]);
    }
}
