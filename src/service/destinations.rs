//! Where links may lead in this installation.

use serde::{Deserialize, Serialize};

use crate::domain::problems::Problems;

/// `[destinations]`: where links may lead.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationsConfig {
    /// Lets links lead to private and loopback addresses and to `localhost`, for use inside a
    /// network. Own domains stay refused.
    pub allow_private: bool,
}

impl DestinationsConfig {
    /// Every value can be honoured.
    pub fn check(&self, _problems: &mut Problems) {}
}
