//! Tracing of the control plane, in the ordinary way: `tracing`, `tracing-opentelemetry`, the OpenTelemetry log appender.
//!
//! In: spans and events of start, configuration and exports. Out: lines on standard error, and spans and logs to the same Collector as those of
//! requests, counted in the same ledger. Not here: requests; they never touch the SDK.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{LogExporter, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource as SdkResource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::base::limits::CONTROL_QUEUE_LEN_MAX;
use crate::control::compile::TelemetrySettings;
use crate::telemetry::export::ledger::{Drop, Ledger, Signal};
use crate::telemetry::export::otlp::{Protocol, Target};
use crate::telemetry::export::standing::{Standing, Standings};
use crate::telemetry::record::names;

/// How long spans and lines wait for others to travel with.
const BATCH_EVERY: Duration = Duration::from_secs(1);
const BATCH_LEN_MAX: usize = 512;

type LogItem = (SdkLogRecord, InstrumentationScope);

/// What must run on the control runtime so that the control plane's spans and lines leave.
#[derive(Default)]
pub(crate) struct Exports {
    spans: Option<(SpanExporter, mpsc::Receiver<SpanData>, Arc<Standing>)>,
    logs: Option<(LogExporter, mpsc::Receiver<LogItem>, Arc<Standing>)>,
    ledger: Arc<Ledger>,
}

/// What a gateway writes on standard error unless PELLUCID_LOG says otherwise; and what others do.
pub(crate) const LINES: &str = "warn,pellucid=info";
const FEW_LINES: &str = "warn";

/// Installs the process's subscriber. A second call in one process changes nothing and exports nothing.
pub(crate) fn install(lines: &str, settings: &TelemetrySettings, ledger: &Arc<Ledger>, standings: &Standings) -> Exports {
    let filter = wanted_lines(lines);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_filter(filter);
    let mut exports = Exports { ledger: Arc::clone(ledger), ..Exports::default() };
    let resource = sdk_resource(settings);
    let ours = || filter_fn(|metadata| metadata.target().starts_with("pellucid") && *metadata.level() <= tracing::Level::INFO);
    let exporter = settings.traces.as_ref().and_then(|target| span_exporter(target, &resource));
    let spans = exporter.zip(standings.otlp(Signal::Traces)).map(|(exporter, standing)| {
        let (queue, received) = mpsc::channel(CONTROL_QUEUE_LEN_MAX);
        exports.spans = Some((exporter, received, Arc::clone(standing)));
        let processor = Queueing { queue, standing: Arc::clone(standing), ledger: Arc::clone(ledger) };
        let provider = SdkTracerProvider::builder().with_resource(resource.clone()).with_span_processor(processor).build();
        tracing_opentelemetry::layer().with_tracer(provider.tracer(names::SCOPE)).with_filter(ours())
    });
    let exporter = settings.logs.as_ref().and_then(|target| log_exporter(target, &resource));
    let logs = exporter.zip(standings.otlp(Signal::Logs)).map(|(exporter, standing)| {
        let (queue, received) = mpsc::channel(CONTROL_QUEUE_LEN_MAX);
        exports.logs = Some((exporter, received, Arc::clone(standing)));
        let processor = Queueing { queue, standing: Arc::clone(standing), ledger: Arc::clone(ledger) };
        let provider = SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(processor).build();
        opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(&provider).with_filter(ours())
    });
    match tracing_subscriber::registry().with(lines).with(spans).with(logs).try_init() {
        Ok(()) => exports,
        Err(_) => Exports::default(),
    }
}

/// Lines on standard error only; for commands that export nothing.
pub(crate) fn install_lines() {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_filter(wanted_lines(FEW_LINES));
    // Someone who installed a subscriber before keeps it.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// As PELLUCID_LOG says, where it says something that can be read.
fn wanted_lines(default: &str) -> Targets {
    let wanted = std::env::var("PELLUCID_LOG").ok().and_then(|wanted| wanted.parse().ok());
    wanted.unwrap_or_else(|| default.parse().expect("the default filter can be read"))
}

impl Exports {
    /// Exports until the process ends.
    pub(crate) fn spawn(self) {
        let ledger = self.ledger;
        if let Some((exporter, received, standing)) = self.spans {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(pump(received, standing, ledger, async move |batch: Vec<SpanData>| exporter.export(batch).await));
        }
        if let Some((exporter, received, standing)) = self.logs {
            let export = async move |batch: Vec<LogItem>| {
                let borrowed: Vec<_> = batch.iter().map(|(record, scope)| (record, scope)).collect();
                exporter.export(LogBatch::new(&borrowed)).await
            };
            tokio::spawn(pump(received, standing, ledger, export));
        }
    }
}

/// Collects for a while, exports, and enters what became of it in the ledger and in the standing.
async fn pump<T>(
    mut received: mpsc::Receiver<T>,
    standing: Arc<Standing>,
    ledger: Arc<Ledger>,
    export: impl AsyncFn(Vec<T>) -> OTelSdkResult,
) {
    let signal = standing.signal();
    loop {
        let mut batch = Vec::new();
        if received.recv_many(&mut batch, BATCH_LEN_MAX).await == 0 {
            return;
        }
        tokio::time::sleep(BATCH_EVERY).await;
        while batch.len() < BATCH_LEN_MAX {
            match received.try_recv() {
                Ok(item) => batch.push(item),
                Err(_) => break,
            }
        }
        let items = batch.len() as u64;
        match export(batch).await {
            Ok(()) => {
                ledger.exported(signal, items);
                standing.succeeded();
            }
            Err(error) => {
                ledger.dropped(signal, Drop::RetriesExhausted, items);
                standing.failed(&error.to_string());
            }
        }
        standing.leave(items, 0);
    }
}

/// A processor that counts and hands over; it never waits.
#[derive(Debug)]
struct Queueing<T> {
    queue: mpsc::Sender<T>,
    standing: Arc<Standing>,
    ledger: Arc<Ledger>,
}

impl<T> Queueing<T> {
    fn hand_over(&self, item: T) {
        self.ledger.produced(self.standing.signal(), 1);
        // Its bytes are not known; the queue is bounded in items.
        self.standing.enter(1, 0);
        if self.queue.try_send(item).is_err() {
            self.standing.leave(1, 0);
            self.ledger.dropped(self.standing.signal(), Drop::QueueFull, 1);
        }
    }
}

impl SpanProcessor for Queueing<SpanData> {
    fn on_start(&self, _span: &mut Span, _context: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.hand_over(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Queueing<LogItem> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.hand_over((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn sdk_resource(settings: &TelemetrySettings) -> SdkResource {
    let attributes = settings.resource.attributes.iter().map(|(key, value)| opentelemetry::KeyValue::new(key.clone(), value.clone()));
    SdkResource::builder_empty().with_attributes(attributes).build()
}

fn span_exporter(target: &Target, resource: &SdkResource) -> Option<SpanExporter> {
    let builder = SpanExporter::builder();
    let built = match target.protocol {
        Protocol::Grpc => {
            let mut builder = builder.with_tonic().with_endpoint(&target.url).with_timeout(target.timeout).with_metadata(metadata(target));
            if target.gzip {
                builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
            }
            builder.build()
        }
        Protocol::HttpProtobuf => {
            let headers = target.headers.iter().cloned().collect();
            let mut builder = builder.with_http().with_endpoint(&target.url).with_timeout(target.timeout).with_headers(headers);
            if target.gzip {
                builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
            }
            builder.build()
        }
    };
    built.ok().map(|mut exporter| {
        exporter.set_resource(resource);
        exporter
    })
}

fn log_exporter(target: &Target, resource: &SdkResource) -> Option<LogExporter> {
    let builder = LogExporter::builder();
    let built = match target.protocol {
        Protocol::Grpc => {
            let mut builder = builder.with_tonic().with_endpoint(&target.url).with_timeout(target.timeout).with_metadata(metadata(target));
            if target.gzip {
                builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
            }
            builder.build()
        }
        Protocol::HttpProtobuf => {
            let headers = target.headers.iter().cloned().collect();
            let mut builder = builder.with_http().with_endpoint(&target.url).with_timeout(target.timeout).with_headers(headers);
            if target.gzip {
                builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
            }
            builder.build()
        }
    };
    built.ok().map(|mut exporter| {
        exporter.set_resource(resource);
        exporter
    })
}

fn metadata(target: &Target) -> opentelemetry_otlp::tonic_types::metadata::MetadataMap {
    let headers: http::HeaderMap =
        target.headers.iter().filter_map(|(name, value)| Some((name.parse::<http::HeaderName>().ok()?, value.parse().ok()?))).collect();
    opentelemetry_otlp::tonic_types::metadata::MetadataMap::from_headers(headers)
}
