//! Token counts of one request, in one meaning for all dialects.

/// Tokens of one request. `input` includes `cache_read` and `cache_write`; `output` includes
/// `reasoning` (OpenAI's meaning; Anthropic's and Gemini's are converted on read and write).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All prompt tokens.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: u64,
    /// All answer tokens.
    pub output: u64,
    /// Answer tokens spent on reasoning.
    pub reasoning: u64,
    /// `true` if the gateway counted, because the provider said nothing.
    pub estimated: bool,
}

impl Usage {
    /// Input and output together.
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// `true` if no token was counted.
    pub const fn is_zero(&self) -> bool {
        self.input == 0 && self.output == 0
    }

    /// Takes every count that `later` knows: providers repeat or complete usage as a stream goes
    /// on, and the last word counts; sums would count twice.
    pub fn update(&mut self, later: &Self) {
        for (ours, theirs) in [
            (&mut self.input, later.input),
            (&mut self.cache_read, later.cache_read),
            (&mut self.cache_write, later.cache_write),
            (&mut self.output, later.output),
            (&mut self.reasoning, later.reasoning),
        ] {
            if theirs > 0 {
                *ours = theirs;
            }
        }
        self.estimated = later.estimated;
    }
}
