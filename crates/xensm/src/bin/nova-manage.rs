//! `nova-manage`: the administrator's command of 2011, category `sm`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    xensm::cli::run_nova_manage()
}
