//! A server's description of a statement: the types of its parameters and its columns.

use std::sync::Arc;

use crate::protocol::{Field, Format};
use crate::types::{Column, DomainArrays, ParameterType, Shape, Verbatim};

/// How a server has described a statement: its parameters and its columns.
#[derive(Debug)]
pub struct Description {
    /// The oids of the parameters' types, as the server inferred them.
    pub parameter_types: Vec<u32>,
    /// The parameter types by which values are encoded, one for each oid.
    pub resolved: Vec<ParameterType>,
    /// The columns, in the formats that this client asks for. `None` if there are no rows.
    pub shape: Option<Arc<Shape>>,
    /// The same columns, all in text format.
    pub text: Option<Arc<Shape>>,
}

impl Description {
    /// `fields` are those of the RowDescription. Their formats are ignored.
    pub fn new(parameter_types: Vec<u32>, fields: Option<Vec<Field>>, verbatim: &Verbatim) -> Self {
        let in_formats = |format_of: &dyn Fn(&Field) -> Format| {
            let mut fields = fields.clone()?;
            for field in &mut fields {
                field.format = format_of(field);
            }
            Some(Arc::new(Shape::with_verbatim(fields, verbatim)))
        };
        let text = in_formats(&|_| Format::Text);
        let shape = in_formats(&|field| verbatim.result_format(field.type_oid));
        let shape = if shape == text { text.clone() } else { shape };
        let resolved = parameter_types.iter().map(|oid| ParameterType::inferred(*oid)).collect();
        Self { parameter_types, resolved, shape, text }
    }

    /// Whether both describe the same parameters and columns. Further knowledge about the types is
    /// not compared.
    pub fn is_same(&self, other: &Self) -> bool {
        self.parameter_types == other.parameter_types && self.shape == other.shape
    }

    /// The shape of rows in the formats of `asked`, another description's shape.
    pub(in crate::connection) fn in_formats_of(
        &self,
        asked: &Shape,
        verbatim: &Verbatim,
    ) -> Option<Arc<Shape>> {
        // A single format applies to all columns (Bind, PostgreSQL manual, 55.7).
        let all = asked.columns().first().filter(|_| asked.columns().len() == 1);
        let column = |n: usize| all.or_else(|| asked.columns().get(n));
        self.in_formats(verbatim, |n| column(n).map(|column| column.field.format))
    }

    /// The shape of rows in the formats that `format_of` returns. The server refuses a request in
    /// which a column has no format.
    pub(in crate::connection) fn in_formats(
        &self,
        verbatim: &Verbatim,
        format_of: impl Fn(usize) -> Option<Format>,
    ) -> Option<Arc<Shape>> {
        let shape = self.shape.as_ref()?;
        let columns = || shape.columns().iter().enumerate();
        if columns().all(|(n, column)| format_of(n) == Some(column.field.format)) {
            return Some(Arc::clone(shape));
        }
        let in_format = |(n, column): (usize, &Column)| {
            let format = format_of(n).unwrap_or(Format::Text);
            Field { format, ..column.field.clone() }
        };
        Some(Arc::new(Shape::with_verbatim(columns().map(in_format).collect(), verbatim)))
    }

    /// Updates the formats in which results are requested, by the types that are known now.
    pub(super) fn bring_up(self: &mut Arc<Self>, verbatim: &Verbatim, domains: &DomainArrays) {
        if let Some(shape) = &self.shape
            && shape.has_user_types()
            && let Some(shape) = shape.with_formats(&verbatim.with_domains(domains))
        {
            let (parameter_types, resolved) = (self.parameter_types.clone(), self.resolved.clone());
            let (shape, text) = (Some(Arc::new(shape)), self.text.clone());
            *self = Arc::new(Self { parameter_types, resolved, shape, text });
        }
    }

    /// About how many bytes of memory the description takes.
    pub fn weight(&self) -> usize {
        let shape = self.shape.as_ref().map_or(0, |shape| 2 * shape.weight());
        let each = size_of::<u32>() + size_of::<ParameterType>();
        size_of::<Self>() + shape + each * self.parameter_types.len()
    }

    /// The oids of users' types among the parameters of which nothing is known yet, each once.
    pub fn unresolved(&self) -> Vec<u32> {
        let pairs = self.parameter_types.iter().zip(&self.resolved);
        let mut oids: Vec<_> =
            pairs.filter(|(_, resolved)| resolved.is_unresolved()).map(|(oid, _)| *oid).collect();
        oids.sort_unstable();
        oids.dedup();
        oids
    }

    /// The same description, in which `resolve` has replaced each unresolved parameter type.
    pub fn with_resolved(&self, resolve: impl Fn(u32) -> ParameterType) -> Self {
        let pairs = self.parameter_types.iter().zip(&self.resolved);
        let resolved =
            pairs.map(
                |(oid, resolved)| {
                    if resolved.is_unresolved() { resolve(*oid) } else { resolved.clone() }
                },
            );
        let (shape, text) = (self.shape.clone(), self.text.clone());
        let parameter_types = self.parameter_types.clone();
        Self { resolved: resolved.collect(), parameter_types, shape, text }
    }
}
