//! Whether everybody can use the page: names and roles as a screen reader gets them, contrast, the
//! way by keyboard, and room on a small screen.

use serde_json::Value;

use super::{LOCKED, OWNER, limited};
use crate::chromium::Browser;
use crate::client::{CHAT, Request};
use crate::harness::{Gateway, pair};

/// Finds what has too little contrast, is too small to hit, or does not fit.
const CHECK: &str = include_str!("check.js");

const DESKTOP: (u32, u32) = (1280, 900);

/// The narrowest screen that WCAG 2.2 asks for (1.4.10), at a phone's height.
const PHONE: (u32, u32) = (320, 640);

/// Roles that are no use without a name.
const NAMED: &[&str] = &[
    "DisclosureTriangle",
    "article",
    "button",
    "combobox",
    "dialog",
    "form",
    "image",
    "img",
    "link",
    "meter",
    "region",
    "searchbox",
    "textbox",
];

async fn signed_in(browser: &mut Browser, gateway: &Gateway) {
    browser
        .open(&format!("http://{}/dashboard", gateway.address()))
        .await;
    browser
        .until("document.activeElement === document.getElementById(\"key\")")
        .await;
    check(browser).await;
    browser.type_in(OWNER).await;
    browser.press("Enter").await;
    browser
        .until("document.querySelectorAll(\"#requests > li, .credential\").length === 3")
        .await;
    browser
        .until("document.querySelectorAll(\"#models > li\").length > 0")
        .await;
}

/// Fails if anything of the page as it is now keeps somebody out.
async fn check(browser: &mut Browser) {
    let tree = browser
        .order("Accessibility.getFullAXTree", serde_json::json!({}))
        .await;
    let nodes = tree["nodes"].as_array().expect("a tree");
    let of = |node: &Value, what: &str| {
        let value = node[what]["value"].as_str();
        value.unwrap_or_default().to_owned()
    };
    let shown = || nodes.iter().filter(|node| node["ignored"] != true);
    let mut nameless = Vec::new();
    let mut headings = Vec::new();
    for node in shown() {
        let (role, name) = (of(node, "role"), of(node, "name"));
        if NAMED.contains(&role.as_str()) && name.trim().is_empty() {
            nameless.push(role.clone());
        }
        if role == "heading" {
            let properties = node["properties"].as_array().expect("a list");
            let level = properties.iter().find(|one| one["name"] == "level");
            headings.push(level.and_then(|level| level["value"]["value"].as_u64()));
        }
    }
    assert!(nameless.is_empty(), "without a name: {nameless:?}");
    // While a question is open there is nothing else.
    let is_asking = shown().any(|node| of(node, "role") == "dialog");
    let first = headings.iter().filter(|level| **level == Some(1)).count();
    assert_eq!(first, usize::from(!is_asking), "one h1: {headings:?}");
    assert!(!headings.is_empty(), "a heading");
    for pair in headings.windows(2) {
        assert!(
            pair[1] <= pair[0].map(|level| level + 1),
            "a level is left out: {headings:?}"
        );
    }
    let faults = browser.eval(CHECK).await;
    assert_eq!(faults, serde_json::json!([]), "{faults:#}");
}

#[tokio::test]
async fn everything_has_a_name_and_can_be_read() {
    let (_upstream, gateway) = pair(limited(), 2, LOCKED).await;
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let request = Request::chat(CHAT).header("x-api-key", OWNER);
    assert_eq!(gateway.send(&request).await.status, 200);
    for (size, colours) in [
        (DESKTOP, "dark"),
        (DESKTOP, "light"),
        (PHONE, "dark"),
        (PHONE, "light"),
    ] {
        browser.show_as(size, colours).await;
        signed_in(&mut browser, &gateway).await;
        browser.click("200 served").await;
        browser
            .until("document.querySelector(\".trail\").textContent.includes(\"rate_limit\")")
            .await;
        check(&mut browser).await;
        browser.click("Disable: fake/2").await;
        browser.until("document.getElementById(\"ask\").open").await;
        check(&mut browser).await;
        browser.press("Escape").await;
        browser.eval("sessionStorage.clear()").await;
    }
    let page = browser
        .eval("[document.documentElement.lang, document.title]")
        .await;
    assert_eq!(page, serde_json::json!(["en", "llmproxy dashboard"]));
}

#[tokio::test]
async fn the_keyboard_reaches_everything_and_shows_where_it_is() {
    let (_upstream, gateway) = pair(limited(), 2, LOCKED).await;
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let request = Request::chat(CHAT).header("x-api-key", OWNER);
    assert_eq!(gateway.send(&request).await.status, 200);
    signed_in(&mut browser, &gateway).await;
    browser
        .eval("document.querySelector(\".skip\").focus()")
        .await;
    let mut reached = Vec::new();
    loop {
        let focus = browser
            .eval(
                "(() => { const at = document.activeElement; const style = getComputedStyle(at); \
                 return [at.tagName, at.getAttribute(\"aria-label\") ?? at.textContent.trim().slice(0, 40) ?? \"\", \
                 style.outlineStyle !== \"none\" && parseFloat(style.outlineWidth) >= 2, at.id]; })()",
            )
            .await;
        if focus[0] == "BODY" || reached.contains(&focus) {
            break;
        }
        assert_eq!(focus[2], true, "the focus does not show on {focus}");
        reached.push(focus);
        browser.press("Tab").await;
    }
    let reached = serde_json::json!(reached).to_string();
    for place in [
        "Skip to the content",
        "Sign out",
        "Refresh quotas",
        "Reset: fake/1",
        "Disable: fake/2",
        "which",
        "find-request",
        "SUMMARY",
        "find-model",
    ] {
        assert!(reached.contains(place), "{place} in {reached}");
    }
}
