//! Compares the answers that applications got with the rows that the cluster has in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Error, Outcome};
use crate::pool::Response;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Keys whose commit was acknowledged, in that order.
    acknowledged: Vec<String>,
    /// Keys that are not there according to an error that a caller got, with that error.
    absent: BTreeMap<String, String>,
    /// Keys of transactions whose end is unknown. All keys of one are there, or none.
    together: Vec<Vec<String>>,
}

impl Ledger {
    pub(super) fn acknowledge(&mut self, key: &str) {
        self.acknowledged.push(key.to_owned());
    }

    pub(super) fn refuse(&mut self, key: &str, why: &str) {
        self.absent.insert(key.to_owned(), why.to_owned());
    }

    fn tie(&mut self, keys: Vec<String>) {
        self.together.push(keys);
    }

    /// Records what the COMMIT of a transaction with these keys has returned.
    pub(super) fn end(
        &mut self,
        keys: Vec<String>,
        result: Result<Response, Error>,
    ) -> Result<(), String> {
        match result {
            Ok(response) => match response.results.first().map_or("", |r| r.command.name()) {
                "COMMIT" => keys.iter().for_each(|key| self.acknowledge(key)),
                "" if !keys.is_empty() => {
                    return Err(format!("a COMMIT of nothing, after {}", keys.join(", ")));
                }
                _ => keys.iter().for_each(|key| self.refuse(key, "its COMMIT was a ROLLBACK")),
            },
            Err(error) => match error.outcome() {
                Some(Outcome::Unknown) => self.tie(keys),
                Some(Outcome::NotSent | Outcome::NotCommitted) => {
                    keys.iter().for_each(|key| self.refuse(key, &describe(&error)));
                }
                None => return Err(format!("no outcome: {}", describe(&error))),
            },
        }
        Ok(())
    }

    /// How many keys are certainly stored for good.
    pub(super) fn known(&self) -> usize {
        self.acknowledged.len()
    }

    /// Records the error of a write.
    pub(super) fn failed(&mut self, key: &str, error: &Error) -> Result<(), String> {
        match error.outcome() {
            Some(Outcome::NotSent | Outcome::NotCommitted) => self.refuse(key, &describe(error)),
            Some(Outcome::Unknown) => {}
            None => return Err(format!("no outcome for {key}: {}", describe(error))),
        }
        Ok(())
    }

    /// Checks that a read sees all keys that were known when it was asked.
    pub(super) fn check_read(&self, known: usize, seen: &str) -> Result<(), String> {
        let seen: BTreeSet<_> = seen.split(',').collect();
        let missing = self.acknowledged.iter().take(known).find(|key| !seen.contains(key.as_str()));
        match missing {
            Some(key) => {
                Err(format!("a stale read: {key} was acknowledged before it, and is not in it"))
            }
            None => Ok(()),
        }
    }

    /// Compares the keys of the last primary with all answers.
    pub(super) fn check(&self, keys: &[String]) -> Result<(), String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for key in keys {
            *counts.entry(key).or_default() += 1;
        }
        if let Some((key, count)) = counts.iter().find(|(_, count)| **count > 1) {
            return Err(format!("{key} was applied {count} times"));
        }
        if let Some(key) = self.acknowledged.iter().find(|key| !counts.contains_key(key.as_str())) {
            return Err(format!("{key} was acknowledged, and is lost"));
        }
        let there = |(key, _): &(&String, &String)| counts.contains_key(key.as_str());
        if let Some((key, why)) = self.absent.iter().find(there) {
            return Err(format!("{key} was applied, and its caller was told: {why}"));
        }
        let torn = |keys: &&Vec<String>| {
            let there = keys.iter().filter(|key| counts.contains_key(key.as_str())).count();
            there != 0 && there != keys.len()
        };
        match self.together.iter().find(torn) {
            Some(keys) => Err(format!("half of a transaction was applied: {}", keys.join(", "))),
            None => Ok(()),
        }
    }
}

pub(super) fn describe(error: &Error) -> String {
    format!("{} {:?} ({})", error.code(), error.outcome(), error.message())
}
