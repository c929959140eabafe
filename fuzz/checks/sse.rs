//! The event splitter against a slow and simple reader of the whole stream.

use bytes::Bytes;
use llmproxy::dialects::sse::Splitter;

type Events = Vec<(Vec<u8>, Vec<u8>)>;

/// The first byte says in pieces of what length the rest, the stream, comes; 0 is all at once.
pub(crate) fn check(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    let size = match *first {
        0 => stream.len().max(1),
        length => usize::from(length),
    };
    assert_eq!(
        read(stream, size),
        read_slowly(stream),
        "in pieces of {size}"
    );
}

/// What the splitter makes of it.
fn read(stream: &[u8], size: usize) -> Events {
    let mut splitter = Splitter::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(size) {
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = splitter.next() {
            frames.push(frame.expect("far below the limit"));
        }
    }
    frames.extend(splitter.finish());
    let relayed: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
    assert_eq!(relayed, stream);
    frames
        .iter()
        .filter(|frame| !frame.is_comment_only())
        .map(|frame| (frame.event().into(), frame.data().into_owned()))
        .collect()
}

/// WHATWG's algorithm word for word, but that the end of the stream ends an event.
fn read_slowly(stream: &[u8]) -> Events {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    let mut previous = 0;
    for byte in stream {
        match byte {
            b'\n' if previous == b'\r' => {}
            b'\n' | b'\r' => lines.push(Vec::new()),
            _ => lines.last_mut().expect("never empty").push(*byte),
        }
        previous = *byte;
    }
    lines.push(Vec::new());
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for line in lines {
        if line.is_empty() {
            if let Some(data) = data.take() {
                let name: Vec<u8> = std::mem::take(&mut name);
                let name = String::from_utf8(name).unwrap_or_default();
                events.push((name.into_bytes(), data));
            }
            name.clear();
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match (field, &mut data) {
            (b"event", _) => name = value.to_vec(),
            (b"data", None) => data = Some(value.to_vec()),
            (b"data", Some(data)) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            _ => {}
        }
    }
    events
}
