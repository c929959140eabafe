//! The live page: its routes on the wire, and itself in a browser.

mod accessibility;
mod page;
mod routes;

use crate::client::{Connection, Request, Response};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, keys, patiently};

/// The owner's key.
const OWNER: &str = "owner-key-0123456789";

/// A named client's key.
const GUEST: &str = "guest-key-0123456789";

/// A server with both.
const LOCKED: &str = "[server]\napi_keys = [\"owner-key-0123456789\"]\n\
                      [[server.clients]]\nname = \"guest\"\nkey = \"guest-key-0123456789\"\n";

/// Refuses the first of two keys, for two minutes; the second answers.
fn limited() -> Script {
    let refusal = openai::rate_limited().header("retry-after", "120");
    Script::new()
        .cycle(&keys(2)[0], [refusal])
        .others([openai::completion("hi")])
}

/// A request of the page that does something.
fn deed(what: &str, body: &str) -> Request {
    Request::post(&format!("/dashboard/api/{what}"), body.to_owned())
        .header("x-llmproxy-dashboard", "1")
}

/// The events of a page that watches.
struct Events {
    connection: Connection,
    answer: Response,
}

impl Events {
    /// Begins to watch; the stream must be one.
    async fn watch(gateway: &Gateway, key: &str) -> Self {
        let mut connection = gateway.connect().await;
        let request = Request::get("/dashboard/api/live");
        connection.send(&request.header("x-api-key", key)).await;
        let answer = connection.head().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        Self { connection, answer }
    }

    /// Reads on until all that was told holds a text.
    async fn until(&mut self, text: &str) -> String {
        // A stream that is alive goes on for ever: each piece alone would be waited for.
        let reading = async {
            loop {
                let told = self.answer.text();
                if told.contains(text) {
                    return told;
                }
                let piece = self.connection.piece(&mut self.answer).await;
                assert!(piece.is_some(), "it ended before `{text}`: {told}");
            }
        };
        patiently(text, reading).await
    }

    /// Leaves out what was told so far from what is waited for next.
    fn forget(&mut self) {
        self.answer.body.clear();
    }

    /// Reads to the end of the stream.
    async fn end(&mut self) {
        let reading = async { while self.connection.piece(&mut self.answer).await.is_some() {} };
        patiently("the end of the events", reading).await;
    }

    /// The data of the last event of a name.
    fn last(&self, name: &str) -> serde_json::Value {
        let told = self.answer.text();
        let start = format!("event: {name}\ndata: ");
        let (_, data) = told.rsplit_once(&start).expect("such an event");
        let (data, _) = data.split_once("\n\n").expect("a whole event");
        serde_json::from_str(data).expect("JSON")
    }
}
