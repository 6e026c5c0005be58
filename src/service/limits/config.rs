//! `[limits]`, and what of it applies to which workspace.

use serde::{Deserialize, Serialize};

use crate::domain::limits::QUOTA_MAX;
use crate::domain::problems::Problems;

/// `[limits]`: how much anybody may ask for, 0 to 1,000,000 each; 0 is unlimited. The workspace of
/// the first start is the operator's own: the first three are not for it, unless set for it by
/// name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Links that an account may create per hour, those of bulk requests and imports included.
    pub link_creates_per_hour: u32,
    /// Requests per hour and API key.
    pub key_requests_per_hour: u32,
    /// Requests per minute and workspace.
    pub workspace_requests_per_minute: u32,
    /// Requests per minute and client network (/24 or /64) without a credential that is in force.
    pub unauthenticated_requests_per_minute: u32,
    /// Unknown codes that a client network may try per minute, on each node; known ones are never
    /// refused for it.
    pub unknown_codes_per_minute: u32,
    /// Redirects per minute and client network, on each node.
    pub redirects_per_minute: u32,
    /// Failed logins in 15 minutes of a pair of client network and account.
    pub login_failures_per_15_minutes: u32,
    /// Failed logins in 15 minutes of a client network, whatever the account.
    pub login_failures_per_client: u32,
    /// Failed logins in 15 minutes to an account from networks that it never signed in from.
    pub login_failures_per_account: u32,
    /// Wrong passwords in 15 minutes of a client network to one link.
    pub password_guesses_per_15_minutes: u32,
    /// Registrations per hour and client network.
    pub registrations_per_hour_per_client: u32,
    /// Mails per hour that strangers may have sent to one address: resets and verifications.
    pub mails_per_hour_per_address: u32,
    /// The first three for single workspaces: a list of tables with `name`, the name or the id of a
    /// workspace, and those of the three that differ. Of several workspaces of a name, the oldest
    /// is meant.
    pub workspaces: Vec<WorkspaceLimits>,
}

/// What differs for one workspace.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceLimits {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_creates_per_hour: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_requests_per_hour: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_requests_per_minute: Option<u32>,
}

/// The three limits of a workspace; 0 is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApiLimits {
    pub link_creates_per_hour: u32,
    pub key_requests_per_hour: u32,
    pub workspace_requests_per_minute: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            link_creates_per_hour: 100,
            key_requests_per_hour: 1_000,
            workspace_requests_per_minute: 600,
            unauthenticated_requests_per_minute: 6_000,
            unknown_codes_per_minute: 0,
            redirects_per_minute: 0,
            login_failures_per_15_minutes: 5,
            login_failures_per_client: 50,
            login_failures_per_account: 100,
            password_guesses_per_15_minutes: 10,
            registrations_per_hour_per_client: 20,
            mails_per_hour_per_address: 5,
            workspaces: Vec::new(),
        }
    }
}

impl LimitsConfig {
    /// Nothing is limited.
    pub fn unlimited() -> Self {
        Self {
            link_creates_per_hour: 0,
            key_requests_per_hour: 0,
            workspace_requests_per_minute: 0,
            unauthenticated_requests_per_minute: 0,
            unknown_codes_per_minute: 0,
            redirects_per_minute: 0,
            login_failures_per_15_minutes: 0,
            login_failures_per_client: 0,
            login_failures_per_account: 0,
            password_guesses_per_15_minutes: 0,
            registrations_per_hour_per_client: 0,
            mails_per_hour_per_address: 0,
            workspaces: Vec::new(),
        }
    }

    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        for (key, value) in [
            ("link_creates_per_hour", self.link_creates_per_hour),
            ("key_requests_per_hour", self.key_requests_per_hour),
            ("workspace_requests_per_minute", self.workspace_requests_per_minute),
            ("unauthenticated_requests_per_minute", self.unauthenticated_requests_per_minute),
            ("unknown_codes_per_minute", self.unknown_codes_per_minute),
            ("redirects_per_minute", self.redirects_per_minute),
            ("login_failures_per_15_minutes", self.login_failures_per_15_minutes),
            ("login_failures_per_client", self.login_failures_per_client),
            ("login_failures_per_account", self.login_failures_per_account),
            ("password_guesses_per_15_minutes", self.password_guesses_per_15_minutes),
            ("registrations_per_hour_per_client", self.registrations_per_hour_per_client),
            ("mails_per_hour_per_address", self.mails_per_hour_per_address),
        ] {
            problems.range(&format!("limits.{key}"), value, 0..=QUOTA_MAX);
        }
        for (index, one) in self.workspaces.iter().enumerate() {
            one.check(problems);
            if self.workspaces[..index].iter().any(|other| other.name == one.name) {
                problems.add(format!("`limits.workspaces` has {:?} twice", one.name));
            }
        }
    }

    /// The limits of a workspace for which nothing else is set.
    pub(super) fn of(&self, operator: bool) -> ApiLimits {
        if operator {
            return ApiLimits::NONE;
        }
        ApiLimits {
            link_creates_per_hour: self.link_creates_per_hour,
            key_requests_per_hour: self.key_requests_per_hour,
            workspace_requests_per_minute: self.workspace_requests_per_minute,
        }
    }
}

impl WorkspaceLimits {
    fn check(&self, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.add("`limits.workspaces` has an entry whose `name` is empty");
        }
        let limits = [
            ("link_creates_per_hour", self.link_creates_per_hour),
            ("key_requests_per_hour", self.key_requests_per_hour),
            ("workspace_requests_per_minute", self.workspace_requests_per_minute),
        ];
        if limits.iter().all(|(_, value)| value.is_none()) {
            problems.add(format!("`limits.workspaces` sets nothing for {:?}", self.name));
        }
        for (key, value) in limits {
            let name = format!("limits.workspaces` of {:?}: `{key}", self.name);
            problems.range(&name, value.unwrap_or(0), 0..=QUOTA_MAX);
        }
    }

    /// The limits of the workspace meant here, whose limits are `other` where nothing is said.
    pub(super) fn or(&self, other: ApiLimits) -> ApiLimits {
        let or = |own: Option<u32>, other| own.unwrap_or(other);
        ApiLimits {
            link_creates_per_hour: or(self.link_creates_per_hour, other.link_creates_per_hour),
            key_requests_per_hour: or(self.key_requests_per_hour, other.key_requests_per_hour),
            workspace_requests_per_minute: or(
                self.workspace_requests_per_minute,
                other.workspace_requests_per_minute,
            ),
        }
    }
}

impl ApiLimits {
    const NONE: Self = Self {
        link_creates_per_hour: 0,
        key_requests_per_hour: 0,
        workspace_requests_per_minute: 0,
    };
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn problems_of(toml: &str) -> Vec<String> {
        let mut problems = Problems::default();
        toml::from_str::<LimitsConfig>(toml).unwrap().check(&mut problems);
        problems.sentences().to_vec()
    }

    #[test]
    fn every_bad_setting_is_named() {
        assert_eq!(problems_of(""), Vec::<String>::new());
        for (toml, key) in [
            ("link_creates_per_hour = 1000001", "`limits.link_creates_per_hour`"),
            ("mails_per_hour_per_address = 4294967295", "`limits.mails_per_hour_per_address`"),
            ("workspaces = [{ name = '' , key_requests_per_hour = 1 }]", "`limits.workspaces`"),
            ("workspaces = [{ name = 'a' }]", "`limits.workspaces`"),
            (
                "workspaces = [{ name = 'a', key_requests_per_hour = 1000001 }]",
                "`limits.workspaces` of \"a\": `key_requests_per_hour`",
            ),
            (
                "workspaces = [{ name = 'a', key_requests_per_hour = 1 },
                    { name = 'a', key_requests_per_hour = 2 }]",
                "`limits.workspaces` has \"a\" twice",
            ),
        ] {
            let problems = problems_of(toml);
            assert_eq!(problems.len(), 1, "{toml}: {problems:?}");
            assert!(problems[0].contains(key), "{toml}: {}", problems[0]);
        }
        assert!(toml::from_str::<LimitsConfig>("workspaces = [{ name = 'a', x = 1 }]").is_err());
    }

    #[test]
    fn what_is_not_said_of_a_workspace_stays_as_it_is() {
        let limits = "name = 'a'\nkey_requests_per_hour = 7";
        let limits: WorkspaceLimits = toml::from_str(limits).unwrap();
        let config = LimitsConfig::default();
        let others = limits.or(config.of(false));
        assert_eq!((others.link_creates_per_hour, others.key_requests_per_hour), (100, 7));
        let operators = limits.or(config.of(true));
        assert_eq!((operators.link_creates_per_hour, operators.key_requests_per_hour), (0, 7));
    }
}
