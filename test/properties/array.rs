//! Arrays of one to six dimensions, with NULLs and with lower bounds, and of none.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) struct Array<E> {
    /// Of each dimension, the outermost first.
    lengths: Vec<usize>,
    bounds: Vec<i32>,
    elements: Vec<Option<E>>,
}

pub(super) fn arrays<E>(element: BoxedStrategy<E>) -> impl Strategy<Value = Array<E>>
where
    E: Clone + std::fmt::Debug + 'static,
{
    let lengths = prop_oneof![
        1 => Just(Vec::new()),
        6 => prop::collection::vec(1..10_usize, 1),
        3 => prop::collection::vec(1..4_usize, 2..=3),
        1 => prop::collection::vec(1..3_usize, 4..=6),
    ];
    lengths.prop_flat_map(move |lengths| {
        let count = if lengths.is_empty() { 0 } else { lengths.iter().product() };
        let bound = prop_oneof![3 => Just(1), 1 => -100..100];
        let bounds = prop::collection::vec(bound, lengths.len());
        let element = prop::option::weighted(0.8, element.clone());
        (Just(lengths), bounds, prop::collection::vec(element, count))
            .prop_map(|(lengths, bounds, elements)| Array { lengths, bounds, elements })
    })
}

/// What stands in the place of an array as it is walked through.
pub(super) enum Step<'a, E> {
    Open,
    Comma,
    Element(Option<&'a E>),
    Close,
}

impl<E> Array<E> {
    pub(super) const fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    pub(super) fn walk<'a>(&'a self, step: &mut impl FnMut(Step<'a, E>)) {
        walk(&self.lengths, &self.elements, step);
    }

    /// The array with brackets and elements of any kind.
    pub(super) fn write(
        &self,
        [open, close]: [char; 2],
        write: impl Fn(Option<&E>) -> String,
    ) -> String {
        let mut text = String::new();
        self.walk(&mut |step| match step {
            Step::Open => text.push(open),
            Step::Comma => text.push(','),
            Step::Element(element) => text.push_str(&write(element)),
            Step::Close => text.push(close),
        });
        text
    }
}

impl Array<String> {
    /// As the server reads it (PostgreSQL manual, 8.15.6): `[0:1]={"a",NULL}`. Everything is
    /// quoted.
    pub(super) fn text(&self) -> String {
        let mut bounds = String::new();
        if self.bounds.iter().any(|bound| *bound != 1) {
            for (lower, length) in self.bounds.iter().zip(&self.lengths) {
                let upper = lower + i32::try_from(*length).unwrap() - 1;
                bounds.push_str(&format!("[{lower}:{upper}]"));
            }
            bounds.push('=');
        }
        let quote = |text: &String| text.replace('\\', "\\\\").replace('"', "\\\"");
        let element = |text: Option<&String>| match text {
            Some(text) => format!("\"{}\"", quote(text)),
            None => "NULL".to_owned(),
        };
        bounds + &self.write(['{', '}'], element)
    }
}

fn walk<'a, E>(lengths: &[usize], elements: &'a [Option<E>], step: &mut impl FnMut(Step<'a, E>)) {
    step(Step::Open);
    if let Some((length, inner)) = lengths.split_first() {
        for (n, part) in elements.chunks(elements.len() / length).enumerate() {
            if n > 0 {
                step(Step::Comma);
            }
            match part {
                [element] if inner.is_empty() => step(Step::Element(element.as_ref())),
                part => walk(inner, part, step),
            }
        }
    }
    step(Step::Close);
}
