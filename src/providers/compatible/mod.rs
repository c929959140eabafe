//! The vendors that speak OpenAI's Chat Completions: one row each.
//!
//! Base URLs and environment names as in LiteLLM 1.106.2's provider tables and the vendors'
//! documentation, read 2026-11-22. A row needs an id, a title, a base URL and the environment name
//! of its key; everything else says where the vendor differs.

mod clouds;
mod labs;
mod local;
mod markets;

use crate::dialects::Dialect;
use crate::providers::Provider;
use crate::providers::spec::{Offers, Spec};

/// A vendor described by its [`Spec`] alone.
#[derive(Debug)]
pub struct Compatible(Spec);

impl Compatible {
    /// A server of the user's own that speaks Chat Completions.
    pub(super) const CUSTOM_CHAT: Self = Self(Spec {
        key_optional: true,
        offers: Offers::TEXT,
        ..Spec::compatible("openai_compatible", "OpenAI-compatible server")
    });

    /// A server of the user's own that speaks Responses.
    pub(super) const CUSTOM_RESPONSES: Self = Self(Spec {
        dialect: Dialect::OpenAiResponses,
        key_optional: true,
        offers: Offers {
            responses: true,
            ..Offers::EMBEDDINGS
        },
        ..Spec::compatible("openai_responses", "OpenAI Responses server")
    });
}

impl Provider for Compatible {
    fn spec(&self) -> &Spec {
        &self.0
    }
}

/// Every row: model makers, clouds, marketplaces, local servers.
pub(super) fn tables() -> impl Iterator<Item = &'static Compatible> {
    [labs::TABLE, clouds::TABLE, markets::TABLE, local::TABLE]
        .into_iter()
        .flatten()
}
