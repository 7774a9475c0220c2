//! The nodes of the simulated cluster, and what they replicate.
//!
//! A commit is answered once a live standby has it, as with `synchronous_standby_names = 'ANY 1
//! (...)'`. So an acknowledged commit is on two nodes of three, and survives the loss of one.

use crate::base::Instant;
use crate::connection::Role;
use crate::sim::names::Names;
use crate::sim::server::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Up,
    /// Its kernel accepts connections and bytes, but no process runs.
    Frozen,
    /// Its machine refuses connections.
    Down,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) server: Server,
    pub(super) power: Power,
    /// Nothing arrives in either direction between the pool and the node.
    pub(super) cut: bool,
    /// Until then it refuses logins with 57P03.
    pub(super) starting_until: Instant,
    /// It refuses more sessions than this with 53300.
    pub(super) session_limit: usize,
    /// Its pg_hba.conf has no entry for the pool's role.
    pub(super) is_barred: bool,
    /// Until then logins get no answer.
    pub(super) slow_until: Instant,
    /// Until then most of what is on its way to it or from it has to wait.
    pub(super) stutters_until: Instant,
    /// The node whose log it replays.
    pub(super) follows: Option<usize>,
    /// The pool's list of hosts has it.
    pub(super) listed: bool,
    /// How often its role has changed.
    pub(super) changes: usize,
}

impl Node {
    pub(super) fn new(role: Role, follows: Option<usize>) -> Self {
        Self {
            server: Server::new(role),
            power: Power::Up,
            cut: false,
            starting_until: Instant::ORIGIN,
            session_limit: usize::MAX,
            is_barred: false,
            slow_until: Instant::ORIGIN,
            stutters_until: Instant::ORIGIN,
            follows,
            listed: true,
            changes: 0,
        }
    }

    pub(super) fn reload(&mut self, role: Role) {
        self.changes += 1;
        self.server.reload(role);
    }

    pub(super) fn is_up(&self) -> bool {
        self.power == Power::Up
    }

    fn log_length(&self) -> usize {
        self.server.keys.len()
    }
}

#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    /// The primary, or the last one.
    pub(super) leader: usize,
    starts: u64,
    /// How often all nodes have gone back to an older timeline.
    pub(super) rewinds: usize,
    /// Two nodes were promoted side by side.
    pub(super) were_split: bool,
    pub(super) names: Names,
    /// Some names have led to other nodes at any time in this storm.
    pub(super) were_moved: bool,
}

impl Nodes {
    pub(super) fn new(count: usize) -> Self {
        let node = |n: usize| match n {
            0 => Node::new(Role::ReadWrite, None),
            _ => Node::new(Role::Standby, Some(0)),
        };
        let mut nodes = Self {
            all: (0..count).map(node).collect(),
            leader: 0,
            starts: 0,
            rewinds: 0,
            were_split: false,
            were_moved: false,
            names: Names::default(),
        };
        (0..count).for_each(|node| nodes.count_start(node));
        nodes
    }

    /// No two servers start at the same time.
    fn count_start(&mut self, number: usize) {
        self.starts += 1;
        let starts = self.starts;
        if let Some(node) = self.get_mut(number) {
            node.server.lineage.1 = starts;
        }
    }

    /// From now on the node's name leads to the leader. Open connections stay where they are.
    pub(super) fn readdress(&mut self, node: usize) {
        self.names.lead(node, vec![self.leader]);
        self.were_moved = true;
    }

    /// From now on the node's name leads to the node, and to the leader or one of the leader's
    /// standbys. The leader may be either of them, or neither, later.
    pub(super) fn spread(&mut self, node: usize) {
        let standby = self.standbys().next().unwrap_or(node);
        let other = if node == self.leader { standby } else { self.leader };
        self.names.lead(node, vec![node, other]);
        self.were_moved = true;
    }

    /// Whether a name leads to the leader, and to another node too.
    pub(super) fn has_spread_names(&self) -> bool {
        self.names.moved().any(|nodes| nodes.len() > 1 && nodes.contains(&self.leader))
    }

    pub(super) fn has_moved_names(&self) -> bool {
        self.names.moved().next().is_some()
    }

    pub(super) fn get(&self, node: usize) -> Option<&Node> {
        self.all.get(node)
    }

    pub(super) fn get_mut(&mut self, node: usize) -> Option<&mut Node> {
        self.all.get_mut(node)
    }

    pub(super) fn leader(&self) -> Option<&Node> {
        self.all.get(self.leader)
    }

    pub(super) fn standbys(&self) -> impl Iterator<Item = usize> {
        let leader = self.leader;
        (0..self.all.len()).filter(move |node| *node != leader)
    }

    /// Whether a standby has the first `length` entries of the node's log.
    pub(super) fn is_replicated(&self, node: usize, length: usize) -> bool {
        let has = |other: &Node| {
            other.is_up() && other.follows == Some(node) && other.log_length() >= length
        };
        self.all.iter().any(has)
    }

    /// A standby takes its primary's log.
    pub(super) fn replicate(&mut self, standby: usize) {
        let Some(from) = self.get(standby).filter(|node| node.is_up()).and_then(|n| n.follows)
        else {
            return;
        };
        let Some(primary) = self.get(from).filter(|node| node.is_up()) else { return };
        let has = self.get(standby).map_or(0, Node::log_length);
        let missing: Vec<_> = primary.server.keys.iter().skip(has).cloned().collect();
        if let Some(node) = self.get_mut(standby) {
            node.server.keys.extend(missing);
        }
    }

    /// Promotes the standby that has the longest log, as a majority decides: a standby that can't
    /// be asked may have the last acknowledged commit. A live leader was sealed before, and hands
    /// over its whole log.
    pub(super) fn promote(&mut self) -> Option<usize> {
        if !self.standbys().all(|node| self.get(node).is_some_and(Node::is_up)) {
            return None;
        }
        let best = self.standbys().max_by_key(|node| self.get(*node).map(Node::log_length))?;
        self.replicate(best);
        self.leader = best;
        for (number, node) in self.all.iter_mut().enumerate() {
            node.follows = (number != best && node.server.role == Role::Standby).then_some(best);
        }
        let timeline = self.all.iter().map(|node| node.server.lineage.2).max()? + 1;
        for node in self.all.iter_mut().filter(|node| node.follows == Some(best)) {
            node.server.lineage.2 = timeline;
        }
        self.begin_timeline(best, timeline);
        Some(best)
    }

    fn begin_timeline(&mut self, number: usize, timeline: u32) {
        if let Some(node) = self.get_mut(number) {
            node.changes += 1;
            node.server.promote();
            node.server.lineage.2 = timeline;
            node.follows = None;
        }
    }

    /// Promotes a standby of the newly promoted primary as well: two nodes that are cut off from
    /// each other take the same timeline. No node follows the second one, so none of its commits is
    /// acknowledged.
    pub(super) fn promote_beside(&mut self) -> bool {
        let leader = self.leader;
        let follower =
            self.standbys().find(|n| self.get(*n).is_some_and(|n| n.follows == Some(leader)));
        let timeline = self.leader().map(|node| node.server.lineage.2);
        let (Some(follower), Some(timeline)) = (follower, timeline) else { return false };
        self.were_split = true;
        self.replicate(follower);
        self.begin_timeline(follower, timeline);
        true
    }

    /// Starts a node that was replaced, as the primary that it was. It does not know that it was
    /// replaced.
    pub(super) fn revive(&mut self, number: usize) {
        self.count_start(number);
        if let Some(node) = self.get_mut(number) {
            node.power = Power::Up;
            node.follows = None;
            node.reload(Role::ReadWrite);
        }
    }

    /// All nodes go back to the timeline before the newest, with a standby as the primary. No write
    /// is lost, so that the storm's checks still find all writes.
    pub(super) fn rewind(&mut self) {
        let newest = self.all.iter().map(|node| node.server.lineage.2).max().unwrap_or(1);
        let log = self.leader().map(|node| node.server.keys.clone()).unwrap_or_default();
        let Some(leader) = self.standbys().next().filter(|_| newest > 1) else { return };
        self.leader = leader;
        self.rewinds += 1;
        for number in 0..self.all.len() {
            self.count_start(number);
            let Some(node) = self.get_mut(number) else { return };
            node.power = Power::Up;
            node.server.keys.clone_from(&log);
            node.server.lineage.2 = newest - 1;
            node.follows = (number != leader).then_some(leader);
            node.reload(if number == leader { Role::ReadWrite } else { Role::Standby });
        }
    }

    /// A node other than the leader that accepts writes.
    pub(super) fn usurper(&self) -> Option<usize> {
        let is_one = |node: &Node| node.is_up() && node.server.role == Role::ReadWrite;
        self.standbys().find(|number| self.get(*number).is_some_and(is_one))
    }

    /// Starts a node that was down: as the primary that it was, or as a standby of the present
    /// leader.
    pub(super) fn start(&mut self, number: usize) {
        self.count_start(number);
        let leader = self.leader;
        let log = self.leader().map(|node| node.server.keys.clone()).unwrap_or_default();
        let timeline = self.leader().map_or(1, |node| node.server.lineage.2);
        let Some(node) = self.get_mut(number) else { return };
        node.power = Power::Up;
        node.reload(if number == leader { Role::ReadWrite } else { Role::Standby });
        if number == leader {
            node.follows = None;
            return;
        }
        // Commits that only this node had are rewound.
        let own = node.server.keys.iter().zip(&log).take_while(|(a, b)| a == b).count();
        node.server.keys.truncate(own);
        node.server.lineage.2 = timeline;
        node.follows = Some(leader);
    }
}
