//! The first start: on an empty store, the operator's workspace and its owner key are made.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::IdSource;
use super::keys::{KeyError, new_text};
use crate::domain::api_key::{ApiKey, KeyText, Scopes};
use crate::domain::problems::Problems;
use crate::domain::time::Clock;
use crate::storage::{AccountStore, Workspace};

/// `[auth]`: who may use the API.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The owner key of the first start, `shunt_…`, when the operator wants to choose it. Unset:
    /// one is made. Without effect on a store that has a workspace. A secret.
    pub bootstrap_key: Option<String>,
    /// Who may register an account: `open`, everybody; `invite`, who has an invitation; `closed`,
    /// nobody. `shunt users create` makes accounts in any case.
    pub registration: Registration,
}

/// `auth.registration`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    #[default]
    Open,
    Invite,
    Closed,
}

impl AuthConfig {
    /// Adds a line to `problems` for every value that cannot be honoured.
    pub fn check(&self, problems: &mut Problems) {
        if self.bootstrap_key.as_deref().is_some_and(|text| KeyText::parse(text).is_none()) {
            problems.add(
                "`auth.bootstrap_key` is not a well-formed key; it must be `shunt_`, 40 letters \
                 and digits, `_` and a checksum of six, as `shunt keys create` prints it",
            );
        }
    }

    /// The configured key, if it is well formed.
    pub fn bootstrap_text(&self) -> Option<KeyText> {
        self.bootstrap_key.as_deref().and_then(KeyText::parse)
    }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = self.bootstrap_key.as_ref().map(|_| "…");
        out.debug_struct("AuthConfig")
            .field("bootstrap_key", &masked)
            .field("registration", &self.registration)
            .finish()
    }
}

/// Makes the first workspace and its owner key if the store has none, and answers the key's text
/// to print, this once. `None`: somebody was here before. Errors: those of the store and of ids.
pub async fn bootstrap(
    store: &dyn AccountStore,
    ids: &IdSource,
    clock: &dyn Clock,
    secret: &[u8; 32],
    chosen: Option<KeyText>,
) -> Result<Option<KeyText>, KeyError> {
    if store.operator_workspace().await?.is_some() {
        return Ok(None);
    }
    let text = chosen.map_or_else(new_text, Ok)?;
    let created_at = clock.now();
    let workspace = Workspace {
        id: ids.next().await?,
        name: "operator".to_owned(),
        operator: true,
        created_at,
    };
    let key = ApiKey {
        id: ids.next().await?,
        workspace: workspace.id,
        user: None,
        name: "owner".to_owned(),
        prefix: text.prefix().to_owned(),
        digest: text.digest(secret),
        scopes: Scopes::EVERYTHING,
        created_at,
        expires_at: None,
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    };
    Ok(store.bootstrap(workspace, key).await?.then_some(text))
}
