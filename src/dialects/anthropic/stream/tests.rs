//! Tests of the stream reader and writer.
