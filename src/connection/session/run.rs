//! How a request's statement is sent: with values as text, by a description from this connection,
//! or only after it was described.
//!
//! Values and results are binary only by what the server has said on this very connection. If it
//! has said nothing yet, the server parses the statement without declared types and describes it on
//! the way. Values then travel as text that is right for any type: as on a first use, or as
//! `types::encode` writes it by types that were described here before. Any other value waits for the
//! types (`Flight::Describing`), and so does a value that does not fit a type which may have changed
//! since.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;

use super::Session;
use super::settings::FirstUse;
use crate::base::{Error, ErrorKind, Instant, Mutation};
use crate::connection::Request;
use crate::connection::request::exchange::{Asked, Begins, Flight, Parsing};
use crate::connection::request::wire::{Values, bind_and_run, parse_and_run};
use crate::connection::statement::prepared::{DescriptionCell, Found, Moment};
use crate::connection::statement::staleness::Relies;
use crate::connection::statement::{Description, Form, Statement};
use crate::protocol::frontend;
use crate::types::Verbatim;

/// Whether the server keeps a statement under a name, once it has parsed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Named,
    /// Under a name, but as a new text, because its names may mean something else by now, or
    /// because a pooler may have had the same text parsed for another client.
    Anew,
    Unnamed,
}

/// What is known of values as text at the moment when a request is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a> {
    pub(super) first_use: Option<FirstUse>,
    /// Values as text come as this client reads them.
    pub(super) are_read: bool,
    /// Which types are wanted as text, by all that is known of types.
    pub(super) verbatim: &'a Verbatim,
}

impl Session {
    pub(super) fn moment(&self, now: Instant, generation: u64) -> Moment {
        Moment { at: now, epoch: self.names.epoch(), generation }
    }

    pub(super) fn run(
        &mut self,
        now: Moment,
        request: &Request<'_>,
        statement: &Statement,
        texts: Texts<'_>,
        out: &mut BytesMut,
    ) -> Result<Flight, Error> {
        if request.is_question() {
            return describe(statement, out);
        }
        let is_described = request.description.get().is_some();
        let known = match &statement.form {
            _ if is_described => request.description.get(),
            // Its result depends on what its name means when it runs, so no description of it is
            // kept.
            Form::Described(_) if statement.naming.names_result => None,
            Form::Described(_) if request.strange => None,
            Form::Described(known) => Some(known),
            Form::Undescribed => None,
        };
        let Some(known) = known else {
            let is_text = match statement.naming.names_result {
                true => texts.are_read && !request.params.needs_type(),
                false => texts.first_use != Some(FirstUse::Described),
            };
            if !is_text || request.is_bound_to_types() {
                return describe(statement, out);
            }
            let values = Values::Plain(&[]);
            parse_and_run(out, ("", &statement.sql), request, &[], values, None)?;
            return Ok(parsing(
                None,
                Begins::Parse,
                DescriptionCell::default(),
                Asked::Text,
                Relies::No,
            ));
        };
        // Behind an unanswered DISCARD ALL a pooler would lose track of a named statement.
        let is_kept = request.prepare
            && !self.prepared.is_off()
            && !statement.naming.names_result
            && !self.is_resetting();
        let keep = match is_kept {
            true => self.prepared.find(request.statement, statement, now),
            false => {
                return self.parse(now, request, statement, (known, texts), Keep::Unnamed, out);
            }
        };
        let preparation = match keep {
            Found::Nothing | Found::Outdated => {
                // A statement that was described for its first use is kept under a name no sooner
                // than one that was not: by its second use its tables may have changed.
                let is_shared = self.far_end.may_be_pooler() && !Mutation::ShareTexts.is_on();
                let is_second = request.written.is_some_and(|written| written.early);
                let keep = match keep {
                    Found::Nothing if is_described && known.shape.is_none() && !is_second => {
                        Keep::Unnamed
                    }
                    Found::Nothing if (now.epoch, now.generation) == (0, 0) && !is_shared => {
                        Keep::Named
                    }
                    _ => Keep::Anew,
                };
                return self.parse(now, request, statement, (known, texts), keep, out);
            }
            Found::OutdatedUnheard => {
                return self.parse(now, request, statement, (known, texts), Keep::Unnamed, out);
            }
            Found::Known(preparation) => preparation,
        };
        let (name, description) =
            (Arc::clone(&preparation.name), Arc::clone(&preparation.description));
        let params = request.params;
        if self.far_end.may_be_pooler() {
            // The pool may know more of the same types. A description that was made for this call
            // is newer.
            let own = description
                .get()
                .filter(|own| !is_described && own.parameter_types != known.parameter_types);
            let own = Arc::clone(own.unwrap_or(known));
            return self.describe_and_run(now, request, statement, (&name, &own), texts, out);
        }
        let Some(own) = description.get() else {
            if !request.params.needs_type()
                && !request.is_bound_to_types()
                && let Some(asked) = self.formats(request, statement, known, texts)
            {
                bind_and_run(out, &name, params, Values::Plain(&known.resolved), asked.shape())?;
                return Ok(Flight::Prepared {
                    name,
                    description,
                    asked: Some(asked),
                    relies: Relies::Fresh,
                });
            }
            return self.parse(now, request, statement, (known, texts), Keep::Unnamed, out);
        };
        let is_same = own.parameter_types == known.parameter_types;
        let wanted = known.shape.as_deref().filter(|shape| shape.has_user_types());
        let formats_differ = wanted
            .zip(own.shape.as_deref())
            .is_some_and(|(wanted, own)| !wanted.has_formats_of(own));
        let written = request.written.filter(|_| !is_described);
        if written.is_some_and(|written| written.types != own.parameter_types) {
            return describe(statement, out);
        }
        if (is_described && !own.is_same(known)) || (is_same && formats_differ) {
            // Either it was described differently a moment ago, or its results are wanted in other
            // formats by now.
            return self.parse(now, request, statement, (known, texts), Keep::Anew, out);
        }
        // The pool may know more of the same types than this connection.
        let resolved = if is_same { &known.resolved } else { &own.resolved };
        // A column that comes as text and has an unresolved type may be an array of dates.
        let is_unresolved =
            own.shape.as_deref().is_some_and(|it| it.has_unresolved_text(texts.verbatim));
        let is_read = texts.are_read || !is_unresolved;
        if !is_described && (!is_read || request.params.needs_resolution(resolved)) {
            return describe(statement, out);
        }
        let mark = out.len();
        let relies = if is_described { Relies::Fresh } else { Relies::on_types(request.params) };
        match bind_and_run(out, &name, params, Values::Encoded(resolved), own.shape.as_deref()) {
            Ok(()) => Ok(Flight::Prepared { name, description, asked: None, relies }),
            Err(error) if is_final(&error, request) => Err(error),
            Err(_) => {
                out.truncate(mark);
                describe(statement, out)
            }
        }
    }

    /// Runs a statement that a pooler has under this name, and describes it in the same flight. The
    /// pooler may have moved this client to another server connection and parsed the text there
    /// anew, without saying so. Then parameters and columns may have other types than in `own`.
    fn describe_and_run(
        &mut self,
        now: Moment,
        request: &Request<'_>,
        statement: &Statement,
        (name, own): (&Arc<str>, &Arc<Description>),
        texts: Texts<'_>,
        out: &mut BytesMut,
    ) -> Result<Flight, Error> {
        let is_described = request.description.get().is_some();
        let needs_type = request.params.needs_type();
        if request.is_bound_to_types() {
            return describe(statement, out);
        }
        if is_described || (needs_type && !request.params.are_plain(&own.resolved, out)) {
            // A pooler identifies a statement by its text and its declared types.
            return self.parse(now, request, statement, (own, texts), Keep::Unnamed, out);
        }
        let asked = match self.formats(request, statement, own, texts) {
            None if texts.are_read => Asked::Text,
            None => return describe(statement, out),
            Some(asked) => asked,
        };
        // However its values are written, the server's statement may still have the types that its
        // parameters had when its text was parsed.
        let relies = if request.params.is_empty() { Relies::Fresh } else { Relies::InPart };
        frontend::describe_statement(out, name)?;
        bind_and_run(out, name, request.params, Values::Plain(&own.resolved), asked.shape())?;
        Ok(Flight::Parsing(Parsing {
            name: Some(Arc::clone(name)),
            begins: Begins::Description,
            description: DescriptionCell::default(),
            asked,
            relies,
            parameter_types: Vec::new(),
        }))
    }

    /// Has the server parse the statement. `known` is its latest description, from this connection
    /// or another.
    fn parse(
        &mut self,
        now: Moment,
        request: &Request<'_>,
        statement: &Statement,
        (known, texts): (&Arc<Description>, Texts<'_>),
        keep: Keep,
        out: &mut BytesMut,
    ) -> Result<Flight, Error> {
        let Some(results) = self.formats(request, statement, known, texts) else {
            return describe(statement, out);
        };
        if request.is_bound_to_types() {
            return describe(statement, out);
        }
        let recent = self.prepared.recent(request.statement, statement, now).map(Arc::clone);
        let here = self.prepared.described_here(request.statement, statement, now).map(Arc::clone);
        let recent = recent.or_else(|| here.clone().filter(|_| self.far_end.may_be_pooler()));
        let (types, values, relies) = if request.description.get().is_some() {
            (
                &known.parameter_types[..],
                Values::Encoded(&known.resolved),
                Relies::declared(request.params),
            )
        } else if !request.params.needs_type() {
            (&[][..], Values::Plain(&known.resolved), Relies::Fresh)
        } else if let Some(own) = &here
            && request.params.are_plain(&own.resolved, out)
        {
            (&[][..], Values::Plain(&own.resolved), Relies::InPart)
        } else if let Some(own) = recent.as_ref().filter(|_| keep == Keep::Unnamed) {
            let is_same = own.parameter_types == known.parameter_types;
            let resolved = if is_same { &known.resolved } else { &own.resolved };
            if request.params.needs_resolution(resolved) {
                return describe(statement, out);
            }
            (&own.parameter_types[..], Values::Encoded(resolved), Relies::on_types(request.params))
        } else {
            return describe(statement, out);
        };
        let mark = out.len();
        let id = request.statement;
        let victim = if keep == Keep::Unnamed { None } else { self.prepared.victim(id) };
        if let Some((_, name)) = &victim {
            frontend::close_statement(out, name)?;
        }
        let name = (keep != Keep::Unnamed).then(|| self.prepared.next_name());
        let sent_as = name.as_deref().unwrap_or("");
        let sql = match keep {
            Keep::Anew => Cow::Owned(unlike_before(&statement.sql, sent_as)),
            Keep::Named | Keep::Unnamed => Cow::Borrowed(&*statement.sql),
        };
        match parse_and_run(out, (sent_as, &sql), request, types, values, results.shape()) {
            Ok(()) => {}
            Err(error) if is_final(&error, request) => return Err(error),
            Err(_) => {
                out.truncate(mark);
                return describe(statement, out);
            }
        }
        let description = DescriptionCell::default();
        let begins = if victim.is_some() { Begins::Close } else { Begins::Parse };
        if let Some((victim, _)) = victim {
            self.prepared.evict(victim);
        }
        if let Some(name) = &name {
            let (name, sql) = (Arc::clone(name), Arc::clone(&statement.sql));
            self.prepared.insert(id, name, sql, Arc::clone(&description), now);
        }
        Ok(parsing(name, begins, description, results, relies))
    }

    /// The formats in which results are asked for before this connection's server has described
    /// them. The columns may have changed in type or number since, and this client can't read an
    /// unknown type in binary. So only a statement that can be sent once more uses the formats of
    /// another connection's description. `None` if the columns must be described first.
    fn formats(
        &self,
        request: &Request<'_>,
        statement: &Statement,
        known: &Description,
        texts: Texts<'_>,
    ) -> Option<Asked> {
        let Some(shape) = &known.shape else { return Some(Asked::Text) };
        let is_read = texts.are_read || !shape.has_unresolved_text(texts.verbatim);
        let is_known =
            request.description.get().is_some() || (is_read && self.may_repeat(request, statement));
        is_known.then(|| Asked::Like(Arc::clone(shape)))
    }

    /// Whether the statement may run a second time: it reads, and its caller has not yet seen
    /// anything from the same transaction.
    pub(super) fn may_repeat(&self, request: &Request<'_>, statement: &Statement) -> bool {
        self.repeats_reads && request.free && statement.may_run_twice
    }
}

/// Asks only for the description. Nothing runs.
fn describe(statement: &Statement, out: &mut BytesMut) -> Result<Flight, Error> {
    frontend::parse(out, "", &statement.sql, &[])?;
    frontend::describe_statement(out, "")?;
    Ok(Flight::Describing { parameter_types: Vec::new(), description: None })
}

/// A text that no pooler has had a server parse, for this client or for another one. PgBouncer
/// (1.21 and later) answers a Parse by itself for a text that it knows, even if the text's names
/// mean something else by now.
fn unlike_before(sql: &str, name: &str) -> String {
    format!("{sql} /* {name} */")
}

/// Whether a fresh description of the statement would lead to the same error.
fn is_final(error: &Error, request: &Request<'_>) -> bool {
    request.description.get().is_some() || error.kind() != ErrorKind::Parameter
}

fn parsing(
    name: Option<Arc<str>>,
    begins: Begins,
    description: DescriptionCell,
    asked: Asked,
    relies: Relies,
) -> Flight {
    let parameter_types = Vec::new();
    Flight::Parsing(Parsing { name, begins, description, asked, relies, parameter_types })
}
