//! A `.env` written for LLM-API-Key-Proxy, as it is: it serves chat and embeddings, and each of its
//! variables works or is answered by name.

use std::fs;

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{gemini, key, openai};
use crate::harness::{Gateway, Home};

/// What clients of the older program send.
const PROXY_KEY: &str = "a-proxy-key-of-my-own";

fn home(env: &str) -> Home {
    let home = Home::new();
    let file = home.config_file().with_file_name(".env");
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, env).expect("an .env file");
    home
}

fn vectors() -> Reply {
    let vector = json!({"object": "embedding", "index": 0, "embedding": [0.6, 0.8]});
    let body = json!({"object": "list", "data": [vector], "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}});
    Reply::json(200, body.to_string())
}

/// As its documents write it: numbers, quotes, `export`, an empty key, bases, filters, a model by
/// another name.
fn env_of_its_documents(google: &Upstream, others: &Upstream) -> String {
    format!(
        "# Keys of clients and providers\nPROXY_API_KEY=\"{PROXY_KEY}\"\n\n\
         GEMINI_API_KEY_1=\"{}\"\nGEMINI_API_KEY_2='{}'\nexport OPENROUTER_API_KEY={}\n\
         OPENAI_API_KEY_1={}\nMISTRAL_API_KEY=\"\"\n\
         GEMINI_API_BASE={}\nOPENROUTER_API_BASE={base}\nOPENAI_API_BASE={base}/\n\
         MYSERVER_API_BASE={base}\nMYSERVER_API_KEY={}\n\
         ROTATION_MODE_GEMINI=balanced\nMAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI=2\n\
         IGNORE_MODELS_OPENROUTER=*hidden*\nWHITELIST_MODELS_OPENROUTER=org/hidden-but-good\n\
         MYSERVER_MODELS={{\"quick\":{{\"id\":\"real-id\",\"options\":{{\"top_p\":0.5}}}}}}\n\
         GLOBAL_TIMEOUT=20\nOVERRIDE_TEMPERATURE_ZERO=set\nSKIP_OAUTH_INIT_CHECK=true\n",
        key("g1"),
        key("g2"),
        key("or"),
        key("oa"),
        google.origin(),
        key("my"),
        base = others.base_url(),
    )
}

#[tokio::test]
async fn an_env_of_the_older_program_serves_chat_and_embeddings() {
    let google = Upstream::start(Script::new().answer(|request| {
        if request.target.contains(":batchEmbedContents") {
            return Reply::json(200, r#"{"embeddings":[{"values":[0.6,0.8]}]}"#);
        }
        gemini::answer("from gemini")
    }))
    .await;
    let others = Upstream::start(Script::new().answer(|request| {
        if request.target.ends_with("/embeddings") {
            return vectors();
        }
        openai::completion("from elsewhere")
    }))
    .await;
    let env = env_of_its_documents(&google, &others);
    let gateway = Gateway::start_in(home(&env), &[]).await;
    let ask = |path: &str, body: Value| {
        Request::post(path, body.to_string())
            .header("authorization", &format!("Bearer {PROXY_KEY}"))
    };
    let chat = |model: &str| json!({"model": model, "temperature": 0, "messages": [{"role": "user", "content": "hi"}]});
    let open = gateway
        .chat(&chat("gemini/gemini-2.5-flash").to_string())
        .await;
    assert_eq!(open.status, 401, "PROXY_API_KEY is asked for");
    for (model, status, text) in [
        ("gemini/gemini-2.5-flash", 200, "from gemini"),
        ("openrouter/org/model", 200, "from elsewhere"),
        ("openrouter/org/hidden-but-good", 200, "from elsewhere"),
        ("openrouter/org/hidden", 404, "filtered"),
        ("openai/gpt-4o", 200, "from elsewhere"),
        ("myserver/quick", 200, "from elsewhere"),
        ("mistral/mistral-small", 503, "no credential"),
    ] {
        let answer = gateway
            .send(&ask("/v1/chat/completions", chat(model)))
            .await;
        assert_eq!(answer.status, status, "{model}: {}", answer.text());
        assert!(answer.text().contains(text), "{model}: {}", answer.text());
    }
    let sent = others.requests().pop().expect("a request");
    let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
    assert_eq!(
        (&sent["model"], &sent["top_p"]),
        (&json!("real-id"), &json!(0.5)),
        "{sent}"
    );
    assert_eq!(
        sent["temperature"],
        json!(1.0),
        "OVERRIDE_TEMPERATURE_ZERO=set"
    );
    for model in [
        "openai/text-embedding-3-small",
        "gemini/gemini-embedding-001",
    ] {
        let answer = gateway
            .send(&ask(
                "/v1/embeddings",
                json!({"model": model, "input": "hi"}),
            ))
            .await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let second = answer.json()["data"][0]["embedding"][1].as_f64();
        assert!(
            second.is_some_and(|value| (value - 0.8).abs() < 1e-6),
            "{model}"
        );
    }
    let anthropic = json!({"model": "gemini/gemini-2.5-flash", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let answer = gateway
        .send(&Request::post("/v1/messages", anthropic.to_string()).header("x-api-key", PROXY_KEY))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let counted = ask(
        "/v1/token-count",
        json!({"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}),
    );
    assert!(gateway.send(&counted).await.json()["token_count"].as_u64() > Some(0));
    let cost =
        json!({"model": "openai/gpt-4o", "prompt_tokens": 1_000_000, "completion_tokens": 0});
    let cost = gateway.send(&ask("/v1/cost-estimate", cost)).await.json();
    assert_eq!(
        (&cost["cost"], &cost["currency"]),
        (&json!(2.5), &json!("USD"))
    );
}

/// Every variable of the older program's reference that is no key, with a value of its kind.
const REFERENCE: &[(&str, &str)] = &[
    ("GLOBAL_TIMEOUT", "30"),
    ("OVERRIDE_TEMPERATURE_ZERO", "remove"),
    ("SMALL_COOLDOWN_RETRY_THRESHOLD", "10"),
    ("TRANSIENT_RETRY_DELAY", "1.0"),
    ("TRANSIENT_RETRY_JITTER", "0.5"),
    ("STREAM_RETRY_ON_REASONING_ONLY", "false"),
    ("TIMEOUT_CONNECT", "30"),
    ("TIMEOUT_WRITE", "30"),
    ("TIMEOUT_POOL", "60"),
    ("TIMEOUT_READ_STREAMING", "300"),
    ("TIMEOUT_READ_NON_STREAMING", "600"),
    ("MODEL_INFO_REFRESH_INTERVAL", "21600"),
    ("SUPPRESS_LITELLM_SERIALIZATION_WARNINGS", "1"),
    ("SKIP_OAUTH_INIT_CHECK", "true"),
    ("OAUTH_REFRESH_INTERVAL", "600"),
    ("PORT", "8000"),
    ("GEMINI_CLI_OAUTH_PORT", "8085"),
    ("GEMINI_CLI_PROJECT_ID", "my-project"),
    ("GEMINI_MODELS", "[\"extra\"]"),
    ("IGNORE_MODELS_GEMINI", "*-preview*"),
    ("WHITELIST_MODELS_GEMINI", "gemini-3-pro-preview"),
    ("ROTATION_MODE_GEMINI", "balanced"),
    ("ROTATION_TOLERANCE", "2.0"),
    ("MAX_CONCURRENT_REQUESTS_PER_KEY_MISTRAL", "4"),
    ("OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_GEMINI_BALANCED", "2"),
    ("CONCURRENCY_MULTIPLIER_MISTRAL_PRIORITY_1", "5"),
    ("SEQUENTIAL_FALLBACK_MULTIPLIER_GEMINI", "2"),
    ("FAIR_CYCLE_GEMINI", "true"),
    ("FAIR_CYCLE_TRACKING_MODE_GEMINI", "credential"),
    ("FAIR_CYCLE_CROSS_TIER_GEMINI", "true"),
    ("FAIR_CYCLE_DURATION_GEMINI", "86400"),
    ("FAIR_CYCLE_QUOTA_THRESHOLD_GEMINI", "0.5"),
    ("FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_GEMINI", "90"),
    ("EXHAUSTION_COOLDOWN_THRESHOLD_GEMINI", "300"),
    ("CUSTOM_CAP_GEMINI_T2_PRO", "80%"),
    ("CUSTOM_CAP_COOLDOWN_GEMINI_T2_PRO", "offset:3600"),
    (
        "QUOTA_GROUPS_GEMINI_PRO",
        "gemini-2.5-pro,gemini-3-pro-preview",
    ),
    ("GEMINI_CLI_QUOTA_REFRESH_INTERVAL", "300"),
    ("CHUTES_QUOTA_REFRESH_INTERVAL", "300"),
    ("NANOGPT_QUOTA_REFRESH_INTERVAL", "300"),
    ("DEEPSEEK_REASONING_CACHE_TTL", "3600"),
    ("GEMINI_CLI_SIGNATURE_CACHE_TTL", "3600"),
    ("GEMINI_CLI_PRESERVE_THOUGHT_SIGNATURES", "true"),
    ("GEMINI_CLI_ENABLE_JSON_STRING_PARSING", "false"),
    ("GEMINI_CLI_GEMINI3_TOOL_PREFIX", "gemini3_"),
    ("GEMINI_CLI_UA_VERSION", "0.31.0"),
    ("DEEPSEEK_API_BASE", "https://deepseek.example.com"),
    ("OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_MISTRAL", "2"),
    ("MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI_BALANCED", "4"),
    ("CONCURRENCY_MULTIPLIER_GEMINI_PRIORITY_1_BALANCED", "5"),
    ("FAIR_CYCLE_ENABLED_MISTRAL", "true"),
    ("MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI_SEQUENTIAL", "4"),
    ("EXHAUSTION_COOLDOWN_THRESHOLD", "300"),
    ("FIRMWARE_API_BASE", "https://firmware.example.com/v1"),
    ("FIRMWARE_QUOTA_REFRESH_INTERVAL", "300"),
    ("DEEPSEEK_REASONING_CACHE_DISK_TTL", "604800"),
    ("GEMINI_CLI_SIGNATURE_DISK_TTL", "86400"),
    ("GEMINI_CLI_SIGNATURE_ENABLE", "true"),
    ("GEMINI_CLI_SIGNATURE_WRITE_INTERVAL", "60"),
    ("GEMINI_CLI_SIGNATURE_CLEANUP_INTERVAL", "1800"),
    ("GEMINI_CLI_ENABLE_SIGNATURE_CACHE", "true"),
    ("GEMINI_CLI_GEMINI3_TOOL_FIX", "true"),
    ("GEMINI_CLI_GEMINI3_STRICT_SCHEMA", "true"),
    ("GEMINI_CLI_GEMINI3_DESCRIPTION_PROMPT", "x"),
    ("GEMINI_CLI_GEMINI3_SYSTEM_INSTRUCTION", "x"),
    ("GEMINI_CLI_NODE_CLIENT_VERSION", "10.6.1"),
    ("GEMINI_CLI_GL_NODE_VERSION", "22.17.1"),
    ("GEMINI_CLI_PLATFORM_ARCH", "win32; x64"),
    ("GEMINI_CLI_ACCEPT_ENCODING", "gzip"),
    ("GEMINI_CLI_OAUTH_1", "/nowhere/gemini_cli_oauth_1.json"),
];

#[test]
fn every_variable_of_the_older_program_works_or_is_answered_by_name() {
    let lines = REFERENCE
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"));
    let env: String = lines.collect::<String>()
        + &format!("GEMINI_API_KEY={0}\nFIRMWARE_API_KEY={0}\n", key("1"));
    let home = home(&env);
    let shown = home.run(&["config", "show", "--origin"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let checked = home.run(&["config", "check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let listed = home.run(&["creds", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(
        !listed.stdout.contains("ollama"),
        "nobody named it: {listed:?}"
    );
    let said = [shown.stdout, shown.stderr, checked.stderr, listed.stderr].concat();
    // As the origin of a setting, or as what a note is about.
    let heard = |name: &str| {
        let (origin, note) = (format!("# {name} in "), format!(": {name}: "));
        let mut lines = said.lines();
        lines.find(|line| line.contains(&origin) || line.contains(&note))
    };
    let names = REFERENCE.iter().map(|(name, _)| *name);
    let missing: Vec<&str> = names.clone().filter(|name| heard(name).is_none()).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} are not heard of in:\n{said}"
    );
    let ignored: Vec<&str> = names
        .filter_map(heard)
        .filter(|line| line.contains("ignored:"))
        .collect();
    assert!(ignored.is_empty(), "{ignored:#?}");
}
