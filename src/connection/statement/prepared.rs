//! The statements that this connection has prepared under names. Their number is bounded: the least
//! recently used statement makes room for the next.
//!
//! A name stands for a single statement of a single connection, since it begins with the
//! connection's random digits. A pooler in transaction mode may lend a server connection on which
//! another client has prepared statements. Under a shared name, the server would then run that
//! client's statement. Under a name made from the text alone, the parameters could have other
//! types. With names of its own, this client gets the answer that there is no such statement.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Description, Statement, StatementId};
use crate::base::Instant;

/// The server's description from the flight that prepares a statement. Empty until that flight is
/// answered.
pub(in crate::connection) type DescriptionCell = Arc<OnceLock<Arc<Description>>>;

/// The age at which a statement is prepared again: its names may mean something else by now without
/// this client knowing.
const OLD: Duration = Duration::from_secs(60);
/// The age from which a statement is prepared again if another connection got another description.
/// That description may be valid for that connection only.
const OLD_IF_CONTRADICTED: Duration = Duration::from_secs(1);

/// How many bytes the descriptions of named statements may take together. The same limit applies to
/// unnamed statements. A wide table's description is as large as some hundred others, and a
/// connection meets a thousand statements.
const MOST_WEIGHT: usize = 2 * 1024 * 1024;

/// When a statement was described, and what names meant at that time.
#[derive(Clone, Copy, Debug)]
pub(in crate::connection) struct Moment {
    pub(in crate::connection) at: Instant,
    /// How often names had changed in the session, and in the whole pool.
    pub(in crate::connection) epoch: u64,
    pub(in crate::connection) generation: u64,
}

impl Moment {
    /// Whether a description of that moment may be wrong by now.
    pub(in crate::connection) fn is_outdated(self, now: Self, statement: &Statement) -> bool {
        self.is_disputed(now, statement) || now.at.since(self.at) >= OLD
    }

    /// The same, regardless of its age.
    fn is_disputed(self, now: Self, statement: &Statement) -> bool {
        let age = now.at.since(self.at);
        let contradicted =
            statement.changed_at.is_some_and(|at| at > self.at) && age >= OLD_IF_CONTRADICTED;
        let moved = (self.epoch, self.generation) != (now.epoch, now.generation);
        let invalidated = statement.invalidated_at.is_some_and(|at| at >= self.at);
        moved || contradicted || invalidated
    }
}

#[derive(Debug)]
pub(in crate::connection) struct Preparation {
    pub(in crate::connection) name: Arc<str>,
    /// Distinguishes the statement from an earlier one with the same number.
    sql: Arc<str>,
    pub(in crate::connection) description: DescriptionCell,
    moment: Moment,
    used: u64,
    /// The name that the flight which prepares this statement closes.
    replaces: Option<Arc<str>>,
}

/// The description of a statement that has no name here.
#[derive(Debug)]
struct Recent {
    sql: Arc<str>,
    description: Arc<Description>,
    moment: Moment,
}

/// Which statement makes room for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Victim {
    Kept(StatementId),
    Doomed,
}

#[derive(Debug)]
pub(in crate::connection) struct Prepared {
    places: Vec<Option<Preparation>>,
    /// Descriptions of statements without a name, by the statements' numbers.
    recent: Vec<Option<Recent>>,
    recent_weight: usize,
    count: usize,
    /// Names that are no longer used, but that the server still knows.
    doomed: VecDeque<Arc<str>>,
    /// How many statements may have names. With 0 no statement is prepared, which poolers in
    /// transaction mode may require.
    capacity: usize,
    /// The prefix of all names.
    prefix: Box<str>,
    names: u64,
    uses: u64,
    /// The name that the next preparation closes.
    evicted: Option<Arc<str>>,
}

/// What is known about a statement that is about to run.
#[derive(Debug)]
pub(in crate::connection) enum Found<'a> {
    Nothing,
    /// The statement has to be prepared again.
    Outdated,
    /// The statement has to be prepared again, although the flight that prepared it has no answer
    /// yet.
    OutdatedUnheard,
    Known(&'a Preparation),
}

impl Prepared {
    /// `random` distinguishes the names from those of other connections.
    pub(in crate::connection) fn new(capacity: usize, random: [u8; 8]) -> Self {
        let prefix = format!("h{:016x}_", u64::from_be_bytes(random)).into_boxed_str();
        Self {
            places: Vec::new(),
            recent: Vec::new(),
            recent_weight: 0,
            count: 0,
            doomed: VecDeque::new(),
            capacity,
            prefix,
            names: 0,
            uses: 0,
            evicted: None,
        }
    }

    pub(in crate::connection) fn is_off(&self) -> bool {
        self.capacity == 0
    }

    /// Finds the preparation of a statement, and counts it as used now.
    pub(in crate::connection) fn find(
        &mut self,
        id: StatementId,
        statement: &Statement,
        now: Moment,
    ) -> Found<'_> {
        let Some(Some(kept)) = self.places.get_mut(id.0 as usize) else { return Found::Nothing };
        if !Arc::ptr_eq(&kept.sql, &statement.sql) {
            return Found::Nothing;
        }
        if kept.moment.is_outdated(now, statement) {
            let is_heard = kept.description.get().is_some();
            return if is_heard { Found::Outdated } else { Found::OutdatedUnheard };
        }
        self.uses += 1;
        kept.used = self.uses;
        Found::Known(kept)
    }

    /// The recent description of a statement that has no name here.
    pub(in crate::connection) fn recent(
        &self,
        id: StatementId,
        statement: &Statement,
        now: Moment,
    ) -> Option<&Arc<Description>> {
        let recent = self.recent.get(id.0 as usize)?.as_ref()?;
        let is_it = Arc::ptr_eq(&recent.sql, &statement.sql);
        (is_it && !recent.moment.is_outdated(now, statement)).then_some(&recent.description)
    }

    /// The description from this session, even if the statement is about to be described again. A
    /// frequently used statement is sent with it in the same flight in which it is described again.
    pub(in crate::connection) fn described_here(
        &self,
        id: StatementId,
        statement: &Statement,
        now: Moment,
    ) -> Option<&Arc<Description>> {
        let kept = self.places.get(id.0 as usize).and_then(Option::as_ref);
        let kept = kept.filter(|kept| {
            let is_it = Arc::ptr_eq(&kept.sql, &statement.sql);
            let is_over = now.at.since(kept.moment.at) >= 2 * OLD;
            is_it && !is_over && !kept.moment.is_disputed(now, statement)
        });
        self.recent(id, statement, now).or_else(|| kept?.description.get())
    }

    /// Takes the description of a statement that was sent without a name. If the same statement has
    /// a name with another description, that name is no longer used.
    pub(in crate::connection) fn remember(
        &mut self,
        id: StatementId,
        sql: &Arc<str>,
        description: &Arc<Description>,
        moment: Moment,
    ) {
        let index = id.0 as usize;
        if let Some(Some(kept)) = self.places.get(index)
            && Arc::ptr_eq(&kept.sql, sql)
            && kept.description.get().is_some_and(|own| !own.is_same(description))
        {
            self.doom(id);
        }
        self.forget(id);
        let weight = description.weight();
        if self.recent_weight.saturating_add(weight) > MOST_WEIGHT {
            self.forget_recent();
        }
        if self.recent.len() <= index {
            self.recent.resize_with(index + 1, || None);
        }
        if let Some(place) = self.recent.get_mut(index) {
            let (sql, description) = (Arc::clone(sql), Arc::clone(description));
            *place = Some(Recent { sql, description, moment });
            self.recent_weight += weight;
        }
    }

    /// Whether the statement under this name has the same description.
    pub(in crate::connection) fn is_as(
        &self,
        id: StatementId,
        name: &Arc<str>,
        description: &Arc<Description>,
    ) -> bool {
        let kept = self.places.get(id.0 as usize).and_then(Option::as_ref);
        self.has(id, name)
            && kept
                .and_then(|kept| kept.description.get())
                .is_some_and(|own| Arc::ptr_eq(own, description) || own.is_same(description))
    }

    fn forget_recent(&mut self) {
        self.recent.clear();
        self.recent_weight = 0;
    }

    /// Which name the flight that prepares `id` closes: that of an earlier statement with the same
    /// number, a name that is no longer used, or, if the cache is full, that of the least recently
    /// used statement.
    pub(in crate::connection) fn victim(&self, id: StatementId) -> Option<(Victim, Arc<str>)> {
        if let Some(Some(earlier)) = self.places.get(id.0 as usize) {
            return Some((Victim::Kept(id), Arc::clone(&earlier.name)));
        }
        if let Some(name) = self.doomed.front() {
            return Some((Victim::Doomed, Arc::clone(name)));
        }
        if self.count < self.capacity {
            return None;
        }
        let kept = self.places.iter().zip(0u32..);
        let kept = kept.filter_map(|(place, n)| place.as_ref().map(|p| (p, StatementId(n))));
        kept.min_by_key(|(p, _)| p.used).map(|(p, id)| (Victim::Kept(id), Arc::clone(&p.name)))
    }

    /// Removes the statement whose name is being closed.
    pub(in crate::connection) fn evict(&mut self, victim: Victim) {
        self.evicted = match victim {
            Victim::Kept(id) => self.take(id).map(|preparation| preparation.name),
            Victim::Doomed => self.doomed.pop_front(),
        };
    }

    /// Called when the server refused the flight before it had parsed the statement. If a BEGIN
    /// came first, the server may also not have closed the other name. So that name is closed once
    /// more. This does no harm: no name is used twice, and closing an unknown name does nothing.
    pub(in crate::connection) fn unparsed(&mut self, id: StatementId, name: &Arc<str>) {
        if self.has(id, name) {
            let replaces = self.take(id).and_then(|preparation| preparation.replaces);
            self.doomed.extend(replaces);
        }
    }

    /// Notes that the server's statement under this name is no longer used.
    pub(in crate::connection) fn doom_name(&mut self, id: StatementId, name: &Arc<str>) {
        if self.has(id, name) {
            self.doom(id);
        }
    }

    fn doom(&mut self, id: StatementId) {
        let preparation = self.take(id);
        self.doomed.extend(preparation.map(|preparation| preparation.name));
    }

    /// Forgets the description of a statement that has no name.
    pub(in crate::connection) fn forget(&mut self, id: StatementId) {
        if let Some(recent) = self.recent.get_mut(id.0 as usize).and_then(Option::take) {
            self.recent_weight -= recent.description.weight();
        }
    }

    /// A name that no statement has had before.
    pub(in crate::connection) fn next_name(&mut self) -> Arc<str> {
        self.names += 1;
        Arc::from(format!("{}{}", self.prefix, self.names))
    }

    pub(in crate::connection) fn insert(
        &mut self,
        id: StatementId,
        name: Arc<str>,
        sql: Arc<str>,
        description: DescriptionCell,
        moment: Moment,
    ) {
        let index = id.0 as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        self.uses += 1;
        let used = self.uses;
        let replaces = self.evicted.take();
        let preparation = Preparation { name, sql, description, moment, used, replaces };
        if let Some(place) = self.places.get_mut(index)
            && place.replace(preparation).is_none()
        {
            self.count += 1;
        }
        self.lighten();
    }

    /// Drops the least recently used statements until the descriptions of the others are within
    /// their limit.
    fn lighten(&mut self) {
        let use_and_weight = |place: &Option<Preparation>| {
            place.as_ref().and_then(|kept| Some((kept.used, kept.description.get()?.weight())))
        };
        let mut weight: usize =
            self.places.iter().filter_map(use_and_weight).map(|(_, weight)| weight).sum();
        while weight > MOST_WEIGHT {
            let each = self.places.iter().zip(0u32..);
            let each = each.filter_map(|(place, n)| Some((use_and_weight(place)?, StatementId(n))));
            let Some(((_, least), id)) = each.min_by_key(|((used, _), _)| *used) else { return };
            self.doom(id);
            weight -= least;
        }
    }

    /// Called when the server has dropped all of the statements.
    pub(in crate::connection) fn clear(&mut self) {
        self.places.clear();
        self.doomed.clear();
        self.forget_recent();
        self.count = 0;
    }

    /// Called when the flight that should have prepared the statement is not sent.
    pub(in crate::connection) fn remove(&mut self, id: StatementId, name: &Arc<str>) {
        if self.has(id, name) {
            drop(self.take(id));
        }
    }

    fn has(&self, id: StatementId, name: &Arc<str>) -> bool {
        let kept = self.places.get(id.0 as usize).and_then(Option::as_ref);
        kept.is_some_and(|kept| Arc::ptr_eq(&kept.name, name))
    }

    fn take(&mut self, id: StatementId) -> Option<Preparation> {
        let preparation = self.places.get_mut(id.0 as usize)?.take()?;
        self.count -= 1;
        Some(preparation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::statement::Statements;
    use crate::types::Verbatim;

    struct Setup {
        statements: Statements,
        prepared: Prepared,
        now: Moment,
    }

    impl Setup {
        fn new() -> Self {
            let now = Moment { at: Instant::ORIGIN, epoch: 0, generation: 0 };
            Self { statements: Statements::default(), prepared: Prepared::new(2, [9; 8]), now }
        }

        fn prepare(&mut self, sql: &str) -> StatementId {
            let id = self.statements.insert(sql);
            let name = self.prepared.next_name();
            let sql = Arc::clone(&self.statements.get(id).unwrap().sql);
            self.prepared.insert(id, name, sql, DescriptionCell::default(), self.now);
            id
        }

        fn is_known(&mut self, id: StatementId) -> bool {
            let statement = self.statements.get(id).unwrap();
            matches!(self.prepared.find(id, statement, self.now), Found::Known(_))
        }

        fn victim(&self, id: StatementId) -> Option<(Victim, String)> {
            self.prepared.victim(id).map(|(victim, name)| (victim, name.to_string()))
        }
    }

    const FIRST: &str = "h0909090909090909_1";
    const SECOND: &str = "h0909090909090909_2";
    const NEXT: StatementId = StatementId(2);

    #[test]
    fn the_least_recently_used_one_makes_room() {
        let mut setup = Setup::new();
        let [first, second] = ["SELECT 1", "SELECT 2"].map(|sql| setup.prepare(sql));
        assert!(setup.is_known(first));
        let victim = setup.victim(NEXT);
        assert_eq!(victim, Some((Victim::Kept(second), SECOND.to_owned())));
        setup.prepared.evict(Victim::Kept(second));
        assert_eq!(setup.victim(NEXT), None);
    }

    #[test]
    fn a_number_given_anew_is_another_statement() {
        let mut setup = Setup::new();
        let id = setup.prepare("SELECT 1");
        setup.statements.forget(id);
        assert_eq!(setup.statements.insert("SELECT 1"), id);
        assert!(!setup.is_known(id));
        assert_eq!(setup.victim(id), Some((Victim::Kept(id), FIRST.to_owned())));
    }

    #[test]
    fn what_is_of_no_use_is_closed_before_anything_else_goes() {
        let mut setup = Setup::new();
        let [first, second] = ["SELECT 1", "SELECT 2"].map(|sql| setup.prepare(sql));
        let name = setup.victim(first).map(|(_, name)| name);
        assert_eq!(name.as_deref(), Some(FIRST));
        let [own, other] = [first, second].map(|id| setup.prepared.victim(id).unwrap().1);
        setup.prepared.doom_name(first, &other);
        assert!(setup.is_known(first));
        for _ in 0..2 {
            setup.prepared.doom_name(first, &own);
            assert!(!setup.is_known(first));
        }
        assert_eq!(setup.victim(NEXT), Some((Victim::Doomed, FIRST.to_owned())));
        setup.prepared.evict(Victim::Doomed);
        assert_eq!(setup.victim(NEXT), None);
    }

    #[test]
    fn wide_descriptions_make_room_for_others() {
        let mut setup = Setup::new();
        setup.prepared.capacity = 1000;
        let description =
            || Arc::new(Description::new(vec![23; 6_000], None, &Verbatim::default()));
        let most = MOST_WEIGHT / description().weight();
        let ids: Vec<_> = (0..3 * most)
            .map(|n| {
                let id = setup.prepare(&format!("SELECT {n}"));
                let kept = setup.prepared.places[id.0 as usize].as_ref().unwrap();
                kept.description.set(description()).unwrap();
                id
            })
            .collect();
        // The description of the last statement is counted only when the next one is prepared.
        let known: Vec<_> = ids.iter().map(|id| setup.is_known(*id)).collect();
        assert_eq!(known.iter().filter(|known| **known).count(), most + 1);
        assert!(known.ends_with(&vec![true; most + 1]));
        assert_eq!(setup.prepared.doomed.len(), 2 * most - 1);

        let is_described = |setup: &Setup, id: StatementId| {
            let statement = setup.statements.get(id).unwrap();
            setup.prepared.recent(id, statement, setup.now).is_some()
        };
        for (n, id) in ids.iter().enumerate() {
            let sql = Arc::clone(&setup.statements.get(*id).unwrap().sql);
            for _ in 0..2 {
                setup.prepared.remember(*id, &sql, &description(), setup.now);
            }
            let count = ids.iter().filter(|id| is_described(&setup, **id)).count();
            assert_eq!(count, n % most + 1);
        }
        ids.iter().for_each(|id| setup.prepared.forget(*id));
        assert_eq!(setup.prepared.recent_weight, 0);
    }

    #[test]
    fn a_description_holds_for_a_while_and_for_the_same_names() {
        let mut setup = Setup::new();
        let id = setup.prepare("SELECT 1");
        let start = setup.now;
        let mut check = |after: Duration, epoch: u64, generation: u64, expect: bool| {
            setup.now = Moment { at: start.at + after, epoch, generation };
            assert_eq!(setup.is_known(id), expect, "{after:?} {epoch} {generation}");
        };
        check(OLD - Duration::from_millis(1), 0, 0, true);
        check(OLD, 0, 0, false);
        check(Duration::ZERO, 1, 0, false);
        check(Duration::ZERO, 0, 1, false);
        check(Duration::ZERO, 0, 0, true);
    }

    #[test]
    fn what_a_transaction_has_failed_for_is_prepared_anew() {
        let mut setup = Setup::new();
        let id = setup.prepare("SELECT $1");
        setup.now.at = Instant::ORIGIN + Duration::from_millis(1);
        assert!(setup.is_known(id));
        setup.statements.invalidate(id, setup.now.at);
        assert!(!setup.is_known(id));
        setup.now.at = Instant::ORIGIN + Duration::from_millis(2);
        let id = setup.prepare("SELECT $2");
        setup.statements.invalidate(id, Instant::ORIGIN + Duration::from_millis(1));
        assert!(setup.is_known(id), "it was prepared since");
    }

    #[test]
    fn a_description_from_this_connection_is_used_while_the_statement_is_described_anew() {
        let mut setup = Setup::new();
        let id = setup.prepare("SELECT $1");
        let description = Arc::new(Description::new(vec![23], None, &Verbatim::default()));
        let kept = setup.prepared.places[id.0 as usize].as_ref().unwrap();
        kept.description.set(description).unwrap();
        let start = setup.now;
        for (after, epoch, expect) in [
            (Duration::ZERO, 0, true),
            (OLD, 0, true),
            (2 * OLD, 0, false),
            (Duration::ZERO, 1, false),
        ] {
            let now = Moment { at: start.at + after, epoch, ..start };
            let statement = setup.statements.get(id).unwrap();
            let here = setup.prepared.described_here(id, statement, now);
            assert_eq!(here.is_some(), expect, "{after:?} {epoch}");
        }
    }

    #[test]
    fn another_connection_s_news_is_looked_into_once_in_a_while() {
        let mut setup = Setup::new();
        let id = setup.prepare("SELECT $1");
        let description = |oid| Arc::new(Description::new(vec![oid], None, &Verbatim::default()));
        let statement = setup.statements.get_mut(id).unwrap();
        statement.set_description(Instant::ORIGIN, description(23));
        let later = Instant::ORIGIN + Duration::from_millis(1);
        statement.set_description(later, description(23));
        setup.now.at = Instant::ORIGIN + OLD_IF_CONTRADICTED;
        assert!(setup.is_known(id), "the same is no news");
        setup.statements.get_mut(id).unwrap().set_description(later, description(20));
        assert!(!setup.is_known(id));
        setup.now.at = later;
        assert!(setup.is_known(id));
    }
}
