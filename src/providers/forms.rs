//! How one request may take more than one form: what the config switches on and off, and what is
//! sent in a second try after the vendor could not take or answer the first.

use std::time::Duration;

use bytes::Bytes;

use crate::providers::verdict::Failure;

/// Switches of `[providers.NAME]` that change what an adapter sends.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Switches {
    /// `guard_tools`: protect Gemini 3's calls against tools it knows from training.
    pub guard_tools: bool,
    /// `spend_credits`: the owner agrees to pay with credits where a quota is used up.
    pub spend_credits: bool,
    /// `dummy_tool = false`: Qwen's coder models get no tool that keeps them steady.
    pub no_dummy_tool: bool,
}

/// A form of a request that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedForm<'a> {
    pub failure: &'a Failure,
    /// The vendor's answer, if there was one.
    pub answer: &'a [u8],
    /// The body as [`Provider::adapt`](super::Provider::adapt) gave it.
    pub body: &'a Bytes,
}

/// The form of a second try with the same credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondForm {
    /// The body as [`Provider::adapt`](super::Provider::adapt) gave it, changed.
    pub body: Bytes,
    pub switches: Switches,
    /// How long to wait first.
    pub pause: Duration,
}
