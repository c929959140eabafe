//! Grounding as citations in OpenAI Chat's shape (`url_citation`), which the other dialects know
//! how to read, and back.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialects::citation;
use crate::dialects::fields::Raw;
use crate::dialects::json::{Object, raw_object};

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

/// A source that a text cites.
#[derive(Debug)]
pub(super) struct Cited {
    /// The text's place among the parts.
    pub(super) part: usize,
    /// Bytes of the text.
    segment: (usize, usize),
    said: String,
    url: String,
    title: String,
}

impl Cited {
    /// A citation of a text, whole or at `place` (in characters) where it does not say where; `None`
    /// if it names no URL.
    pub(super) fn read(
        raw: &RawValue,
        part: usize,
        text: &str,
        place: Option<(usize, usize)>,
    ) -> Option<Self> {
        #[derive(Deserialize)]
        struct Annotation {
            url_citation: UrlCitation,
        }
        #[derive(Deserialize)]
        struct UrlCitation {
            url: String,
            #[serde(default)]
            title: Option<String>,
            #[serde(default)]
            start_index: usize,
            #[serde(default)]
            end_index: usize,
        }
        let place = place.unwrap_or_else(|| (0, text.chars().count()));
        let annotation = citation::to_openai(raw, Some(place))?;
        let Annotation {
            url_citation: cited,
        } = serde_json::from_str(annotation.get()).ok()?;
        let start = bytes_before(text, cited.start_index);
        let end = bytes_before(text, cited.end_index).max(start);
        Some(Self {
            part,
            segment: (start, end),
            said: text.get(start..end).unwrap_or_default().to_owned(),
            url: cited.url,
            title: cited.title.unwrap_or_default(),
        })
    }
}

/// Writes `groundingMetadata`; each source once.
pub(super) fn write_grounding(o: &mut Object<'_>, all: &[Cited]) {
    let mut sources: Vec<&Cited> = Vec::new();
    let mut places = Vec::with_capacity(all.len());
    for cited in all {
        let known = sources.iter().position(|source| source.url == cited.url);
        places.push(known.unwrap_or(sources.len()));
        if known.is_none() {
            sources.push(cited);
        }
    }
    o.object("groundingMetadata", |o| {
        o.array("groundingChunks", |list| {
            for source in sources {
                list.object(|o| {
                    o.object("web", |o| {
                        o.put("uri", &source.url);
                        o.put("title", &source.title);
                    });
                });
            }
        });
        o.array("groundingSupports", |list| {
            for (cited, place) in all.iter().zip(places) {
                list.object(|o| {
                    o.object("segment", |o| {
                        o.put("partIndex", &cited.part);
                        o.put("startIndex", &cited.segment.0);
                        o.put("endIndex", &cited.segment.1);
                        o.put("text", &cited.said);
                    });
                    o.put("groundingChunkIndices", &[place]);
                });
            }
        });
    });
}

fn bytes_before(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_of_any_dialect_become_grounding_with_each_source_once() {
        let own: Raw = serde_json::from_str(
            r#"{"type":"url_citation","url_citation":{"url":"https://x","title":"X","start_index":1,"end_index":3}}"#,
        )
        .expect("JSON");
        let location: Raw = serde_json::from_str(
            r#"{"type":"web_search_result_location","url":"https://x","title":"X","cited_text":"c"}"#,
        )
        .expect("JSON");
        let page: Raw =
            serde_json::from_str(r#"{"type":"page_location","document_index":0}"#).expect("JSON");
        assert!(Cited::read(&page, 0, "éab", None).is_none());
        let all = [&own, &location].map(|raw| Cited::read(raw, 1, "éab", None).expect("a URL"));
        let written = raw_object(|o| write_grounding(o, &all));
        assert_eq!(
            written.get(),
            concat!(
                r#"{"groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://x","title":"X"}}],"#,
                r#""groundingSupports":[{"segment":{"partIndex":1,"startIndex":2,"endIndex":4,"text":"ab"},"groundingChunkIndices":[0]},"#,
                r#"{"segment":{"partIndex":1,"startIndex":0,"endIndex":4,"text":"éab"},"groundingChunkIndices":[0]}]}}"#
            )
        );
    }

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
