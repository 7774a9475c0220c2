//! A type that users or extensions made, as a server has described it. RowDescription gives nothing
//! but its oid.

use std::sync::Arc;

use super::oid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserType {
    /// `typname`.
    pub name: Arc<str>,
    /// Of a domain, the type under it, and under all domains that stand between; else the type
    /// itself.
    pub base: u32,
    /// Where its base is an array.
    pub array: Option<ArrayOf>,
}

/// What an array is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayOf {
    /// The type of the elements; where that is a domain, the type under it.
    pub element: u32,
    /// The type of the elements itself, which the binary form names.
    pub member: u32,
    /// Whether the binary form of the elements is their text.
    pub is_textual: bool,
    /// Whether the server reads a binary form of the elements. Without one it takes no array in
    /// binary, not even one that is empty or has NULLs alone.
    pub has_binary: bool,
    /// `typdelim` of the elements.
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
