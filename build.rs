//! Linker flags that a Node addon needs. Without the feature `addon` there are none.

fn main() {
    #[cfg(feature = "node")]
    napi_build::setup();
}
