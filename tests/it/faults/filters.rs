//! AB7: which headers cross the gateway, each way, over real sockets. The table is
//! `tests/fixtures/headers.txt`; `gateway::headers` is held to it as a whole.

use crate::client::{CHAT, Request};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::pair;

const TABLE: &str = include_str!("../../fixtures/headers.txt");

/// Fewer than a peer may refuse for being too many.
const A_MESSAGE: usize = 60;

/// The value of a header that must not cross.
const MARK: &str = "must-not-cross";

/// The value of one that must.
const PASSES: &str = "77";

/// The names, a message's worth at a time, with whether they cross that way. What form an answer is in,
/// and what form is wanted, is the gateway's own to say.
fn messages(way: &str) -> Vec<Vec<(String, bool)>> {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    let rows = rows.filter_map(|line| line.split_once(' '));
    let named = rows.map(|(ways, name)| (name.trim().to_owned(), ways == way));
    let named: Vec<_> = named
        .filter(|(name, _)| !["accept", "content-type"].contains(&name.as_str()))
        .collect();
    assert!(named.len() > 300, "{}", named.len());
    named.chunks(A_MESSAGE).map(<[_]>::to_vec).collect()
}

fn value(crosses: bool) -> &'static str {
    if crosses { PASSES } else { MARK }
}

/// What of a message's headers came through.
fn check(sent: &[(String, bool)], arrived: &[(String, String)]) {
    for (name, crosses) in sent {
        let found = arrived.iter().find(|(have, _)| have == name);
        let value = found.map(|(_, value)| value.as_str());
        if *crosses {
            assert_eq!(value, Some(PASSES), "{name}");
        }
    }
    let leaked: Vec<_> = arrived.iter().filter(|(_, value)| value == MARK).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[tokio::test]
async fn ab7_of_three_hundred_client_headers_only_those_of_the_table_reach_the_upstream() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    for sent in messages("up") {
        let mut request = Request::chat(CHAT);
        for (name, crosses) in &sent {
            request = request.header(name, value(*crosses));
        }
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = upstream.requests().pop().expect("one was asked");
        check(&sent, &seen.headers);
    }
}

#[tokio::test]
async fn ab7_of_three_hundred_upstream_headers_only_those_of_the_table_reach_the_client() {
    for sent in messages("down") {
        let mut reply = openai::completion("hi");
        for (name, crosses) in &sent {
            reply = reply.header(name, value(*crosses));
        }
        let (_upstream, gateway) = pair(Script::always(reply), 1, "").await;
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        check(&sent, &answer.headers);
    }
}
