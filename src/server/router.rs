//! The table of routes: method and path to what is asked for. Decides nothing else.

use std::borrow::Cow;

use http::Method;

use crate::dialects::{Dialect, Operation};
use crate::gateway::steer::Deed;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// What the live page lives on.
    Board(Board<'a>),
    /// A kept response is to be stopped.
    CancelResponse {
        id: &'a str,
    },
    CostEstimate,
    Dashboard,
    Health,
    /// A call that goes upstream.
    Inference(Inference<'a>),
    Metrics,
    /// What a kept response was given.
    InputItems {
        id: &'a str,
    },
    /// One model's card, in the dialect of the route.
    Model {
        id: Cow<'a, str>,
        gemini: bool,
    },
    /// The model list, in the dialect of the route (Gemini's under `/v1beta`).
    Models {
        gemini: bool,
    },
    Providers,
    /// The pools' document; a POST refreshes first.
    QuotaStats {
        refresh: bool,
    },
    /// The trail of a request.
    Request {
        id: &'a str,
    },
    /// The requests under way.
    Requests,
    /// A kept response.
    Response {
        id: &'a str,
    },
    Root,
    TokenCount,
}

/// What the live page asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board<'a> {
    /// Something is done to a credential.
    Act(Deed),
    /// A page of a pool's credentials.
    Credentials,
    /// The stream of events.
    Live,
    /// The providers are asked for their own numbers.
    Refresh,
    /// The trail of a request.
    Request { id: &'a str },
}

/// A call that goes upstream: whose dialect, which operation, and what the path says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inference<'a> {
    pub dialect: Dialect,
    pub operation: Operation,
    /// The model of a Gemini path, percent-decoded; may hold slashes.
    pub model: Option<Cow<'a, str>>,
    /// Whether a Gemini path asks for a stream.
    pub stream: Option<bool>,
    /// `:batchEmbedContents`.
    pub batch: bool,
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// 405 with `allow`.
    Method { allow: &'static str },
    /// 404.
    Unknown,
}

impl Route<'_> {
    /// Whether the route answers without a client key.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Dashboard | Self::Health | Self::Root)
    }

    /// Whether it is the live page's, or the page itself.
    pub const fn is_board(&self) -> bool {
        matches!(self, Self::Board(_) | Self::Dashboard)
    }

    /// The dialect whose error shape the route uses.
    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Inference(inference) => inference.dialect,
            Self::Model { gemini: true, .. } | Self::Models { gemini: true } => Dialect::Gemini,
            Self::CancelResponse { .. } | Self::InputItems { .. } | Self::Response { .. } => {
                Dialect::OpenAiResponses
            }
            _ => Dialect::OpenAiChat,
        }
    }
}

/// Finds the route of a request. HEAD is answered as GET.
pub fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, RouteError> {
    let (mut found, allow) = find(path).ok_or(RouteError::Unknown)?;
    if let Route::QuotaStats { refresh } = &mut found {
        *refresh = *method == Method::POST;
    }
    let permitted = match *method {
        Method::GET | Method::HEAD => allow.contains("GET"),
        Method::DELETE => allow.contains("DELETE"),
        Method::POST => allow.contains("POST"),
        _ => false,
    };
    if permitted {
        Ok(found)
    } else {
        Err(RouteError::Method { allow })
    }
}

/// Whether a path is the live page, or below it.
pub fn is_board_path(path: &str) -> bool {
    let below = path.strip_prefix("/dashboard");
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// The dialect in whose shape an unknown path is refused.
pub fn dialect_of_path(path: &str) -> Dialect {
    if path.starts_with("/v1beta") {
        Dialect::Gemini
    } else if path.starts_with("/v1/messages") {
        Dialect::Anthropic
    } else {
        Dialect::OpenAiChat
    }
}

const GET: &str = "GET, HEAD";
const POST: &str = "POST";
const BOTH: &str = "GET, HEAD, POST";
const GET_OR_DELETE: &str = "DELETE, GET, HEAD";

fn find(path: &str) -> Option<(Route<'_>, &'static str)> {
    let path = if path.len() > 1 {
        path.strip_suffix('/').unwrap_or(path)
    } else {
        path
    };
    let openai = |operation| Route::Inference(Inference::plain(Dialect::OpenAiChat, operation));
    let found = match path {
        "/" => (Route::Root, GET),
        "/health" => (Route::Health, GET),
        "/dashboard" => (Route::Dashboard, GET),
        "/metrics" => (Route::Metrics, GET),
        "/v1/chat/completions" => (openai(Operation::Chat), POST),
        "/v1/completions" => (openai(Operation::Completions), POST),
        "/v1/embeddings" => (openai(Operation::Embeddings), POST),
        "/v1/responses" => (
            Route::Inference(Inference::plain(Dialect::OpenAiResponses, Operation::Chat)),
            POST,
        ),
        "/v1/responses/compact" => (
            Route::Inference(Inference::plain(
                Dialect::OpenAiResponses,
                Operation::Compact,
            )),
            POST,
        ),
        "/v1/responses/input_tokens" => (
            Route::Inference(Inference::plain(
                Dialect::OpenAiResponses,
                Operation::CountTokens,
            )),
            POST,
        ),
        "/v1/messages" => (
            Route::Inference(Inference::plain(Dialect::Anthropic, Operation::Chat)),
            POST,
        ),
        "/v1/messages/count_tokens" => (
            Route::Inference(Inference::plain(Dialect::Anthropic, Operation::CountTokens)),
            POST,
        ),
        "/v1/models" => (Route::Models { gemini: false }, GET),
        "/v1beta/models" => (Route::Models { gemini: true }, GET),
        "/v1/providers" => (Route::Providers, GET),
        "/v1/quota-stats" => (Route::QuotaStats { refresh: false }, BOTH),
        "/v1/requests" => (Route::Requests, GET),
        "/v1/token-count" => (Route::TokenCount, POST),
        "/v1/cost-estimate" => (Route::CostEstimate, POST),
        _ => {
            if let Some(rest) = path.strip_prefix("/dashboard/api/") {
                return board_route(rest);
            }
            if let Some(id) = path.strip_prefix("/v1/requests/") {
                let is_id = !id.is_empty() && !id.contains('/');
                return is_id.then_some((Route::Request { id }, GET));
            }
            if let Some(rest) = path.strip_prefix("/v1/responses/") {
                return response_route(rest);
            }
            let (below, beta) = match path.strip_prefix("/v1beta/") {
                Some(below) => (below, true),
                None => (path.strip_prefix("/v1/")?, false),
            };
            return match below.strip_prefix("models/") {
                Some(rest) => model_route(rest, beta),
                None => bare_model_route(below),
            };
        }
    };
    Some(found)
}

/// What is below `/dashboard/api/`.
fn board_route(rest: &str) -> Option<(Route<'_>, &'static str)> {
    let (board, allow) = match rest {
        "credentials" => (Board::Credentials, GET),
        "live" => (Board::Live, GET),
        "refresh" => (Board::Refresh, POST),
        _ => match rest.strip_prefix("requests/") {
            Some(id) => {
                let is_id = !id.is_empty() && !id.contains('/');
                return is_id.then_some((Route::Board(Board::Request { id }), GET));
            }
            None => (Board::Act(Deed::parse(rest)?), POST),
        },
    };
    Some((Route::Board(board), allow))
}

/// `{id}`, `{id}/cancel` or `{id}/input_items`.
fn response_route(rest: &str) -> Option<(Route<'_>, &'static str)> {
    let (id, below) = rest.split_once('/').unwrap_or((rest, ""));
    match below {
        _ if id.is_empty() => None,
        "" => Some((Route::Response { id }, GET_OR_DELETE)),
        "cancel" => Some((Route::CancelResponse { id }, POST)),
        "input_items" => Some((Route::InputItems { id }, GET)),
        _ => None,
    }
}

/// `{model}` or `{model}:{verb}`; the model may hold slashes and, before the verb, colons.
fn model_route(rest: &str, beta: bool) -> Option<(Route<'_>, &'static str)> {
    if let Some((model, call)) = gemini_call(rest) {
        return (!model.is_empty()).then_some((call, POST));
    }
    (!rest.is_empty()).then(|| {
        (
            Route::Model {
                id: decode(rest),
                gemini: beta,
            },
            GET,
        )
    })
}

/// `{provider}/{model}:{verb}`: what holds a slash is a whole path to Vercel's and `LangChain`'s
/// clients of Google, which put `models/` before plain names only (@ai-sdk/google 3.0.141 and
/// @google/generative-ai, read 2026-11-26).
fn bare_model_route(rest: &str) -> Option<(Route<'_>, &'static str)> {
    let (model, call) = gemini_call(rest)?;
    let is_path = model.split('/').count() > 1 && model.split('/').all(|part| !part.is_empty());
    is_path.then_some((call, POST))
}

/// The model and the call of `{model}:{verb}`.
fn gemini_call(rest: &str) -> Option<(&str, Route<'_>)> {
    let (model, verb) = rest.rsplit_once(':')?;
    let (operation, stream, batch) = gemini_verb(verb)?;
    let inference = Inference {
        dialect: Dialect::Gemini,
        operation,
        model: Some(decode(model)),
        stream: Some(stream),
        batch,
    };
    Some((model, Route::Inference(inference)))
}

fn gemini_verb(verb: &str) -> Option<(Operation, bool, bool)> {
    Some(match verb {
        "generateContent" => (Operation::Chat, false, false),
        "streamGenerateContent" => (Operation::Chat, true, false),
        "countTokens" => (Operation::CountTokens, false, false),
        "embedContent" => (Operation::Embeddings, false, false),
        "batchEmbedContents" => (Operation::Embeddings, false, true),
        _ => return None,
    })
}

/// Percent-decodes a path segment; what does not decode to UTF-8 stays as it is.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let byte = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .filter(|pair| pair.iter().all(u8::is_ascii_hexdigit))
            .and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        rest = if let Some(byte) = byte {
            bytes.push(byte);
            tail.get(2..).unwrap_or_default()
        } else {
            bytes.push(first);
            tail
        };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

impl Inference<'_> {
    const fn plain(dialect: Dialect, operation: Operation) -> Self {
        Self {
            dialect,
            operation,
            model: None,
            stream: None,
            batch: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gemini_paths_name_model_and_verb() {
        let found = route(
            &Method::POST,
            "/v1beta/models/openrouter/a/b:free:streamGenerateContent",
        );
        let Ok(Route::Inference(inference)) = found else {
            panic!("{found:?}")
        };
        assert_eq!(inference.model.as_deref(), Some("openrouter/a/b:free"));
        assert_eq!(
            (inference.operation, inference.stream),
            (Operation::Chat, Some(true))
        );
    }

    #[test]
    fn a_gemini_path_may_name_a_provider_without_the_word_models() {
        for (path, model) in [
            ("/v1beta/a/b:generateContent", "a/b"),
            ("/v1/a/b/c:free:generateContent", "a/b/c:free"),
            ("/v1beta/models/a/b:generateContent", "a/b"),
        ] {
            let found = route(&Method::POST, path);
            let Ok(Route::Inference(inference)) = found else {
                panic!("{path}: {found:?}")
            };
            assert_eq!(inference.model.as_deref(), Some(model), "{path}");
        }
        for path in [
            "/v1beta/b:generateContent",
            "/v1beta//b:generateContent",
            "/v1beta/a/:generateContent",
            "/v1beta/a/b:frobnicate",
            "/v1beta/a/b",
            "/v1beta/models/:generateContent",
        ] {
            assert_eq!(
                route(&Method::POST, path),
                Err(RouteError::Unknown),
                "{path}"
            );
        }
    }

    #[test]
    fn encoded_slashes_in_a_model_are_decoded() {
        let found = route(&Method::GET, "/v1/models/openrouter%2Fa%2fb");
        assert_eq!(
            found,
            Ok(Route::Model {
                id: "openrouter/a/b".into(),
                gemini: false
            })
        );
    }

    #[test]
    fn a_sign_is_no_hexadecimal_digit() {
        let found = route(&Method::GET, "/v1/models/a%+fb%2+%");
        let Ok(Route::Model { id, .. }) = found else {
            panic!("{found:?}")
        };
        assert_eq!(id, "a%+fb%2+%");
    }

    #[test]
    fn a_wrong_method_names_the_right_one() {
        assert_eq!(
            route(&Method::GET, "/v1/chat/completions"),
            Err(RouteError::Method { allow: "POST" })
        );
        assert_eq!(
            route(&Method::DELETE, "/v1/models"),
            Err(RouteError::Method { allow: "GET, HEAD" })
        );
        assert_eq!(
            route(&Method::DELETE, "/v1/responses/resp_1/input_items"),
            Err(RouteError::Method { allow: "GET, HEAD" })
        );
        assert_eq!(
            route(&Method::DELETE, "/v1/responses/resp_1"),
            Ok(Route::Response { id: "resp_1" })
        );
        assert_eq!(
            route(&Method::CONNECT, "/"),
            Err(RouteError::Method { allow: "GET, HEAD" })
        );
    }

    #[test]
    fn what_acts_is_posted_and_what_looks_is_not() {
        for (path, allow) in [
            ("credentials", GET),
            ("disable", POST),
            ("enable", POST),
            ("live", GET),
            ("refresh", POST),
            ("requests/1", GET),
            ("reset", POST),
        ] {
            let path = format!("/dashboard/api/{path}");
            let (right, wrong) = if allow == POST {
                (Method::POST, Method::GET)
            } else {
                (Method::GET, Method::POST)
            };
            assert!(
                matches!(route(&right, &path), Ok(Route::Board(_))),
                "{path}"
            );
            assert_eq!(
                route(&wrong, &path),
                Err(RouteError::Method { allow }),
                "{path}"
            );
            assert!(is_board_path(&path), "{path}");
        }
        for path in [
            "/dashboard/api/remove",
            "/dashboard/api/requests/",
            "/dashboard/x",
        ] {
            assert_eq!(
                route(&Method::POST, path),
                Err(RouteError::Unknown),
                "{path}"
            );
        }
        assert!(is_board_path("/dashboard") && !is_board_path("/dashboards"));
    }

    #[test]
    fn unknown_paths_have_no_route() {
        for path in [
            "/v2/models",
            "/v1",
            "/v1/chat",
            "/v1/models//",
            "/v1/../admin",
            "",
        ] {
            let found = route(&Method::GET, path);
            assert!(
                !matches!(found, Ok(ref route) if route.is_open()),
                "{path}: {found:?}"
            );
        }
        assert_eq!(route(&Method::GET, "/admin"), Err(RouteError::Unknown));
    }

    #[test]
    fn only_three_routes_are_open() {
        for (path, open) in [
            ("/", true),
            ("/health", true),
            ("/dashboard", true),
            ("/dashboard/api/live", false),
            ("/metrics", false),
            ("/v1/models", false),
        ] {
            assert_eq!(
                route(&Method::GET, path).map(|found| found.is_open()),
                Ok(open),
                "{path}"
            );
        }
    }
}
