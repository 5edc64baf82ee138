//! Structured logs on stderr, whose filter can be changed while the process runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use volume_service::app::log_levels::{LogFilter, LogLevel};
use volume_service::error::Error;

use crate::config::{File, LogFormat};
use crate::failure::{Exit, Failure, Result};

/// The parts of the program whose levels are told; any other module can be named to change its level.
const PARTS: [&str; 22] = [
    "lvm",
    "nbd",
    "storage_manager",
    "storage_manager::array",
    "storage_manager::export",
    "storage_manager::gc",
    "storage_manager::layout",
    "storage_manager::medium",
    "storage_manager::server",
    "storage_manager::sr",
    "vhd",
    "volume_service",
    "volume_service::api",
    "volume_service::app",
    "volume_service::auth",
    "volume_service::db",
    "volume_service::driver",
    "volume_service::notify",
    "volume_service::operation",
    "volume_service::reconcile",
    "xenapi",
    "xensm",
];
/// Prefixes that have levels of their own at a time.
const RULES_MAX: usize = 100;

/// Starts logging as configured; may be called once. Returns what changes the filter.
pub fn start(file: &File) -> Result<Arc<dyn LogFilter>> {
    let rules = Rules::parse(&file.log.filter);
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
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("start logging: {cause}"))
    };
    let reload: Reload = match file.log.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(crate::ui::is_watched());
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|cause| failed(&cause))?;
            Box::new(move |filter| handle.reload(filter).map_err(|cause| cause.to_string()))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|cause| failed(&cause))?;
            Box::new(move |filter| handle.reload(filter).map_err(|cause| cause.to_string()))
        }
    };
    Ok(Arc::new(Filter {
        rules: Mutex::new(rules),
        reload,
    }))
}

type Reload = Box<dyn Fn(EnvFilter) -> std::result::Result<(), String> + Send + Sync>;

/// The filter in force, and how another one is put in its place.
struct Filter {
    rules: Mutex<Rules>,
    reload: Reload,
}

impl LogFilter for Filter {
    fn levels(&self, prefix: &str) -> BTreeMap<String, LogLevel> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let named = rules.levels.keys().map(String::as_str);
        PARTS
            .into_iter()
            .chain(named)
            .filter(|part| !part.is_empty() && part.starts_with(prefix))
            .map(|part| (part.to_owned(), rules.level_of(part)))
            .collect()
    }

    fn set(&self, prefix: &str, level: LogLevel) -> volume_service::error::Result<()> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = rules.with(prefix, level);
        if changed.levels.len() > RULES_MAX {
            return Err(Error::invalid(format!(
                "Invalid input received: {RULES_MAX} prefixes have log levels of their own; set the level of a shorter prefix, \
                 which ends those of all that begin so."
            )));
        }
        let text = changed.to_text();
        let unusable = |why: String| {
            Error::invalid("Invalid input received: the log level cannot be set.")
                .detail(format!("filter {text}: {why}"))
        };
        let filter = EnvFilter::try_new(&text).map_err(|cause| unusable(cause.to_string()))?;
        (self.reload)(filter).map_err(unusable)?;
        *rules = changed;
        Ok(())
    }
}

/// A filter taken apart: the level of each prefix of module names (the empty one is everything), and what else it says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rules {
    levels: BTreeMap<String, LogLevel>,
    /// Rules about spans and fields, which stay as they were configured.
    others: Vec<String>,
}

impl Rules {
    /// Reads a filter; what it cannot be read as is kept as it is, and judged by who uses it.
    fn parse(filter: &str) -> Self {
        let mut rules = Rules::default();
        let mut depth = 0_usize;
        // Commas between brackets belong to a rule about a span.
        let parts = filter.split(|letter: char| {
            match letter {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ',' && depth == 0
        });
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            let (target, level) = match part.split_once('=') {
                _ if part.contains('[') => ("", None),
                Some((target, level)) => (target, level_of(level)),
                None => match level_of(part) {
                    Some(level) => ("", Some(level)),
                    None => (part, Some(LogLevel::Trace)),
                },
            };
            match level {
                Some(level) => drop(rules.levels.insert(target.to_owned(), level)),
                None => rules.others.push(part.to_owned()),
            }
        }
        rules
    }

    /// The same with another level for everything that begins so.
    fn with(&self, prefix: &str, level: LogLevel) -> Self {
        let mut changed = self.clone();
        changed.levels.retain(|name, _| !name.starts_with(prefix));
        changed.levels.insert(prefix.to_owned(), level);
        changed
    }

    /// The level that the longest fitting prefix has; without any, nothing is logged.
    fn level_of(&self, part: &str) -> LogLevel {
        let fitting = self
            .levels
            .iter()
            .filter(|(prefix, _)| part.starts_with(prefix.as_str()));
        let longest = fitting.max_by_key(|(prefix, _)| prefix.len());
        longest.map_or(LogLevel::Off, |(_, level)| *level)
    }

    fn to_text(&self) -> String {
        let levels = self.levels.iter().map(|(prefix, level)| {
            let word = match level {
                LogLevel::Off => "off",
                LogLevel::Error => "error",
                LogLevel::Warning => "warn",
                LogLevel::Info => "info",
                LogLevel::Debug => "debug",
                LogLevel::Trace => "trace",
            };
            match prefix.as_str() {
                "" => word.to_owned(),
                prefix => format!("{prefix}={word}"),
            }
        });
        let all: Vec<String> = levels.chain(self.others.iter().cloned()).collect();
        all.join(",")
    }
}

/// A level in the words of filters.
fn level_of(word: &str) -> Option<LogLevel> {
    let word = word.trim().to_ascii_lowercase();
    Some(match word.as_str() {
        "off" | "0" => LogLevel::Off,
        "error" | "1" => LogLevel::Error,
        "warn" | "2" => LogLevel::Warning,
        "info" | "3" => LogLevel::Info,
        "debug" | "4" => LogLevel::Debug,
        "trace" | "5" => LogLevel::Trace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> (Filter, Arc<Mutex<String>>) {
        let seen = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&seen);
        let filter = Filter {
            rules: Mutex::new(Rules::parse(text)),
            reload: Box::new(move |filter| {
                *told.lock().unwrap() = filter.to_string();
                Ok(())
            }),
        };
        (filter, seen)
    }

    #[test]
    fn a_filter_is_taken_apart_and_put_together() {
        let text = "info,volume_service=debug,[request{id=\"a,b\"}]=trace,hyper=off";
        let rules = Rules::parse(text);
        assert_eq!(rules.others, ["[request{id=\"a,b\"}]=trace"]);
        assert_eq!(rules.level_of("volume_service::api"), LogLevel::Debug);
        assert_eq!(rules.level_of("xenapi"), LogLevel::Info);
        assert_eq!(rules.level_of("hyper::client"), LogLevel::Off);
        assert_eq!(Rules::parse(&rules.to_text()), rules);
        assert_eq!(Rules::parse("vhd").level_of("vhd::map"), LogLevel::Trace);
        assert_eq!(Rules::parse("vhd").level_of("nbd"), LogLevel::Off);
    }

    #[test]
    fn a_level_is_that_of_all_whose_names_begin_so() {
        let (filter, in_force) = filter("info,volume_service::api=trace,hyper=off");
        filter.set("volume_service", LogLevel::Debug).unwrap();
        let levels = filter.levels("volume_service");
        assert_eq!(levels["volume_service::api"], LogLevel::Debug);
        assert!(levels.keys().all(|part| part.starts_with("volume_service")));
        assert_eq!(filter.levels("")["xenapi"], LogLevel::Info);
        assert_eq!(filter.levels("hyper")["hyper"], LogLevel::Off);
        let said = in_force.lock().unwrap().clone();
        assert!(said.contains("volume_service=debug"), "{said}");
        assert!(!said.contains("trace"), "{said}");

        filter.set("", LogLevel::Warning).unwrap();
        let levels = filter.levels("");
        assert!(levels.values().all(|level| *level == LogLevel::Warning));
        assert_eq!(*in_force.lock().unwrap(), "warn");
    }

    #[test]
    fn the_rules_are_bounded() {
        let (filter, _) = filter("info");
        for number in 1..RULES_MAX {
            filter.set(&format!("x{number}x"), LogLevel::Debug).unwrap();
        }
        let error = filter.set("y", LogLevel::Debug).unwrap_err();
        assert!(error.public.contains("shorter prefix"), "{error}");
        filter.set("x", LogLevel::Error).unwrap();
        filter.set("y", LogLevel::Debug).unwrap();
    }
}
