//! Grounding as citations in OpenAI Chat's shape (`url_citation`), which the other dialects know
//! how to read.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialects::fields::Raw;
use crate::dialects::json::raw_object;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Grounding {
    grounding_chunks: Vec<Chunk>,
    grounding_supports: Vec<Support>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk {
    web: Option<Web>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Web {
    uri: String,
    title: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Support {
    segment: Segment,
    grounding_chunk_indices: Vec<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Segment {
    start_index: usize,
    end_index: usize,
}

/// One citation per supported segment and source. Gemini counts bytes, OpenAI characters.
pub(super) fn from_grounding(raw: &RawValue, text: &str) -> Vec<Raw> {
    let Ok(grounding) = serde_json::from_str::<Grounding>(raw.get()) else {
        return Vec::new();
    };
    let mut citations = Vec::new();
    for support in &grounding.grounding_supports {
        let start = chars_before(text, support.segment.start_index);
        let end = chars_before(text, support.segment.end_index);
        for index in &support.grounding_chunk_indices {
            let Some(web) = grounding
                .grounding_chunks
                .get(*index)
                .and_then(|c| c.web.as_ref())
            else {
                continue;
            };
            citations.push(raw_object(|o| {
                o.put("type", "url_citation");
                o.object("url_citation", |o| {
                    o.put("url", &web.uri);
                    o.put("title", &web.title);
                    o.put("start_index", &start);
                    o.put("end_index", &end);
                });
            }));
        }
    }
    citations
}

fn chars_before(text: &str, byte: usize) -> usize {
    let mut at = byte.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    text.get(..at).map_or(0, |head| head.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_offsets_become_character_offsets() {
        let grounding = RawValue::from_string(r#"{"groundingChunks":[{"web":{"uri":"https://x","title":"X"}}],
            "groundingSupports":[{"segment":{"startIndex":2,"endIndex":4},"groundingChunkIndices":[0,9]}]}"#.to_owned())
        .expect("JSON");
        let citations = from_grounding(&grounding, "éab");
        assert_eq!(citations.len(), 1);
        assert_eq!(
            citations.first().map(|raw| raw.get()),
            Some(
                r#"{"type":"url_citation","url_citation":{"url":"https://x","title":"X","start_index":1,"end_index":3}}"#
            )
        );
    }
}
