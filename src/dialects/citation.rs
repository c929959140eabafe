//! Citations across dialects: OpenAI's `url_citation` annotations and Anthropic's locations.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::fields::Raw;
use crate::dialects::json::raw_object;

/// The citation as an OpenAI annotation, with its place in the answer's text where known;
/// `None` if it names no URL. OpenAI's own pass as they are.
pub fn to_openai(raw: &RawValue, place: Option<(usize, usize)>) -> Option<Raw> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    if value.get("type").and_then(Value::as_str) == Some("url_citation") {
        return Some(raw.to_owned());
    }
    let url = value.get("url").or_else(|| value.get("uri"))?.as_str()?;
    let title = value.get("title").and_then(Value::as_str);
    let at = |name: &str| value.get(name).and_then(Value::as_u64);
    let given = at("startIndex").zip(at("endIndex"));
    Some(raw_object(|o| {
        o.put("type", "url_citation");
        o.object("url_citation", |o| {
            let (start, end) = match (place, given) {
                (Some((start, end)), _) => (start as u64, end as u64),
                (None, Some(given)) => given,
                (None, None) => (0, 0),
            };
            o.put("start_index", &start);
            o.put("end_index", &end);
            o.put("title", title.unwrap_or_default());
            o.put("url", url);
        });
    }))
}

/// The citation as an Anthropic location; `None` if it names no URL. Anthropic's own pass as they
/// are.
pub fn to_anthropic(raw: &RawValue) -> Option<Raw> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    let kind = value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if kind.ends_with("_location") {
        return Some(raw.to_owned());
    }
    let inner = value.get("url_citation").unwrap_or(&value);
    let url = inner.get("url").or_else(|| inner.get("uri"))?.as_str()?;
    let title = inner.get("title").and_then(Value::as_str);
    Some(raw_object(|o| {
        o.put("type", "web_search_result_location");
        o.put("cited_text", "");
        o.put("encrypted_index", "");
        o.put("title", &title);
        o.put("url", url);
    }))
}

/// The members of a list of citations.
pub fn list(raw: &RawValue) -> Vec<Raw> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn web_citations_cross_both_ways_and_document_ones_do_not() {
        let location = raw(
            r#"{"type":"web_search_result_location","url":"https://a","title":"A","cited_text":"x","encrypted_index":"E"}"#,
        );
        let annotation = to_openai(&location, Some((0, 4))).expect("it has a URL");
        assert_eq!(
            annotation.get(),
            r#"{"type":"url_citation","url_citation":{"start_index":0,"end_index":4,"title":"A","url":"https://a"}}"#
        );
        let back = to_anthropic(&annotation).expect("it has a URL");
        assert!(back.get().contains(r#""url":"https://a""#));
        let page = raw(r#"{"type":"page_location","document_index":0,"start_page_number":1}"#);
        assert!(to_openai(&page, None).is_none());
        assert_eq!(
            to_anthropic(&page).map(|raw| raw.get().to_owned()),
            Some(page.get().to_owned())
        );
    }
}
