//! The environment variables of OpenTelemetry that Pellucid honours.
//!
//! In: the environment and the configuration. Out: resource attributes, and for each signal how its Collector is reached. Variables of one
//! signal win over general ones, and both over the file (OpenTelemetry specification, "Environment Variables" and "OTLP Exporter").

use std::time::Duration;

use super::telemetry::{Compression, Otlp, OtlpProtocol, Telemetry};
use crate::telemetry::export::ledger::Signal;
use crate::telemetry::export::otlp::{Protocol, Target};
use crate::telemetry::record::names;

/// Answers the value of a variable.
pub(crate) type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// A variable whose value cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadVariable(pub(crate) String);

/// `service.name`, and the operator's other attributes.
pub(crate) fn resource(telemetry: &Telemetry, lookup: Lookup<'_>) -> Result<(String, Vec<(String, String)>), BadVariable> {
    let attributes = match lookup("OTEL_RESOURCE_ATTRIBUTES") {
        Some(text) => {
            pairs(&text).ok_or_else(|| BadVariable("OTEL_RESOURCE_ATTRIBUTES: expected key=value pairs with commas between".to_owned()))?
        }
        None => Vec::new(),
    };
    let named = attributes.iter().find(|(key, _)| key == names::SERVICE_NAME).map(|(_, value)| value.clone());
    let name = set(lookup, "OTEL_SERVICE_NAME").or(named).unwrap_or_else(|| telemetry.service_name.clone());
    Ok((name, attributes))
}

/// How a signal's Collector is reached; none where nothing is pushed.
pub(crate) fn otlp_target(signal: Signal, otlp: Option<&Otlp>, lookup: Lookup<'_>) -> Result<Option<Target>, BadVariable> {
    if set(lookup, "OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let word = signal.label().to_ascii_uppercase();
    let either = |name: &str| {
        set(lookup, &format!("OTEL_EXPORTER_OTLP_{word}_{name}")).or_else(|| set(lookup, &format!("OTEL_EXPORTER_OTLP_{name}")))
    };
    let own_endpoint = set(lookup, &format!("OTEL_EXPORTER_OTLP_{word}_ENDPOINT"));
    let base = set(lookup, "OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| otlp.map(|otlp| otlp.endpoint.value.clone()));
    let Some(endpoint) = own_endpoint.clone().or(base) else { return Ok(None) };
    let protocol = match either("PROTOCOL").as_deref() {
        Some("grpc") => Protocol::Grpc,
        Some("http/protobuf") => Protocol::HttpProtobuf,
        Some(other) => return Err(BadVariable(format!("OTEL_EXPORTER_OTLP_PROTOCOL: found `{other}`, expected grpc or http/protobuf"))),
        None if otlp.is_some_and(|otlp| otlp.protocol == OtlpProtocol::HttpProtobuf) => Protocol::HttpProtobuf,
        None => Protocol::Grpc,
    };
    let gzip = match either("COMPRESSION").as_deref() {
        Some("gzip") => true,
        Some("none") => false,
        Some(other) => return Err(BadVariable(format!("OTEL_EXPORTER_OTLP_COMPRESSION: found `{other}`, expected gzip or none"))),
        None => otlp.is_some_and(|otlp| otlp.compression == Compression::Gzip),
    };
    let timeout = match either("TIMEOUT") {
        Some(text) => text
            .parse()
            .map(Duration::from_millis)
            .map_err(|_| BadVariable(format!("OTEL_EXPORTER_OTLP_TIMEOUT: found `{text}`, expected milliseconds")))?,
        None => otlp.map_or(Duration::from_secs(10), |otlp| otlp.timeout.0),
    };
    let mut headers: Vec<(String, String)> =
        otlp.into_iter().flat_map(|otlp| &otlp.headers.pairs).map(|(name, value)| (name.value.clone(), value.value.clone())).collect();
    if let Some(text) = either("HEADERS") {
        headers.extend(
            pairs(&text)
                .ok_or_else(|| BadVariable("OTEL_EXPORTER_OTLP_HEADERS: expected key=value pairs with commas between".to_owned()))?,
        );
    }
    let url = url_of(&endpoint, protocol, own_endpoint.is_some(), signal)?;
    Ok(Some(Target { url, protocol, gzip, headers, timeout: timeout.max(Duration::from_millis(1)) }))
}

/// Over HTTP a general endpoint is the root of the signals' paths; a signal's own endpoint is used as it is.
fn url_of(endpoint: &str, protocol: Protocol, own: bool, signal: Signal) -> Result<String, BadVariable> {
    let scheme_fits = endpoint.starts_with("http://");
    let trimmed = endpoint.trim_end_matches('/');
    if !scheme_fits || reqwest::Url::parse(endpoint).is_err() {
        return Err(BadVariable(format!(
            "the OTLP endpoint: found `{endpoint}`, expected a URL such as http://127.0.0.1:4317 (https is not available in this version)"
        )));
    }
    Ok(match protocol {
        Protocol::Grpc => trimmed.to_owned(),
        Protocol::HttpProtobuf if own => endpoint.to_owned(),
        // Still in development (opentelemetry-proto 1.x).
        Protocol::HttpProtobuf if signal == Signal::Profiles => format!("{trimmed}/v1development/{}", signal.label()),
        Protocol::HttpProtobuf => format!("{trimmed}/v1/{}", signal.label()),
    })
}

/// `k=v,k=v`, percent-decoded, as in W3C Baggage.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members.map(|member| member.split_once('=').map(|(key, value)| (key.trim().to_owned(), percent_decode(value.trim())))).collect()
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits =
            behind.get(..2).filter(|_| first == b'%').and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        out.push(digits.unwrap_or(first));
        rest = if digits.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn set(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup_in(variables: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn a_signals_own_variables_win_over_general_ones() {
        let lookup = lookup_in(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c, d=e"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/otlp"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "250"),
        ]);
        let traces = otlp_target(Signal::Traces, None, &lookup).unwrap().unwrap();
        assert_eq!((traces.url.as_str(), traces.gzip), ("http://c:4318/v1/traces", true));
        assert_eq!(traces.headers, [("a".to_owned(), "b c".to_owned()), ("d".to_owned(), "e".to_owned())]);
        let metrics = otlp_target(Signal::Metrics, None, &lookup).unwrap().unwrap();
        assert_eq!((metrics.url.as_str(), metrics.timeout), ("http://m:1/otlp", Duration::from_millis(250)));
    }

    #[test]
    fn the_service_name_comes_from_the_environment_first() {
        let telemetry = Telemetry::default();
        let named = |variables| resource(&telemetry, &lookup_in(variables)).unwrap().0;
        assert_eq!(named(&[]), "pellucid");
        assert_eq!(named(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=attr,team=x")]), "attr");
        assert_eq!(named(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=attr"), ("OTEL_SERVICE_NAME", "env")]), "env");
        assert!(resource(&telemetry, &lookup_in(&[("OTEL_RESOURCE_ATTRIBUTES", "novalue")])).is_err());
    }

    #[test]
    fn nothing_is_pushed_unless_somebody_says_where_to() {
        assert_eq!(otlp_target(Signal::Traces, None, &lookup_in(&[])), Ok(None));
        let off = lookup_in(&[("OTEL_SDK_DISABLED", "true"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1")]);
        assert_eq!(otlp_target(Signal::Traces, None, &off), Ok(None));
        assert!(otlp_target(Signal::Traces, None, &lookup_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")])).is_err());
    }
}
