//! What CI and developers run: `cargo xtask ci | test | setup | tidy | fuzz | bench | soak | tempest`.

mod bench;
mod ci;
mod fuzz;
mod setup;
mod soak;
mod tests;
mod tidy;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that must hold before a change lands: format, lints, tidy, tests, the documented commands.
    Ci,
    /// Installs what the tests need and runs them all.
    Test {
        /// Installs nothing and runs with what is there.
        #[arg(long)]
        no_setup: bool,
        /// Passed on to `cargo test`, which then runs one program after the other.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Installs the Debian, Python and Node packages that the tests need.
    Setup,
    /// Checks crate edges against ARCHITECTURE.md, names, file lengths and source hygiene.
    Tidy,
    /// Runs every fuzz target for a bounded time.
    Fuzz {
        /// Seconds per target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target.
        target: Option<String>,
    },
    /// Runs all of Tempest's tests about block storage; CI runs a part of them.
    Tempest,
    /// Measures xensm, beside its peers where they are named, and prints the tables of docs/benchmarks.md.
    Bench(bench::Options),
    /// Kills a storage manager again and again while a disk is used, and looks for every flushed byte.
    Soak(soak::Options),
}

fn main() -> anyhow::Result<()> {
    let root = ci::workspace_root()?;
    match Arguments::parse().command {
        Command::Ci => ci::run(&root),
        Command::Test {
            no_setup,
            arguments,
        } => ci::test(&root, no_setup, &arguments),
        Command::Setup => setup::run(&root),
        Command::Tidy => tidy::run(&root),
        Command::Fuzz { seconds, target } => fuzz::run(&root, seconds, target.as_deref()),
        Command::Tempest => ci::tempest(&root),
        Command::Bench(options) => bench::run(&root, &options),
        Command::Soak(options) => soak::run(&root, &options),
    }
}
