//! The order of events that clients count on, as a machine that accepts or panics.

use std::collections::HashMap;

use super::*;

/// Checks a whole stream: numbers without gaps, items one after the other, each added before its
/// pieces and done after them, pieces that add up, one end, and a final response that repeats the
/// items.
pub(super) fn check(frames: &[Frame]) {
    let mut open: Option<(Value, Value)> = None;
    let mut pieces: HashMap<String, String> = HashMap::new();
    let mut part: Option<String> = None;
    let mut done: Vec<Value> = Vec::new();
    for (number, (name, data)) in frames.iter().enumerate() {
        assert_eq!(data["sequence_number"], number, "{name}");
        let last = number + 1 == frames.len();
        let item_id = data["item_id"].as_str().unwrap_or_default().to_owned();
        if let Some((id, _)) = &open
            && data.get("item_id").is_some()
        {
            assert_eq!(*id, data["item_id"], "{name} belongs to the open item");
        }
        if data.get("output_index").is_some() {
            assert_eq!(data["output_index"], done.len(), "{name}");
        }
        match name.strip_prefix("response.").expect("a response event") {
            "created" => assert_eq!(number, 0),
            "in_progress" => assert_eq!(number, 1),
            "output_item.added" => {
                assert!(open.is_none() && number > 1, "one item at a time");
                open = Some((data["item"]["id"].clone(), data["item"]["type"].clone()));
            }
            "content_part.added" | "reasoning_summary_part.added" => {
                assert!(part.is_none());
                part = Some(String::new());
            }
            "output_text.delta" | "refusal.delta" | "reasoning_summary_text.delta" => {
                part.as_mut()
                    .expect("a part")
                    .push_str(data["delta"].as_str().expect("text"));
            }
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => pieces
                .entry(item_id)
                .or_default()
                .push_str(data["delta"].as_str().expect("text")),
            "output_text.done" | "reasoning_summary_text.done" => {
                assert_eq!(data["text"].as_str(), part.as_deref());
            }
            "refusal.done" => assert_eq!(data["refusal"].as_str(), part.as_deref()),
            "output_text.annotation.added" => assert!(part.is_some()),
            "content_part.done" | "reasoning_summary_part.done" => {
                let text = part.take().expect("a part");
                let member = if data["part"]["type"] == "refusal" {
                    "refusal"
                } else {
                    "text"
                };
                assert_eq!(data["part"][member], text.as_str());
            }
            "function_call_arguments.done" => {
                let all = pieces.get(&item_id).map(String::as_str);
                assert_eq!(data["arguments"].as_str(), all);
            }
            "custom_tool_call_input.done" => {
                let all = pieces.get(&item_id).map_or("", String::as_str);
                assert_eq!(data["input"], all);
            }
            "output_item.done" => {
                assert!(part.is_none());
                let (id, kind) = open.take().expect("an open item");
                assert_eq!((&data["item"]["id"], &data["item"]["type"]), (&id, &kind));
                done.push(data["item"].clone());
            }
            "completed" | "incomplete" => {
                assert!(last && open.is_none());
                assert_eq!(data["response"]["output"], Value::Array(done.clone()));
                for count in ["input_tokens", "output_tokens", "total_tokens"] {
                    assert!(data["response"]["usage"][count].is_u64());
                }
            }
            "failed" => {
                assert!(last);
                assert!(data["response"]["error"]["code"].is_string());
            }
            other => panic!("unknown event {other}"),
        }
        if name != "response.created" && number > 0 && data.get("response").is_some() {
            assert_eq!(data["response"]["id"], frames[0].1["response"]["id"]);
        }
    }
}
