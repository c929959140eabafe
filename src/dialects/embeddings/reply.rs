//! Vectors: read from an upstream, put together, written as the client wants them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::dialects::Dialect;
use crate::dialects::embeddings::{EmbeddingsRequest, Encoding};
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::fields::Fields;
use crate::dialects::usage::Usage;

/// Vectors, one per input, in the order of the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmbeddingsReply {
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, where the provider says it.
    pub usage: Option<Usage>,
}

impl EmbeddingsRequest {
    /// Writes the answer for the client, in its own form and encoding.
    ///
    /// `model` is the name the client asked for. Missing usage is estimated from the inputs.
    pub fn write_reply(&self, client: Dialect, reply: &EmbeddingsReply, model: &str) -> Vec<u8> {
        let tokens = reply
            .usage
            .map_or_else(|| self.estimated_tokens(), |usage| usage.input);
        let written = match client {
            Dialect::Gemini if self.single => serde_json::to_vec(&json!({
                "embedding": {"values": reply.vectors.first().map(Vec::as_slice).unwrap_or_default()},
                "usageMetadata": {"promptTokenCount": tokens},
            })),
            Dialect::Gemini => serde_json::to_vec(&GeminiReply {
                embeddings: reply
                    .vectors
                    .iter()
                    .map(|values| Values { values })
                    .collect(),
                usage: json!({"promptTokenCount": tokens}),
            }),
            Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                serde_json::to_vec(&OpenAiReply {
                    object: "list",
                    data: reply
                        .vectors
                        .iter()
                        .enumerate()
                        .map(|(index, vector)| OpenAiEntry {
                            object: "embedding",
                            index,
                            embedding: Vector::of(vector, self.encoding),
                        })
                        .collect(),
                    model,
                    usage: json!({"prompt_tokens": tokens, "total_tokens": tokens}),
                })
            }
        };
        written.unwrap_or_default()
    }
}

impl EmbeddingsReply {
    /// Reads an upstream's answer to one batch of `inputs` texts.
    ///
    /// Fewer or more vectors than texts, or an empty vector, is [`ReadError::Truncated`]: they
    /// could not be told apart.
    pub fn read(upstream: Dialect, body: &[u8], inputs: usize) -> Result<Self, ReadError> {
        let mut fields = Fields::parse(body)?;
        if let Some(error) = UpstreamError::parse(None, body) {
            return Err(ReadError::Upstream(Box::new(error)));
        }
        let reply = match upstream {
            Dialect::Gemini => read_gemini_reply(&mut fields)?,
            Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                read_openai_reply(&mut fields)?
            }
        };
        if reply.vectors.len() != inputs || reply.vectors.iter().any(Vec::is_empty) {
            return Err(ReadError::Truncated);
        }
        Ok(reply)
    }

    /// Appends the next batch's answer.
    pub fn append(&mut self, next: Self) {
        self.vectors.extend(next.vectors);
        if let Some(next) = next.usage {
            let usage = self.usage.get_or_insert_default();
            usage.input = usage.input.saturating_add(next.input);
        }
    }

    /// Gives every vector unit length: `gemini-embedding-001` does so only for its full 3072
    /// dimensions, and clients compare vectors by their dot product.
    pub fn normalise(&mut self) {
        for vector in &mut self.vectors {
            let length = vector
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            if length > 0.0 && length.is_finite() {
                for x in vector {
                    *x = narrow(f64::from(*x) / length);
                }
            }
        }
    }
}

/// `true` if this model's vectors need [`EmbeddingsReply::normalise`] at this length.
pub fn needs_normalising(model: &str, dimensions: Option<u64>) -> bool {
    model.contains("gemini-embedding-001")
        && dimensions.is_some_and(|dimensions| dimensions != 3072)
}

/// Rewrites an OpenAI answer whose vectors are not in the encoding the client asked for.
///
/// `None` if they are already, or if the body is no such answer.
pub fn recode(body: &[u8], wanted: Encoding) -> Option<Vec<u8>> {
    let mut answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let mut changed = false;
    for entry in answer.get_mut("data")?.as_array_mut()? {
        let vector = entry.get_mut("embedding")?;
        if vector.is_string() == (wanted == Encoding::Base64) {
            continue;
        }
        let values = Vector::deserialize(&*vector).ok()?.into_values()?;
        *vector = serde_json::to_value(Vector::of(&values, wanted)).ok()?;
        changed = true;
    }
    if changed {
        serde_json::to_vec(&answer).ok()
    } else {
        None
    }
}

fn read_gemini_reply(fields: &mut Fields<'_>) -> Result<EmbeddingsReply, ReadError> {
    #[derive(Deserialize)]
    struct Entry {
        values: Vec<f64>,
    }
    let mut entries = fields
        .take_as::<Vec<Entry>>("embeddings")?
        .unwrap_or_default();
    entries.extend(fields.take_as::<Entry>("embedding")?);
    let usage = fields.take_as::<serde_json::Value>("usageMetadata")?;
    Ok(EmbeddingsReply {
        vectors: entries
            .into_iter()
            .map(|entry| narrowed(&entry.values))
            .collect(),
        usage: usage
            .as_ref()
            .and_then(|usage| input_tokens(usage, "promptTokenCount")),
    })
}

fn read_openai_reply(fields: &mut Fields<'_>) -> Result<EmbeddingsReply, ReadError> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        index: usize,
        embedding: Vector,
    }
    let mut entries = fields.take_as::<Vec<Entry>>("data")?.unwrap_or_default();
    entries.sort_by_key(|entry| entry.index);
    let usage = fields.take_as::<serde_json::Value>("usage")?;
    let vectors = entries
        .into_iter()
        .map(|entry| entry.embedding.into_values())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            ReadError::Json("an embedding is not base64 of float32 values".to_owned())
        })?;
    Ok(EmbeddingsReply {
        vectors,
        usage: usage
            .as_ref()
            .and_then(|usage| input_tokens(usage, "prompt_tokens")),
    })
}

fn input_tokens(usage: &serde_json::Value, name: &str) -> Option<Usage> {
    let input = usage.get(name)?.as_u64()?;
    Some(Usage {
        input,
        ..Usage::default()
    })
}

/// A vector as OpenAI's dialect writes it.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Vector {
    Base64(String),
    Float(Vec<f64>),
    Narrow(Vec<f32>),
}

impl Vector {
    fn of(values: &[f32], encoding: Encoding) -> Self {
        match encoding {
            Encoding::Float => Self::Narrow(values.to_vec()),
            Encoding::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                Self::Base64(STANDARD.encode(bytes))
            }
        }
    }

    fn into_values(self) -> Option<Vec<f32>> {
        match self {
            Self::Narrow(values) => Some(values),
            Self::Float(values) => Some(narrowed(&values)),
            Self::Base64(text) => {
                let bytes = STANDARD.decode(text).ok()?;
                let (values, rest) = bytes.as_chunks::<4>();
                rest.is_empty()
                    .then(|| values.iter().map(|x| f32::from_le_bytes(*x)).collect())
            }
        }
    }
}

fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().copied().map(narrow).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are float32 on the wire"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[derive(Serialize)]
struct GeminiReply<'a> {
    embeddings: Vec<Values<'a>>,
    #[serde(rename = "usageMetadata")]
    usage: serde_json::Value,
}

#[derive(Serialize)]
struct Values<'a> {
    values: &'a [f32],
}

#[derive(Serialize)]
struct OpenAiReply<'a> {
    object: &'static str,
    data: Vec<OpenAiEntry>,
    model: &'a str,
    usage: serde_json::Value,
}

#[derive(Serialize)]
struct OpenAiEntry {
    object: &'static str,
    index: usize,
    embedding: Vector,
}
