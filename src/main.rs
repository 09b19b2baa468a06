//! The one binary of the operator.
fn main() {}
