//! A type that users or extensions made, as a server has described it. A RowDescription has only
//! the type's oid.

use std::sync::Arc;

use super::oid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserType {
    /// `typname`.
    pub name: Arc<str>,
    /// The type under all domains. If the type is not a domain, it is the type itself.
    pub base: u32,
    /// What the array's elements are, if `base` is an array.
    pub array: Option<ArrayOf>,
}

/// The element type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayOf {
    /// The type of the elements. If that is a domain, its base type.
    pub element: u32,
    /// The type that the binary form names: the type of the elements, even if that is a domain.
    pub member: u32,
    /// Whether the binary form of the elements is their text.
    pub is_textual: bool,
    /// Whether the server reads a binary form of the elements. If it does not, it accepts no array
    /// of them in binary, not even an array that is empty or has only NULLs.
    pub has_binary: bool,
    /// `typdelim` of the element type.
    pub delimiter: u8,
}

impl ArrayOf {
    /// An array of a built-in type.
    pub const fn plain(element: u32) -> Self {
        let delimiter = if element == oid::BOX { b';' } else { b',' };
        let has_binary = oid::has_binary(element);
        Self { element, member: element, is_textual: false, has_binary, delimiter }
    }
}
