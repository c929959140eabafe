//! `llmproxy chat`: one question, or a conversation on a terminal, over the same pools as the
//! server and without it; `--url` talks to a running gateway instead.

mod answer;
mod conversation;
mod prompt;
mod send;
mod typing;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::chat::answer::Shown;
use crate::cli::chat::prompt::Conversation;
use crate::cli::chat::send::Line;
use crate::cli::exit::Failure;
use crate::config::load::Flags;

/// Largest prompt read from a pipe.
const MAX_STDIN: u64 = 32 << 20;

/// Ask a model
///
/// Piped input is appended to the prompt, or is the prompt. On a terminal with neither, a
/// conversation begins.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy chat -m demo/echo hi
  git diff | llmproxy chat -m gemini/gemini-2.5-flash 'write a commit message'
  llmproxy chat -m smart -f photo.png 'what is this?'
  llmproxy chat -m demo/echo                 a conversation; /help inside")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct ChatArgs {
    /// Model: provider/model, or a name from [models] (default: [chat] model)
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,

    /// The prompt; words are joined with spaces
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,

    /// System prompt
    #[arg(short, long, value_name = "TEXT")]
    system: Option<String>,

    /// Text, image or PDF to send along (can be repeated)
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,

    /// Most tokens to answer with
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_tokens: Option<u64>,

    /// Sampling temperature
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,

    /// How much to think
    #[arg(long, value_name = "EFFORT", value_enum)]
    reasoning: Option<Reasoning>,

    /// Show the reasoning, dim, on stderr
    #[arg(long)]
    show_reasoning: bool,

    /// JSON Schema file that the answer must match
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,

    /// Print the answer when it is whole
    #[arg(long)]
    no_stream: bool,

    /// Print the whole completion object
    #[arg(long)]
    json: bool,

    /// Print one line of token counts on stderr
    #[arg(long)]
    usage: bool,

    /// Ask a running gateway at this address (key: `LLMPROXY_API_KEY`)
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// `--reasoning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reasoning {
    None,
    Low,
    Medium,
    High,
}

impl Reasoning {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &ChatArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    let model = args
        .model
        .clone()
        .or_else(|| boot.loaded.config.chat.model.clone())
        .ok_or_else(|| {
            Failure::usage(
                "no model is named",
                "write -m provider/model, or set [chat] model; `llmproxy models` lists them",
            )
        })?;
    let piped = piped_input()?;
    let mut conversation = Conversation::new(args, model)?;
    let asked = conversation.ask(&args.prompt.join(" "), piped.as_deref(), &args.files)?;
    if !asked && !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "there is no prompt",
            "write one as argument, or pipe it in",
        ));
    }
    let url = args.url.as_deref();
    if asked {
        return context.block_on(async {
            let line = Line::open(url, boot, &conversation.model).await?;
            let answered = one_answer(args, context, &line, &mut conversation).await;
            line.close();
            answered
        });
    }
    let history = boot.paths.state_dir.join("chat_history");
    // Ctrl-C stops an answer there, not the program.
    context.block_on_to_end(async {
        let line = Line::open(url, boot, &conversation.model).await?;
        let held = conversation::hold(args, context, &line, history, &mut conversation).await;
        line.close();
        held
    })
}

async fn one_answer(
    args: &ChatArgs,
    context: &Context,
    line: &Line,
    conversation: &mut Conversation,
) -> Result<(), Failure> {
    let shown = Shown {
        json: args.json,
        reasoning: args.show_reasoning,
        usage: args.usage,
    };
    let stream = !args.no_stream && !args.json;
    let reply = line.send(conversation, stream, context).await?;
    let answer = answer::print(reply, shown, context).await?;
    conversation.remember(&answer);
    Ok(())
}

/// What is piped in; `None` on a terminal or for empty input.
fn piped_input() -> Result<Option<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = stdin.lock().take(MAX_STDIN + 1).read_to_end(&mut bytes);
    if let Err(error) = read {
        // A closed stdin is no input, not a fault.
        tracing::debug!("stdin cannot be read: {error}");
        return Ok(None);
    }
    if bytes.len() as u64 > MAX_STDIN {
        return Err(Failure::failed(
            format!("the piped input is larger than {} MiB", MAX_STDIN >> 20),
            "send less of it",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::failed(
            "the piped input is not text (UTF-8)",
            "send files with -f/--file instead",
        )
    })?;
    Ok((!text.trim().is_empty()).then_some(text))
}
