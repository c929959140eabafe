//! The first steps against the answers of section B, step by step.

use http::HeaderMap;

use super::*;
use crate::providers::find;

const NOW: Timestamp = Timestamp::from_secs(1_795_348_800);

fn machine(service: Service, facts: &Value) -> FirstSteps {
    let id = match service {
        Service::Antigravity => "antigravity",
        Service::GeminiCli => "gemini_cli",
    };
    let spec = find(id).expect("built in").spec();
    let facts = facts.as_object().expect("facts");
    FirstSteps::new(service, spec, &AccountView::of_facts(facts))
}

fn feed(machine: &mut FirstSteps, status: u16, body: &Value) -> Step {
    let headers = HeaderMap::new();
    let body = body.to_string();
    let answer = Answer {
        status,
        headers: &headers,
        body: body.as_bytes(),
        model: "",
        received: NOW,
    };
    machine.next(Some(&answer), NOW)
}

fn begin(machine: &mut FirstSteps) -> (String, Value) {
    called(machine.next(None, NOW))
}

fn called(step: Step) -> (String, Value) {
    let Step::Call(call) = step else {
        panic!("no call: {step:?}");
    };
    let body = call.body.map_or(Value::Null, |body| {
        serde_json::from_str(&body).expect("a JSON body")
    });
    (call.path, body)
}

fn done(step: Step) -> (String, String) {
    let Step::Done(facts) = step else {
        panic!("not done: {step:?}");
    };
    let project = facts.extra[PROJECT].as_str().expect("a project");
    (project.to_owned(), facts.tier.expect("a tier"))
}

fn refused(step: Step) -> Failure {
    let Step::Refused(failure) = step else {
        panic!("not refused: {step:?}");
    };
    failure
}

#[test]
fn an_account_with_tier_and_project_is_ready_at_once() {
    for service in [Service::GeminiCli, Service::Antigravity] {
        for project in [json!("proj-1"), json!({"id": "proj-1", "name": "x"})] {
            let mut machine = machine(service, &json!({}));
            let (path, _) = begin(&mut machine);
            assert_eq!(path, ":loadCodeAssist");
            let answer = json!({"currentTier": {"id": "free-tier"}, "paidTier": {"id": "g1-pro-tier",
                "availableCredits": [{"creditType": "GOOGLE_ONE_AI", "creditAmount": "123"}]},
                "cloudaicompanionProject": project});
            let step = feed(&mut machine, 200, &answer);
            assert!(
                matches!(&step, Step::Done(facts) if facts.extra[CREDITS][0]["creditAmount"] == "123")
            );
            assert_eq!(done(step), ("proj-1".to_owned(), "g1-pro-tier".to_owned()));
        }
    }
}

#[test]
fn each_service_asks_in_its_own_words() {
    let mut cli = machine(Service::GeminiCli, &json!({"project_id": "mine"}));
    assert_eq!(
        begin(&mut cli).1,
        json!({"cloudaicompanionProject": "mine", "metadata": {"ideType": "IDE_UNSPECIFIED",
            "platform": "PLATFORM_UNSPECIFIED", "pluginType": "GEMINI", "duetProject": "mine"}})
    );
    let mut antigravity = machine(Service::Antigravity, &json!({}));
    assert_eq!(
        begin(&mut antigravity).1,
        json!({"metadata": {"ideType": "ANTIGRAVITY"}})
    );
}

#[test]
fn a_new_account_is_onboarded_and_its_operation_asked_after() {
    let mut machine = machine(Service::GeminiCli, &json!({"project_id": "mine"}));
    begin(&mut machine);
    let tiers = json!({"allowedTiers": [{"id": "other"}, {"id": "standard-tier", "isDefault": true,
        "userDefinedCloudaicompanionProject": true}]});
    let (path, body) = called(feed(&mut machine, 200, &tiers));
    assert_eq!(path, ":onboardUser");
    assert_eq!(body["tierId"], "standard-tier");
    assert_eq!(body["cloudaicompanionProject"], "mine");
    let step = feed(
        &mut machine,
        200,
        &json!({"name": "operations/a.b", "done": false}),
    );
    assert_eq!(step, Step::Pause(POLL_EVERY));
    let (path, _) = called(machine.next(None, NOW));
    assert_eq!(path, "/operations/a.b");
    let step = feed(
        &mut machine,
        200,
        &json!({"name": "operations/a.b", "done": true,
        "response": {"cloudaicompanionProject": {"id": "made", "projectNumber": "1"}}}),
    );
    assert_eq!(done(step), ("made".to_owned(), "standard-tier".to_owned()));
}

#[test]
fn the_free_tier_is_onboarded_without_a_project() {
    for service in [Service::GeminiCli, Service::Antigravity] {
        let mut machine = machine(service, &json!({"project_id": "mine"}));
        begin(&mut machine);
        let tiers = json!({"allowedTiers": [{"id": "free-tier", "isDefault": true}]});
        let (_, body) = called(feed(&mut machine, 200, &tiers));
        assert_eq!(body.get("cloudaicompanionProject"), None);
        let tier = match service {
            Service::GeminiCli => &body["tierId"],
            Service::Antigravity => &body["tier_id"],
        };
        assert_eq!(tier, "free-tier");
    }
}

#[test]
fn an_operation_without_a_name_is_begun_again() {
    let mut machine = machine(Service::Antigravity, &json!({}));
    begin(&mut machine);
    assert_eq!(
        called(feed(&mut machine, 200, &json!({}))).0,
        ":onboardUser"
    );
    for name in [json!(null), json!("../../secrets"), json!("a?b")] {
        let step = feed(&mut machine, 200, &json!({"done": false, "name": name}));
        assert_eq!(step, Step::Pause(REPEAT_EVERY));
        assert_eq!(called(machine.next(None, NOW)).0, ":onboardUser");
    }
    let step = feed(
        &mut machine,
        200,
        &json!({"done": true,
        "response": {"cloudaicompanionProject": "p"}}),
    );
    assert_eq!(done(step).0, "p");
}

#[test]
fn a_consumer_is_refused_without_onboarding() {
    let answer = json!({"allowedTiers": [], "ineligibleTiers": [{"reasonCode": "UNSUPPORTED_CLIENT",
        "reasonMessage": "client no longer supported for individuals", "tierId": "free-tier",
        "tierName": "Gemini Code Assist for individuals"}]});
    let mut machine = machine(Service::GeminiCli, &json!({}));
    begin(&mut machine);
    let failure = refused(feed(&mut machine, 200, &answer));
    assert_eq!(failure.verdict, Verdict::Dead);
    assert!(
        failure.message.starts_with("unsupported_client"),
        "{}",
        failure.message
    );

    let mut offered = answer.clone();
    offered["allowedTiers"] = json!([{"id": "standard-tier", "isDefault": true,
        "userDefinedCloudaicompanionProject": true}]);
    let mut without = self::machine(Service::GeminiCli, &json!({}));
    begin(&mut without);
    assert_eq!(
        refused(feed(&mut without, 200, &offered)).verdict,
        Verdict::Dead
    );
    let mut licensed = self::machine(Service::GeminiCli, &json!({"project_id": "org"}));
    begin(&mut licensed);
    assert_eq!(called(feed(&mut licensed, 200, &offered)).0, ":onboardUser");
}

#[test]
fn the_owner_gets_the_page_to_open() {
    let answer = json!({"allowedTiers": [{"id": "free-tier", "isDefault": true}],
        "ineligibleTiers": [{"reasonCode": "VALIDATION_REQUIRED", "validationUrl": "https://a.example/v",
            "validationErrorMessage": "Verify your account to continue."}]});
    for service in [Service::GeminiCli, Service::Antigravity] {
        let mut machine = machine(service, &json!({}));
        begin(&mut machine);
        let failure = refused(feed(&mut machine, 200, &answer));
        assert_eq!(failure.verdict, Verdict::ActionNeeded);
        assert_eq!(failure.link.as_deref(), Some("https://a.example/v"));
    }
}

#[test]
fn a_missing_project_is_asked_for_and_never_made_up() {
    let mut licensed = machine(Service::GeminiCli, &json!({}));
    begin(&mut licensed);
    let without = json!({"currentTier": {"id": "standard-tier"}});
    assert_eq!(called(feed(&mut licensed, 200, &without)).0, PROJECTS);
    let failure = refused(feed(&mut licensed, 200, &json!({})));
    assert!(failure.message.contains("--project"), "{}", failure.message);
    let mut reasons = machine(Service::GeminiCli, &json!({}));
    begin(&mut reasons);
    let answer = json!({"currentTier": {"id": "standard-tier"},
        "ineligibleTiers": [{"reasonCode": "DASHER_USER"}]});
    assert!(
        refused(feed(&mut reasons, 200, &answer))
            .message
            .starts_with("dasher_user")
    );
    let mut empty = machine(Service::Antigravity, &json!({}));
    begin(&mut empty);
    assert_eq!(
        called(feed(
            &mut empty,
            200,
            &json!({"currentTier": {"id": "free-tier"}})
        ))
        .0,
        ":onboardUser"
    );
    let failure = refused(feed(
        &mut empty,
        200,
        &json!({"done": true, "response": {}}),
    ));
    assert_eq!(failure.verdict, Verdict::ActionNeeded);
    let mut number = machine(Service::GeminiCli, &json!({"project_id": "123456"}));
    let failure = refused(number.next(None, NOW));
    assert!(failure.message.contains("number"), "{}", failure.message);
}

#[test]
fn an_accounts_own_project_that_may_use_the_service_is_found() {
    let usage = |project| format!("{SERVICE_USAGE}/{project}/services/{COMPANION}");
    let without = json!({"currentTier": {"id": "standard-tier"}});
    let listed = json!({"projects": [
        {"projectId": "deleted", "lifecycleState": "DELETE_REQUESTED"},
        {"projectId": "../evil", "lifecycleState": "ACTIVE"},
        {"projectId": "off", "lifecycleState": "ACTIVE"},
        {"projectId": "hidden", "lifecycleState": "ACTIVE"},
        {"projectId": "example.com:on"},
        {"projectId": "later", "lifecycleState": "ACTIVE"},
    ]});
    let mut found = machine(Service::GeminiCli, &json!({}));
    begin(&mut found);
    assert_eq!(called(feed(&mut found, 200, &without)).0, PROJECTS);
    assert_eq!(called(feed(&mut found, 200, &listed)).0, usage("off"));
    let off = json!({"state": "DISABLED"});
    assert_eq!(called(feed(&mut found, 200, &off)).0, usage("hidden"));
    let hidden = json!({"error": {"code": 403}});
    let on = usage("example.com:on");
    assert_eq!(called(feed(&mut found, 403, &hidden)).0, on);
    let (path, body) = called(feed(&mut found, 200, &json!({"state": "ENABLED"})));
    assert_eq!(path, ":loadCodeAssist");
    assert_eq!(body["cloudaicompanionProject"], "example.com:on");
    assert_eq!(
        done(feed(&mut found, 200, &without)),
        ("example.com:on".to_owned(), STANDARD.to_owned())
    );

    // Nothing that may be used, and a list that may not be read: the owner must name one, and
    // nobody looks twice.
    for answers in [vec![(200, listed), (200, off.clone())], vec![(403, hidden)]] {
        let mut none = machine(Service::GeminiCli, &json!({}));
        begin(&mut none);
        feed(&mut none, 200, &without);
        let mut step = Step::Pause(POLL_EVERY);
        for (status, body) in &answers {
            step = feed(&mut none, *status, body);
        }
        while let Step::Call(_) = step {
            step = feed(&mut none, 200, &off);
        }
        let failure = refused(step);
        assert_eq!(failure.verdict, Verdict::ActionNeeded);
        assert!(failure.message.contains("--project"), "{}", failure.message);
    }
}

#[test]
fn a_busy_service_is_asked_again_and_given_up_in_the_end() {
    let busy = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "busy"}});
    let mut machine = machine(Service::Antigravity, &json!({}));
    begin(&mut machine);
    for wait in [1, 2, 4] {
        assert_eq!(
            feed(&mut machine, 429, &busy),
            Step::Pause(Duration::from_secs(wait))
        );
        assert_eq!(called(machine.next(None, NOW)).0, ":loadCodeAssist");
    }
    assert_eq!(
        refused(feed(&mut machine, 429, &busy)).verdict,
        Verdict::RateLimit
    );

    let mut silent = self::machine(Service::Antigravity, &json!({"project_id": "known"}));
    begin(&mut silent);
    for _ in 0..3 {
        assert!(matches!(silent.next(None, NOW), Step::Pause(_)));
        begin(&mut silent);
    }
    assert_eq!(
        done(silent.next(None, NOW)),
        ("known".to_owned(), UNKNOWN.to_owned())
    );
}

#[test]
fn hidden_and_impossible_projects_are_told_apart() {
    let hidden =
        json!({"error": {"code": 403, "details": [{"reason": "SECURITY_POLICY_VIOLATED"}]}});
    let mut known = machine(Service::GeminiCli, &json!({"project_id": "org"}));
    begin(&mut known);
    assert_eq!(
        done(feed(&mut known, 403, &hidden)),
        ("org".to_owned(), STANDARD.to_owned())
    );
    let shell = json!({"error": {"code": 403, "message": "… project cloudshell-gca …"}});
    for body in [hidden, shell] {
        let mut unknown = machine(Service::GeminiCli, &json!({}));
        begin(&mut unknown);
        assert_eq!(
            refused(feed(&mut unknown, 403, &body)).verdict,
            Verdict::ActionNeeded
        );
    }
    let mut refused_token = machine(Service::GeminiCli, &json!({}));
    begin(&mut refused_token);
    let body = json!({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no"}});
    assert_eq!(
        refused(feed(&mut refused_token, 401, &body)).verdict,
        Verdict::Auth
    );
}

#[test]
fn an_operation_that_fails_or_never_ends_is_given_up() {
    let mut machine = machine(Service::GeminiCli, &json!({}));
    begin(&mut machine);
    feed(
        &mut machine,
        200,
        &json!({"allowedTiers": [{"id": "free-tier", "isDefault": true}]}),
    );
    let failed = json!({"name": "operations/x", "done": true, "error": {"code": 9, "message": "precondition"}});
    let failure = refused(feed(&mut machine, 200, &failed));
    assert!(failure.message.contains("precondition"));

    let mut endless = self::machine(Service::GeminiCli, &json!({}));
    begin(&mut endless);
    feed(&mut endless, 200, &json!({}));
    let mut step = Step::Pause(POLL_EVERY);
    for _ in 0..=MAX_POLLS {
        step = feed(&mut endless, 200, &json!({"name": "operations/x"}));
        endless.next(None, NOW);
    }
    assert!(matches!(
        refused(step).verdict,
        Verdict::Transient(Fault::Timeout)
    ));
}

#[test]
fn steps_are_due_while_project_or_tier_is_missing() {
    for (facts, due) in [
        (json!({}), true),
        (json!({"project_id": "p"}), true),
        (json!({"tier": "t"}), true),
        (json!({"project_id": "p", "tier": "t"}), false),
    ] {
        let facts = facts.as_object().expect("facts");
        assert_eq!(are_due(&AccountView::of_facts(facts)), due);
        let key = AccountView {
            kind_is_account: false,
            ..AccountView::of_facts(facts)
        };
        assert!(!are_due(&key));
    }
}
