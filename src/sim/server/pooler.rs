//! What a pooler in front of the server meets. It may run each transaction in another session, and
//! it keeps one statement of the server for all clients that prepare the same text.

use std::collections::BTreeMap;

use super::states::Amid;
use crate::sim::messages::text;

#[derive(Debug, Default)]
pub struct Pooler {
    /// The texts of named statements, with the sessions that prepared them first.
    texts: BTreeMap<String, u64>,
    /// The named statements that were described since a session's last Sync.
    described: BTreeMap<u64, String>,
    /// What a client has done that may go by the types of an earlier time.
    pub fault: Option<&'static str>,
}

impl Pooler {
    pub(super) fn see(&mut self, session: u64, tag: u8, body: &[u8]) {
        match tag {
            b'P' => {
                let (name, rest) = text(body);
                let (sql, _) = text(rest);
                if !name.is_empty()
                    && *self.texts.entry(sql.to_owned()).or_insert(session) != session
                {
                    self.fault = Some("a text was prepared that another session had prepared");
                }
            }
            b'D' => {
                let name = text(body.get(1..).unwrap_or_default()).0;
                self.described.insert(session, name.to_owned());
            }
            b'B' => {
                let (name, _) = text(text(body).1);
                if !name.is_empty() && self.described.get(&session).is_none_or(|it| it != name) {
                    self.fault = Some("a statement ran that was not described in the same flight");
                }
            }
            b'S' => drop(self.described.remove(&session)),
            _ => {}
        }
    }
}

impl super::Session {
    /// Whether a message belongs to a question of the pool's own that comes in several statements.
    /// It is answered at its Sync.
    pub(super) fn is_part(&mut self, tag: u8, body: &[u8]) -> bool {
        let sql = if tag == b'P' { text(text(body).1).0 } else { "" };
        let begins = sql.contains("lock_timeout") || sql.contains("SAVEPOINT hyperion_types");
        let is_part = (begins && self.amid != Amid::Steps) || !self.parts.is_empty();
        if is_part && tag == b'P' {
            self.parts.push(sql.to_owned());
        }
        is_part
    }
}
