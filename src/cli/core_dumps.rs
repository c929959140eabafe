//! Keeps the keys in this process's memory out of core dumps, and the memory from other programs of
//! the same user.

/// No core dump of this process, and no debugger at it but root's.
#[cfg(target_os = "linux")]
pub(super) fn forbid() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // The limit alone does not bind where dumps go to a program (`core_pattern` with a pipe).
    let limited = setrlimit(Resource::Core, none);
    if let Err(error) = limited.and(set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        tracing::warn!("core dumps cannot be switched off: {error}");
    }
}

/// Elsewhere the limit is all there is.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn forbid() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!("core dumps cannot be switched off: {error}");
    }
}

/// There are none that we could switch off.
#[cfg(not(unix))]
pub(super) fn forbid() {}
