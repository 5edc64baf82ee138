//! EC2 names of eight digits, which old clients still have: each is a look-up of its own.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result, Subject};

/// Digits of a whole name.
const WHOLE: usize = 17;
/// Most short names of a request, each counted once.
const SHORT_NAMES_MAX: usize = 50;

/// What was found under short names in one request.
pub(super) struct ShortNames<'a, T>(HashMap<&'a str, Option<T>>);

impl<T> Default for ShortNames<'_, T> {
    fn default() -> Self {
        ShortNames(HashMap::new())
    }
}

impl<'a, T: Clone> ShortNames<'a, T> {
    /// What this name names, looked up once; whole names name nothing here.
    ///
    /// # Errors
    /// `Invalid` when there are too many of them.
    pub(super) fn look_up(
        &mut self,
        name: &'a str,
        find: impl FnOnce() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let digits = name.split_once('-').map_or(name, |(_, digits)| digits);
        if digits.len() >= WHOLE {
            return Ok(None);
        }
        if let Some(known) = self.0.get(name) {
            return Ok(known.clone());
        }
        if self.0.len() == SHORT_NAMES_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                Subject::Request,
                format!(
                    "A request has at most {SHORT_NAMES_MAX} ids of eight digits; use those of seventeen."
                ),
            ));
        }
        let found = find()?;
        self.0.insert(name, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_looked_up_once_and_there_are_not_many() {
        let names: Vec<String> = (0..=SHORT_NAMES_MAX)
            .map(|number| format!("vol-{number:08x}"))
            .collect();
        let mut short = ShortNames::default();
        let mut looked = 0;
        for _ in 0..2 {
            for name in &names[..SHORT_NAMES_MAX] {
                let found = short.look_up(name, || {
                    looked += 1;
                    Ok(Some(name.clone()))
                });
                assert_eq!(found.unwrap().as_ref(), Some(name));
            }
        }
        assert_eq!(looked, SHORT_NAMES_MAX);
        let whole = short.look_up("vol-0123456789abcdef0", || unreachable!("it is whole"));
        assert_eq!(whole.unwrap(), None);
        let refused = short.look_up(&names[SHORT_NAMES_MAX], || unreachable!("too many"));
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
    }
}
