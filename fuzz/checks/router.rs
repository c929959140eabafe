//! Paths to routes: every method is answered alike for one path, nothing is open that is not one of
//! the three open pages, and no spelling of a path passes for another.

use http::Method;
use llmproxy::dialects::Dialect;
use llmproxy::server::router::{
    Inference, Route, RouteError, dialect_of_path, is_board_path, route,
};

/// Every method that some route takes.
const METHODS: [Method; 4] = [Method::DELETE, Method::GET, Method::HEAD, Method::POST];

/// The path, without its first slash.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = format!("/{text}");
    let _ = dialect_of_path(&path);
    let found: Vec<_> = METHODS.iter().map(|method| route(method, &path)).collect();
    let taken: Vec<&str> = METHODS
        .iter()
        .zip(&found)
        .filter_map(|(method, found)| found.is_ok().then_some(method.as_str()))
        .collect();
    for found in &found {
        match found {
            Ok(route) => is_sound(route, &path),
            Err(RouteError::Method { allow }) => {
                let mut allowed: Vec<&str> = allow.split(", ").collect();
                allowed.sort_unstable();
                assert_eq!(allowed, taken, "{path}");
            }
            Err(RouteError::Unknown) => assert!(taken.is_empty(), "{path}"),
        }
    }
    assert_eq!(found[1], found[2], "HEAD is GET: {path}");
    assert!(route(&Method::PUT, &path).is_err() && route(&Method::OPTIONS, &path).is_err());
    if !path.ends_with('/') {
        let slashed = format!("{path}/");
        for (method, found) in METHODS.iter().zip(&found) {
            assert_eq!(route(method, &slashed), *found, "{slashed}");
        }
    }
}

fn is_sound(route: &Route<'_>, path: &str) {
    let bare = path.strip_suffix('/').unwrap_or(path);
    let is_open = matches!(bare, "" | "/" | "/health" | "/dashboard");
    assert_eq!(route.is_open(), is_open, "{path}");
    assert_eq!(route.is_board(), is_board_path(bare), "{path}");
    match route {
        Route::CancelResponse { id }
        | Route::InputItems { id }
        | Route::Request { id }
        | Route::Response { id } => {
            assert!(!id.is_empty() && !id.contains('/'), "{path}");
            assert!(path.contains(id), "{path}");
        }
        Route::Model { id, gemini } => {
            assert_eq!(*gemini, path.starts_with("/v1beta/"), "{path}");
            is_of_path(id, path);
        }
        Route::Inference(Inference {
            dialect,
            model: Some(model),
            stream,
            ..
        }) => {
            assert_eq!(*dialect, Dialect::Gemini, "{path}");
            assert!(stream.is_some() && bare.contains(':'), "{path}");
            is_of_path(model, path);
        }
        // Nothing but a model's name is ever decoded.
        _ => assert!(!path.contains('%') || route.is_board(), "{path}"),
    }
}

/// The name stands in the path, as it is or percent-encoded.
fn is_of_path(name: &str, path: &str) {
    assert!(!name.is_empty(), "{path}");
    if path.contains(name) {
        return;
    }
    let decoded = decoded(path.as_bytes());
    let is_part = decoded
        .windows(name.len())
        .any(|part| part == name.as_bytes());
    assert!(is_part, "{path}: {name}");
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let hex = |byte: &u8| char::from(*byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let pair = text
            .get(at + 1)
            .and_then(hex)
            .zip(text.get(at + 2).and_then(hex));
        if let Some((high, low)) = pair.filter(|_| text[at] == b'%') {
            out.push(u8::try_from(high * 16 + low).expect("two digits"));
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}
