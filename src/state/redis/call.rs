//! A call of one of our functions in the server, as it will be sent: what is asked is decided here
//! and there without a connection, and so it can be put to the model that tests have of the server.

use redis::{Script, ScriptInvocation, ToRedisArgs};

use crate::state::redis::scripts::Function;

/// A function with its keys and arguments.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) const fn new(function: Function) -> Self {
        Self {
            function,
            keys: Vec::new(),
            args: Vec::new(),
        }
    }

    pub(super) fn key(&mut self, key: String) -> &mut Self {
        self.keys.push(key);
        self
    }

    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// The same for the server, by the text of its function.
    pub(super) fn of<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in &self.keys {
            invocation.key(key);
        }
        for arg in &self.args {
            invocation.arg(arg.as_slice());
        }
        invocation
    }
}
