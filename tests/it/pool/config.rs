//! Limits that make no sense are refused when the configuration is read.

use crate::harness::Home;

const FAKE: &str = "[providers.fake]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\napi_keys = [\"none\"]\n";

#[test]
fn contradictory_limits_are_config_errors_with_their_place_and_a_hint() {
    for (lines, says) in [
        ("caps = [{ limit = 0 }]", "never let a request through"),
        ("caps = [{ limit = \"0%\" }]", "never let a request through"),
        (
            "caps = [{ limit = \"400%\" }]",
            "above the provider's own limit",
        ),
        ("caps = [{ limit = \"lots\" }]", "not a limit"),
        (
            "caps = [{ limit = 1, cooldown = \"later\" }]",
            "not a cooldown",
        ),
        (
            "caps = [{ limit = 1 }, { limit = 2 }]",
            "same tiers and models",
        ),
        (
            "windows = [{ requests = 5, every = \"0s\" }]",
            "holds nothing",
        ),
        ("windows = [{ every = \"1h\" }]", "limits nothing"),
        ("windows = [{ requests = -5, every = \"1h\" }]", "invalid"),
        (
            "windows = [{ requests = 5, every = \"1h\", anchor = \"noon\" }]",
            "noon",
        ),
        (
            "windows = [{ requests = 5, every = \"1h\", anchor = \"utc_midnight\" }]",
            "whole days",
        ),
        (
            "windows = [{ requests = 5, every = \"24h\", anchor = \"weekly\" }]",
            "a week",
        ),
        ("quota_groups = { pro = [] }", "names no model"),
        (
            "quota_groups = { a = [\"m\"], b = [\"m\"] }",
            "in two groups",
        ),
        (
            "quota_groups = { a = [\"m-1\"], b = [\"m-*\"] }",
            "in two groups",
        ),
        (
            "max_concurrent_per_key = 1\noptimal_concurrent_per_key = 2",
            "optimal",
        ),
        (
            "priority_multipliers = { \"1\" = 0 }",
            "never let a request through",
        ),
        ("rotation_tolerance = -1", "makes no sense"),
        ("rotation_tolerance = nan", "makes no sense"),
        ("rotation = \"random\"", "random"),
        ("fair_cycle = { enabled = true, duration = \"0s\" }", "0"),
        (
            "fair_cycle = { enabled = true, tracking = \"colour\" }",
            "colour",
        ),
    ] {
        let home = Home::with_config(&format!("{FAKE}{lines}\n"));
        let checked = home.run(&["config", "check"]);
        assert_eq!(checked.code, 2, "{lines}: {checked:?}");
        assert!(checked.stderr.contains(says), "{lines}: {}", checked.stderr);
        // A limit that contradicts another is shown at the later one.
        let line = FAKE.lines().count() + lines.lines().count();
        let place = format!("config.toml:{line}:");
        assert!(
            checked.stderr.contains(&place),
            "{lines}: {}",
            checked.stderr
        );
    }
}

#[test]
fn cooldown_and_routing_values_that_cannot_work_are_refused() {
    for (lines, says) in [
        ("[routing]\nretry_budget = -0.5", "retry_budget"),
        ("[routing]\nmax_attempts = 0", "max_attempts"),
        ("[routing]\ndeadline = \"0s\"", "deadline"),
        (
            "[[routing.errors]]\nstatus = 400\naction = \"explode\"",
            "explode",
        ),
        (
            "[[routing.errors]]\nstatus = 4000\naction = \"fail\"",
            "4000",
        ),
        ("[[routing.errors]]\naction = \"fail\"", "errors"),
        ("[cooldown]\nprobe_after = \"soon\"", "soon"),
    ] {
        let home = Home::with_config(&format!("{FAKE}{lines}\n"));
        let checked = home.run(&["config", "check"]);
        assert_eq!(checked.code, 2, "{lines}: {checked:?}");
        assert!(checked.stderr.contains(says), "{lines}: {}", checked.stderr);
    }
}

#[test]
fn a_refused_configuration_names_its_remedy_and_starts_nothing() {
    let home = Home::with_config(&format!("{FAKE}caps = [{{ limit = \"400%\" }}]\n"));
    for command in [
        &["serve", "--port", "0"][..],
        &["simulate"][..],
        &["status"][..],
    ] {
        let refused = home.run(command);
        assert_eq!(refused.code, 2, "{command:?}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{command:?}: {refused:?}");
        assert!(refused.stderr.contains("400%"), "{command:?}: {refused:?}");
    }
}
