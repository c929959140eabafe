//! Who gets which answer: a plan a key, looping or counted.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use crate::fake::reply::Reply;
use crate::fake::upstream::Recorded;

/// What the upstream does, by key. A request that no plan answers fails the test.
#[derive(Debug, Default)]
pub(crate) struct Script {
    plans: HashMap<String, Plan>,
    /// For keys without a plan of their own.
    others: Option<Plan>,
    models: Vec<String>,
    list: Option<Reply>,
}

enum Plan {
    /// Answers made from the request.
    Answer(Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>),
    /// One after the other; all must be asked for, and no more.
    Once(VecDeque<Reply>),
    /// One after the other, from the front again after the last.
    Cycle(Vec<Reply>, usize),
}

impl Script {
    /// Knows the model `m1` and answers nobody.
    pub(crate) fn new() -> Self {
        Self {
            models: vec!["m1".to_owned()],
            ..Self::default()
        }
    }

    /// A script that gives everybody the same answer for ever.
    pub(crate) fn always(reply: Reply) -> Self {
        Self::new().others([reply])
    }

    /// Gives a key these answers, in order; each must be asked for exactly once.
    pub(crate) fn once(mut self, key: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        let plan = Plan::Once(replies.into_iter().collect());
        self.plans.insert(key.to_owned(), plan);
        self
    }

    /// Gives a key these answers, in order, again and again.
    pub(crate) fn cycle(mut self, key: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        let plan = Plan::Cycle(replies.into_iter().collect(), 0);
        self.plans.insert(key.to_owned(), plan);
        self
    }

    /// Gives all keys without a plan of their own these answers, in order, again and again.
    pub(crate) fn others(mut self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.others = Some(Plan::Cycle(replies.into_iter().collect(), 0));
        self
    }

    /// Gives all keys together these answers, in order; each must be asked for exactly once.
    pub(crate) fn others_once(mut self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.others = Some(Plan::Once(replies.into_iter().collect()));
        self
    }

    /// Answers keys without a plan of their own by looking at the request.
    pub(crate) fn answer(
        mut self,
        answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.others = Some(Plan::Answer(Arc::new(answer)));
        self
    }

    /// Replaces the models of `GET …/models`.
    pub(crate) fn models<'a>(mut self, models: impl IntoIterator<Item = &'a str>) -> Self {
        self.models = models.into_iter().map(str::to_owned).collect();
        self
    }

    /// Replaces the whole answer to `GET …/models`.
    pub(crate) fn model_list(mut self, reply: Reply) -> Self {
        self.list = Some(reply);
        self
    }

    /// The answer to `GET …/models`.
    pub(super) fn list(&self) -> Reply {
        if let Some(reply) = &self.list {
            return reply.clone();
        }
        let data: Vec<_> = self
            .models
            .iter()
            .map(|id| serde_json::json!({"id": id, "object": "model", "created": 1, "owned_by": "fake"}))
            .collect();
        let body = serde_json::json!({"object": "list", "data": data});
        Reply::json(200, body.to_string())
    }

    /// The answer to a request, `None` if the script holds none.
    pub(super) fn reply(&mut self, request: &Recorded) -> Option<Reply> {
        let own = request.key.as_ref().and_then(|key| self.plans.get_mut(key));
        match own.or(self.others.as_mut())? {
            Plan::Answer(answer) => Some(answer(request)),
            Plan::Cycle(replies, at) => {
                let reply = replies.get(*at % replies.len().max(1)).cloned();
                *at += 1;
                reply
            }
            Plan::Once(replies) => replies.pop_front(),
        }
    }

    /// How many counted answers were never asked for, with whose they are.
    pub(super) fn leftovers(&self) -> Vec<(String, usize)> {
        let own = self.plans.iter().map(|(key, plan)| (key.clone(), plan));
        let others = self.others.iter().map(|plan| ("others".to_owned(), plan));
        own.chain(others)
            .filter_map(|(key, plan)| match plan {
                Plan::Once(replies) if !replies.is_empty() => Some((key, replies.len())),
                _ => None,
            })
            .collect()
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(_) => f.write_str("Answer"),
            Self::Cycle(replies, at) => write!(f, "Cycle({} of {})", at, replies.len()),
            Self::Once(replies) => write!(f, "Once({} left)", replies.len()),
        }
    }
}
