//! The frames of one upstream stream: cut, and put right where the provider's answers need it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::dialects::mend::Mender;
use crate::dialects::sse::{Frame, FrameTooLong, Splitter};
use crate::gateway::reasoning::Keeper;
use crate::time::Timestamp;

/// Mends an answer, and has what the model thought before it called tools kept, where its provider
/// wants that.
#[derive(Debug)]
pub struct Repair {
    pub mender: Mender,
    pub keeper: Option<Keeper>,
}

impl Repair {
    /// Takes a whole answer.
    pub fn whole(mut self, body: Bytes) -> Bytes {
        let body = self.mender.whole(body);
        self.keep();
        body
    }

    fn frame(&mut self, frame: Frame, out: &mut VecDeque<Frame>) {
        self.mender.frame(frame, out);
        self.keep();
    }

    fn keep(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.keep(self.mender.thoughts(), Timestamp::now());
        }
    }
}

/// A [`Splitter`] whose frames are mended before anybody sees them.
#[derive(Debug, Default)]
pub struct Frames {
    splitter: Splitter,
    repair: Option<Repair>,
    /// Mended frames nobody has taken yet.
    ready: VecDeque<Frame>,
    /// The stream is over.
    is_over: bool,
}

impl Frames {
    /// The frames of a stream; as they are without a repair.
    pub fn new(repair: Option<Repair>) -> Self {
        Self {
            repair,
            ..Self::default()
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        self.splitter.push(chunk);
    }

    /// The next frame; `None` until more is pushed. An error is the last thing to come out.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: `None` means wait, not over"
    )]
    pub fn next(&mut self) -> Option<Result<Frame, FrameTooLong>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            match (self.splitter.next()?, &mut self.repair) {
                (Ok(frame), Some(repair)) => repair.frame(frame, &mut self.ready),
                (cut, _) => return Some(cut),
            }
        }
    }

    /// [`Splitter::ahead`], where no repair wants to see each frame.
    pub fn ahead(&self) -> Option<&[u8]> {
        let is_bare = self.repair.is_none() && self.ready.is_empty();
        self.splitter.ahead().filter(|_| is_bare)
    }

    /// [`Splitter::advance`].
    pub fn advance(&mut self, bytes: usize) -> Bytes {
        self.splitter.advance(bytes)
    }

    /// The next of the frames that are left when the stream is over; `None` after the last.
    pub fn finish(&mut self) -> Option<Frame> {
        if !self.is_over {
            self.is_over = true;
            let last = self.splitter.finish();
            match &mut self.repair {
                Some(repair) => {
                    if let Some(frame) = last {
                        repair.frame(frame, &mut self.ready);
                    }
                    repair.mender.finish(&mut self.ready);
                }
                None => self.ready.extend(last),
            }
        }
        self.ready.pop_front()
    }
}

/// A whole stream, mended. A stream with a frame that is too long comes back as it is.
pub fn mended(stream: Bytes, repair: Option<Repair>) -> Bytes {
    if repair.is_none() {
        return stream;
    }
    let mut frames = Frames::new(repair);
    frames.push(stream.clone());
    let mut whole = BytesMut::with_capacity(stream.len());
    while let Some(frame) = frames.next() {
        match frame {
            Ok(frame) => whole.extend_from_slice(&frame.raw),
            Err(_) => return stream,
        }
    }
    while let Some(frame) = frames.finish() {
        whole.extend_from_slice(&frame.raw);
    }
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::mend::Mending;

    const STREAM: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a <thi\"}}]}\n\ndata: [DONE]";

    fn repair() -> Repair {
        let mending = Mending {
            think_tags: true,
            ..Mending::NONE
        };
        Repair {
            mender: Mender::new(mending),
            keeper: None,
        }
    }

    #[test]
    fn without_a_repair_all_bytes_come_out_again() {
        let stream = Bytes::from_static(STREAM.as_bytes());
        let mut frames = Frames::new(None);
        frames.push(stream.clone());
        let mut seen = Vec::new();
        while let Some(frame) = frames.next() {
            seen.extend_from_slice(&frame.expect("short").raw);
        }
        while let Some(frame) = frames.finish() {
            seen.extend_from_slice(&frame.raw);
        }
        assert_eq!(seen, stream);
        assert_eq!(mended(stream.clone(), None), stream);
    }

    #[test]
    fn what_a_repair_holds_back_comes_before_the_end() {
        let whole = mended(Bytes::from_static(STREAM.as_bytes()), Some(repair()));
        let whole = String::from_utf8(whole.to_vec()).expect("UTF-8");
        let held = whole.find("<thi").expect("not lost");
        assert!(
            held < whole.find("[DONE]").expect("the end stays"),
            "{whole}"
        );
    }
}
