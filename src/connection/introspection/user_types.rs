//! The question for the meaning of oids of types that users and extensions made.
//!
//! It is asked on the connection whose answer needs it, because the type may have been made in the
//! transaction that is open there. In a transaction the question stands behind a savepoint, so that
//! a refusal, a time limit or a cancel does not end the user's transaction. It never waits long: a
//! session that holds a lock on `pg_type` would otherwise hold up this session's own work.

use std::borrow::Cow;

use super::realm::{self, Realm};
use crate::base::{Error, ServerFields};
use crate::connection::request::step::unexpected;
use crate::connection::statement::staleness::is_passing;
use crate::protocol::backend::BackendMessage;
use crate::protocol::data_row::{check_data_row, fields};
use crate::types::{ArrayOf, UserType};

const COLUMNS: usize = 7;
/// `NAMEDATALEN` is 64, but a server can send anything.
const LONGEST_NAME: usize = 256;

/// How long the question may wait for a lock. The setting ends with the question's own transaction
/// or savepoint.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'";
const SAVEPOINT: &str = "SAVEPOINT hyperion_types";
/// The same where each statement is sent by itself: outside of a transaction block a server warns
/// of SET LOCAL.
const LOCK_TIMEOUT_BY_ITSELF: &str = "SELECT pg_catalog.set_config('lock_timeout', '500ms', true)";
/// Undoes the savepoint, and the lock timeout with it.
pub(in crate::connection) const WAY_BACK: [&str; 2] =
    ["ROLLBACK TO SAVEPOINT hyperion_types", "RELEASE SAVEPOINT hyperion_types"];
/// The server's functions that read text as a binary form: of enums, of text, and of types with
/// text's form (citext, for example).
const TEXTUAL: [&str; 4] = ["enum_recv", "textrecv", "varcharrecv", "bpcharrecv"];

/// Whether a role may ask [`question`]. The server answers this to every role.
const RIGHT: &str = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_type', 'SELECT') \
     AND pg_catalog.has_table_privilege('pg_catalog.pg_proc', 'SELECT')";

/// On every version, an array type is one that `array_in` reads. The answer gives the type under a
/// domain and under an array's elements, and the function that reads the binary form of the
/// elements.
pub(in crate::connection) fn question(oids: &[u32]) -> String {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "WITH RECURSIVE asked AS (\
         SELECT t.oid, t.typname, t.oid AS base, t.typtype, t.typbasetype FROM pg_catalog.pg_type AS t \
         WHERE t.oid OPERATOR(pg_catalog.=) ANY (ARRAY[{list}]::pg_catalog.oid[]) \
         UNION ALL \
         SELECT a.oid, a.typname, b.oid, b.typtype, b.typbasetype FROM asked AS a \
         JOIN pg_catalog.pg_type AS b ON b.oid OPERATOR(pg_catalog.=) a.typbasetype \
         WHERE a.typtype OPERATOR(pg_catalog.=) 'd'), \
         known AS (\
         SELECT a.oid, a.typname, a.base, e.oid AS element, e.typdelim FROM asked AS a \
         JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.base \
         LEFT JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) t.typelem \
         AND t.typinput OPERATOR(pg_catalog.=) 'pg_catalog.array_in'::pg_catalog.regproc \
         WHERE a.typtype OPERATOR(pg_catalog.<>) 'd'), \
         under AS (\
         SELECT k.oid, e.oid AS base, e.typtype, e.typbasetype FROM known AS k \
         JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) k.element \
         UNION ALL \
         SELECT u.oid, b.oid, b.typtype, b.typbasetype FROM under AS u \
         JOIN pg_catalog.pg_type AS b ON b.oid OPERATOR(pg_catalog.=) u.typbasetype \
         WHERE u.typtype OPERATOR(pg_catalog.=) 'd') \
         SELECT k.oid, k.typname, k.base, k.element, k.typdelim, u.base, p.prosrc FROM known AS k \
         LEFT JOIN under AS u ON u.oid OPERATOR(pg_catalog.=) k.oid AND u.typtype OPERATOR(pg_catalog.<>) 'd' \
         LEFT JOIN pg_catalog.pg_type AS b ON b.oid OPERATOR(pg_catalog.=) u.base \
         LEFT JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) b.typreceive::pg_catalog.oid"
    )
}

/// In place of the function that reads a binary form: there is one, as far as is known.
const SOME_FUNCTION: &str = "some";

/// The same for types that are not in `pg_type` as the transaction sees it, since they were made
/// after its snapshot. The server's parser ignores snapshots, so it is asked for the name of such a
/// type, for the type under a domain, and for the delimiter of an array's elements. `ts_stat` makes
/// the server parse the text that the answer is put together from, on every version.
pub(in crate::connection) fn newer_question(oids: &[u32]) -> String {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let identify = |oid: &str| {
        format!(
            "pg_catalog.pg_identify_object('pg_catalog.pg_type'::pg_catalog.regclass, {oid}, 0)"
        )
    };
    let base_of =
        |value: &str| format!("pg_catalog.pg_typeof(COALESCE({value}, NULL))::pg_catalog.oid");
    let ask = |identity: &str, what: &str| {
        let (before, behind) = what.split_once('?').unwrap_or((what, ""));
        let behind = behind.replace('?', &format!("', {identity}, '"));
        format!(
            "pg_catalog.concat('SELECT pg_catalog.array_to_tsvector(ARRAY[{before}', {identity}, '{behind}])')"
        )
    };
    let (type_itself, base) = (identify("o.oid"), identify("b.word::pg_catalog.oid"));
    let of_base = ask("i.identity", &format!("{}::pg_catalog.text", base_of("NULL::?")));
    let of_element = ask(
        "u.identity",
        &format!(
            "pg_catalog.concat({}, pg_catalog.substr(ARRAY[NULL, NULL]::?::pg_catalog.text, 6, 1))",
            base_of("(NULL::?)[1]")
        ),
    );
    // The parser refuses a type in a schema that the role may not use, and in one that is gone.
    let may_use = |of: &str| {
        format!(
            "pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace({of}.schema)::pg_catalog.oid, 'USAGE')"
        )
    };
    let (may_use, may_use_base) = (may_use("i"), may_use("u"));
    let is_array = "u.identity OPERATOR(pg_catalog.~~) '%[]'";
    format!(
        "SELECT o.oid, CASE WHEN i.name OPERATOR(pg_catalog.~~) '\"%' THEN pg_catalog.replace(pg_catalog.substr(\
         i.name, 2, pg_catalog.length(i.name) OPERATOR(pg_catalog.-) 2), '\"\"', '\"') ELSE i.name END, b.word, \
         CASE WHEN {is_array} THEN pg_catalog.to_regtype(pg_catalog.\"left\"(u.identity, -2))::pg_catalog.oid END, \
         pg_catalog.\"right\"(e.word, 1), pg_catalog.\"left\"(e.word, -1), '{SOME_FUNCTION}' \
         FROM pg_catalog.unnest(ARRAY[{list}]::pg_catalog.oid[]) AS o (oid) \
         CROSS JOIN LATERAL {type_itself} AS i \
         CROSS JOIN LATERAL pg_catalog.ts_stat(CASE WHEN {may_use} THEN {of_base} END) AS b \
         CROSS JOIN LATERAL {base} AS u \
         LEFT JOIN LATERAL pg_catalog.ts_stat(\
         CASE WHEN {is_array} AND {may_use_base} THEN {of_element} END) AS e ON true \
         WHERE ({may_use_base} OR NOT {is_array}) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.oid OPERATOR(pg_catalog.=) o.oid)"
    )
}

/// The types that a server has described, with their oids.
pub(in crate::connection) type UserTypes = Vec<(u32, UserType)>;

/// Why a server did not describe types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypesRefused {
    /// The refusal is about the question itself, so this role would be refused again: it lacks a
    /// right, or the server has no such catalog. Otherwise a time limit or a cancel came in
    /// between.
    pub lasts: bool,
}

/// How often a ROLLBACK to the savepoint is tried: a signal that cancels it may come again.
const MOST_ROLLBACKS: u8 = 5;

/// A question that a server refused behind its savepoint. The transaction has failed until it is
/// rolled back to the savepoint.
#[derive(Debug)]
pub struct RefusedInTransaction {
    asked: Vec<u32>,
    /// The types are known if only the question for the database was refused.
    types: Result<UserTypes, TypesRefused>,
    why: Box<ServerFields>,
    rollbacks: u8,
}

/// The result of a question, once nothing of it is in flight.
#[derive(Debug)]
pub enum TypesOutcome {
    Answered {
        asked: Vec<u32>,
        types: Result<UserTypes, TypesRefused>,
    },
    /// Its transaction has to be rolled back to the savepoint.
    Refused(Box<RefusedInTransaction>),
    /// The transaction can't be saved: the server was made to give up the savepoint itself, or each
    /// ROLLBACK.
    EndedTransaction(Box<ServerFields>),
}

/// A question under way, with the answers so far.
#[derive(Debug)]
pub(in crate::connection) struct TypesAsked {
    oids: Vec<u32>,
    step: Step,
    types: UserTypes,
    /// All answers about the oids have come.
    has_answered: bool,
    realm: Realm,
    /// The first answer is that of a setting.
    sets_by_select: bool,
    refusal: Option<Box<ServerFields>>,
}

#[derive(Debug)]
enum Step {
    Asking,
    /// Includes the question for the database, since in a transaction a question must be alone in
    /// flight.
    AskingBehindSavepoint,
    RollingBack(Box<RefusedInTransaction>),
    /// For the database only.
    AskingRealm,
}

/// The result of a question, and the database, if it was asked for and the answer holds.
#[derive(Debug)]
pub(in crate::connection) struct TypesAnswer {
    pub(in crate::connection) outcome: TypesOutcome,
    pub(in crate::connection) realm: Option<Realm>,
}

impl TypesAsked {
    pub(in crate::connection) fn new(oids: Vec<u32>, in_transaction: bool) -> Self {
        let step = if in_transaction { Step::AskingBehindSavepoint } else { Step::Asking };
        Self::in_step(oids, step)
    }

    /// The ROLLBACK to the savepoint of a question that was refused.
    pub(in crate::connection) fn rolling_back(refused: Box<RefusedInTransaction>) -> Self {
        Self::in_step(Vec::new(), Step::RollingBack(refused))
    }

    /// The question for the database only.
    pub(in crate::connection) fn of_realm() -> Self {
        Self::in_step(Vec::new(), Step::AskingRealm)
    }

    fn in_step(oids: Vec<u32>, step: Step) -> Self {
        let (types, realm) = (Vec::new(), Realm::default());
        let has_answered = matches!(step, Step::AskingRealm);
        Self { oids, step, types, has_answered, realm, sets_by_select: false, refusal: None }
    }

    pub(in crate::connection) fn is_of_realm(&self) -> bool {
        matches!(self.step, Step::AskingRealm)
    }

    /// The statements of the question, in one implicit transaction. Behind a pooler they are sent
    /// one by one, since it may refuse the simple protocol.
    pub(in crate::connection) fn statements(&mut self, one_by_one: bool) -> Vec<Cow<'static, str>> {
        let types = || question(&self.oids).into();
        // The parts that a server may refuse come last.
        let (base, started, cluster) = (realm::DATABASE, realm::STARTED, realm::SYSTEM);
        let is_alone = matches!(self.step, Step::Asking | Step::AskingRealm);
        self.sets_by_select = one_by_one && is_alone;
        let limit = if self.sets_by_select { LOCK_TIMEOUT_BY_ITSELF } else { LOCK_TIMEOUT };
        let [back, release] = WAY_BACK;
        match &self.step {
            Step::Asking => vec![limit.into(), types()],
            Step::AskingBehindSavepoint => {
                let newer = newer_question(&self.oids).into();
                let realm = [started.into(), cluster.into(), back.into(), release.into()];
                let first = [SAVEPOINT.into(), limit.into(), types(), base.into(), newer];
                first.into_iter().chain(realm).collect()
            }
            Step::RollingBack(_) => vec![back.into(), release.into()],
            Step::AskingRealm => vec![limit.into(), base.into(), started.into(), cluster.into()],
        }
    }

    /// Returns the result of the question.
    pub(in crate::connection) fn finish(self) -> TypesAnswer {
        let Self { oids: asked, step, types, has_answered, realm, refusal, .. } = self;
        let stands = refusal.as_deref().is_none_or(|refusal| !is_passing(&refusal.code));
        let asks_realm = matches!(step, Step::AskingBehindSavepoint | Step::AskingRealm);
        let realm = (asks_realm && has_answered && stands).then_some(realm);
        let types = match &refusal {
            Some(why) if !has_answered => Err(TypesRefused { lasts: is_lasting(&why.code) }),
            _ => Ok(types),
        };
        let outcome = match (step, refusal) {
            (Step::AskingBehindSavepoint, Some(why)) => {
                let refused = RefusedInTransaction { asked, types, why, rollbacks: 0 };
                TypesOutcome::Refused(Box::new(refused))
            }
            (Step::RollingBack(refused), refusal) => refused.rolled_back(refusal.as_deref()),
            _ => TypesOutcome::Answered { asked, types },
        };
        TypesAnswer { outcome, realm }
    }

    /// Takes a row of the answer. A row that makes no sense is dropped.
    pub(in crate::connection) fn row(&mut self, body: &[u8]) {
        if !self.realm.take_row(body)
            && self.types.len() < self.oids.len()
            && let Some(known) = read(body)
        {
            self.types.push(known);
        }
    }

    pub(in crate::connection) fn message(
        &mut self,
        message: BackendMessage<'_>,
    ) -> Result<(), Error> {
        use BackendMessage as M;
        match message {
            M::RowDescription(_) | M::ParseComplete | M::BindComplete => Ok(()),
            M::CommandComplete(_) if std::mem::take(&mut self.sets_by_select) => Ok(()),
            M::CommandComplete(tag) => {
                self.has_answered |= tag.starts_with("SELECT");
                Ok(())
            }
            M::ErrorResponse(fields) => {
                self.refusal = Some(fields);
                Ok(())
            }
            message => Err(unexpected(message.name())),
        }
    }
}

impl RefusedInTransaction {
    /// Takes the answer to a ROLLBACK to the savepoint.
    fn rolled_back(mut self: Box<Self>, refusal: Option<&ServerFields>) -> TypesOutcome {
        match refusal {
            None => TypesOutcome::Answered { asked: self.asked, types: self.types },
            Some(refusal) if is_passing(&refusal.code) && self.rollbacks < MOST_ROLLBACKS => {
                self.rollbacks += 1;
                TypesOutcome::Refused(self)
            }
            Some(_) => TypesOutcome::EndedTransaction(self.why),
        }
    }
}

/// In front of the first question between statements of a user's, outside of a transaction block:
/// how long the user's statements wait for a lock, and whether the role may ask. Even that one reads
/// `pg_type`. SHOW does not.
pub(in crate::connection) const FIRST: [&str; 3] =
    ["SHOW lock_timeout", LOCK_TIMEOUT_BY_ITSELF, RIGHT];

/// The statements of a question that stands between statements of a user's in a transaction block.
pub(in crate::connection) fn behind_savepoint(question: String) -> [Cow<'static, str>; 5] {
    let [back, release] = WAY_BACK;
    [SAVEPOINT.into(), LOCK_TIMEOUT.into(), question.into(), back.into(), release.into()]
}

/// The same outside of a block, where there is no savepoint: the question, if there is one, and what
/// sets the user's `lock_timeout` again.
pub(in crate::connection) fn bounded(
    question: Option<String>,
    lock_timeout: &str,
) -> Vec<Cow<'static, str>> {
    let restored =
        format!("SELECT pg_catalog.set_config('lock_timeout', '{lock_timeout}', true)").into();
    let asked = question.map(|question| [LOCK_TIMEOUT_BY_ITSELF.into(), question.into()]);
    asked.into_iter().flatten().chain([restored]).collect()
}

/// The user's `lock_timeout`, by a row of the answer to SHOW. A server has a number and a unit.
pub(in crate::connection) fn shown(body: &[u8]) -> Option<&str> {
    check_data_row(body, 1).ok()?;
    let value = std::str::from_utf8(fields(body).next()??).ok()?;
    let is_time = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_time.then_some(value)
}

/// Whether a row of the answer to [`RIGHT`] grants the right.
pub(in crate::connection) fn grants(body: &[u8]) -> bool {
    check_data_row(body, 1).is_ok() && fields(body).next() == Some(Some(b"t"))
}

/// Whether a role that was refused with this code would be refused again: it lacks a right, or the
/// server has no such catalog.
pub(in crate::connection) fn is_lasting(code: &str) -> bool {
    code.starts_with("42") || code.starts_with("0A")
}

pub(in crate::connection) fn read(body: &[u8]) -> Option<(u32, UserType)> {
    check_data_row(body, COLUMNS).ok()?;
    let mut columns = fields(body).map(|field| field.map(std::str::from_utf8));
    let mut next = || columns.next().flatten()?.ok();
    let (oid, name, base) = (next()?, next()?, next()?);
    let (element, delimiter, element_base, receive) = (next(), next(), next(), next());
    if name.len() > LONGEST_NAME {
        return None;
    }
    let array = element.map(|member| {
        let delimiter = delimiter?.as_bytes().first().copied()?;
        let (element, member) = (element_base?.parse().ok()?, member.parse().ok()?);
        let is_textual = receive.is_some_and(|receive| TEXTUAL.contains(&receive));
        let has_binary = receive.is_some() && ArrayOf::plain(element).has_binary;
        Some(ArrayOf { element, member, is_textual, has_binary, delimiter })
    });
    let (oid, base) = (oid.parse().ok()?, base.parse().ok()?);
    Some((oid, UserType { name: name.into(), base, array: array.flatten() }))
}
