//! The program `cluster`: see `cluster --help` and the library.

mod cli;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
