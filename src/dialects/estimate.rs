//! How many tokens a request will take, for providers that cannot count.
//!
//! A rough rule, meant to be a little too high rather than too low: four characters of ASCII are a
//! token, any other character is one (Chinese and Japanese come to about that; European accents
//! are overcounted). Each message costs 4 more, each tool 8; a picture 1,600 (Anthropic's own rule
//! for a large one), a page of PDF 2,000, a second of sound 32 (Google's rule). Tool schemas and
//! other JSON count as their text does.

use crate::dialects::chat::{
    ChatRequest, Media, MediaKind, MediaSource, Part, ResponseFormat, Tool,
};

const MESSAGE_TOKENS: u64 = 4;
const TOOL_TOKENS: u64 = 8;
const IMAGE_TOKENS: u64 = 1_600;
const PAGE_TOKENS: u64 = 2_000;

/// Base64 characters of a usual PDF page, about 50 KB.
const PAGE_CHARS: u64 = 66_000;

/// Base64 characters of a second of compressed speech, about 16 KB.
const SOUND_SECOND_CHARS: u64 = 21_000;
const SOUND_SECOND_TOKENS: u64 = 32;

/// The estimate for a whole request: system, messages, tools and output schema.
pub fn estimate_tokens(request: &ChatRequest) -> u64 {
    let system: u64 = request.system.iter().map(part).sum();
    let messages: u64 = request
        .messages
        .iter()
        .map(|message| MESSAGE_TOKENS + message.parts.iter().map(part).sum::<u64>())
        .sum();
    let tools: u64 = request.tools.iter().map(tool).sum();
    let format = match &request.format {
        ResponseFormat::JsonSchema { schema, .. } => text_tokens(schema.get()),
        ResponseFormat::JsonObject | ResponseFormat::Text => 0,
    };
    (system + messages + tools + format).max(1)
}

/// The estimate for a text.
pub fn text_tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    // Bytes that begin a character of more than one byte.
    let others = text.bytes().filter(|byte| *byte >= 0xc0).count() as u64;
    ascii.div_ceil(4) + others
}

fn part(part: &Part) -> u64 {
    match part {
        Part::Text(text) => text_tokens(&text.text),
        Part::Refusal(text) => text_tokens(text),
        Part::Thinking(thinking) => text_tokens(&thinking.text),
        Part::RedactedThinking { data } => data.len() as u64 / 4,
        Part::Raw { json, .. } => text_tokens(json.get()),
        Part::ToolCall(call) => {
            TOOL_TOKENS + text_tokens(&call.name) + text_tokens(&call.arguments)
        }
        Part::ToolResult(result) => TOOL_TOKENS + result.parts.iter().map(self::part).sum::<u64>(),
        Part::Media(part) => media(part),
    }
}

fn media(media: &Media) -> u64 {
    let size = match &media.source {
        MediaSource::Base64 { data, .. } => data.len() as u64,
        MediaSource::Text(text) => return text_tokens(text),
        MediaSource::FileId(_) | MediaSource::Url { .. } => 0,
    };
    match media.kind {
        MediaKind::Image => IMAGE_TOKENS,
        MediaKind::Document => PAGE_TOKENS * size.div_ceil(PAGE_CHARS).max(1),
        MediaKind::Audio | MediaKind::Video => {
            SOUND_SECOND_TOKENS * size.div_ceil(SOUND_SECOND_CHARS).max(1)
        }
    }
}

fn tool(tool: &Tool) -> u64 {
    let said = |text: Option<&String>| text.map_or(0, |text| text_tokens(text));
    TOOL_TOKENS
        + match tool {
            Tool::Function(function) => {
                let schema = function.parameters.as_ref();
                text_tokens(&function.name)
                    + said(function.description.as_ref())
                    + schema.map_or(0, |schema| text_tokens(schema.get()))
            }
            Tool::Custom {
                name,
                description,
                format,
            } => {
                text_tokens(name)
                    + said(description.as_ref())
                    + format
                        .as_ref()
                        .map_or(0, |format| text_tokens(format.get()))
            }
            Tool::Hosted { json, .. } => text_tokens(json.get()),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::anthropic::Anthropic;
    use crate::dialects::{Codec, RequestHint};

    #[test]
    fn texts_count_by_their_script() {
        assert_eq!(text_tokens(""), 0);
        assert_eq!(text_tokens("abcdefgh"), 2);
        assert_eq!(text_tokens("日本語"), 3);
        assert_eq!(text_tokens("naïve"), 2);
    }

    #[test]
    fn case_79_a_count_tokens_body_is_read_and_everything_in_it_counts() {
        let count = |body: &str| {
            let request = Anthropic
                .read_request(body.as_bytes(), RequestHint::default())
                .expect("a body without max_tokens");
            estimate_tokens(&request)
        };
        let bare = count(r#"{"model":"m","messages":[{"role":"user","content":"hello you"}]}"#);
        assert_eq!(bare, 7);
        let more = count(
            r#"{"model":"m","system":"be kind","tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":[{"type":"text","text":"hello you"},{"type":"image","source":{"type":"url","url":"https://x/y.png"}}]}]}"#,
        );
        assert!(more > bare + IMAGE_TOKENS + TOOL_TOKENS, "{more}");
    }
}
