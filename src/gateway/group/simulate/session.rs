//! An instance's time with the others, in the order in which the gateway's own session does it.

use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::UPSTREAMS;
use super::instance::{Instance, name, patience};
use crate::gateway::group::outbox::{Letter, Parcel};
use crate::gateway::group::session::{BEAT, GATHER, RENEW_EVERY, pause};
use crate::gateway::group::usage::{TELL_EVERY, Told, news_of};
use crate::gateway::group::words;
use crate::pool::Change;
use crate::state::redis::{Away, Message, Page};
use crate::telemetry::spending::day_of;

/// How long a connection may take to be made.
const CONNECT_MS: i64 = 2_000;

/// Returns told at once.
const MOST_AT_ONCE: usize = 100;

impl Instance {
    /// Belongs to the group for as long as it lives.
    pub(super) async fn belong(self: Rc<Self>) {
        let time = Rc::clone(&self.world.time);
        let mut failures: u32 = 0;
        loop {
            if let Some((connection, news)) = self.join().await {
                let began = time.now();
                let met = Rc::clone(&self).meet(connection, news).await;
                if met.is_ok() || time.now() - began > patience(BEAT) {
                    failures = 0;
                }
                let over = self.scope(connection);
                time.end(|scope| scope == over);
                self.is_joined.set(false);
                self.ledger.lost();
                self.settled_at.set(None);
            }
            let longest = patience(pause(failures, self.instances.get()));
            failures = failures.saturating_add(1);
            let pause = self.world.rng.borrow_mut().i64(0..=longest);
            time.sleep(pause).await;
        }
    }

    async fn join(&self) -> Option<(u64, UnboundedReceiver<String>)> {
        let connection = self.world.network.connect();
        let (news, listener) = unbounded_channel();
        let (world, place) = (Rc::clone(&self.world), self.place);
        let subscribe = move |_: &mut _, _| world.listen(place, connection, news);
        self.call("join", CONNECT_MS, subscribe).await?;
        self.link.set(Some(connection));
        Some((connection, listener))
    }

    async fn meet(
        self: Rc<Self>,
        connection: u64,
        news: UnboundedReceiver<String>,
    ) -> Result<(), Away> {
        self.beat().await?;
        self.is_joined.set(true);
        self.renew().await?;
        for upstream in 0..UPSTREAMS {
            self.read_anew(upstream).await?;
        }
        self.meet_accounts().await;
        self.settled_at.set(Some(self.world.now()));
        let scope = self.scope(connection);
        let time = &self.world.time;
        time.spawn(scope, Rc::clone(&self).keep_hearing(connection, news));
        time.spawn(scope, Rc::clone(&self).keep_telling());
        time.spawn(scope, Rc::clone(&self).keep_settling());
        time.spawn(scope, Rc::clone(&self).keep_beating());
        time.spawn(scope, Rc::clone(&self).keep_telling_usage());
        while self.link.get() == Some(connection) {
            self.lost.notified().await;
        }
        Ok(())
    }

    async fn keep_hearing(self: Rc<Self>, connection: u64, mut news: UnboundedReceiver<String>) {
        while let Some(message) = news.recv().await {
            let message: Message = serde_json::from_str(&message).expect("a message of ours");
            self.hear(message).await;
        }
        self.lose(connection);
    }

    async fn keep_telling(self: Rc<Self>) {
        loop {
            self.posted.notified().await;
            if !self.outbox.borrow().has_words() {
                self.world.time.sleep(patience(GATHER)).await;
            }
            let letters = self.outbox.borrow_mut().take_letters();
            for letter in letters {
                // What cannot be told now is told as a whole when the server is back.
                let _ = self.publish(letter).await;
            }
        }
    }

    async fn keep_settling(self: Rc<Self>) {
        loop {
            self.settle().await;
            self.ledger.came_back().await;
        }
    }

    async fn settle(&self) {
        loop {
            let batch = self.ledger.take(MOST_AT_ONCE);
            if batch.is_empty() {
                return;
            }
            for mut untold in batch {
                let Some(back) = untold.tell() else { continue };
                let settle = self.caller.settle(&back.limits, &back.ticket, back.ended);
                let (world, ended) = (Rc::clone(&self.world), back.ended);
                let lease = back.ticket.lease.clone();
                let settle = move |store: &mut _, now| {
                    settle(store, now);
                    let mut laws = world.laws.borrow_mut();
                    laws.leases.given_back(&lease, ended.requests);
                };
                if self.ask_calmly("settle", settle).await.is_err() {
                    return;
                }
                untold.told();
            }
        }
    }

    async fn keep_beating(self: Rc<Self>) {
        let mut beats: u32 = 0;
        loop {
            beats = beats.wrapping_add(1);
            let next = self.world.now() + patience(BEAT);
            let _ = self.beat().await;
            if beats.is_multiple_of(RENEW_EVERY) {
                let _ = self.renew().await;
            }
            let _ = self.look_for_missed().await;
            let time = &self.world.time;
            time.sleep(next - self.world.now()).await;
        }
    }

    async fn beat(&self) -> Result<(), Away> {
        let answer = self.ask_calmly("beat", self.caller.beat()).await?;
        self.instances.set(self.caller.present(&answer, self.now()));
        Ok(())
    }

    async fn renew(&self) -> Result<(), Away> {
        for (tag, leases) in self.ledger.held() {
            let renew = self.caller.renew(&tag, &leases);
            let world = Rc::clone(&self.world);
            let renew = move |store: &mut _, now| {
                renew(store, now);
                world.laws.borrow_mut().leases.renewed(&leases, now);
            };
            self.ask_calmly("renew", renew).await?;
        }
        Ok(())
    }

    /// Reads all that is kept of a provider, and adds what is missing there.
    async fn read_anew(&self, upstream: usize) -> Result<(), Away> {
        let provider = name(upstream);
        self.outbox.borrow_mut().forget(&provider);
        self.read(upstream).await?;
        let mut kept = self.pools[upstream].standings();
        kept.retain(|change| self.outbox.borrow_mut().is_news(&provider, change));
        let passing = Vec::new();
        self.publish(Letter {
            provider,
            kept,
            passing,
        })
        .await
    }

    async fn read(&self, upstream: usize) -> Result<(), Away> {
        let provider = name(upstream);
        let states = self.caller.states(&provider);
        let states = self.ask_calmly("states", states).await?;
        self.heard.borrow_mut().read(&provider, states.version);
        let now = self.caller.clock.to_server(self.now());
        let (changes, over) = words::sorted(states.notices, now);
        self.adopt(upstream, changes);
        if over.is_empty() {
            return Ok(());
        }
        let forget = self.caller.forget(&provider, over);
        self.ask_calmly("forget", forget).await
    }

    async fn hear(&self, message: Message) {
        let upstream = (0..UPSTREAMS).find(|one| name(*one) == message.provider);
        let upstream = upstream.expect("an upstream of ours");
        let is_gap = {
            let mut heard = self.heard.borrow_mut();
            heard.hear(&message.provider, (message.version, message.after))
        };
        if message.from != self.caller.instance() {
            let records = message.records.iter();
            let changes = records.filter_map(|record| serde_json::from_str(record.get()).ok());
            self.adopt(upstream, changes.collect());
        }
        if is_gap {
            let _ = self.read_anew(upstream).await;
        }
    }

    fn adopt(&self, upstream: usize, changes: Vec<Change>) {
        let clocks = (self.caller.clock.offset_ms(), self.now());
        let names = &self.cast(upstream).names;
        let mut outbox = self.outbox.borrow_mut();
        let incoming = outbox.take_in(&name(upstream), changes, names, clocks);
        drop(outbox);
        if !incoming.is_empty() {
            self.pools[upstream].adopt(incoming, self.now());
            self.world.laws.borrow().rests.adopted(self, upstream);
        }
    }

    async fn publish(&self, letter: Letter) -> Result<(), Away> {
        let upstream = (0..UPSTREAMS).find(|one| name(*one) == letter.provider);
        let names = &self.cast(upstream.expect("an upstream of ours")).names;
        let offset = self.caller.clock.offset_ms();
        let parcel = Parcel::new(letter.kept, letter.passing, names, offset);
        if parcel.notices.is_empty() && parcel.passing.is_empty() {
            return Ok(());
        }
        let publish = self
            .caller
            .publish(&letter.provider, &parcel.notices, &parcel.passing);
        self.ask_calmly("publish", publish).await
    }

    async fn look_for_missed(&self) -> Result<(), Away> {
        let providers: Vec<String> = (0..UPSTREAMS).map(name).collect();
        let versions = self.caller.versions(&providers);
        let versions = self.ask_calmly("versions", versions).await?;
        for (upstream, version) in versions.into_iter().enumerate() {
            let heard = self.heard.borrow().of(&name(upstream));
            if version != heard {
                self.read_anew(upstream).await?;
            }
        }
        Ok(())
    }

    async fn keep_telling_usage(self: Rc<Self>) {
        let mut told = Told::default();
        loop {
            // What cannot be told now is told as a whole when the server is back.
            let _ = self.tell_usage(&mut told).await;
            self.world.time.sleep(patience(TELL_EVERY)).await;
        }
    }

    async fn tell_usage(&self, told: &mut Told) -> Result<(), Away> {
        let now = self.now();
        let today = day_of(now);
        for (day, rows) in told.days() {
            if self.told_rows(day).await? < rows {
                told.0.clear();
            }
        }
        let from = told.first_day(now);
        let pages: Vec<Page> = {
            let disk = self.disk.borrow();
            let days = disk.usage.range(from..=today);
            let pages = days.map(|(day, rows)| Page {
                day: *day,
                book: self.book(),
                rows: rows.clone(),
            });
            pages.collect()
        };
        for page in pages {
            self.tell_page(page, today, told).await?;
        }
        told.end(today);
        Ok(())
    }

    async fn tell_page(&self, page: Page, today: i64, told: &mut Told) -> Result<(), Away> {
        let Some(known) = told.0.get_mut(&page.day) else {
            let is_over = page.day < today - 1;
            if !is_over || self.told_rows(page.day).await? < page.rows.len() {
                let tell = self.caller.tell_usage(&page, true);
                self.ask_calmly("usage", tell).await?;
            }
            told.0.insert(page.day, page.rows);
            return Ok(());
        };
        let Some((news, is_whole)) = news_of(&page, known) else {
            return Ok(());
        };
        let tell = self.caller.tell_usage(&news, is_whole);
        self.ask_calmly("usage", tell).await?;
        *known = page.rows;
        Ok(())
    }

    async fn told_rows(&self, day: i64) -> Result<usize, Away> {
        let told = self.caller.told_usage(day, &self.book());
        self.ask_calmly("told usage", told).await
    }

    fn book(&self) -> String {
        format!("book {}", self.place)
    }
}
