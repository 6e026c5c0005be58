//! Every bound that no operator should change, in one place. Bounds that operators do change are
//! settings, next to the module they bound.

/// Longest code or alias, in bytes. Imported codes may be as short as one.
pub const CODE_BYTES_MAX: usize = 50;
/// Shortest alias a caller may choose.
pub const ALIAS_BYTES_MIN: usize = 3;
/// Longest destination, in bytes, before and after normalisation.
pub const DESTINATION_BYTES_MAX: usize = 8_192;
/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 200;
/// Longest notes, in characters.
pub const NOTES_CHARS_MAX: usize = 2_000;
/// Most tags on one link.
pub const TAGS_MAX: usize = 20;
/// Longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 50;
/// Longest `external_id`, in bytes.
pub const EXTERNAL_ID_BYTES_MAX: usize = 255;
/// Largest click limit of a link.
pub const CLICK_LIMIT_MAX: u64 = 1_000_000_000_000;
/// Links in one bulk call.
pub const BULK_LINKS_MAX: usize = 1_000;
/// Rows of one list page, and how many when the caller does not say.
pub const PAGE_ROWS_MAX: u32 = 100;
pub const PAGE_ROWS_DEFAULT: u32 = 25;
/// JSON body of a plain call, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1_024;
/// Form that a page sends, in bytes.
pub const FORM_BYTES_MAX: usize = 16 * 1_024;
/// JSON body of bulk and import calls, in bytes.
pub const BULK_BODY_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Deepest nesting of a JSON body.
pub const JSON_DEPTH_MAX: usize = 32;
/// Longest request target, in bytes; longer answers 414.
pub const TARGET_BYTES_MAX: usize = 8_192;
/// All headers of a request, in bytes; more answers 431.
pub const HEADERS_BYTES_MAX: usize = 16_384;
/// Seconds that a request to the API waits for the store, all its statements together; and for one
/// of them.
pub const STORE_WAIT_SECS: u64 = 5;
/// The same for requests that do much at once, as long as the store answers at all.
pub const STORE_WAIT_MUCH_SECS: u64 = 60;
/// Entries of the audit log that wait for a database that does not take them.
pub const AUDIT_WAITING_MAX: usize = 10_000;
/// Seconds from the first byte of a request's head to its last.
pub const HEAD_WAIT_SECS: u64 = 5;
/// Seconds that a client may leave its answers untaken, …
pub const SEND_WAIT_SECS: u64 = 10;
/// … and one more for so many bytes that it takes meanwhile.
pub const SEND_BYTES_PER_SEC_MIN: u64 = 16 * 1_024;
/// Longest search text, in characters.
pub const SEARCH_CHARS_MAX: usize = 200;
/// Longest password, in characters. Nothing is ever cut off: a longer one is refused.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// Longest API key name, in characters.
pub const KEY_NAME_CHARS_MAX: usize = 100;
/// Clients remembered of one user, to tell where it signed in from before.
pub const KNOWN_CLIENTS_MAX: usize = 50;
/// Keys of one workspace that are in force.
pub const KEYS_PER_WORKSPACE_MAX: usize = 1_000;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long an idempotent answer is replayed, in milliseconds: one day.
pub const IDEMPOTENCY_WINDOW_MS: i64 = 24 * 3_600_000;
/// How long a request without an answer holds its idempotency key, in milliseconds: one minute.
pub const IDEMPOTENCY_RESERVATION_MS: i64 = 60_000;
/// Longest user agent, referrer, language and query kept of one click, in bytes; the rest is cut.
pub const CLICK_FIELD_BYTES_MAX: usize = 1_023;
/// Values of one dimension that are kept of one link and day; the rest is `other`.
pub const DIMENSION_VALUES_MAX: usize = 1_000;
/// Days that sums by hour and dimension are kept.
pub const DETAILS_KEPT_DAYS: u32 = 400;
/// Sealed code ids that one lease takes from the store.
pub const ID_BLOCK_SIZE: u64 = 65_536;
/// Attempts before a random or hashed code grows longer.
pub const CODE_COLLISIONS_MAX: u32 = 5;
/// Codes tried for one link before giving up: enough for a random code to grow three times.
pub const CODE_ATTEMPTS_MAX: u32 = 16;
/// Token buckets that one node keeps, about 35 MiB; a shard of so many fills its hash table.
pub const BUCKETS_MAX: usize = BUCKET_SHARDS * 14_336;
/// Locks that the buckets of a node are spread over.
pub const BUCKET_SHARDS: usize = 64;
/// Largest number of tokens that a limit may be set to.
pub const QUOTA_MAX: u32 = 1_000_000;

// An alias must fit into a code, and a bulk body must be able to hold its links.
const _: () = assert!(ALIAS_BYTES_MIN <= CODE_BYTES_MAX);
const _: () = assert!(BULK_BODY_BYTES_MAX > BODY_BYTES_MAX);
const _: () = assert!(PAGE_ROWS_DEFAULT <= PAGE_ROWS_MAX);
