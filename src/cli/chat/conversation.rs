//! A conversation on a terminal: lines in, answers out, a few commands beside.

use std::io::{self, BufRead, Write};
use std::path::Path;

use crate::cli::Context;
use crate::cli::chat::ChatArgs;
use crate::cli::chat::answer::{self, Shown};
use crate::cli::chat::prompt::Conversation;
use crate::cli::chat::send::Line;
use crate::cli::exit::Failure;

const HELP: &str = "\
/model NAME     another model          /system TEXT    another system prompt
/clear          forget all turns       /save FILE      write the conversation as JSON
/file PATH      send a file along      /exit           leave (also Ctrl-D)
A line that ends with \\ goes on in the next. Ctrl-C stops an answer.";

/// Holds the conversation until the user leaves.
pub(super) async fn hold(
    args: &ChatArgs,
    context: &Context,
    line: &Line,
    conversation: &mut Conversation,
) -> Result<(), Failure> {
    let printer = &context.printer;
    printer.note(&format!("{}; /help lists the commands", conversation.model));
    let shown = Shown {
        json: false,
        reasoning: args.show_reasoning,
        usage: args.usage,
    };
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    loop {
        let Some(text) = tokio::task::spawn_blocking(read_turn).await.ok().flatten() else {
            return Ok(());
        };
        let text = text.trim();
        if let Some(command) = text.strip_prefix('/') {
            match obey(command, conversation, &mut files) {
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
    let reply = line.send(conversation, true).await?;
    answer::print(reply, shown, context).await
}

/// One turn of the user's; `None` at the end of input.
fn read_turn() -> Option<String> {
    let mut turn = String::new();
    let mut prompt = "> ";
    loop {
        let _ = write!(io::stderr(), "{prompt}").and_then(|()| io::stderr().flush());
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        let line = line.trim_end_matches(['\r', '\n']);
        let Some(unfinished) = line.strip_suffix('\\') else {
            turn.push_str(line);
            return Some(turn);
        };
        turn.push_str(unfinished);
        turn.push('\n');
        prompt = "… ";
    }
}

enum Obeyed {
    Done(String),
    Leave,
}

fn obey(
    command: &str,
    conversation: &mut Conversation,
    files: &mut Vec<std::path::PathBuf>,
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
        ("model", model) => {
            model.clone_into(&mut conversation.model);
            format!("the next answer comes from {model}")
        }
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

fn save(conversation: &Conversation, path: &Path) -> String {
    let body = conversation.body(false);
    match std::fs::write(path, body) {
        Ok(()) => format!("saved to {}", path.display()),
        Err(error) => format!("cannot write {}: {error}", path.display()),
    }
}
