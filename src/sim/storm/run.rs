//! One run of a storm, from its first call to its last check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Storm;
use super::applications::Applications;
use super::controller::Controller;
use super::dice::Dice;
use super::events::Events;
use super::network::{Backend, Link, Stage};
use super::nodes::Nodes;
use crate::base::Instant;
use crate::config::{Config, RoleCheck, TargetSessionAttrs, from_json};
use crate::connection::Role;
use crate::pool::Pool;
use crate::sim::driver::Driver;
use crate::sim::messages::shut_down;
use crate::sim::server::Reports;

/// How many things happen in one storm.
const STEPS: usize = 1500;
/// How soon after the last fault every call must be answered and a write be served: the time of a
/// connection attempt without an answer (`connectTimeoutMs`), the longest pause between two
/// attempts, a query that waits for its cancel (`cancelGraceMs`), and as much again for the calls
/// that these delayed.
const RECOVERY: Duration = Duration::from_secs(8);
/// How soon a promoted host has the seat of a primary that has fallen silent. It is less than
/// `livenessCheckMs` and `connectTimeoutMs` together, after which the primary is suspected.
const MOVED_WITHIN: Duration = Duration::from_millis(3500);
/// Longer than any silence before the pool looks into it.
const LONG: Duration = Duration::from_secs(20);
/// How long an idle pool is watched.
const IDLE: Duration = Duration::from_secs(600);
/// How often it may wake in that time, to close connections for their age one by one.
const IDLE_WAKES: usize = 60;
/// Within this time a name that leads back to its host is looked up again. Until then the pool
/// asks, at every `failoverProbeMs`, each host to which its old look-up led.
const LOOKED_UP: Duration = Duration::from_millis(1250);

/// Runs the storm of a seed to its end, and returns the broken rule if there is one. `trace` gets a
/// line for each event.
pub fn run(seed: u64, trace: Option<fn(&str)>) -> Result<(), String> {
    let mut storm = Storm::new(seed, trace);
    storm.rage();
    if storm.failure.is_none() {
        storm.calm_down();
    }
    storm.failure.map_or(Ok(()), Err)
}

impl Storm {
    fn new(seed: u64, trace: Option<fn(&str)>) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = if dice.percent(80) { 3 } else { 2 };
        let config = Arc::new(draw_config(&mut dice, nodes));
        let now = Instant::ORIGIN;
        let mut nodes = Nodes::new(nodes);
        // A pooler repeats what it once heard, and servers before PostgreSQL 14 report nothing.
        let reports = match config.role_check {
            RoleCheck::Query => Reports::Stale(Role::ReadWrite),
            RoleCheck::Reported if dice.percent(10) => Reports::Nothing,
            RoleCheck::Reported if is_for_writers(&config) && dice.percent(8) => {
                Reports::Stale(Role::Standby)
            }
            RoleCheck::Reported => Reports::Changes,
        };
        let names_zone = config.parameters.iter().any(|(name, _)| name == "TimeZone");
        let is_pooled = names_zone && dice.percent(60);
        let is_restless = dice.percent(20);
        for node in &mut nodes.all {
            (node.server.reports, node.server.is_pooled) = (reports, is_pooled);
            node.server.is_restless = is_restless;
        }
        let cores = dice.percent(50).then(|| dice.below(2));
        Self {
            now,
            pool: Pool::new(Arc::clone(&config), seed, now),
            dice,
            config,
            nodes,
            links: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_link: 0,
            unwritten: BTreeSet::new(),
            errands: Vec::new(),
            controller: Controller::default(),
            apps: Applications::new(),
            events: Events::default(),
            cores,
            silent_since: None,
            has_silences: seed % 3 == 1,
            failure: None,
            trace,
            wakes: 0,
            losses: 0,
        }
    }

    fn rage(&mut self) {
        let end_at = self.dice.percent(30).then(|| self.dice.below(STEPS));
        for step in 0..STEPS {
            if end_at == Some(step) {
                self.end_pool();
            }
            match self.dice.below(100) {
                0..45 => self.move_a_link(),
                45..60 => self.act(),
                60..78 => self.move_the_cluster(),
                _ => {
                    self.pass_time();
                    // Bytes that came while the loop was blocked are read before its deadlines are
                    // looked at.
                    if self.dice.percent(50) {
                        self.move_a_link();
                    }
                    self.end_turn();
                }
            }
            if self.dice.percent(50) {
                self.end_turn();
            }
            if self.failure.is_some() {
                return;
            }
        }
    }

    /// A commit that waits for standbys, on a server that none follows any more, waits until its
    /// session is ended.
    pub(super) fn end_vain_waits(&mut self) {
        let is_vain = |link: &Link| {
            link.node != self.nodes.leader
                && matches!(link.stage, Stage::Session(Backend::Replicating { .. }))
        };
        let vain = self.links.iter().filter(|(_, link)| is_vain(link));
        let vain: Vec<_> = vain.map(|(number, link)| (*number, link.node)).collect();
        for (number, node) in vain {
            let said = self.last_words(number, shut_down);
            if let Some(node) = self.nodes.get_mut(node) {
                node.server.hang_up(number);
            }
            if let Some(link) = self.links.get_mut(&number) {
                link.close("end of stream", &said);
            }
        }
    }

    /// No more faults happen. Everything that was begun comes to its end.
    fn calm_down(&mut self) {
        self.note(|| "the storm is over".to_owned());
        self.end_the_play();
        let limit = self.now + RECOVERY;
        // A read that was sent again may still be on a silent host after another host has answered
        // it.
        let rests = |storm: &Self| storm.pool.audit_rest(storm.apps.remembered());
        while !(self.applications_are_done() && self.is_quiet() && rests(self).is_ok()) {
            if self.now > limit {
                let left = match rests(self) {
                    Err(why) if self.applications_are_done() => why,
                    _ => self.apps.describe_unanswered(),
                };
                return self.fail(format!("{RECOVERY:?} after the last fault: {left}"));
            }
            if self.primary() == Some(self.nodes.leader) {
                self.silent_since = None;
            }
            if self.silent_since.is_some_and(|since| self.now > since + MOVED_WITHIN) {
                return self.fail(format!("no seat for the promoted host in {MOVED_WITHIN:?}"));
            }
            self.probe();
            self.finish_acting();
            self.end_vain_waits();
            self.settle();
            self.pass_to_next_deadline(Duration::from_millis(20));
            if self.failure.is_some() {
                return;
            }
        }
        if let Err(why) = rests(self) {
            self.fail(why);
        }
        if self.apps.ended {
            self.check_end();
        } else {
            self.check_turns();
            self.check_long_read();
            self.check_idle();
        }
        let keys = self.nodes.leader().map(|node| node.server.keys.clone()).unwrap_or_default();
        if let Err(why) = self.apps.ledger.check(&keys) {
            self.fail(why);
        }
    }

    /// Lets everything arrive that is on its way, and lets no time pass.
    fn settle(&mut self) {
        self.get_through(true);
    }

    /// Lets everything arrive. `wakes`: slow statements end too.
    fn get_through(&mut self, wakes: bool) {
        for _ in 0..200 {
            let numbers: Vec<_> = self.links.keys().copied().collect();
            for number in numbers {
                if wakes {
                    self.wake(number);
                }
                self.deliver_signal(number);
                self.move_to_server(number);
                self.move_to_pool(number);
            }
            for standby in self.nodes.standbys().collect::<Vec<_>>() {
                self.nodes.replicate(standby);
            }
            self.answer_commits();
            self.move_an_errand();
            self.end_turn();
            if self.failure.is_some() || self.is_quiet() || (!wakes && self.is_asleep()) {
                return;
            }
        }
    }

    /// Whether nothing is on its way, and a statement sleeps.
    fn is_asleep(&self) -> bool {
        let sleeps = |link: &Link| {
            let empty = link.to_server.is_empty() && link.to_pool.is_empty();
            empty && link.stage == Stage::Session(Backend::Asleep)
        };
        self.unwritten.is_empty()
            && self.links.values().any(sleeps)
            && self.links.values().all(|l| l.is_quiet() || sleeps(l) || self.is_dark(l.node))
    }

    /// Whether nothing is on its way.
    fn is_quiet(&self) -> bool {
        self.errands.is_empty()
            && self.unwritten.is_empty()
            && self.links.values().all(|link| link.is_quiet() || self.is_dark(link.node))
    }

    /// Whether nothing will ever come from the node.
    fn is_dark(&self, node: usize) -> bool {
        self.nodes.get(node).is_none_or(|node| node.cut || !node.is_up())
    }

    fn pass_to_next_deadline(&mut self, most: Duration) {
        self.now = self.next_deadline().min(self.now + most).max(self.now);
        self.end_turn();
    }

    fn check_end(&mut self) {
        let connections = self.numbers.len();
        let timer = self.pool.poll_timeout();
        if !self.pool.has_ended() || connections > 0 || timer.is_some() {
            let ended = self.pool.has_ended();
            self.fail(format!(
                "ended: {ended}, with {connections} connections and timer {timer:?}"
            ));
        }
    }

    /// While a session serves, new sessions to another server of the same name say nothing against
    /// it.
    fn check_turns(&mut self) {
        let config = &self.config;
        let is_kept = config.max_uses.is_none() && config.max_lifetime.is_none();
        if !is_kept || !self.nodes.has_spread_names() || self.nodes.were_split {
            return;
        }
        // This leaves a session open, and lets no time pass.
        self.read();
        self.settle();
        (self.nodes.names.take_turns, self.events.expects_no_fence) = (true, true);
        (0..4).for_each(|_| self.read());
        self.settle();
        (self.nodes.names.take_turns, self.events.expects_no_fence) = (false, false);
    }

    /// On a host in order, a query may take as long as it likes.
    fn check_long_read(&mut self) {
        // If many hosts serve, the query may go to one that is not in order.
        let is_dark = (0..self.nodes.all.len()).any(|node| self.is_dark(node));
        let goes_astray = is_dark && !self.has_seat();
        // A login on its way to the server to which the name led before fails late, and speaks
        // against the name.
        let is_well = !goes_astray && !self.nodes.has_moved_names();
        if self.config.query_timeout.is_some() || !is_well || !self.dice.percent(10) {
            return;
        }
        let request = self.read_slowly();
        let end = self.now + LONG;
        while self.now < end && self.failure.is_none() {
            self.get_through(false);
            if !self.apps.is_unanswered(request) {
                return self.fail(format!("#{request} was not left alone"));
            }
            self.pass_to_next_deadline(Duration::from_secs(1));
        }
        self.settle();
        if self.apps.is_unanswered(request) {
            self.fail(format!("#{request} is not answered"));
        }
    }

    /// A pool without calls closes the connections that it does not need, and then does nothing at
    /// all.
    fn check_idle(&mut self) {
        let renews = self.config.min_idle > 0 && self.config.max_lifetime.is_some();
        if renews {
            return;
        }
        self.wakes = 0;
        let probes = LOOKED_UP.as_micros() / self.config.failover_probe.as_micros().max(1);
        let probes = usize::try_from(probes).unwrap_or(usize::MAX);
        let most = IDLE_WAKES + self.config.hosts.len().saturating_mul(probes);
        let end = self.now + IDLE;
        while self.next_deadline() <= end && self.failure.is_none() {
            self.pass_to_next_deadline(IDLE);
            self.settle();
            // While connections are missing that `minIdle` asks for, the pool keeps trying to open
            // them.
            if self.pool.status().size < self.config.min_idle {
                self.wakes = 0;
            }
            if self.wakes > most {
                let timer = self.pool.poll_timeout();
                return self.fail(format!("an idle pool does not come to rest: {timer:?}"));
            }
        }
        self.now = self.now.max(end);
        let open = self.numbers.len();
        if open > self.config.min_idle {
            let wanted = self.config.min_idle;
            self.fail(format!("{open} connections of an idle pool are open, not {wanted}"));
        }
    }
}

/// Whether the mode is for writers. A false report of a standby's role is of no use there: a pool
/// that believes it sends nothing, so it sends nothing wrong.
fn is_for_writers(config: &Config) -> bool {
    matches!(config.mode, TargetSessionAttrs::ReadWrite | TargetSessionAttrs::Primary)
}

/// Options as users choose them, and some that no user should choose.
fn draw_config(dice: &mut Dice, nodes: usize) -> Config {
    let hosts: Vec<_> = (0..nodes).map(|n| format!("h{n}")).collect();
    let largest = if dice.percent(80) { 4 } else { 12 };
    let pool_size = 1 + dice.below(largest);
    let mode = match dice.percent(70) {
        true => "read-write",
        false => dice
            .pick(&["primary", "read-only", "standby", "prefer-standby", "any"])
            .unwrap_or("any"),
    };
    let balance = dice.pick(&["random", "least-connections", "nearest"]).unwrap_or("random");
    let mut options = serde_json::json!({
        "hosts": hosts, "user": "u", "poolSize": pool_size, "maxLifetimeMs": 0,
        "idleTimeoutMs": 30_000, "mode": mode, "loadBalance": balance,
    });
    let mut set = |chance: usize, name: &str, value: serde_json::Value| {
        if dice.percent(chance)
            && let Some(options) = options.as_object_mut()
        {
            options.insert(name.to_owned(), value);
        }
    };
    set(10, "pipelining", "all".into());
    set(5, "pipelining", "off".into());
    set(15, "minIdle", pool_size.into());
    set(15, "maxUses", 3.into());
    set(15, "maxLifetimeMs", 700.into());
    set(15, "idleTimeoutMs", 50.into());
    set(15, "statementCacheSize", 0.into());
    set(15, "statementCacheSize", 2.into());
    set(15, "idleInTransactionTimeoutMs", 900.into());
    set(15, "acquireTimeoutMs", 400.into());
    set(10, "queryTimeoutMs", 1500.into());
    set(10, "maxQueue", 6.into());
    set(10, "resetOnRelease", false.into());
    set(10, "roleCheck", "query".into());
    set(40, "parameters", serde_json::json!({ "TimeZone": "here" }));
    from_json(&options).unwrap_or_else(|error| unreachable!("{error:?}"))
}
