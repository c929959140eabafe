//! Puts what comes in any order into blocks that follow each other.
//!
//! Anthropic's blocks are strictly one after the other; other upstreams stream calls side by side
//! and text between their pieces. The first call streams as it comes; what comes while a call is
//! open waits behind it, in order.

use std::collections::VecDeque;

use crate::dialects::Dialect;
use crate::dialects::fields::Raw;
use crate::dialects::json::{self, Object};
use crate::dialects::signature;

/// Something that goes into a block of its own or into an open one.
#[derive(Debug)]
pub(super) enum Piece {
    Call(Call),
    Citation(Raw),
    Redacted(String),
    /// A signature of thinking, or of what comes next.
    Signature(String),
    Text(String),
    Thinking(String),
}

/// A call whose arguments may still be coming.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    pub(super) has_ended: bool,
}

/// The block being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Call(u32),
    Nothing,
    Text,
    Thinking,
}

/// The blocks of one stream.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The index of the next block; indexes are never used twice.
    next: u32,
    open: Open,
    waiting: VecDeque<Piece>,
    /// A signature that nothing has come after yet.
    held: Option<String>,
    pub(super) has_content: bool,
    pub(super) has_calls: bool,
    /// Citations that had no text to hang on.
    pub(super) lost_citation: bool,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            open: Open::Nothing,
            waiting: VecDeque::new(),
            held: None,
            has_content: false,
            has_calls: false,
            lost_citation: false,
        }
    }

    /// Writes the piece, or lets it wait behind an open call.
    pub(super) fn add(&mut self, piece: Piece, out: &mut Vec<u8>) {
        if matches!(&piece, Piece::Text(text) | Piece::Thinking(text) if text.is_empty()) {
            return;
        }
        self.has_content = true;
        if matches!(self.open, Open::Call(_)) {
            self.wait(piece);
        } else {
            self.place(piece, out);
        }
    }

    /// Adds arguments to the call with this index.
    pub(super) fn add_arguments(&mut self, index: u32, delta: &str, out: &mut Vec<u8>) {
        if self.open == Open::Call(index) {
            self.write_arguments(delta, out);
        } else if let Some(call) = self.waiting_call(index) {
            call.arguments.push_str(delta);
        }
    }

    /// Ends the call with this index and writes what waited behind it.
    pub(super) fn end_call(&mut self, index: u32, out: &mut Vec<u8>) {
        if self.open == Open::Call(index) {
            self.close(out);
            self.drain(out);
        } else if let Some(call) = self.waiting_call(index) {
            call.has_ended = true;
        }
    }

    /// Closes everything: all that waits is written, ended or not. A signature that is still held
    /// is not: a message that ends with thinking has no answer for clients that show its last block,
    /// and the gateway has remembered the signature.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        while !self.waiting.is_empty() {
            self.drain(out);
            self.close(out);
        }
    }

    fn waiting_call(&mut self, index: u32) -> Option<&mut Call> {
        self.waiting.iter_mut().find_map(|piece| match piece {
            Piece::Call(call) if call.index == index => Some(call),
            _ => None,
        })
    }

    /// Texts that wait next to each other are one text, so that a long wait costs no more.
    fn wait(&mut self, piece: Piece) {
        match (self.waiting.back_mut(), &piece) {
            (Some(Piece::Text(held)), Piece::Text(more))
            | (Some(Piece::Thinking(held)), Piece::Thinking(more)) => held.push_str(more),
            _ => self.waiting.push_back(piece),
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        while !matches!(self.open, Open::Call(_)) {
            let Some(piece) = self.waiting.pop_front() else {
                return;
            };
            self.place(piece, out);
        }
    }

    fn place(&mut self, piece: Piece, out: &mut Vec<u8>) {
        let ends_text = !matches!(piece, Piece::Citation(_));
        if let Some(signed) = self.held.take_if(|_| ends_text) {
            self.write_signature(&signed, out);
        }
        match piece {
            Piece::Text(text) => {
                self.be(Open::Text, out);
                self.write_delta(out, |o| {
                    o.put("type", "text_delta");
                    o.put("text", &text);
                });
            }
            Piece::Thinking(text) => {
                self.be(Open::Thinking, out);
                self.write_delta(out, |o| {
                    o.put("type", "thinking_delta");
                    o.put("thinking", &text);
                });
            }
            Piece::Signature(signed) => {
                if matches!(self.open, Open::Thinking) || !self.has_blocks() {
                    self.write_signature(&signed, out);
                } else {
                    self.held = Some(signed);
                }
            }
            Piece::Redacted(data) => {
                self.close(out);
                self.start(out, |o| {
                    o.put("type", "redacted_thinking");
                    o.put("data", signature::for_client(Dialect::Anthropic, &data));
                });
                self.open = Open::Thinking;
                self.close(out);
            }
            Piece::Citation(citation) => self.place_citation(&citation, out),
            Piece::Call(call) => {
                self.close(out);
                self.has_calls = true;
                self.start(out, |o| {
                    o.put("type", "tool_use");
                    o.put("id", &call.id);
                    o.put("name", &call.name);
                    o.object("input", |_| {});
                });
                self.open = Open::Call(call.index);
                self.write_arguments(&call.arguments, out);
                if call.has_ended {
                    self.close(out);
                }
            }
        }
    }

    fn place_citation(&mut self, citation: &Raw, out: &mut Vec<u8>) {
        if self.open == Open::Text {
            self.write_delta(out, |o| {
                o.put("type", "citations_delta");
                o.raw("citation", citation);
            });
        } else {
            self.lost_citation = true;
        }
    }

    /// Signs the open thinking, or writes a block of nothing but the signature.
    fn write_signature(&mut self, signed: &str, out: &mut Vec<u8>) {
        self.be(Open::Thinking, out);
        self.write_delta(out, |o| {
            o.put("type", "signature_delta");
            o.put(
                "signature",
                signature::for_client(Dialect::Anthropic, signed),
            );
        });
        self.close(out);
    }

    const fn has_blocks(&self) -> bool {
        self.next > 0 || !matches!(self.open, Open::Nothing)
    }

    fn write_arguments(&self, delta: &str, out: &mut Vec<u8>) {
        if !delta.is_empty() {
            self.write_delta(out, |o| {
                o.put("type", "input_json_delta");
                o.put("partial_json", delta);
            });
        }
    }

    /// Sees to it that a text or thinking block is open.
    fn be(&mut self, wanted: Open, out: &mut Vec<u8>) {
        if self.open == wanted {
            return;
        }
        self.close(out);
        self.start(out, |o| {
            if wanted == Open::Text {
                o.put("type", "text");
                o.put("text", "");
            } else {
                o.put("type", "thinking");
                o.put("thinking", "");
                o.put("signature", "");
            }
        });
        self.open = wanted;
    }

    fn start(&self, out: &mut Vec<u8>, block: impl FnOnce(&mut Object<'_>)) {
        frame(out, "content_block_start", |o| {
            o.put("index", &self.next);
            o.object("content_block", block);
        });
    }

    fn write_delta(&self, out: &mut Vec<u8>, delta: impl FnOnce(&mut Object<'_>)) {
        frame(out, "content_block_delta", |o| {
            o.put("index", &self.next);
            o.object("delta", delta);
        });
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open != Open::Nothing {
            frame(out, "content_block_stop", |o| o.put("index", &self.next));
            self.open = Open::Nothing;
            self.next = self.next.saturating_add(1);
        }
    }
}

/// Writes one server-sent event. Clients need the `event:` line.
pub(super) fn frame(out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&mut Object<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    json::object(out, |o| {
        o.put("type", kind);
        write(o);
    });
    out.extend_from_slice(b"\n\n");
}
