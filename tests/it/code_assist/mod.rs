//! Gemini CLI and Antigravity, end to end: the exchanges of section G of both wire documents, and
//! what goes wrong on the way.

mod accounts;
mod exchanges;
mod faults;
mod session;
