//! `config.toml`, `.env` and the environment through the built binary.

use std::fs;

use crate::harness::{Finished, Home};

/// Runs `llmproxy config …`.
fn config(home: &Home, arguments: &[&str]) -> Finished {
    let mut all = vec!["config"];
    all.extend(arguments);
    home.run(&all)
}

/// One value of `config show --origin`, as `value  # origin`, with the home's own path cut out.
fn shown(home: &Home, path: &str) -> String {
    let finished = config(home, &["show", "--origin"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let prefix = format!("{path} = ");
    let line = finished
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(&prefix));
    let line = line.unwrap_or_else(|| panic!("no {path} in\n{}", finished.stdout));
    line.replace(&home.path("").display().to_string(), "~/")
}

#[test]
fn path_names_the_file_whether_it_exists_or_not() {
    let home = Home::new();
    let expected = format!("{}\n", home.config_file().display());
    assert_eq!(config(&home, &["path"]).stdout, expected);
    let named = home.run(&["config", "path", "--config", "/elsewhere/c.toml"]);
    assert_eq!(named.stdout, "/elsewhere/c.toml\n");
    let home = Home::new().env("LLMPROXY_CONFIG", "/env/c.toml");
    assert_eq!(config(&home, &["path"]).stdout, "/env/c.toml\n");
}

#[test]
fn init_writes_a_file_that_checks_and_changes_nothing() {
    let home = Home::new();
    let before = config(&home, &["show"]).stdout;
    assert_eq!(config(&home, &["init"]).code, 0);
    let written = fs::read_to_string(home.config_file()).expect("a config file");
    assert_eq!(written, include_str!("../../config.example.toml"));
    let checked = config(&home, &["check"]);
    assert_eq!((checked.code, &*checked.stderr), (0, ""));
    assert_eq!(config(&home, &["show"]).stdout, before);

    home.write_config("# mine\n");
    let again = config(&home, &["init"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("hint: "), "{}", again.stderr);
    let kept = fs::read_to_string(home.config_file()).expect("a config file");
    assert_eq!(kept, "# mine\n");
    assert_eq!(config(&home, &["init", "--force"]).code, 0);
}

#[cfg(unix)]
#[test]
fn init_makes_a_file_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    config(&home, &["init"]);
    let meta = fs::metadata(home.config_file()).expect("a config file");
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
}

#[test]
fn environment_wins_over_env_files_over_the_file_over_defaults() {
    let home = Home::with_config(
        "[routing]\ndeadline = \"1s\"\n[timeouts]\nconnect = \"1s\"\nstream_idle = \"1s\"\n",
    )
    .env("GLOBAL_TIMEOUT", "4");
    let beside = home.config_file().with_file_name(".env");
    fs::write(beside, "GLOBAL_TIMEOUT=2\nTIMEOUT_CONNECT=2\n").expect("an .env file");
    assert_eq!(
        shown(&home, "routing.deadline"),
        "\"4s\"  # environment GLOBAL_TIMEOUT"
    );
    assert_eq!(
        shown(&home, "timeouts.connect"),
        "\"2s\"  # TIMEOUT_CONNECT in ~/config/llmproxy/.env:2"
    );
    assert_eq!(
        shown(&home, "timeouts.stream_idle"),
        "\"1s\"  # ~/config/llmproxy/config.toml:5"
    );
    assert_eq!(shown(&home, "timeouts.total"), "\"10m\"  # default");
}

#[test]
fn later_env_files_win_and_a_missing_one_is_an_error() {
    let home = Home::new();
    for (name, text) in [("a.env", "GLOBAL_TIMEOUT=5"), ("b.env", "GLOBAL_TIMEOUT=6")] {
        fs::write(home.path(name), text).expect("an .env file");
    }
    let both = [
        "config",
        "show",
        "--env-file",
        "a.env",
        "--env-file",
        "b.env",
    ];
    assert!(home.run(&both).stdout.contains("deadline = \"6s\""));
    let missing = home.run(&["config", "show", "--env-file", "gone.env"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("gone.env"), "{}", missing.stderr);
}

#[test]
fn a_bad_line_of_an_env_file_is_named_by_number() {
    let home = Home::new();
    fs::write(home.path("a.env"), "A=1\n\nthis is no assignment\n").expect("an .env file");
    let finished = home.run(&["config", "check", "--env-file", "a.env"]);
    assert_eq!(finished.code, 2);
    assert!(
        finished.stderr.starts_with("error: a.env:3: "),
        "{}",
        finished.stderr
    );
}

#[test]
fn an_error_shows_place_line_and_what_to_do() {
    let home = Home::with_config("[server]\nport = 8000\n\n[routng]\ndeadline = \"5s\"\n");
    let finished = config(&home, &["check"]);
    assert_eq!(finished.code, 2);
    let text = finished
        .stderr
        .replace(&home.config_file().display().to_string(), "config.toml");
    assert_eq!(
        text,
        "error: config.toml:4:2: unknown key `routng`\n  |\n4 | [routng]\n  |  ^^^^^^\n\
         hint: did you mean `routing`?\n"
    );
}

#[test]
fn every_command_refuses_a_broken_config_with_exit_code_2() {
    let home = Home::with_config("[server\n");
    for command in [
        &["config", "show"][..],
        &["config", "check"],
        &["serve"],
        &["models"],
    ] {
        let finished = home.run(command);
        assert_eq!(finished.code, 2, "{command:?}: {}", finished.stderr);
        let hints = finished.stderr.matches("hint: ").count();
        assert_eq!(hints, 1, "{command:?}: {}", finished.stderr);
    }
}

#[test]
fn check_reports_all_that_is_wrong_and_other_commands_the_first() {
    let home = Home::with_config("[server]\nmax_body = 0\n[routing]\nmax_attempts = 0\n");
    let checked = config(&home, &["check"]);
    assert_eq!(
        checked.stderr.matches("error: ").count(),
        2,
        "{}",
        checked.stderr
    );
    let shown = config(&home, &["show"]);
    assert_eq!(
        shown.stderr.matches("error: ").count(),
        1,
        "{}",
        shown.stderr
    );
    assert!(shown.stderr.contains("and 1 more"), "{}", shown.stderr);
}

#[test]
fn no_output_holds_a_secret() {
    let secret = "sk-hush-0123456789abcdef";
    let home = Home::with_config(&format!(
        "[server]\napi_keys = [\"{secret}\"]\n[providers.gemini]\napi_keys = [\"{secret}\"]\n\
         headers = {{ \"x-a\" = \"{secret}\" }}\nproxy = \"http://u:{secret}@127.0.0.1:1\"\n\
         [providers.gemini.oauth]\nclient_secret = \"{secret}\"\n"
    ))
    .env("GEMINI_API_KEY_7", "sk-hush-fedcba9876543210");
    for arguments in [&["show"][..], &["show", "--origin"], &["check"]] {
        let finished = config(&home, arguments);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        let both = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!both.contains("hush"), "{both}");
    }
    home.write_config(&format!(
        "[providers.gemini]\napi_keys = [\"{secret}\" 5]\n"
    ));
    let refused = config(&home, &["check"]);
    assert_eq!(refused.code, 2);
    assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
}

#[test]
fn keys_of_strangers_are_named_and_never_used() {
    let home = Home::new()
        .env("AWS_API_KEY_ID_X", "stranger-one")
        .env("FOO_API_KEY", "stranger-two")
        .env("GEMINI_API_KEY", "");
    let checked = config(&home, &["check"]);
    assert_eq!(checked.code, 0);
    for name in ["AWS_API_KEY_ID_X", "FOO_API_KEY"] {
        let warned = checked
            .stderr
            .contains(&format!("warning: {name}: ignored"));
        assert!(warned, "{}", checked.stderr);
    }
    let shown = config(&home, &["show"]).stdout;
    assert!(!shown.contains("[providers."), "{shown}");
}

#[test]
fn a_file_written_for_the_reference_program_works_as_it_is() {
    let home = Home::new();
    let text = "PROXY_API_KEY=\"a-key-for-clients-0123\"\n\
        GEMINI_API_KEY_1=\"gemini-first\"\nGEMINI_API_KEY_2='gemini-second' # spare\n\
        MY_LOCAL_API_BASE=\"http://127.0.0.1:8001/v1\"\nMY_LOCAL_API_KEY=\"none\"\n\
        ROTATION_MODE_GEMINI=balanced\nMAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI=3\n\
        IGNORE_MODELS_GEMINI=\"*-preview*,*-exp\"\nWHITELIST_MODELS_GEMINI=\"gemini-3*\"\n\
        GLOBAL_TIMEOUT=45\nSKIP_OAUTH_INIT_CHECK=false\n";
    fs::create_dir_all(home.config_file().parent().expect("a folder")).expect("a folder");
    fs::write(home.config_file().with_file_name(".env"), text).expect("an .env file");
    let checked = config(&home, &["check"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(!checked.stderr.contains("warning"), "{}", checked.stderr);
    for (path, value) in [
        ("providers.gemini.rotation", "\"balanced\""),
        ("providers.gemini.max_concurrent_per_key", "3"),
        (
            "providers.gemini.ignore_models",
            "[\"*-preview*\", \"*-exp\"]",
        ),
        ("providers.gemini.allow_models", "[\"gemini-3*\"]"),
        (
            "providers.gemini.api_keys[1].key",
            "\"env:GEMINI_API_KEY_2\"",
        ),
        ("providers.my_local.kind", "\"openai\""),
        ("routing.deadline", "\"45s\""),
        ("server.api_keys[0].key", "\"env:PROXY_API_KEY\""),
    ] {
        let line = shown(&home, path);
        assert!(line.starts_with(&format!("{value}  # ")), "{path}: {line}");
    }
}

#[test]
fn a_public_address_needs_a_key_worth_the_name() {
    for (key, refused) in [
        ("", true),
        ("VerysecretKey", true),
        ("short-key", true),
        ("4d1f0a8e66b44b0e9a55e2a7d2b8c9f1", false),
    ] {
        let mut home = Home::with_config("[server]\nhost = \"0.0.0.0\"\nport = 0\n");
        if !key.is_empty() {
            home = home.env("PROXY_API_KEY", key);
        }
        let checked = config(&home, &["check"]);
        let warned = checked.stderr.contains("`serve` would refuse");
        assert_eq!(warned, refused, "{key}: {}", checked.stderr);
        if refused {
            let served = home.run(&["serve"]);
            assert_eq!(served.code, 2, "{key}: {}", served.stderr);
            assert!(served.stderr.contains("hint: "), "{}", served.stderr);
        }
    }
}

#[test]
fn the_schema_is_json_and_names_every_section() {
    let finished = config(&Home::new(), &["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let properties = schema["properties"].as_object().expect("an object");
    for section in [
        "server",
        "routing",
        "cooldown",
        "timeouts",
        "state",
        "log",
        "providers",
    ] {
        assert!(properties.contains_key(section), "{section}");
    }
}

#[test]
fn completion_scripts_ask_the_program_for_names() {
    let home =
        Home::with_config("[providers.my_vllm]\nkind = \"openai\"\nbase_url = \"http://a/v1\"\n");
    let home = home
        .env("LLMPROXY_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "3")
        .env("_CLAP_IFS", "\n");
    let finished = home.run(&["--", "llmproxy", "creds", "add", "my_"]);
    assert_eq!(finished.stdout.trim(), "my_vllm", "{}", finished.stderr);
}

#[test]
fn bash_loads_its_completion_script() {
    let script = Home::new().run(&["completions", "bash"]);
    assert_eq!(script.code, 0);
    let home = Home::new();
    fs::write(home.path("c.bash"), &script.stdout).expect("a script");
    let checked = std::process::Command::new("bash")
        .args(["--norc", "-c", "source ./c.bash && complete -p llmproxy"])
        .current_dir(home.path(""))
        .output();
    // Where there is no bash there is nothing to load it.
    if let Ok(output) = checked {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
