//! The statements that this connection has prepared under names, bounded: the least recently used one
//! makes room for the next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::statement::StatementId;
use crate::types::Shape;

#[derive(Debug)]
pub(super) struct Preparation {
    pub(super) name: Arc<str>,
    /// Tells a statement from an earlier one of the same number.
    pub(super) sql: Arc<str>,
    /// How its rows look, as the server last described them on this connection.
    pub(super) shape: Option<Arc<Shape>>,
    used: u64,
    /// The name that is closed in the flight which prepares it.
    replaces: Option<Arc<str>>,
}

/// Who makes room for the next statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Kept(StatementId),
    Doomed,
}

#[derive(Debug)]
pub(super) struct Prepared {
    places: Vec<Option<Preparation>>,
    count: usize,
    /// Names that are of no use any more, and that the server still holds.
    doomed: VecDeque<Arc<str>>,
    /// 0 prepares nothing under a name, as transaction-mode poolers need it.
    capacity: usize,
    names: u64,
    uses: u64,
    /// The name that was evicted for the next preparation.
    evicted: Option<Arc<str>>,
}

impl Prepared {
    pub(super) fn new(capacity: usize) -> Self {
        let (places, doomed) = (Vec::new(), VecDeque::new());
        Self { places, count: 0, doomed, capacity, names: 0, uses: 0, evicted: None }
    }

    pub(super) fn is_off(&self) -> bool {
        self.capacity == 0
    }

    /// The preparation of a statement, which counts as used now.
    pub(super) fn touch(&mut self, id: StatementId, sql: &Arc<str>) -> Option<&Preparation> {
        let kept = self.places.get_mut(id.0 as usize)?.as_mut()?;
        if !Arc::ptr_eq(&kept.sql, sql) {
            return None;
        }
        self.uses += 1;
        kept.used = self.uses;
        Some(kept)
    }

    /// A statement whose results are wanted in other formats than it was prepared for is prepared anew: its rows are read
    /// by what the server told of them then.
    pub(super) fn keep_if_formats(&mut self, id: StatementId, wanted: Option<&Shape>) {
        if let Some(wanted) = wanted.filter(|shape| shape.has_user_types())
            && let Some(Some(kept)) = self.places.get(id.0 as usize)
            && kept.shape.as_ref().is_some_and(|shape| !wanted.has_formats_of(shape))
        {
            self.doom(id);
        }
    }

    pub(super) fn get_mut(&mut self, id: StatementId) -> Option<&mut Preparation> {
        self.places.get_mut(id.0 as usize)?.as_mut()
    }

    /// Whose name is closed in the flight that prepares `id`: an earlier statement's of the same number, one that
    /// is of no use any more, or the least recently used one's where the cache is full.
    pub(super) fn victim(&self, id: StatementId) -> Option<(Victim, Arc<str>)> {
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

    /// Its name is being closed.
    pub(super) fn evict(&mut self, victim: Victim) {
        self.evicted = match victim {
            Victim::Kept(id) => self.take(id).map(|preparation| preparation.name),
            Victim::Doomed => self.doomed.pop_front(),
        };
    }

    /// The server refused the flight before it had parsed the statement, and perhaps, with the BEGIN in front,
    /// before it had closed the other one. No name is used twice: to close one that is gone does nothing.
    pub(super) fn unparsed(&mut self, id: StatementId) {
        let replaces = self.take(id).and_then(|preparation| preparation.replaces);
        self.doomed.extend(replaces);
    }

    /// What the server has under this statement's name is of no use any more.
    pub(super) fn doom(&mut self, id: StatementId) {
        let preparation = self.take(id);
        self.doomed.extend(preparation.map(|preparation| preparation.name));
    }

    /// A name that this connection has not used before.
    pub(super) fn next_name(&mut self) -> Arc<str> {
        self.names += 1;
        Arc::from(format!("h{}", self.names))
    }

    pub(super) fn insert(
        &mut self,
        id: StatementId,
        name: Arc<str>,
        sql: Arc<str>,
        shape: Option<Arc<Shape>>,
    ) {
        let index = id.0 as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        self.uses += 1;
        let used = self.uses;
        let replaces = self.evicted.take();
        if let Some(place) = self.places.get_mut(index)
            && place.replace(Preparation { name, sql, shape, used, replaces }).is_none()
        {
            self.count += 1;
        }
    }

    /// The server has dropped them all.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.doomed.clear();
        self.count = 0;
    }

    pub(super) fn remove(&mut self, id: StatementId) {
        drop(self.take(id));
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

    #[test]
    fn the_least_recently_used_one_makes_room() {
        let sql = |n: u32| Arc::from(format!("SELECT {n}"));
        let texts: Vec<Arc<str>> = (0..3).map(sql).collect();
        let mut prepared = Prepared::new(2);
        for (n, text) in (0..2).zip(&texts) {
            let name = prepared.next_name();
            prepared.insert(StatementId(n), name, Arc::clone(text), None);
        }
        assert!(prepared.touch(StatementId(0), &texts[0]).is_some());
        let (victim, name) = prepared.victim(StatementId(2)).unwrap();
        assert_eq!((victim, &*name), (Victim::Kept(StatementId(1)), "h2"));
        prepared.evict(victim);
        assert_eq!(prepared.victim(StatementId(2)), None);
    }

    #[test]
    fn a_number_given_anew_is_another_statement() {
        let (old, new): (Arc<str>, Arc<str>) = (Arc::from("SELECT 1"), Arc::from("SELECT 1"));
        let mut prepared = Prepared::new(8);
        let name = prepared.next_name();
        prepared.insert(StatementId(0), name, old, None);
        assert!(prepared.touch(StatementId(0), &new).is_none());
        let (victim, _) = prepared.victim(StatementId(0)).unwrap();
        assert_eq!(victim, Victim::Kept(StatementId(0)));
    }

    #[test]
    fn what_is_of_no_use_is_closed_before_anything_else_goes() {
        let text: Arc<str> = Arc::from("SELECT 1");
        let mut prepared = Prepared::new(2);
        for n in 0..2 {
            let name = prepared.next_name();
            prepared.insert(StatementId(n), name, Arc::clone(&text), None);
        }
        prepared.doom(StatementId(0));
        prepared.doom(StatementId(0));
        assert!(prepared.touch(StatementId(0), &text).is_none());
        let (victim, name) = prepared.victim(StatementId(2)).unwrap();
        assert_eq!((victim, &*name), (Victim::Doomed, "h1"));
        prepared.evict(victim);
        assert_eq!(prepared.victim(StatementId(2)), None);
    }
}
