//! A conversation on a terminal: lines in, answers out, a few commands beside.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;

use crate::cli::Context;
use crate::cli::chat::ChatArgs;
use crate::cli::chat::answer::{self, Shown};
use crate::cli::chat::prompt::Conversation;
use crate::cli::chat::send::Line;
use crate::cli::chat::typing::{Keyboard, Turn};
use crate::cli::exit::Failure;

const HELP: &str = "\
/model NAME     another model          /system TEXT    another system prompt
/clear          forget all turns       /save FILE      write the conversation as JSON
/file PATH      send a file along      /exit           leave (also Ctrl-D)
A line that ends with \\ goes on in the next. Arrows bring back what was typed before, Ctrl-R finds
it. Ctrl-C stops an answer.";

/// Holds the conversation until the user leaves.
pub(super) async fn hold(
    args: &ChatArgs,
    context: &Context,
    line: &Line,
    history: PathBuf,
    conversation: &mut Conversation,
) -> Result<(), Failure> {
    let printer = &context.printer;
    // Ctrl-C is listened to before the line editor puts back whatever it found there.
    let _ = tokio::signal::ctrl_c().now_or_never();
    let mut keyboard = Keyboard::open(history);
    printer.note(&format!("{}; /help lists the commands", conversation.model));
    let shown = Shown {
        json: false,
        reasoning: args.show_reasoning,
        usage: args.usage,
    };
    let mut files: Vec<PathBuf> = Vec::new();
    loop {
        let text = match keyboard.turn().await {
            Turn::End => return Ok(()),
            Turn::Interrupted => {
                printer.note("(Ctrl-D or /exit leaves)");
                continue;
            }
            Turn::Text(text) => text,
            Turn::Unreadable(error) => return Err(unreadable(&error)),
        };
        let text = text.trim();
        if let Some(command) = text.strip_prefix('/') {
            match obey(command, line, conversation, &mut files) {
                Obeyed::Done(said) => printer.note(&said),
                Obeyed::Leave => return Ok(()),
            }
            continue;
        }
        match conversation.ask(text, None, &files) {
            Ok(true) => files.clear(),
            Ok(false) => continue,
            Err(failure) => {
                printer.failure(&failure);
                files.clear();
                continue;
            }
        }
        let answered = tokio::select! {
            answered = turn(line, conversation, shown, context) => answered,
            _ = tokio::signal::ctrl_c() => {
                printer.note("\nstopped");
                conversation.forget_last();
                continue;
            }
        };
        match answered {
            Ok(answer) => conversation.remember(&answer),
            Err(failure) => {
                conversation.forget_last();
                printer.failure(&failure);
            }
        }
    }
}

async fn turn(
    line: &Line,
    conversation: &Conversation,
    shown: Shown,
    context: &Context,
) -> Result<String, Failure> {
    let reply = line.send(conversation, true, context).await?;
    answer::print(reply, shown, context).await
}

fn unreadable(error: &str) -> Failure {
    Failure::failed(
        format!("cannot read from this terminal: {error}"),
        "give the prompt as an argument, or pipe it in",
    )
}

enum Obeyed {
    Done(String),
    Leave,
}

fn obey(
    command: &str,
    line: &Line,
    conversation: &mut Conversation,
    files: &mut Vec<PathBuf>,
) -> Obeyed {
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    let rest = rest.trim();
    Obeyed::Done(match (name, rest) {
        ("exit" | "quit" | "q", _) => return Obeyed::Leave,
        ("clear", _) => {
            conversation.messages.clear();
            "all turns are forgotten".to_owned()
        }
        ("model", "") => conversation.model.clone(),
        ("model", model) => match line.check(model) {
            Ok(()) => {
                model.clone_into(&mut conversation.model);
                format!("the next answer comes from {model}")
            }
            Err(failure) => format!("{} ({})", failure.sentence(), failure.hint()),
        },
        ("system", "") => {
            conversation.system = None;
            "there is no system prompt now".to_owned()
        }
        ("system", text) => {
            conversation.system = Some(text.to_owned());
            "the system prompt is set".to_owned()
        }
        ("file", path) if !path.is_empty() => {
            files.push(path.into());
            format!("{path} goes with the next turn")
        }
        ("save", path) if !path.is_empty() => save(conversation, Path::new(path)),
        ("help", _) => HELP.to_owned(),
        _ => format!("there is no /{name}\n{HELP}"),
    })
}

/// Writes the conversation into a new file that only its owner can read.
fn save(conversation: &Conversation, path: &Path) -> String {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(conversation.body(false).as_bytes()));
    match written {
        Ok(()) => format!("saved to {}", path.display()),
        Err(error) => format!("cannot write {}: {error}", path.display()),
    }
}
