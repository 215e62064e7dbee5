//! Every bound of the system, named, with its unit and its reason. Docs quote this file; tests stand at each edge.

use std::time::Duration;

/// Characters in the id of a tenant, node, gateway or bot. One DNS label, so that an id can serve as a host or metric label.
pub const RESOURCE_ID_CHARS_MAX: usize = 63;

/// Ids of messages in one millisecond; more borrow from the next ones. Above what a database commits (150,000 a second), so that
/// ids do not run away from the clock, and small, so that ids that two copies of a database issue hardly ever meet.
pub const MESSAGE_IDS_PER_MS_MAX: i64 = 256;

/// Characters of a text message. The smallest limit of the networks that publish one (WhatsApp Cloud API and Telegram: 4,096).
pub const TEXT_CHARS_MAX: usize = 4_096;

/// Characters of a caption. Telegram's limit, the smallest that is published.
pub const CAPTION_CHARS_MAX: usize = 1_024;

/// Characters of a file name shown to the recipient; longer ones are cut by file systems (255 bytes) in any case.
pub const FILE_NAME_CHARS_MAX: usize = 240;

/// Bytes of an emoji reaction: the longest joined emoji sequences take about 35 bytes.
pub const REACTION_BYTES_MAX: usize = 64;

/// Bytes of one uploaded medium. WhatsApp's ceiling for audio and video; larger documents are passed by URL.
pub const MEDIA_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes in one chunk of a media transfer: well below the frame limit, large enough to amortise the frame.
pub const MEDIA_CHUNK_BYTES: usize = 256 * 1024;

/// Characters of a media URL. What common servers and proxies accept in a request line.
pub const URL_CHARS_MAX: usize = 2_048;

/// Messages in one frame of the streamed send, or in one batch call. Keeps one commit short enough for others to join it.
pub const MESSAGES_PER_FRAME_MAX: usize = 1_000;

/// Reports that an agent sends ahead of their acknowledgement. A server that comes back gets no more at once from a full journal; one
/// whose database takes none keeps them all, and goes on reading the signs of life behind them.
pub const REPORTS_UNACKNOWLEDGED_MAX: u64 = 8_192;

/// Bytes of one gRPC message in either direction (tonic's default, stated here because agents announce it).
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of an idempotency key or request id: room for a UUID, a hash in hex, or an order number with a prefix.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// How long an idempotency key keeps returning its first answer, at least. The API promises 24 h; twice that leaves room for
/// a client that retries on the next working day.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(48 * 3600);

/// Validity of a message that names none. A day: what is not sent by then is usually no longer wanted.
pub const VALIDITY_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// Shortest validity. Below a second, a busy moment would expire the message before anybody could look at it.
pub const VALIDITY_MIN: Duration = Duration::from_secs(1);

/// How long after the end of a message's validity the report of its attempt is waited for. Nothing is started after that end,
/// and an agent that is up reports within seconds: an hour covers a restart of its host. After it the outcome is uncertain,
/// and a report that comes later still settles it.
pub const SILENCE_MAX: Duration = Duration::from_secs(3600);

/// How long a message is uncertain before the policy RESEND has it sent again, unless the server is set otherwise. Gateways that
/// retry their webhooks deliver most of what they have to say within minutes.
pub const UNCERTAIN_WAIT_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// How often a policy has one message sent again. Once: its recipient gets it twice at the most, and an outcome that is unknown
/// twice in a row says more about the gateway than about the message, so an operator looks.
pub const POLICY_RESENDS_MAX: u32 = 1;

/// Shortest time without a session after which a node may be called absent. An agent comes back from a broken line or its own
/// restart within a few seconds: less would act on every hiccup.
pub const ABSENT_AFTER_MIN: Duration = Duration::from_secs(5);

/// Time without a session after which a node is absent, for a bot that names none. A restart of a machine takes a few minutes,
/// and a move to another gateway is not taken back by itself: twice as long as until the node is called lost.
pub const ABSENT_AFTER_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// How long a drain of a node may be waited for. A day: longer is a cordon.
pub const DRAIN_DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a drain is waited for that names no deadline. Calls to gateways end within a minute or two.
pub const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// Furthest point in time that `not_before` or the end of the validity may name. 90 days, a quarter.
pub const HORIZON: Duration = Duration::from_secs(90 * 24 * 3600);

/// How far in the past `not_before` may lie before it is taken for a mistake. Covers clock skew and slow clients.
pub const PAST_TOLERANCE: Duration = Duration::from_secs(300);

/// Failures of one message before it fails for good; see [`crate::retry::after_failure`] for those that do not count.
pub const ATTEMPTS_MAX: u32 = 10;

/// How long a message waits until it counts as the next higher priority; see [`crate::aging`]. Much longer than a bot needs for
/// the bursts of a conversation, and short enough that a reminder leaves within the hour.
pub const PRIORITY_STEP: Duration = Duration::from_secs(15 * 60);

/// Messages that wait for one bot. What a sender of 30 messages a second, the fastest that a network lets anybody be, works off in
/// nine hours; [`crate::backlog`] stops the others earlier.
pub const BOT_WAITING_MAX: u64 = 1_000_000;

/// Messages of one tenant that wait, over all its bots: about 6 GB of the database.
pub const TENANT_WAITING_MAX: u64 = 10_000_000;

/// Largest weight of a tenant: shares differ by two orders of magnitude at the most, so that the smallest still moves.
pub const TENANT_WEIGHT_MAX: u32 = 100;

/// Weight of a tenant that names none.
pub const TENANT_WEIGHT_DEFAULT: u32 = 1;

/// Rows in one page of a list call, if the caller names no size.
pub const PAGE_SIZE_DEFAULT: u32 = 50;

/// Rows in one page of a list call, at most. Larger requests are lowered to it, as AIP-158 asks.
pub const PAGE_SIZE_MAX: u32 = 1_000;

/// Labels on one bot, node or gateway.
pub const LABELS_MAX: usize = 32;

/// Characters of a label key or value.
pub const LABEL_CHARS_MAX: usize = 63;

/// Characters of a display name, or of the reason of a hold or a resolution.
pub const NOTE_CHARS_MAX: usize = 256;

/// Characters of a word by which people opt out: the longest that is known has 13, and a tenant's own may be a short phrase.
pub const OPT_OUT_WORD_CHARS_MAX: usize = 32;

/// Addresses in one recipient check. Bulk probing is itself a sign of abuse to the networks.
pub const RECIPIENT_CHECK_MAX: usize = 50;

/// Resources in one declared fleet: 100,000 bots on their nodes and gateways, with room.
pub const FLEET_RESOURCES_MAX: usize = 120_000;

/// Longest typing indicator before a reply. Networks end it by themselves after about 25 s.
pub const TYPING_MAX: Duration = Duration::from_secs(20);

/// Intervals in a sending window, over all its shifts: two on each day of the week, and two more.
pub const WINDOW_INTERVALS_MAX: usize = 16;

/// How long before a sending window closes nothing is chosen any more, and what was chosen is not begun. An agent counts the time
/// that it has from when an attempt arrives; a session on which nothing arrives for so long has ended (`stall_timeout`), so that
/// what is slow on its way is not begun after the window either.
pub const WINDOW_MARGIN: Duration = Duration::from_secs(30);
