//! The one binary of the operator.
fn main() {
    for crd in bluegreen::api::crds().into_iter().flatten() {
        println!("---");
        if let Ok(text) = bluegreen::api::yaml(&crd) { print!("{text}"); }
    }
}
