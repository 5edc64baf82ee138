//! `xensm`: everything in one program.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    xensm::cli::run_xensm()
}
