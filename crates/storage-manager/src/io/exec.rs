//! Programs of the system, run as child processes within a time limit.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Where programs are looked for: services are often started without the directories of the administrator's.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Most bytes that are kept of what a program prints, of each stream.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// Most characters of a program's complaint in a message.
const COMPLAINT_LIMIT: usize = 400;

/// What a program said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// Why a program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It is not installed.
    #[error("{program} is not installed; install the package {package}")]
    Missing {
        /// The program.
        program: String,
        /// Debian's package with it.
        package: String,
    },
    /// It could not be run.
    #[error("run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{command} did not end within {} s and was killed", limit.as_secs())]
    TooLong {
        /// What was run.
        command: String,
        /// How long it might take.
        limit: Duration,
    },
    /// It failed.
    #[error("{command} failed: {complaint}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said of that.
        complaint: String,
    },
}

/// Finds a program in the directories of the system, or in one that is given before.
pub fn find(before: Option<&Path>, program: &str, package: &str) -> Result<PathBuf, ExecError> {
    let directories = before.into_iter().chain(DIRECTORIES.iter().map(Path::new));
    let mut places = directories.map(|directory| directory.join(program));
    places
        .find(|path| path.is_file())
        .ok_or_else(|| ExecError::Missing {
            program: program.to_owned(),
            package: package.to_owned(),
        })
}

/// Runs a program to its end; how it ended is the caller's to judge.
pub fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    limit: Duration,
) -> Result<Said, ExecError> {
    let run_error = |source| ExecError::Run {
        program: program.display().to_string(),
        source,
    };
    let until = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(run_error)?;
    let stdout = collect(child.stdout.take()).map_err(run_error)?;
    let stderr = collect(child.stderr.take()).map_err(run_error)?;
    // Both end when the program has closed them, at the latest when it has ended.
    let said = wait(&stdout, until).zip(wait(&stderr, until));
    let Some((stdout, stderr)) = said else {
        end(&mut child);
        return Err(ExecError::TooLong {
            command: shown(program, arguments),
            limit,
        });
    };
    let status = child.wait().map_err(run_error)?;
    Ok(Said {
        status,
        stdout,
        stderr,
    })
}

/// Runs a program that must succeed; what it printed.
pub fn succeed<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    limit: Duration,
) -> Result<String, ExecError> {
    let said = run(program, arguments, limit)?;
    if said.status.success() {
        return Ok(said.stdout);
    }
    Err(failure(program, arguments, &said))
}

/// The error of a program whose end is none that was expected.
pub fn failure<S: AsRef<OsStr>>(program: &Path, arguments: &[S], said: &Said) -> ExecError {
    let words = said.stderr.split_whitespace();
    let mut complaint: String = words.collect::<Vec<_>>().join(" ");
    if complaint.is_empty() {
        complaint = said.status.to_string();
    }
    ExecError::Failed {
        command: shown(program, arguments),
        complaint: complaint.chars().take(COMPLAINT_LIMIT).collect(),
    }
}

/// Reads a stream on a thread of its own, which ends with it.
fn collect(stream: Option<impl Read + Send + 'static>) -> io::Result<Receiver<String>> {
    let (sender, receiver) = sync_channel(1);
    std::thread::Builder::new()
        .name("exec-output".to_owned())
        .spawn(move || {
            let mut kept = Vec::new();
            if let Some(mut stream) = stream {
                // What cannot be read makes the message poorer; the rest is read so that the program is not held up.
                let _ = (&mut stream).take(OUTPUT_LIMIT).read_to_end(&mut kept);
                let _ = io::copy(&mut stream, &mut io::sink());
            }
            // Nobody waits for it once the program was killed.
            let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
        })?;
    Ok(receiver)
}

fn wait(stream: &Receiver<String>, until: Instant) -> Option<String> {
    match stream.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(text) => Some(text),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(String::new()),
    }
}

fn end(child: &mut Child) {
    // Fails when it has just ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// The program's name and its first words, for messages.
fn shown<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
    let words = words.filter(|word| !word.contains('{'));
    std::iter::once(name.to_string_lossy())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_program_says_is_told() {
        let shell = find(None, "sh", "dash").unwrap();
        assert_eq!(succeed(&shell, &["-c", "echo a"], LONG).unwrap(), "a\n");
        let error = succeed(&shell, &["-c", "echo no >&2; exit 3"], LONG).unwrap_err();
        assert!(error.to_string().contains("failed: no"), "{error}");
        let much = "head -c 1000000 /dev/zero";
        let said = run(&shell, &["-c", much], LONG).unwrap();
        assert_eq!(said.stdout.len() as u64, OUTPUT_LIMIT);
        assert!(said.status.success());
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let sleep = find(None, "sleep", "coreutils").unwrap();
        let error = run(&sleep, &["3600"], Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ExecError::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_package() {
        let error = find(None, "no-such-program", "some-package").unwrap_err();
        assert!(error.to_string().contains("some-package"), "{error}");
    }
}
