//! Everything that can go wrong, over real sockets, against the built binary: the rows of
//! `benches/RELIABILITY.md` that no other module proves.

mod abuse;
mod disk;
mod files;
mod filters;
mod h2;
mod matrix;
#[cfg(target_os = "linux")]
mod power;
mod reading;
mod smuggling;
mod transport;
mod waiting;
