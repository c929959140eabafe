//! Keys that this program makes for its own clients.

use std::fmt::Write;

use ring::rand::{SecureRandom, SystemRandom};

use crate::cli::exit::Failure;

/// A client key nobody can guess (192 bits), with a beginning that says what it is.
pub(super) fn minted(prefix: &str) -> Result<String, Failure> {
    let mut bytes = [0_u8; 24];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        Failure::failed(
            "the system has no randomness to make a client key of",
            "try again in a moment",
        )
    })?;
    let mut key = prefix.to_owned();
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_alike() {
        let one = minted("p-").expect("randomness");
        assert_ne!(one, minted("p-").expect("randomness"));
        assert!(one.starts_with("p-") && one.len() == 50, "{one}");
    }
}
