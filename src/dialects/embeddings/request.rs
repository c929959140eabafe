//! Requests for vectors: read from a client, written in batches for an upstream.

use std::ops::Range;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::dialects::error::ErrorReply;
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::loss::Losses;
use crate::dialects::{Dialect, RequestHint, Target};

/// Inputs per request at OpenAI, and the most a client may send.
const OPENAI_BATCH: usize = 2048;

/// Inputs per `batchEmbedContents`.
const GEMINI_BATCH: usize = 100;

/// Characters per token, where the provider does not say how many tokens it read.
const CHARS_PER_TOKEN: u64 = 4;

/// A request for vectors.
#[derive(Clone, Debug, Default)]
pub struct EmbeddingsRequest {
    /// Model as the client named it.
    pub model: String,
    /// The texts, never empty.
    pub inputs: Vec<String>,
    /// The client's form has one input and one answer (Gemini `embedContent`).
    pub single: bool,
    /// Length of the vectors, where the client chose it.
    pub dimensions: Option<u64>,
    /// How an OpenAI client wants the vectors.
    pub encoding: Encoding,
    /// What the vectors are for, in Gemini's words (`RETRIEVAL_QUERY`, …).
    pub task: Option<String>,
    /// A title for the document (Gemini; only with `RETRIEVAL_DOCUMENT`).
    pub title: Option<String>,
    /// Members nobody here knows.
    pub extra: Extra,
}

/// How vectors are written in OpenAI's dialect.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Little-endian IEEE-754 float32 values, concatenated, in standard base64.
    Base64,
    #[default]
    Float,
}

impl EmbeddingsRequest {
    /// Reads a client's request in OpenAI's or Gemini's form.
    ///
    /// An error is a 400 that names the member at fault: no input, an empty one, more than 2048,
    /// or token ids, which cannot be turned into text here.
    pub fn read(dialect: Dialect, body: &[u8], hint: RequestHint<'_>) -> Result<Self, ErrorReply> {
        let fields = Fields::parse(body).map_err(|error| ErrorReply::invalid(error.to_string()))?;
        match dialect {
            Dialect::Gemini => read_gemini(fields, hint),
            Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                read_openai(fields)
            }
        }
    }

    /// Returns the ranges of inputs that one upstream request each may hold.
    pub fn batches(&self, upstream: Dialect) -> Vec<Range<usize>> {
        let size = match upstream {
            Dialect::Gemini => GEMINI_BATCH,
            Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses => OPENAI_BATCH,
        };
        (0..self.inputs.len())
            .step_by(size)
            .map(|start| start..self.inputs.len().min(start + size))
            .collect()
    }

    /// Writes the upstream request for one of [`Self::batches`].
    ///
    /// For Gemini it is always a `batchEmbedContents` body, also for a single input.
    pub fn write(
        &self,
        upstream: Dialect,
        target: &Target<'_>,
        batch: Range<usize>,
        losses: &mut Losses,
    ) -> Vec<u8> {
        let inputs = self.inputs.get(batch).unwrap_or_default();
        for (name, _) in &self.extra.0 {
            losses.drop_field(name.as_str());
        }
        let body = match upstream {
            Dialect::Gemini => self.gemini_body(inputs, target),
            Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses => {
                self.openai_body(inputs, target, losses)
            }
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    #[expect(clippy::indexing_slicing, reason = "members of an object made here")]
    fn gemini_body(&self, inputs: &[String], target: &Target<'_>) -> serde_json::Value {
        let model = if target.model.starts_with("models/") {
            target.model.to_owned()
        } else {
            format!("models/{}", target.model)
        };
        let requests: Vec<_> = inputs
            .iter()
            .map(|input| {
                let mut request =
                    json!({"model": model, "content": {"parts": [part(input, target)]}});
                if let Some(task) = &self.task {
                    request["taskType"] = json!(task);
                }
                if let Some(title) = &self.title {
                    request["title"] = json!(title);
                }
                if let Some(dimensions) = self.dimensions {
                    request["outputDimensionality"] = json!(dimensions);
                }
                request
            })
            .collect();
        json!({ "requests": requests })
    }

    #[expect(clippy::indexing_slicing, reason = "members of an object made here")]
    fn openai_body(
        &self,
        inputs: &[String],
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> serde_json::Value {
        let mut body = json!({"model": target.model, "input": inputs, "encoding_format": "float"});
        if let Some(dimensions) = self.dimensions {
            body["dimensions"] = json!(dimensions);
        }
        if self.task.is_some() {
            losses.drop_field("taskType");
        }
        if self.title.is_some() {
            losses.drop_field("title");
        }
        body
    }

    /// Tokens of all inputs, counted by length.
    pub fn estimated_tokens(&self) -> u64 {
        self.inputs
            .iter()
            .map(|input| (input.chars().count() as u64).div_ceil(CHARS_PER_TOKEN))
            .sum()
    }
}

fn read_openai(mut fields: Fields<'_>) -> Result<EmbeddingsRequest, ErrorReply> {
    let model = text(&mut fields, "model")?.unwrap_or_default();
    let inputs = match fields.take("input") {
        Some(raw) => openai_inputs(raw)?,
        None => return Err(bad("input", "is missing")),
    };
    let dimensions = member(&mut fields, "dimensions")?;
    let encoding = member(&mut fields, "encoding_format")?.unwrap_or_default();
    let mut task = None;
    for name in ["task_type", "input_type", "task"] {
        if let Some(word) = text(&mut fields, name)? {
            task = task.or(Some(gemini_task(&word)));
        }
    }
    let title = text(&mut fields, "title")?;
    Ok(EmbeddingsRequest {
        model,
        inputs,
        single: false,
        dimensions,
        encoding,
        task,
        title,
        extra: fields.into_extra(),
    })
}

fn openai_inputs(raw: &RawValue) -> Result<Vec<String>, ErrorReply> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Input {
        One(String),
        Many(Vec<String>),
    }
    let inputs = match serde_json::from_str(raw.get()) {
        Ok(Input::One(text)) => vec![text],
        Ok(Input::Many(texts)) => texts,
        Err(_)
            if raw
                .get()
                .trim_start_matches(['[', ' ', '\n'])
                .starts_with(|c: char| c.is_ascii_digit()) =>
        {
            return Err(bad("input", "holds token ids; this model takes text only"));
        }
        Err(_) => return Err(bad("input", "must be a string or an array of strings")),
    };
    checked(inputs, "input")
}

fn checked(inputs: Vec<String>, name: &str) -> Result<Vec<String>, ErrorReply> {
    if inputs.is_empty() || inputs.iter().any(String::is_empty) {
        return Err(bad(name, "must not be empty"));
    }
    if inputs.len() > OPENAI_BATCH {
        return Err(bad(name, "holds more than 2048 texts"));
    }
    Ok(inputs)
}

/// Vendors' words for what a vector is for, in Gemini's.
fn gemini_task(word: &str) -> String {
    match word {
        "query" | "search_query" | "retrieval.query" => "RETRIEVAL_QUERY".to_owned(),
        "document" | "passage" | "search_document" | "retrieval.passage" => {
            "RETRIEVAL_DOCUMENT".to_owned()
        }
        other => other.to_ascii_uppercase(),
    }
}

fn read_gemini(
    mut fields: Fields<'_>,
    hint: RequestHint<'_>,
) -> Result<EmbeddingsRequest, ErrorReply> {
    let Some(requests) = fields.take("requests") else {
        let mut request = gemini_entry(fields)?;
        request.single = true;
        if let Some(model) = hint.model {
            model.clone_into(&mut request.model);
        }
        return Ok(request);
    };
    let requests: Vec<Fields<'_>> = serde_json::from_str(requests.get())
        .map_err(|_| bad("requests", "must be an array of objects"))?;
    let mut entries = requests.into_iter().map(gemini_entry);
    let Some(first) = entries.next() else {
        return Err(bad("requests", "must not be empty"));
    };
    let mut whole = first?;
    for entry in entries {
        whole.inputs.extend(entry?.inputs);
    }
    whole.inputs = checked(whole.inputs, "requests")?;
    if let Some(model) = hint.model {
        model.clone_into(&mut whole.model);
    }
    Ok(whole)
}

/// One `embedContent` body.
fn gemini_entry(mut fields: Fields<'_>) -> Result<EmbeddingsRequest, ErrorReply> {
    let model = text(&mut fields, "model")?.unwrap_or_default();
    let dimensions = either(&mut fields, "outputDimensionality", "output_dimensionality")?;
    let task = either(&mut fields, "taskType", "task_type")?;
    let title = text(&mut fields, "title")?;
    let mut content = match fields.take("content") {
        Some(raw) => Fields::parse_raw(raw).map_err(|_| bad("content", "must be an object"))?,
        None => return Err(bad("content", "is missing")),
    };
    let parts: Vec<Fields<'_>> = match content.take("parts") {
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|_| bad("content.parts", "must be an array of objects"))?,
        None => Vec::new(),
    };
    let mut input = String::new();
    for mut part in parts {
        match text(&mut part, "text")? {
            Some(text) => input.push_str(&text),
            None => return Err(bad("content.parts", "holds something other than text")),
        }
    }
    Ok(EmbeddingsRequest {
        model: model.strip_prefix("models/").unwrap_or(&model).to_owned(),
        inputs: checked(vec![input], "content")?,
        single: false,
        dimensions,
        encoding: Encoding::Float,
        task,
        title,
        extra: fields.into_extra(),
    })
}

/// A text, or a data URL as inline data where the model can see.
fn part(input: &str, target: &Target<'_>) -> serde_json::Value {
    if target.model.contains("embedding-2")
        && let Some(rest) = input.strip_prefix("data:")
        && let Some((mime, data)) = rest.split_once(";base64,")
    {
        return json!({"inlineData": {"mimeType": mime, "data": data}});
    }
    json!({ "text": input })
}

fn text(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, ErrorReply> {
    member(fields, name)
}

fn either<T: serde::de::DeserializeOwned>(
    fields: &mut Fields<'_>,
    name: &str,
    other: &str,
) -> Result<Option<T>, ErrorReply> {
    let first = member(fields, name)?;
    let second = member(fields, other)?;
    Ok(first.or(second))
}

fn member<T: serde::de::DeserializeOwned>(
    fields: &mut Fields<'_>,
    name: &str,
) -> Result<Option<T>, ErrorReply> {
    fields
        .take_as(name)
        .map_err(|error| ErrorReply::invalid(error.to_string()).with_param(name))
}

fn bad(name: &str, what: &str) -> ErrorReply {
    ErrorReply::invalid(format!("`{name}` {what}")).with_param(name)
}
