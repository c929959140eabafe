//! Google's Code Assist service (`cloudcode-pa.googleapis.com`) as its two clients use it: Gemini
//! CLI and Antigravity.

pub mod login;
