//! The `key=value` arguments of `backend_add` and `backend_probe`.

use volume_service::app::backends::is_secret;

use crate::failure::{Exit, Failure, Result};
use crate::ui;

/// Longest file that a secret is read from, in bytes.
const SECRET_MAX_BYTES: u64 = 4096;

/// Reads arguments. Secrets may be in a file, `key=@FILE`, or be asked for, `key=-`; other values are taken as they are.
pub(super) fn read(arguments: &[String]) -> Result<Vec<(String, String)>> {
    arguments
        .iter()
        .map(|argument| {
            let (key, value) = parse(argument)?;
            if !is_secret(&key) || key.ends_with("_secret") {
                return Ok((key, value));
            }
            let value = match value.strip_prefix('@') {
                Some(path) => from_file(&key, path)?,
                None if value == "-" => ui::secret(&key)?,
                None => {
                    ui::talk(format!(
                        "warning: every user of this machine can see {key} in the list of processes; say {key}=@FILE or {key}=-"
                    ));
                    value
                }
            };
            Ok((key, value))
        })
        .collect()
}

/// Reads arguments that are no secrets.
pub(super) fn pairs(arguments: &[String]) -> Result<Vec<(String, String)>> {
    arguments.iter().map(|argument| parse(argument)).collect()
}

/// `key=value`; the value may hold blanks and further `=`.
fn parse(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::new(
            Exit::Usage,
            format!("{text:?} is not of the form key=value"),
        )
        .hint("quote values that hold blanks: 'name_label=two words'")),
    }
}

/// The first line of a file, which is all of it.
fn from_file(key: &str, path: &str) -> Result<String> {
    let failed = |cause: std::io::Error| Failure {
        exit: Exit::Usage,
        ..Failure::failed(format!("read {key} from {path}"), &cause)
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > SECRET_MAX_BYTES {
        return Err(Failure::new(
            Exit::Usage,
            format!("{path} has {length} bytes, more than a secret of {SECRET_MAX_BYTES}"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains('\n') {
        return Err(Failure::new(
            Exit::Usage,
            format!("{path} does not hold one line, which would be {key}"),
        ));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_may_hold_blanks_and_equal_signs() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(parse("a=b c=d").unwrap(), pair("a", "b c=d"));
        assert_eq!(parse("a=").unwrap(), pair("a", ""));
        assert!(parse("a").is_err());
        assert!(parse("=b").is_err());
    }

    #[test]
    fn secrets_come_from_files_and_other_values_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("chap");
        std::fs::write(&file, "s3 cret\n").unwrap();
        let at = file.display();
        let given = [format!("chappassword=@{at}"), format!("location=@{at}")];
        let taken = read(&given).unwrap();
        assert_eq!(taken[0].1, "s3 cret");
        assert_eq!(taken[1].1, format!("@{at}"));
        std::fs::write(&file, "two\nlines\n").unwrap();
        assert!(read(&given[..1]).is_err());
        assert!(read(&["password=@/nowhere/at/all".to_owned()]).is_err());
    }
}
