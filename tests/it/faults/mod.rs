//! Everything that can go wrong, over real sockets, against the built binary: the rows of
//! `benches/RELIABILITY.md` that no other module proves.

mod abuse;
mod disk;
mod files;
mod filters;
mod floods;
mod h2;
mod leaks;
mod matrix;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod power;
mod proxied;
mod reading;
#[cfg(target_os = "linux")]
mod slow;
mod smuggling;
mod transport;
mod waiting;
