//! What a caller may still create. Links are charged one by one, before any of them is made, all or
//! none; those that were not made after all are given back.

use std::sync::Arc;

use actix_web::HttpRequest;

use super::AdminState;
use crate::http::error::ApiError;
use crate::http::extract::Caller;
use crate::http::rates::Charges;
use crate::service::limits::{Limiter, Subject};

/// The budget of whoever creates links.
pub(super) struct Budget {
    limits: Arc<Limiter>,
    subject: Subject,
    charges: Charges,
}

impl Budget {
    pub(super) fn of(caller: &Caller, request: &HttpRequest, state: &AdminState) -> Self {
        Self {
            limits: Arc::clone(&state.limits),
            subject: Subject::of(caller.grant()),
            charges: Charges::of(request),
        }
    }

    /// Charges `n_links`. Kinds: 429.
    pub(super) async fn charge(&self, n_links: usize) -> Result<(), ApiError> {
        let n_links = number(n_links);
        let allowance = self.limits.creates(&self.subject, n_links).await;
        self.charges.note(&allowance);
        if allowance.allowed() { Ok(()) } else { Err(ApiError::rate_limited(&allowance, n_links)) }
    }

    /// Gives back those of `n_charged` that were not created.
    pub(super) async fn settle(&self, n_charged: usize, n_created: usize) {
        if n_created < n_charged {
            let n_links = number(n_charged - n_created);
            self.charges.note(&self.limits.not_created(&self.subject, n_links).await);
        }
    }
}

fn number(n_links: usize) -> u32 {
    u32::try_from(n_links).unwrap_or(u32::MAX)
}
