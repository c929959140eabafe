//! Token endpoints that depart from RFC 6749, brought back to it: errors with status 200, answers
//! wrapped in an envelope, numbers as text, HTML of a firewall.

use std::time::Duration;

use http::{StatusCode, header};
use oauth2::HttpResponse;
use serde_json::{Map, Value};

use crate::credentials::oauth::HttpError;

/// Makes an answer readable for the `oauth2` crate. `wanted` is the member that a success has:
/// `access_token` or `device_code`. `interval` is put in where the answer names none.
///
/// Fails with an [`HttpError`] where there is nothing to read, which callers may try again.
pub(super) fn normalise(
    response: &HttpResponse,
    wanted: &str,
    interval: Option<u64>,
) -> Result<HttpResponse, HttpError> {
    let status = response.status();
    let Ok(mut members) = serde_json::from_slice::<Map<String, Value>>(response.body()) else {
        return Err(unreadable(response));
    };
    if !members.contains_key(wanted)
        && let Some(Value::Object(inner)) = members.remove("data")
    {
        // iFlow: {"success":true,"data":{…}}
        members.extend(inner);
    }
    if status.is_success() && is_text(&members, wanted) {
        for name in ["expires_in", "interval"] {
            if let Some(number) = members.get(name).and_then(number) {
                members.insert(name.to_owned(), number.into());
            }
        }
        if let Some(interval) = interval.filter(|_| !members.contains_key("interval")) {
            members.insert("interval".to_owned(), interval.into());
        }
        if !is_text(&members, "token_type") {
            members.insert("token_type".to_owned(), "Bearer".into());
        }
        if !is_text(&members, "scope") {
            members.remove("scope");
        }
        return Ok(rewritten(StatusCode::OK, members));
    }
    // RFC 8628's slow_down may come as a 429 and must reach the polling. Else neither says anything
    // about the account, whatever words it brings.
    let error = members.get("error").and_then(Value::as_str);
    let is_polling = matches!(error, Some("authorization_pending" | "slow_down"));
    let is_limit = status == StatusCode::TOO_MANY_REQUESTS && !is_polling;
    if status.is_server_error() || is_limit {
        return Err(failed(response));
    }
    let message = ["error_description", "message", "msg"]
        .iter()
        .find_map(|name| members.get(*name).and_then(Value::as_str))
        .unwrap_or("no reason given")
        .to_owned();
    if !is_text(&members, "error") {
        // Some gateways nest it: {"error":{"code":…,"message":…}}.
        let nested = members.get("error").and_then(|error| error.get("status"));
        let code = nested
            .and_then(Value::as_str)
            .unwrap_or(match status.as_u16() {
                401 | 403 => "invalid_grant",
                _ => "invalid_request",
            });
        members.insert("error".to_owned(), code.to_owned().into());
    }
    members.insert("error_description".to_owned(), message.into());
    members.remove("error_uri");
    Ok(rewritten(StatusCode::BAD_REQUEST, members))
}

fn is_text(members: &Map<String, Value>, name: &str) -> bool {
    members
        .get(name)
        .and_then(Value::as_str)
        .is_some_and(|text| !text.trim().is_empty())
}

/// A count of seconds, however it is written; negative ones are none.
fn number(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    let number = match value {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        other => other.as_f64()?,
    };
    Duration::try_from_secs_f64(number.floor().max(0.0))
        .ok()
        .map(|duration| duration.as_secs())
}

fn rewritten(status: StatusCode, members: Map<String, Value>) -> HttpResponse {
    let mut response = HttpResponse::new(Value::Object(members).to_string().into_bytes());
    *response.status_mut() = status;
    response
}

fn unreadable(response: &HttpResponse) -> HttpError {
    if response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS {
        return failed(response);
    }
    HttpError {
        message: format!(
            "the log-in server answered with status {} and no JSON (a firewall or a wrong URL?)",
            response.status().as_u16()
        ),
        status: Some(response.status().as_u16()),
        retry_after: None,
    }
}

fn failed(response: &HttpResponse) -> HttpError {
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_secs);
    HttpError {
        message: format!(
            "the log-in server has a problem (status {})",
            response.status().as_u16()
        ),
        status: Some(response.status().as_u16()),
        retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<(u16, Value), HttpError> {
        let mut response = HttpResponse::new(body.as_bytes().to_vec());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        let response = normalise(&response, "access_token", None)?;
        let body = serde_json::from_slice(response.body()).expect("JSON");
        Ok((response.status().as_u16(), body))
    }

    #[test]
    fn odd_successes_become_standard_ones() {
        for body in [
            r#"{"access_token":"a","expires_in":60}"#,
            r#"{"access_token":"a","expires_in":"60","token_type":null}"#,
            r#"{"access_token":"a","expires_in":60.9}"#,
            r#"{"success":true,"data":{"access_token":"a","expires_in":60}}"#,
        ] {
            let (status, value) = answer(200, body).expect("readable");
            assert_eq!(status, 200, "{body}");
            assert_eq!(value["access_token"], "a", "{body}");
            assert_eq!(value["expires_in"], 60, "{body}");
            assert!(value["token_type"].is_string(), "{body}");
        }
    }

    #[test]
    fn errors_in_disguise_become_standard_ones() {
        for (status, body, error, description) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"revoked"}"#,
                "invalid_grant",
                "revoked",
            ),
            (
                200,
                r#"{"error":"invalid_grant","error_description":"x"}"#,
                "invalid_grant",
                "x",
            ),
            (
                200,
                r#"{"success":false,"message":"refresh token expired","data":null}"#,
                "invalid_request",
                "refresh token expired",
            ),
            (
                401,
                r#"{"message":"who are you"}"#,
                "invalid_grant",
                "who are you",
            ),
            (
                429,
                r#"{"error":"slow_down"}"#,
                "slow_down",
                "no reason given",
            ),
            (
                200,
                r#"{"access_token":" "}"#,
                "invalid_request",
                "no reason given",
            ),
        ] {
            let (status, value) = answer(status, body).expect("readable");
            assert_eq!(status, 400, "{body}");
            assert_eq!(value["error"], error, "{body}");
            assert_eq!(value["error_description"], description, "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_a_problem_of_the_server() {
        for (status, body) in [(503, "<html>"), (200, "<html>"), (429, ""), (500, "{}")] {
            let error = answer(status, body).expect_err(body);
            assert_eq!(error.status, Some(status));
            assert!(!error.message.contains("html"));
        }
    }
}
