//! Every fixed bound of the data path and of telemetry, by name, with its unit last.
//!
//! What an operator can change is in the configuration, with its default; what stands here cannot be changed at run time.

use std::time::Duration;

/// Header fields in one message that a listener may allow; also the most of a response.
pub(crate) const HEADER_COUNT_MAX: usize = 256;
/// Bytes of all trailer fields of one message.
pub(crate) const TRAILER_BYTES_MAX: usize = 8192;
/// Bytes of one chunk-size line, extensions included.
pub(crate) const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of all chunk extensions of one body.
pub(crate) const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the header section of an upstream response.
pub(crate) const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Interim (1xx) responses accepted before the final one.
pub(crate) const INTERIM_RESPONSES_MAX: u32 = 16;
/// Room made for one read from a socket while a head is awaited.
pub(crate) const READ_SMALL_BYTES: usize = 8 * 1024;
/// Room made for one read from a socket while a body streams.
pub(crate) const READ_LARGE_BYTES: usize = 64 * 1024;
/// Bytes of an unread request body that are swallowed to keep a connection alive.
pub(crate) const BODY_SWALLOW_BYTES_MAX: u64 = 256 * 1024;
/// How long a closing connection goes on reading, so that a reset does not eat the answer (RFC 9112, section 9.6).
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long idle connections stay open once a listener stops accepting, so that clients hear of the end with an answer.
pub(crate) const IDLE_GRACE: Duration = Duration::from_secs(1);
/// How long an idle connection keeps its buffers before it is parked without any.
pub(crate) const PARK_AFTER: Duration = Duration::from_millis(500);
/// Read buffers that a worker keeps for reuse.
pub(crate) const SPARE_BUFFERS_MAX: usize = 256;
/// The same for large ones, of [`READ_LARGE_BYTES`].
pub(crate) const SPARE_LARGE_BUFFERS_MAX: usize = 16;
/// Records and timers that a worker keeps for reuse.
pub(crate) const SPARE_RECORDS_MAX: usize = 256;

/// Attempts of one exchange that its record can hold; also the most that a retry policy may ask for.
pub(crate) const ATTEMPTS_MAX: usize = 4;
/// Bytes of text in one record, over all its strings.
pub(crate) const RECORD_TEXT_BYTES: usize = 704;
/// Names of request headers that a configuration may ask to be captured.
pub(crate) const CAPTURED_NAMES_MAX: usize = 8;
/// Values of captured headers in one record, and what is remembered of one and of all together, in bytes.
pub(crate) const CAPTURED_VALUES_MAX: usize = 16;
pub(crate) const CAPTURED_VALUE_BYTES_MAX: usize = 120;
pub(crate) const CAPTURED_BYTES_MAX: usize = 256;
/// Filters of one route whose time is remembered.
pub(crate) const FILTERS_TIMED_MAX: usize = 16;
/// Names of captured headers over the life of the process; more of them share one.
pub(crate) const HEADER_LEGENDS_MAX: usize = 255;
/// Records in one worker's rings: at 100,000 requests/s this is 20 ms, two drains.
pub(crate) const RING_RECORDS_MAX: usize = 2048;
/// Those of them in the ring that is used as long as it has room: few enough to stay in the cache.
pub(crate) const RING_NEAR_RECORDS_MAX: usize = 512;
/// Records in its ring for those that are long or were retried.
pub(crate) const RING_FULL_RECORDS_MAX: usize = 1024;
/// Messages waiting in a worker's mailbox (mounted requests, idle connections wanted back).
pub(crate) const MAILBOX_LEN_MAX: usize = 1024;
/// Orders that wait for a worker: listeners that open and close.
pub(crate) const ORDERS_MAX: usize = 4096;
/// Body frames in flight between a mounted service and its worker.
pub(crate) const MOUNT_FRAMES_MAX: usize = 4;
/// The most recent records that the admin plane can show.
pub(crate) const RECENT_RECORDS_MAX: usize = 2048;
/// Those with a verdict that it can show beyond them, and how many of a route become such in a second.
pub(crate) const NOTABLE_RECORDS_MAX: usize = 1024;
pub(crate) const NOTABLE_RECORDS_A_SECOND_MAX: usize = 4;
/// Those that were opened and stay for whoever has the link.
pub(crate) const OPENED_RECORDS_MAX: usize = 64;
/// Reloads that are remembered, and lines or names of each.
pub(crate) const RELOADS_MAX: usize = 16;
pub(crate) const RELOAD_ERRORS_MAX: usize = 100;
/// How often the configuration's file is looked at, and how many looks it must have been the same for.
pub(crate) const WATCH_EVERY: Duration = Duration::from_millis(150);
pub(crate) const WATCH_QUIET_LOOKS: u32 = 3;
/// Names of routes that telemetry knows over the life of the process; more of them share one.
pub(crate) const LEGENDS_MAX: usize = 250_000;
/// Routes of one configuration.
pub(crate) const ROUTES_MAX: usize = 100_000;
/// Bytes of a host's name or address (RFC 1035, section 2.3.4).
pub(crate) const HOST_BYTES_MAX: usize = 255;
/// Bytes of a configuration file.
pub(crate) const CONFIG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one OTLP request before compression; the Collector's gRPC server takes 4 MiB by default.
pub(crate) const OTLP_REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Encoded OTLP requests that wait for the Collector, over all signals.
pub(crate) const OTLP_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the Collector's answer that are read.
pub(crate) const OTLP_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Tries of one OTLP request before it is dropped.
pub(crate) const OTLP_TRIES_MAX: u32 = 5;
/// Access-log bytes that wait for their sink.
pub(crate) const LOG_QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Control-plane spans or log lines that wait for export.
pub(crate) const CONTROL_QUEUE_LEN_MAX: usize = 2048;
/// Frames of one sampled stack; what is further out is cut off.
pub(crate) const FRAMES_MAX: usize = 128;
/// Words at the top of an interrupted stack that are kept, to find the caller of a function without a frame pointer.
pub(crate) const STACK_WORDS_MAX: usize = 24;
/// How far above the stack pointer frames are looked for.
pub(crate) const STACK_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Samples that wait to be drained, over all threads; a power of two.
pub(crate) const SAMPLE_RING_LEN_MAX: usize = 2048;
/// Threads that are sampled at once.
pub(crate) const SAMPLED_THREADS_MAX: usize = 1024;
/// Samples a second and thread that may be asked for.
pub(crate) const PROFILE_HZ_MAX: u32 = 1000;
/// Seconds that one profile may take.
pub(crate) const PROFILE_SECONDS_MAX: u64 = 600;
/// Samples that are remembered.
pub(crate) const HISTORY_SAMPLES_MAX: usize = 262_144;
/// Different stacks that are remembered.
pub(crate) const HISTORY_STACKS_MAX: usize = 65_536;
/// How long continuous profiles are remembered.
pub(crate) const HISTORY_SPAN: Duration = Duration::from_secs(15 * 60);
/// A poll that takes longer is a slow one.
pub(crate) const SLOW_POLL: Duration = Duration::from_millis(10);
/// Events of one timeline.
pub(crate) const TIMELINE_EVENTS_MAX: usize = 400_000;
/// Polls that wait in a worker's ring for the timeline.
pub(crate) const TIMELINE_RING_LEN_MAX: usize = 16_384;
/// Bytes of a profile that is read, as it is stored or sent, and once more when it is unpacked.
pub(crate) const PROFILE_BYTES_MAX: usize = 256 * 1024 * 1024;
