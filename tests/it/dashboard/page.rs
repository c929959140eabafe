//! The page in a real browser: it signs in, lives, acts, and takes nothing for markup.

use serde_json::json;

use super::{GUEST, LOCKED, OWNER, limited};
use crate::chromium::Browser;
use crate::client::{CHAT, Request};
use crate::commands;
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, pair};

fn origin(gateway: &Gateway) -> String {
    format!("http://{}", gateway.address())
}

async fn chat(gateway: &Gateway, key: &str, body: &str) -> String {
    let request = Request::chat(body).header("x-api-key", key);
    let answer = gateway.send(&request).await;
    let id = answer.header("x-request-id");
    id.expect("every answer has one").to_owned()
}

/// Signs in as a user does: the field has the focus, and Enter is enough.
async fn sign_in(browser: &mut Browser, key: &str) {
    browser
        .until("document.activeElement === document.getElementById(\"key\")")
        .await;
    browser.type_in(key).await;
    browser.press("Enter").await;
}

/// An expression: the state that a credential's row shows.
fn state(id: &str) -> String {
    format!(
        "[...document.querySelectorAll(\".credential\")].find((row) => \
         row.querySelector(\"strong\").textContent === {}).querySelector(\".state\").textContent",
        json!(id)
    )
}

/// Waits until the page shows a credential in a state.
async fn shows(browser: &mut Browser, id: &str, word: &str) {
    browser
        .until(&format!("{} === \"{word}\"", state(id)))
        .await;
}

#[tokio::test]
async fn the_page_signs_in_lives_and_explains() {
    let (_upstream, gateway) = pair(limited(), 2, LOCKED).await;
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    browser
        .open(&format!("{}/dashboard", origin(&gateway)))
        .await;
    sign_in(&mut browser, OWNER).await;
    browser
        .until("document.getElementById(\"pulse\").textContent === \"Live\"")
        .await;
    shows(&mut browser, "fake/1", "ready").await;
    shows(&mut browser, "fake/2", "ready").await;

    // It lives: what happens elsewhere is seen here, without a hand moved.
    let id = chat(&gateway, OWNER, CHAT).await;
    browser
        .until("document.querySelectorAll(\"#requests > li\").length === 1")
        .await;
    shows(&mut browser, "fake/1", "cooling").await;
    browser
        .until("/^for (1 m|2 m)/.test(document.querySelector(\".credential .left\").textContent)")
        .await;
    browser
        .until("document.getElementById(\"figures\").innerText.includes(\"18\")")
        .await;
    let bars = "#requests-chart svg rect.first, #tokens-chart svg rect.second";
    let drawn = format!("document.querySelectorAll({}).length >= 2", json!(bars));
    browser.until(&drawn).await;

    // A request is explained.
    browser.click("200 served").await;
    browser
        .until("document.querySelector(\".trail\").textContent.includes(\"rate_limit\")")
        .await;
    let trail = browser
        .eval("document.querySelector(\".trail\").innerText")
        .await;
    for words in [id.as_str(), "fake/1", "fake/2", "Served with 200"] {
        assert!(
            trail.as_str().is_some_and(|text| text.contains(words)),
            "{words}: {trail}"
        );
    }

    // So is one that has left the list: its id finds it.
    browser.eval("requests = []; listRequests()").await;
    browser
        .eval("document.getElementById(\"find-request\").focus()")
        .await;
    browser.type_in(&id).await;
    browser
        .until("document.getElementById(\"older\").innerText.includes(\"Served with 200\")")
        .await;
    browser
        .until("document.querySelectorAll(\"#models > li\").length > 0")
        .await;

    // The tab remembers the key, and forgets it when told to.
    browser.order("Page.reload", json!({})).await;
    shows(&mut browser, "fake/2", "ready").await;
    browser.click("Sign out").await;
    browser
        .until("!document.getElementById(\"door\").hidden")
        .await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    assert_eq!(browser.eval("localStorage.length").await, 0);
    let left = browser.eval("document.body.textContent").await;
    assert!(!left.to_string().contains("fake/"), "{left}");
    browser.assert_content(&origin(&gateway)).await;
}

#[tokio::test]
async fn deeds_are_asked_about_first_and_done_at_once() {
    let (_upstream, gateway) = pair(limited(), 2, LOCKED).await;
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    chat(&gateway, OWNER, CHAT).await;
    browser
        .open(&format!("{}/dashboard", origin(&gateway)))
        .await;
    sign_in(&mut browser, OWNER).await;
    for answer in ["Escape", "Cancel"] {
        browser.click("Reset: fake/1").await;
        browser.until("document.getElementById(\"ask\").open").await;
        if answer == "Escape" {
            browser.press(answer).await;
        } else {
            browser.click(answer).await;
        }
        browser
            .until("!document.getElementById(\"ask\").open")
            .await;
        assert_eq!(browser.eval(&state("fake/1")).await, "cooling", "{answer}");
    }
    for (deed, id, comes_to, said) in [
        ("Reset", "fake/1", "ready", "reset fake/1"),
        ("Disable", "fake/2", "disabled", "disabled fake/2"),
    ] {
        browser.click(&format!("{deed}: {id}")).await;
        browser.click_yes().await;
        browser
            .until(&format!("{} === \"{comes_to}\"", state(id)))
            .await;
        browser
            .until(&format!(
                "document.getElementById(\"said\").textContent === \"{said}\""
            ))
            .await;
    }
    let list = gateway
        .home()
        .run_beside(&["creds", "list", "--json"], "")
        .await;
    assert_eq!(commands::json(&list)[1]["state"], "disabled");
    browser.click("Enable: fake/2").await;
    browser.click_yes().await;
    shows(&mut browser, "fake/2", "ready").await;
    browser.click("Refresh quotas").await;
    browser.click_yes().await;
    browser
        .until("document.getElementById(\"said\").textContent.includes(\"no endpoint for quotas\")")
        .await;
    browser.assert_content(&origin(&gateway)).await;
}

#[tokio::test]
async fn a_wrong_key_stays_outside_and_a_guest_changes_nothing() {
    let script = Script::always(openai::completion("hi"));
    let (_upstream, gateway) = pair(script, 1, LOCKED).await;
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    chat(&gateway, OWNER, CHAT).await;
    browser
        .open(&format!("{}/dashboard", origin(&gateway)))
        .await;
    sign_in(&mut browser, "wrong").await;
    browser
        .until("document.getElementById(\"refusal\").textContent.includes(\"does not know\")")
        .await;
    // The browser itself notes the 401; the page complains of nothing.
    let own = |complaint: &String| !complaint.contains("401");
    assert!(
        !browser.complaints.iter().any(own),
        "{:#?}",
        browser.complaints
    );
    browser.complaints.clear();
    sign_in(&mut browser, GUEST).await;
    shows(&mut browser, "fake/1", "ready").await;
    browser
        .until("!document.getElementById(\"guest\").hidden")
        .await;
    let id = chat(&gateway, GUEST, CHAT).await;
    browser
        .until("document.querySelectorAll(\"#requests > li\").length === 1")
        .await;
    browser.click("200 served").await;
    browser
        .until(&format!(
            "document.querySelector(\".trail\").textContent.includes(\"{id}\")"
        ))
        .await;
    let deeds = "document.querySelectorAll(\".deeds button\").length";
    assert_eq!(browser.eval(deeds).await, 0);
    browser.assert_content(&origin(&gateway)).await;
}

#[tokio::test]
async fn markup_in_names_and_messages_is_text() {
    const EVIL: &str = "<img src=x onerror=window.hacked=1>";
    let refusal = openai::error(400, "invalid_request_error", "x", &format!("no {EVIL}"));
    let script = Script::always(refusal).models([EVIL, "javascript:window.hacked=1"]);
    let (_upstream, gateway) = pair(script, 1, "").await;
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let body =
        json!({"model": format!("fake/{EVIL}"), "messages": [{"role": "user", "content": "hi"}]});
    chat(&gateway, "any", &body.to_string()).await;
    browser
        .open(&format!("{}/dashboard", origin(&gateway)))
        .await;
    let shown = |place: &str| {
        format!("document.querySelector(\"{place}\").innerText.includes(\"fake/{EVIL}\")")
    };
    browser.until(&shown("#requests")).await;
    browser.until(&shown("#models")).await;
    browser.click("400 failed").await;
    browser
        .until(&format!(
            "document.querySelector(\".trail\").innerText.includes(\"no {EVIL}\")"
        ))
        .await;
    assert_eq!(browser.eval("document.images.length").await, 0);
    assert_eq!(browser.eval("typeof window.hacked").await, "undefined");
    assert_eq!(
        browser
            .eval("document.querySelectorAll(\"script\").length")
            .await,
        1
    );
    browser.assert_content(&origin(&gateway)).await;
    // Nor would it run if it got in: the policy has the last word.
    let forced = browser
        .eval("(() => { try { document.body.innerHTML = \"<b>x</b>\"; return \"set\"; } catch (error) { return error.name; } })()")
        .await;
    assert_eq!(forced, "TypeError");
}

#[tokio::test]
async fn a_large_pool_is_searched_page_by_page() {
    let (_upstream, gateway) = pair(Script::new(), 60, "").await;
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    browser
        .open(&format!("{}/dashboard", origin(&gateway)))
        .await;
    let rows = "document.querySelectorAll(\".credential\").length";
    browser.until(&format!("{rows} === 20")).await;
    let count =
        |text: &str| format!("document.querySelector(\".turn span\").textContent === \"{text}\"");
    browser.until(&count("1–20 of 60")).await;
    browser.click("Next").await;
    browser.until(&count("21–40 of 60")).await;
    browser.until(&state("fake/21")).await;
    browser.click("Next").await;
    browser.until(&count("41–60 of 60")).await;
    browser.click("Previous").await;
    browser.until(&count("21–40 of 60")).await;
    browser
        .eval("document.querySelector(\".looking input\").focus()")
        .await;
    browser.type_in("fake/5").await;
    browser.until(&count("1–11 of 11")).await;
    browser.assert_content(&origin(&gateway)).await;
}
