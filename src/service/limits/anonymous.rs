//! The budget of links that are made without an account: of each token, and of each client network.

use std::net::IpAddr;
use std::sync::Arc;

use super::guesses::{Attempt, Refused};
use super::{Limit, Limiter};
use crate::domain::bucket::Quota;
use crate::domain::id::Id;
use crate::domain::network::ClientNetwork;

const WINDOW_MS: u32 = 30 * 60_000;

impl Limiter {
    /// Charges a link made with the anonymous token `token`, of `n` in half an hour; 0 is
    /// unlimited. Cancel the attempt when none was made.
    pub async fn anonymous(
        self: &Arc<Self>,
        client: IpAddr,
        token: Id,
        n: u32,
    ) -> Result<Attempt, Refused> {
        let (network, token) = (ClientNetwork::of(client), token.0.to_le_bytes());
        let quota = Quota::new(n, WINDOW_MS);
        let asked = [
            self.ask(Limit::AnonymousToken, quota, &[&token], 1),
            self.ask(Limit::AnonymousClient, quota, &[network.as_bytes()], 1),
        ];
        self.attempt(asked.into_iter().flatten().collect()).await
    }
}
