//! Structured logs on stderr.

use tracing_subscriber::EnvFilter;

use crate::config::{File, LogFormat};
use crate::failure::{Exit, Failure, Result};

/// Starts logging as configured; may be called once.
pub fn start(file: &File) -> Result<()> {
    let filter = EnvFilter::try_new(&file.log.filter).map_err(|cause| {
        Failure::new(
            Exit::Usage,
            format!(
                "log filter {:?} is not understood: {cause}",
                file.log.filter
            ),
        )
        .hint(
            "say error, warn, info, debug or trace, or a filter such as info,volume_service=debug",
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match file.log.format {
        LogFormat::Text => builder.with_ansi(crate::ui::is_watched()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|cause| Failure::new(Exit::Failed, format!("start logging: {cause}")))
}
