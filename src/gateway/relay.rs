//! The stream of one answer on its way to the client: verbatim or translated, never buffered
//! beyond what is ready, cut only at frame boundaries.
//!
//! [`open`] holds the head and everything before the first content byte back, so that a failure up
//! to there can still go to another credential. From then on the [`Relay`] owns the attempt: it
//! enforces the idle limit, sends keep-alive comments, reports an upstream fault in the client's
//! dialect, and says how it ended exactly once, also when the client drops it.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep, timeout_at};

use crate::dialects::error::{ErrorReply, UpstreamError};
use crate::dialects::loss::Losses;
use crate::dialects::sse::{Frame, FrameTooLong};
use crate::dialects::usage::Usage;
use crate::gateway::frames::Frames;
use crate::gateway::reshape::open_frame;
use crate::gateway::sink::{Progress, Sink, StreamFault};
use crate::gateway::upstream::{ReplyBody, SendError};
use crate::providers::Provider;
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::telemetry::request_log::Recording;

/// Output gathered in one go before it is handed on, while the upstream has more ready.
const BATCH_BYTES: usize = 64 << 10;

/// Bytes held back before the first content: far more than any preamble, far less than a flood.
const MAX_HELD_BYTES: usize = 1 << 20;

/// How long the upstream may take to close after its last frame. Waiting for the proper end lets
/// the connection be used again; the client has everything already.
const CLOSING_GRACE: Duration = Duration::from_millis(250);

/// The longest silence after the stop reason, where the idle limit is no shorter. Usage and the
/// dialect's last frame are still to come, and a busy vendor counts for seconds; one that keeps the
/// connection open for ever behind its last word does not keep the client from its end.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What an idle stream sends: a comment that every reader of server-sent events skips.
const KEEPALIVE: &[u8] = b": keepalive\n\n";

/// How a relayed answer ended.
#[derive(Debug)]
pub struct End {
    pub outcome: RelayOutcome,
    /// What the upstream reported, if it did.
    pub usage: Option<Usage>,
    /// Characters of answer seen, for an estimate where usage is missing.
    pub output_chars: u64,
    /// How much of it the client's dialect could not express.
    pub losses: usize,
    /// Frames that came behind the last one, and went no further.
    pub surplus: usize,
}

/// See [`End`].
#[derive(Debug)]
pub enum RelayOutcome {
    /// The client left.
    Cancelled,
    Complete,
    /// The upstream failed after content had gone out.
    Failed(Failure),
}

/// Called once, when the relay ends or is dropped.
pub type OnEnd = Box<dyn FnOnce(End) + Send>;

/// Judges an error object found inside the stream.
pub type JudgeInStream = Box<dyn Fn(&UpstreamError) -> Failure + Send>;

/// Turns a failure into the client's error.
pub type Explain = Box<dyn Fn(&Failure) -> ErrorReply + Send>;

/// What a relay needs beside the bytes.
pub struct RelayContext {
    /// Silence after which a comment is sent; zero is never.
    pub keepalive: Duration,
    /// Opens each event's envelope; `None` if the answer is in none.
    pub envelope: Option<&'static dyn Provider>,
    pub judge: JudgeInStream,
    pub explain: Explain,
}

impl RelayContext {
    /// The frame as the spec's dialect has it.
    fn opened(&self, frame: Frame) -> Frame {
        match self.envelope {
            Some(adapter) => open_frame(frame, adapter),
            None => frame,
        }
    }
}

/// A stream that has shown its first content.
pub struct Relay {
    source: Option<ReplyBody>,
    frames: Frames,
    /// Whether frames wait that came together with the first content.
    has_frames: bool,
    sink: Sink,
    out: Output,
    context: RelayContext,
    timer: Pin<Box<Sleep>>,
    last_in: Instant,
    last_out: Instant,
    /// Set once the terminal frame has passed: when to stop waiting for the upstream to close.
    closing: Option<Instant>,
    /// The stop reason was seen: silence means an end, and no failure.
    has_stopped: bool,
    surplus: usize,
    on_end: Option<OnEnd>,
    /// Where the client's stream is noted; `None` if requests are not logged.
    recording: Option<Recording>,
}

/// Reads a stream up to its first content (or its proper end, for an answer without any).
///
/// The failure returned has touched no byte of the client's: another credential may be tried.
pub async fn open(
    mut source: ReplyBody,
    mut frames: Frames,
    mut sink: Sink,
    context: RelayContext,
    first_byte: Instant,
) -> Result<Relay, Failure> {
    let mut out = Output::default();
    let mut first_byte = Some(first_byte);
    let mut has_content = false;
    let mut surplus = 0;
    loop {
        let chunk = match first_byte.take() {
            Some(by) => timeout_at(by, source.chunk()).await.unwrap_or_else(|_| {
                let message = "no first event in time".to_owned();
                Err(SendError::new(Fault::Timeout, message))
            }),
            None => source.chunk().await,
        };
        let chunk = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => {
                while let Some(frame) = frames.finish() {
                    let progress = sink
                        .feed(context.opened(frame), &mut out)
                        .map_err(|fault| judged(fault, &context))?;
                    has_content |= progress == Progress::Content;
                }
                let progress = sink
                    .finish(&mut out)
                    .map_err(|fault| judged(fault, &context))?;
                has_content |= progress == Progress::Content;
                if !has_content {
                    return Err(empty());
                }
                let mut relay = Relay::new(None, frames, sink, out, context);
                relay.surplus = surplus;
                return Ok(relay);
            }
            Err(error) => return Err(error.failure()),
        };
        out.read_from(&chunk);
        frames.push(chunk);
        // What lies behind the first content is the relay's, whether it came together with it or not.
        while !has_content && let Some(frame) = frames.next() {
            let frame = frame.map_err(|error| {
                Failure::new(Verdict::Transient(Fault::Garbage), error.to_string())
            })?;
            if sink.is_over() {
                surplus += 1;
                continue;
            }
            match sink
                .feed(context.opened(frame), &mut out)
                .map_err(|fault| judged(fault, &context))?
            {
                Progress::Content => has_content = true,
                Progress::Preamble => {}
            }
        }
        if has_content {
            let mut relay = Relay::new(Some(source), frames, sink, out, context);
            relay.surplus = surplus;
            return Ok(relay);
        }
        if sink.is_over() {
            return Err(empty());
        }
        if out.len() > MAX_HELD_BYTES {
            let message = "the stream brought no content within its first MiB";
            return Err(Failure::new(Verdict::Transient(Fault::Garbage), message));
        }
    }
}

fn judged(fault: StreamFault, context: &RelayContext) -> Failure {
    match fault {
        StreamFault::Garbage(message) => Failure::new(Verdict::Transient(Fault::Garbage), message),
        StreamFault::Truncated => truncated(),
        StreamFault::Upstream(error) => (context.judge)(&error),
    }
}

/// An answer that says nothing and gives no reason is a failure, however complete its form.
fn empty() -> Failure {
    Failure::new(Verdict::Transient(Fault::Empty), "the answer is empty")
}

fn truncated() -> Failure {
    Failure::new(
        Verdict::Transient(Fault::Truncated),
        "the stream ended before the answer was complete",
    )
}

impl Relay {
    fn new(
        source: Option<ReplyBody>,
        frames: Frames,
        sink: Sink,
        out: Output,
        context: RelayContext,
    ) -> Self {
        let now = Instant::now();
        let mut relay = Self {
            has_frames: source.is_some(),
            source,
            frames,
            sink,
            out,
            context,
            timer: Box::pin(tokio::time::sleep_until(now)),
            last_in: now,
            last_out: now,
            closing: None,
            has_stopped: false,
            surplus: 0,
            on_end: None,
            recording: None,
        };
        let alarm = relay.next_alarm();
        relay.timer.as_mut().reset(alarm);
        relay.note_ending();
        relay
    }

    /// Says whom to tell when the stream ends.
    pub fn on_end(&mut self, on_end: OnEnd) {
        self.on_end = Some(on_end);
        if self.source.is_none() {
            self.end(RelayOutcome::Complete);
        }
    }

    /// Notes all that the client gets.
    pub fn note_on(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    /// The next bytes for the client; `None` at the end. Drains what is ready before returning.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let polled = self.next_piece(context);
        if let (Some(recording), Poll::Ready(Some(piece))) = (&self.recording, &polled) {
            recording.piece(piece);
        }
        polled
    }

    fn next_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.drain_source(context);
        if let Some(piece) = self.out.take() {
            self.last_out = Instant::now();
            return Poll::Ready(Some(piece));
        }
        if self.source.is_none() {
            return Poll::Ready(None);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            self.ring(Instant::now());
            if let Some(piece) = self.out.take() {
                self.last_out = Instant::now();
                return Poll::Ready(Some(piece));
            }
            if self.source.is_none() {
                return Poll::Ready(None);
            }
            let alarm = self.next_alarm();
            self.timer.as_mut().reset(alarm);
        }
        Poll::Pending
    }

    /// Ends the stream with an error of the gateway's own (shutdown). An answer that is whole stays
    /// whole.
    pub fn abort(&mut self, error: &ErrorReply) {
        if self.source.is_none() {
            return;
        }
        if self.sink.has_ended() {
            return self.conclude();
        }
        self.source = None;
        self.has_frames = false;
        self.sink.fail(error, &mut self.out);
        self.end(RelayOutcome::Cancelled);
    }

    fn drain_source(&mut self, context: &mut Context<'_>) {
        if self.has_frames {
            self.take_frames();
        }
        while let Some(source) = self.source.as_mut() {
            if self.out.len() >= BATCH_BYTES {
                return;
            }
            match source.poll_chunk(context) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(chunk))) => self.take_chunk(chunk),
                Poll::Ready(Some(Err(error))) => self.break_off(error.failure()),
                Poll::Ready(None) => self.close(),
            }
        }
    }

    fn take_chunk(&mut self, chunk: Bytes) {
        self.last_in = Instant::now();
        self.out.read_from(&chunk);
        self.frames.push(chunk);
        self.take_frames();
    }

    /// Takes the frames that have come.
    fn take_frames(&mut self) {
        self.has_frames = false;
        while let Some(frame) = self.next_frame() {
            if self.sink.is_over() {
                // Whatever follows the last frame is the upstream's mistake, not the client's.
                self.surplus += 1;
                continue;
            }
            let fed = match frame {
                Ok(frame) => self.sink.feed(self.context.opened(frame), &mut self.out),
                Err(error) => Err(StreamFault::Garbage(error.to_string())),
            };
            if let Err(fault) = fed {
                let failure = judged(fault, &self.context);
                return self.break_off(failure);
            }
        }
        self.sink.let_go();
        self.note_ending();
    }

    /// The next frame to look at; those that need no look have passed.
    fn next_frame(&mut self) -> Option<Result<Frame, FrameTooLong>> {
        self.sink.skim(&mut self.frames, &mut self.out);
        self.frames.next()
    }

    /// Stops waiting for ever once the upstream has said its last.
    fn note_ending(&mut self) {
        if self.closing.is_none() && self.sink.has_seen_the_last() {
            self.closing = Some(self.last_in + CLOSING_GRACE);
        } else if !self.has_stopped && self.sink.has_ended() {
            self.has_stopped = true;
        } else {
            return;
        }
        let alarm = self.next_alarm();
        self.timer.as_mut().reset(alarm);
    }

    /// The upstream closed: properly, or in the middle.
    fn close(&mut self) {
        if self.sink.is_over() {
            while let Some(frame) = self.frames.finish() {
                self.sink.rest(frame, &mut self.out);
            }
        } else {
            while let Some(frame) = self.frames.finish() {
                let frame = self.context.opened(frame);
                if let Err(fault) = self.sink.feed(frame, &mut self.out) {
                    let failure = judged(fault, &self.context);
                    return self.break_off(failure);
                }
            }
            let finished = self.sink.finish(&mut self.out);
            return self.finish(finished.map(|_| ()));
        }
        self.finish(Ok(()));
    }

    /// Ends an answer that is whole before the upstream has said so.
    fn conclude(&mut self) {
        while let Some(frame) = self.frames.finish() {
            // Half a frame helps nobody, and an error changes nothing any more.
            if frame.is_terminated() && !self.sink.is_over() {
                let _ = self.sink.feed(self.context.opened(frame), &mut self.out);
            }
        }
        let concluded = self.sink.conclude(&mut self.out);
        self.finish(concluded);
    }

    fn finish(&mut self, finished: Result<(), StreamFault>) {
        self.source = None;
        self.has_frames = false;
        let Err(fault) = finished else {
            return self.end(RelayOutcome::Complete);
        };
        let failure = judged(fault, &self.context);
        self.sink
            .fail(&(self.context.explain)(&failure), &mut self.out);
        self.end(RelayOutcome::Failed(failure));
    }

    /// The upstream failed after content: the client hears it in its own dialect. An answer that
    /// was whole already stays whole.
    fn break_off(&mut self, failure: Failure) {
        if self.sink.has_ended() {
            return self.conclude();
        }
        self.source = None;
        self.sink
            .fail(&(self.context.explain)(&failure), &mut self.out);
        self.end(RelayOutcome::Failed(failure));
    }

    fn ring(&mut self, now: Instant) {
        let Some(source) = self.source.as_ref() else {
            return;
        };
        if self.closing.is_some_and(|by| by <= now) {
            return self.conclude();
        }
        if now >= source.total || now >= self.last_in + self.patience(source) {
            let error = SendError::idle(source.idle);
            return self.break_off(error.failure());
        }
        if !self.context.keepalive.is_zero() && now >= self.last_out + self.context.keepalive {
            self.sink.keep_alive(KEEPALIVE, &mut self.out);
            self.last_out = now;
        }
    }

    /// The earliest instant at which silence means something.
    fn next_alarm(&self) -> Instant {
        let Some(source) = self.source.as_ref() else {
            return self.last_in;
        };
        let mut alarm = source.total.min(self.last_in + self.patience(source));
        if !self.context.keepalive.is_zero() {
            alarm = alarm.min(self.last_out + self.context.keepalive);
        }
        self.closing.map_or(alarm, |closing| alarm.min(closing))
    }

    /// How long the upstream may say nothing.
    fn patience(&self, source: &ReplyBody) -> Duration {
        if self.has_stopped {
            source.idle.min(LAST_WORDS)
        } else {
            source.idle
        }
    }

    fn end(&mut self, outcome: RelayOutcome) {
        if let Some(on_end) = self.on_end.take() {
            on_end(End {
                outcome,
                usage: self.sink.usage(),
                output_chars: self.sink.output_chars(),
                losses: self.sink.losses().map_or(0, Losses::len),
                surplus: self.surplus,
            });
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end(RelayOutcome::Cancelled);
    }
}

/// Bytes ready for the client.
#[derive(Debug, Default)]
pub struct Output {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// The chunk that frames are being cut from.
    chunk: Bytes,
    /// What of it waits behind `pieces`: frames that pass one after the other stay one piece.
    run: Range<usize>,
}

impl Output {
    /// Adds bytes.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        match self.place(&piece) {
            Some(place) if place.start == self.run.end && !self.run.is_empty() => {
                self.run.end = place.end;
            }
            Some(place) => {
                self.end_run();
                self.run = place;
            }
            None => {
                self.end_run();
                self.pieces.push(piece);
            }
        }
    }

    /// How many bytes wait.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// `true` if none wait.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Says where the next pieces are likely to be cut from.
    fn read_from(&mut self, chunk: &Bytes) {
        self.end_run();
        self.chunk = chunk.clone();
    }

    /// Where in the chunk a piece lies, if it does.
    fn place(&self, piece: &Bytes) -> Option<Range<usize>> {
        let start = piece.as_ptr().addr();
        let start = start.checked_sub(self.chunk.as_ptr().addr())?;
        let end = start.checked_add(piece.len())?;
        (end <= self.chunk.len()).then_some(start..end)
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            self.pieces.push(self.chunk.slice(run));
        }
    }

    /// All bytes in one piece: one write for many small frames.
    fn take(&mut self) -> Option<Bytes> {
        self.end_run();
        self.chunk = Bytes::new();
        self.bytes = 0;
        if self.pieces.len() <= 1 {
            return self.pieces.pop();
        }
        let mut joined = BytesMut::with_capacity(self.pieces.iter().map(Bytes::len).sum());
        for piece in self.pieces.drain(..) {
            joined.extend_from_slice(&piece);
        }
        Some(joined.freeze())
    }
}

#[cfg(test)]
mod tests;
