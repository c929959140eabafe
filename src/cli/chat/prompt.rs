//! What is asked: messages, attached files, settings, as an OpenAI chat body.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cli::chat::ChatArgs;
use crate::cli::exit::Failure;

/// Largest file sent along, before base64 makes it a third larger.
const MAX_FILE: u64 = 24 << 20;

/// A conversation so far, and the settings each request carries.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) model: String,
    pub(super) system: Option<String>,
    pub(super) messages: Vec<Value>,
    settings: Value,
}

impl Conversation {
    /// An empty conversation with the settings of the command line.
    pub(super) fn new(args: &ChatArgs, model: String) -> Result<Self, Failure> {
        let mut settings = json!({});
        if let Some(limit) = args.max_tokens {
            settings["max_tokens"] = json!(limit);
        }
        if let Some(temperature) = args.temperature {
            settings["temperature"] = json!(temperature);
        }
        if let Some(effort) = args.reasoning {
            settings["reasoning_effort"] = json!(effort.as_str());
        }
        if let Some(path) = &args.schema {
            settings["response_format"] = schema(path)?;
        }
        Ok(Self {
            model,
            system: args.system.clone(),
            messages: Vec::new(),
            settings,
        })
    }

    /// Adds a user turn of prompt, piped text and files; returns whether there was any.
    pub(super) fn ask(
        &mut self,
        prompt: &str,
        piped: Option<&str>,
        files: &[impl AsRef<Path>],
    ) -> Result<bool, Failure> {
        let mut parts = Vec::new();
        for file in files {
            parts.push(attachment(file.as_ref())?);
        }
        let text = match (prompt.is_empty(), piped) {
            (false, Some(piped)) => format!("{prompt}\n\n{piped}"),
            (true, Some(piped)) => piped.to_owned(),
            (_, None) => prompt.to_owned(),
        };
        if text.trim().is_empty() && parts.is_empty() {
            return Ok(false);
        }
        let content = if parts.is_empty() {
            json!(text)
        } else {
            if !text.is_empty() {
                parts.push(json!({"type": "text", "text": text}));
            }
            Value::Array(parts)
        };
        self.messages
            .push(json!({"role": "user", "content": content}));
        Ok(true)
    }

    /// Adds the model's turn.
    pub(super) fn remember(&mut self, answer: &str) {
        self.messages
            .push(json!({"role": "assistant", "content": answer}));
    }

    /// Takes back the last turn, whose answer did not come.
    pub(super) fn forget_last(&mut self) {
        self.messages.pop();
    }

    /// The request body.
    pub(super) fn body(&self, stream: bool) -> String {
        let mut body = self.settings.clone();
        let system = self
            .system
            .iter()
            .map(|text| json!({"role": "system", "content": text}));
        let messages: Vec<Value> = system.chain(self.messages.iter().cloned()).collect();
        body["model"] = json!(self.model);
        body["messages"] = Value::Array(messages);
        if stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        body.to_string()
    }
}

fn schema(path: &Path) -> Result<Value, Failure> {
    let text = read(path)?;
    let schema: Value = serde_json::from_slice(&text).map_err(|error| {
        Failure::failed(
            format!("{} is not JSON: {error}", path.display()),
            "--schema takes a file with one JSON Schema",
        )
    })?;
    Ok(json!({
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": true}
    }))
}

/// A file as a message part: images and PDFs as such, everything else as text.
fn attachment(path: &Path) -> Result<Value, Failure> {
    let bytes = read(path)?;
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let data_url = |mime: &str| format!("data:{mime};base64,{}", STANDARD.encode(&bytes));
    if let Some(mime) = image_type(&bytes) {
        return Ok(json!({"type": "image_url", "image_url": {"url": data_url(mime)}}));
    }
    if bytes.starts_with(b"%PDF-") {
        let file = json!({"filename": name, "file_data": data_url("application/pdf")});
        return Ok(json!({"type": "file", "file": file}));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::failed(
            format!("{} is neither text nor a picture nor a PDF", path.display()),
            "PNG, JPEG, GIF, WebP, PDF and UTF-8 text can be sent",
        )
    })?;
    Ok(json!({"type": "text", "text": format!("{name}:\n{text}")}))
}

/// The type by the first bytes: extensions lie, and vendors refuse what does not match.
fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed =
        |what: String| Failure::failed(what, "check the path given with -f/--file or --schema");
    let metadata = std::fs::metadata(path)
        .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
    if metadata.len() > MAX_FILE {
        return Err(failed(format!(
            "{} is larger than {} MiB",
            path.display(),
            MAX_FILE >> 20
        )));
    }
    std::fs::read(path).map_err(|error| failed(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Conversation {
        Conversation {
            model: "p/m".to_owned(),
            system: None,
            messages: Vec::new(),
            settings: json!({}),
        }
    }

    #[test]
    fn piped_text_follows_the_prompt_or_is_the_prompt() {
        let none: [&Path; 0] = [];
        let mut conversation = empty();
        assert!(
            conversation
                .ask("sum up", Some("a text\n"), &none)
                .expect("no files")
        );
        assert!(
            conversation
                .ask("", Some("only this"), &none)
                .expect("no files")
        );
        assert!(!conversation.ask("", None, &none).expect("no files"));
        let texts: Vec<_> = conversation
            .messages
            .iter()
            .map(|turn| turn["content"].clone())
            .collect();
        assert_eq!(texts, [json!("sum up\n\na text\n"), json!("only this")]);
    }

    #[test]
    fn files_are_told_apart_by_their_first_bytes() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut conversation = empty();
        let files = [
            ("a.txt", b"\x89PNG\r\n".as_slice()),
            ("b.png", b"plain text"),
            ("c", b"%PDF-1.7"),
        ];
        let paths: Vec<_> = files
            .iter()
            .map(|(name, bytes)| {
                let path = dir.path().join(name);
                std::fs::write(&path, bytes).expect("a file");
                path
            })
            .collect();
        conversation.ask("", None, &paths).expect("readable files");
        let kinds: Vec<_> = conversation.messages[0]["content"]
            .as_array()
            .expect("parts")
            .iter()
            .map(|part| part["type"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds, ["image_url", "text", "file"]);
    }

    #[test]
    fn a_binary_file_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.bin");
        std::fs::write(&path, [0xff, 0x00]).expect("a file");
        let failure = empty().ask("hi", None, &[path]).expect_err("not text");
        assert!(
            failure.sentence().contains("x.bin"),
            "{}",
            failure.sentence()
        );
    }
}
