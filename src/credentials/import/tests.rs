//! Every layout, in the shapes the wire notes give.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_770_000_000);

fn parsed(name: &str, text: &str, layout: Option<Layout>) -> Vec<Result<Credential, String>> {
    let read = layouts::read(Path::new(name), text.as_bytes(), layout);
    read.into_iter()
        .map(|read| read.map(|read| read.credential))
        .collect()
}

fn one(name: &str, text: &str) -> Credential {
    let mut all = parsed(name, text, None);
    assert_eq!(all.len(), 1, "{name}");
    all.remove(0).expect(name)
}

fn account(credential: &Credential) -> &Account {
    credential.account().expect("an account")
}

#[test]
fn vendor_files_are_recognised_by_what_is_in_them() {
    let claims = URL_SAFE_NO_PAD.encode(r#"{"email":"me@example.com"}"#);
    for (name, text, id) in [
        (
            "/home/u/.gemini/oauth_creds.json",
            format!(r#"{{"access_token":"a","refresh_token":"r","scope":"https://www.googleapis.com/auth/cloud-platform","token_type":"Bearer","id_token":"h.{claims}.s","expiry_date":1770000000000}}"#),
            "gemini_cli/me@example.com",
        ),
        (
            "x.json",
            r#"{"access_token":"a","refresh_token":"r","token_type":"Bearer","resource_url":"portal.qwen.ai","expiry_date":1770000000000}"#.to_owned(),
            "qwen_code/1",
        ),
        (
            "y.json",
            r#"{"access_token":"a","refresh_token":"r","expiry_date":1770000000000,"token_type":"bearer","scope":"read","apiKey":"sk-1"}"#.to_owned(),
            "iflow/1",
        ),
        (
            "antigravity-oauth-token",
            r#"{"token":{"access_token":"a","token_type":"Bearer","refresh_token":"r","expiry":"2026-02-02T02:40:00Z"}}"#.to_owned(),
            "antigravity/1",
        ),
        (
            "z.json",
            r#"{"credential":{"access_token":"a","refresh_token":"r","token_expiry":"2026-02-02T02:40:00Z"}}"#.to_owned(),
            "gemini_cli/1",
        ),
        (
            "c.json",
            r#"{"type":"gemini","email":"me@example.com","project_id":"p","token":{"access_token":"a","refresh_token":"r","expiry":"2026-02-02T02:40:00Z","client_id":"c"}}"#.to_owned(),
            "gemini_cli/me@example.com",
        ),
        (
            "c.json",
            r#"{"type":"qwen","access_token":"a","refresh_token":"r","resource_url":"portal.qwen.ai","email":"work","expired":"2026-02-02T02:40:00Z"}"#.to_owned(),
            "qwen_code/work",
        ),
        (
            "oauth_creds/gemini_cli_oauth_1.json",
            r#"{"access_token":"a","refresh_token":"r","expiry_date":1770000000000,"_proxy_metadata":{"email":"me@example.com","project_id":"p","tier":"free"}}"#.to_owned(),
            "gemini_cli/me@example.com",
        ),
    ] {
        let credential = one(name, &text);
        assert_eq!(credential.id.as_str(), id, "{name}");
        let account = account(&credential);
        assert_eq!(account.access_token.as_ref().expect("kept").expose(), "a", "{name}");
        assert_eq!(account.refresh_token.as_ref().expect("kept").expose(), "r", "{name}");
        assert_eq!(account.expires, Some(NOW), "{name}");
        assert!(!format!("{credential:?}").contains("sk-1"), "{name}");
    }
}

#[test]
fn what_vendors_add_is_kept() {
    let iflow = one("y.json", r#"{"refresh_token":"r","apiKey":"sk-1"}"#);
    assert_eq!(account(&iflow).extra["api_key"], "sk-1");
    let seed = one(
        "gemini_cli_oauth_1.json",
        r#"{"refresh_token":"r","_proxy_metadata":{"project_id":"p","tier":"free"}}"#,
    );
    assert_eq!(account(&seed).extra["project_id"], "p");
    // Another program's note of what the vendor said is not the user's word.
    assert_eq!((seed.tier.as_deref(), seed.tier()), (None, Some("free")));
    assert_eq!(
        account(&seed).expires,
        Some(Timestamp::default()),
        "to be refreshed"
    );
}

#[test]
fn accounts_of_the_opencode_plugin_are_taken_apart() {
    let text = r#"{"version":3,"accounts":[
        {"email":"a@example.com","refreshToken":"r1|p1|m1"},
        {"email":"b@example.com","refreshToken":"r2","projectId":"p2"},
        {"email":"c@example.com"}, 5],"activeIndex":0}"#;
    let all = parsed("antigravity-accounts.json", text, None);
    let (a, b) = (all[0].as_ref().expect("one"), all[1].as_ref().expect("one"));
    assert_eq!(a.id.as_str(), "antigravity/a@example.com");
    assert_eq!(
        account(a).refresh_token.as_ref().expect("kept").expose(),
        "r1"
    );
    assert_eq!(account(a).extra["project_id"], "m1");
    assert_eq!(account(b).extra["project_id"], "p2");
    assert!(all[2].is_err() && all[3].is_err());
}

#[test]
fn what_is_unusable_is_named_without_its_content() {
    for (name, text, why) in [
        ("a.json", "{\"refresh_token\":\"canary\"", "no JSON"),
        ("a.json", "\"canary\"", "no JSON object"),
        ("a.json", r#"{"refresh_token":"canary"}"#, "--from"),
        ("a.json", r#"{"hello":"canary"}"#, "no credential file"),
        (
            "a.json",
            r#"{"type":"claude","access_token":"canary"}"#,
            "`claude` are not served",
        ),
        (
            "gemini.json",
            r#"{"type":"gemini","email":"canary"}"#,
            "neither an access nor",
        ),
        (
            "a.json",
            r#"{"provider":"openai","kind":"api_key","version":9}"#,
            "newer",
        ),
    ] {
        let all = parsed(name, text, None);
        let reason = all[0].as_ref().expect_err(text);
        assert!(reason.contains(why), "{reason}");
        assert!(!reason.contains("canary"), "{reason}");
    }
}

#[test]
fn a_directory_is_read_with_everything_below_and_damaged_files_are_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("writable");
        fs::write(path, text).expect("writable");
    };
    write(".env", "GEMINI_API_KEY=x");
    write(
        "oauth_creds/qwen_code_oauth_1.json",
        r#"{"refresh_token":"r"}"#,
    );
    write("oauth_creds/qwen_code_oauth_2.json", "{");
    write("notes.txt", "nothing");
    let found = read(dir.path(), None);
    assert_eq!(found.dotenv.len(), 1);
    assert_eq!(found.candidates.len(), 1);
    assert_eq!(found.unusable.len(), 1);
    assert!(found.unusable[0].place.ends_with("qwen_code_oauth_2.json"));
}

fn candidate(text: &str) -> Candidate {
    Candidate {
        credential: one("gemini.json", text),
        place: "here".to_owned(),
        remark: None,
    }
}

fn grades(findings: &[Finding]) -> Vec<(Grade, &str)> {
    let graded = findings.iter().map(|one| (one.grade, one.id.as_str()));
    graded.collect()
}

#[test]
fn importing_twice_changes_nothing() {
    let both = || {
        vec![
            candidate(r#"{"refresh_token":"r1","email":"a@example.com"}"#),
            candidate(r#"{"refresh_token":"r2"}"#),
            candidate(r#"{"refresh_token":"r3"}"#),
        ]
    };
    let first = merge(both(), &[], NOW);
    assert_eq!(
        grades(&first),
        [
            (Grade::Taken, "gemini_cli/a@example.com"),
            (Grade::Taken, "gemini_cli/1"),
            (Grade::Taken, "gemini_cli/2"),
        ]
    );
    let stored: Vec<Credential> = first.into_iter().filter_map(|one| one.credential).collect();
    let second = merge(both(), &stored, NOW);
    assert!(second.iter().all(|one| one.grade == Grade::Duplicate));
    let third = merge([both(), both()].concat(), &[], NOW);
    assert_eq!(
        third.iter().filter(|one| one.grade == Grade::Taken).count(),
        3
    );
}

#[test]
fn later_tokens_of_an_account_bring_it_up_to_date() {
    let old = candidate(
        r#"{"refresh_token":"r1","email":"a@example.com","expiry_date":1000,"project_id":"p"}"#,
    );
    let stored: Vec<Credential> = vec![old.credential.clone()];
    let newer = candidate(r#"{"refresh_token":"r2","email":"A@example.com","expiry_date":2000}"#);
    let findings = merge(vec![newer, old], &stored, NOW);
    assert_eq!(findings[0].grade, Grade::Updated);
    let updated = findings[0].credential.as_ref().expect("to store");
    assert_eq!(updated.id.as_str(), "gemini_cli/a@example.com");
    assert_eq!(
        account(updated)
            .refresh_token
            .as_ref()
            .expect("kept")
            .expose(),
        "r2"
    );
    assert_eq!(account(updated).extra["project_id"], "p");
    assert_eq!(account(updated).generation, 1);
    assert_eq!(
        findings[1].grade,
        Grade::Duplicate,
        "older tokens do not come back"
    );
}
