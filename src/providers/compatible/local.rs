//! Model servers on one's own machine: any key or none.

use super::Compatible;
use crate::providers::spec::{Offers, Spec};

pub(super) static TABLE: &[Compatible] = &[
    Compatible(Spec {
        base_urls: &["http://localhost:11434/v1"],
        key_env: &["OLLAMA_API_KEY"],
        ..local("ollama", "Ollama")
    }),
    Compatible(Spec {
        base_urls: &["http://localhost:1234/v1"],
        aliases: &["lmstudio"],
        key_env: &["LM_STUDIO_API_KEY"],
        ..local("lm_studio", "LM Studio")
    }),
    Compatible(Spec {
        base_urls: &["http://localhost:8000/v1"],
        aliases: &["hosted_vllm"],
        key_env: &["VLLM_API_KEY", "HOSTED_VLLM_API_KEY"],
        ..local("vllm", "vLLM")
    }),
    Compatible(Spec {
        base_urls: &["http://localhost:8080/v1"],
        aliases: &["llamafile", "llama.cpp"],
        key_env: &["LLAMA_CPP_API_KEY"],
        ..local("llama_cpp", "llama.cpp")
    }),
    Compatible(Spec {
        base_urls: &["http://127.0.0.1:9997/v1"],
        key_env: &["XINFERENCE_API_KEY"],
        ..local("xinference", "Xinference")
    }),
];

const fn local(id: &'static str, title: &'static str) -> Spec {
    Spec {
        key_optional: true,
        offers: Offers::TEXT,
        ..Spec::compatible(id, title)
    }
}
