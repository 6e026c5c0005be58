//! Files with one thing changed: each is refused with the changed key named, or taken for what it
//! says, without a word of it lost.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Every key with a value that is not its default, so that a lost one shows.
const OTHER_THAN_DEFAULT: &str = r#"
[http]
listen = "127.0.0.1:8090"
public_url = "https://go.example"
workers = 3
trusted_proxies = ["10.0.0.0/8"]
keep_alive = "20s"
backlog = 512
max_connections = 1000
shutdown_timeout = "10s"

[ops]
listen = "127.0.0.1:9092"

[storage]
path = "./elsewhere"
cql = []
keyspace = "links"
cql_tls = false
replication = { dc1 = 2, dc2 = 1 }
short_readers = 3
long_readers = 4
size_max = "2GiB"

[node]
id = 5
roles = ["worker", "api", "redirect"]

[links]
memory_max = "64MiB"
stale_max = "2d"
shards = 8
threads = 2
load_wait_max = "300ms"
loads_max = 100
mailbox_max = 1000
negative_max = 1000
warm_hottest = 1000
warm_wait_max = "400ms"
blocked_hosts = ["evil.example", "192.0.2.7"]

[codes]
scheme = "random"
allow_choice = true
length = 9

[destinations]
allow_private = true

[redirect]
permanent_max_age = "60s"
no_track_param = "quiet"
honour_privacy_signals = false

[pages]
home_url = "https://example.com/"

[clicks]
geoip = []
events_retention = "30d"
enabled = false
segment_size = "32MiB"
segment_age_max = "2m"
spool_max = "1GiB"
free_disk_min = "10%"
sync_interval = "60ms"
read_interval = "50ms"
flush_interval = "2s"
counters = 2

[auth]
registration = "closed"

[passwords]
chars_min = 12
upper = false
lower = false
digit = false
memory = "47MiB"
iterations = 1
parallelism = 2
threads = 3
queue = 10
queue_wait = "4s"

[mail]
from = "Links <links@go.example>"
timeout = "20s"

[oidc]
providers = [
    { id = "acme", name = "Acme", issuer = "https://login.acme.example", client_id = "shunt" },
]

[limits]
link_creates_per_hour = 1
key_requests_per_hour = 2
workspace_requests_per_minute = 3
unauthenticated_requests_per_minute = 4
unknown_codes_per_minute = 5
redirects_per_minute = 6
login_failures_per_15_minutes = 7
login_failures_per_client = 8
login_failures_per_account = 9
password_guesses_per_15_minutes = 10
registrations_per_hour_per_client = 11
mails_per_hour_per_address = 12
workspaces = [{ name = "theirs", link_creates_per_hour = 13 }]

[anonymous]
enabled = false

[log]
format = "json"
level = "warn"
"#;

/// Keys that the file above leaves unset, and one that does not exist.
const UNSET: [(&str, &str); 13] = [
    ("auth", "bootstrap_key"),
    ("links", "blocked_hosts_file"),
    ("mail", "url"),
    ("mail", "ca_file"),
    ("pages", "templates"),
    ("passwords", "denylist"),
    ("redis", "url"),
    ("log", "colour"),
    ("storage", "cql_user"),
    ("storage", "cql_password"),
    ("storage", "cql_ca_file"),
    ("storage", "cql_certificate_file"),
    ("storage", "cql_key_file"),
];

/// What somebody might write in place of a value.
const VALUES: [&str; 44] = [
    "0",
    "1",
    "-1",
    "3",
    "64",
    "65536",
    "4294967296",
    "9223372036854775807",
    "1.5",
    "nan",
    "inf",
    "1e300",
    "true",
    "false",
    "\"\"",
    "\" \"",
    "\"0\"",
    "\"7\"",
    "\"0s\"",
    "\"1ms\"",
    "\"1s\"",
    "\"5 m\"",
    "\"1h\"",
    "\"90d\"",
    "\"99999999999999999999d\"",
    "\"213503982334d\"",
    "\"0B\"",
    "\"1MiB\"",
    "\"17179869183GiB\"",
    "\"0%\"",
    "\"100%\"",
    "\"256%\"",
    "\"sealed\"",
    "\"Sealed\"",
    "\"info,shunt=debug\"",
    "\"no such thing\"",
    "\"/no/such/folder\"",
    "\"https://example.com/\\u0000\"",
    "\"127.0.0.1:80\"",
    "[\"127.0.0.1:80\", \"[::1]:80\"]",
    "[]",
    "[1, \"a\"]",
    "{ a = 1 }",
    "2026-01-01T00:00:00Z",
];

/// A key and what a file says about it.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    section: String,
    key: String,
    value: String,
}

/// A folder for the files that are tried.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn load(&self, text: &str) -> Result<Settings, Problems> {
        let file = self.0.path().join("tried.toml");
        std::fs::write(&file, text).unwrap();
        load(Some(&file), [])
    }

    /// What a file is taken for, as the file that `print-config` prints; which must be taken for
    /// the same.
    fn printed(&self, text: &str) -> Result<String, Problems> {
        let printed = self.load(text)?.to_toml();
        let again = self.load(&printed).map(|settings| settings.to_toml());
        assert_eq!(again.map_err(|problems| problems.to_string()), Ok(printed.clone()), "{text}");
        Ok(printed)
    }
}

fn entries(text: &str) -> Vec<Entry> {
    let table: Table = text.parse().unwrap();
    let mut entries = Vec::new();
    for (section, values) in table {
        for (key, value) in values.as_table().unwrap() {
            let (section, key) = (section.clone(), key.clone());
            entries.push(Entry { section, key, value: value.to_string() });
        }
    }
    entries
}

fn file_of(entries: &[Entry]) -> String {
    entries.iter().map(|one| format!("{}.{} = {}\n", one.section, one.key, one.value)).collect()
}

/// What the text says about other keys than this one.
fn others(text: &str, section: &str, key: &str) -> Vec<Entry> {
    let mut entries = entries(text);
    entries.retain(|one| one.section != section || one.key != key);
    entries
}

#[track_caller]
fn assert_all_name(problems: &Problems, key: &str, value: &str) {
    for sentence in problems.sentences() {
        assert!(sentence.contains(key), "{key} = {value} is refused without its name: {sentence}");
    }
}

#[test]
fn every_value_in_place_of_every_other_is_refused_by_its_key_or_taken() {
    let desk = Desk::new();
    let base = entries(OTHER_THAN_DEFAULT);
    let printed = desk.printed(OTHER_THAN_DEFAULT).unwrap();
    let places = base.iter().map(|one| (one.section.as_str(), one.key.as_str()));
    let (mut n_taken, mut n_refused) = (0, 0);
    for (section, key) in places.chain(UNSET) {
        for value in VALUES {
            let mut changed = others(OTHER_THAN_DEFAULT, section, key);
            let (in_section, named) = (section.to_owned(), key.to_owned());
            changed.push(Entry { section: in_section, key: named, value: value.to_owned() });
            match desk.printed(&file_of(&changed)) {
                Ok(taken) => {
                    let (before, after) =
                        (others(&printed, section, key), others(&taken, section, key));
                    assert_eq!(before, after, "{section}.{key} = {value} changed something else");
                    n_taken += 1;
                }
                Err(problems) => {
                    assert_all_name(&problems, &format!("`{section}.{key}`"), value);
                    n_refused += 1;
                }
            }
        }
    }
    assert!(n_taken > 150 && n_refused > 1_000, "{n_taken} taken, {n_refused} refused");
}

#[test]
fn the_environment_is_judged_like_the_file() {
    let desk = Desk::new();
    for Entry { section, key, .. } in entries(OTHER_THAN_DEFAULT) {
        for value in VALUES {
            let name = format!("SHUNT_{}__{}", section.to_uppercase(), key.to_uppercase());
            match load(None, [(name.into(), value.into())]) {
                Ok(settings) => {
                    let printed = settings.to_toml();
                    assert_eq!(desk.printed(&printed).unwrap(), printed);
                }
                Err(problems) => {
                    assert_all_name(&problems, &format!("`{section}.{key}`"), value);
                }
            }
        }
    }
}

#[test]
fn a_key_in_the_wrong_place_or_misspelt_or_written_twice_is_refused_by_name() {
    let desk = Desk::new();
    let base = entries(OTHER_THAN_DEFAULT);
    for (place, Entry { section, key, value }) in base.iter().enumerate() {
        let mut misspelt = base.clone();
        misspelt[place].key.push('s');
        let problems = desk.load(&file_of(&misspelt)).unwrap_err();
        assert_all_name(&problems, &format!("`{section}.{key}s`"), value);

        let mut elsewhere = base.clone();
        "nowhere".clone_into(&mut elsewhere[place].section);
        let problems = desk.load(&file_of(&elsewhere)).unwrap_err();
        assert_all_name(&problems, "`nowhere`", value);

        let mut twice = base.clone();
        twice.push(base[place].clone());
        let text = desk.load(&file_of(&twice)).unwrap_err().to_string();
        assert!(text.contains("is not TOML") && text.contains(key), "{text}");
    }
    for line in ["listen = 1", "listen = true", "\"\" = 1", "log = \"text\""] {
        let text = desk.load(line).unwrap_err().to_string();
        assert!(text.contains("outside a section"), "{line}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_file_with_bytes_changed_is_refused_in_words_or_taken_for_what_it_says(
        edits in prop::collection::vec(
            (0..OTHER_THAN_DEFAULT.len(), 0_usize..3, prop::char::range(' ', '~')), 1..3,
        ),
    ) {
        let mut text: Vec<char> = OTHER_THAN_DEFAULT.chars().collect();
        for (place, kind, character) in edits {
            let place = place.min(text.len() - 1);
            match kind {
                0 => text[place] = character,
                1 => text.insert(place, character),
                _ => drop(text.remove(place)),
            }
        }
        let text = String::from_iter(text);
        if let Err(problems) = Desk::new().printed(&text) {
            prop_assert!(!problems.is_empty());
            for sentence in problems.sentences() {
                let named = sentence.contains('`') || sentence.contains("tried.toml");
                prop_assert!(named, "{}", sentence);
            }
        }
    }
}
