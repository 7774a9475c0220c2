//! Linker flags that a Node addon needs; nothing at all for the floors below it.

fn main() {
    #[cfg(feature = "node")]
    napi_build::setup();
}
