//! What commands that change something leave in the audit log: a line with who typed what, on what, when it begins, and another with
//! how it ended. One that was killed has the first alone.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use volume_service::app::Service;

use crate::failure::Result;

/// A command that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its words, without arguments.
    pub what: &'static str,
    /// What it is done to.
    pub target: String,
}

impl Change {
    /// A command and what it is done to.
    pub fn of(what: &'static str, target: impl ToString) -> Option<Self> {
        Some(Change {
            what,
            target: target.to_string(),
        })
    }
}

/// Carries a command out and writes it down, before and after, if it changes something, also when it fails.
///
/// # Errors
/// Those of the command; `Exit::Failed`, with nothing done, when its beginning cannot be written to stable storage.
pub async fn recorded<T>(
    service: &Service,
    change: Option<Change>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(change) = change else {
        return work.await;
    };
    let Change { what, target } = &change;
    service.note_command_begun(what, target, person())?;
    let done = work.await;
    let outcome = if done.is_ok() { "succeeded" } else { "failed" };
    service.note_command_ended(what, target, person(), outcome);
    done
}

/// Who started this process, and as whom they logged in, by the kernel's numbers: `sudo` and `su` change the first only. Noted at
/// the first call, which comes before root's commands become somebody else's.
pub fn person() -> &'static str {
    static PERSON: OnceLock<String> = OnceLock::new();
    PERSON.get_or_init(|| {
        let uid = std::fs::metadata("/proc/self").map(|found| found.uid());
        let uid = uid.map_or_else(|_| "?".to_owned(), |uid| uid.to_string());
        let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
        match login.trim().parse::<u32>() {
            // The kernel's word for nobody: a daemon's process.
            Ok(u32::MAX) | Err(_) => format!("uid {uid}"),
            Ok(login) => format!("uid {uid}, logged in as {login}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CommonFlags;
    use crate::sm;

    /// Outcomes that the log has on the disk.
    fn outcomes(directory: &std::path::Path) -> Vec<String> {
        let mut found = Vec::new();
        volume_service::audit::read(directory, |line| {
            if line["kind"] == "command" {
                found.push(line["outcome"].as_str().unwrap().to_owned());
            }
        })
        .unwrap();
        found
    }

    #[tokio::test]
    async fn the_beginning_is_on_the_disk_before_the_command_acts() {
        let directory = tempfile::tempdir().unwrap();
        let common = CommonFlags {
            data_dir: Some(directory.path().to_owned()),
            ..CommonFlags::default()
        };
        let audit = directory.path().join("audit");
        let change = Change::of("sm flavor_create", "gold");
        let service = sm::open_service(&common, change.as_ref()).await.unwrap();
        let work = async {
            assert_eq!(outcomes(&audit), ["begun"]);
            Ok(())
        };
        recorded(&service, change, work).await.unwrap();
        // Its end is written behind it.
        drop(service);
        assert_eq!(outcomes(&audit), ["begun", "succeeded"]);
    }
}
