//! What goes wrong on demand.

use std::time::Duration;

/// Where a connection is cut, relative to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The array has read the command and does not carry it out.
    Before,
    /// The array has carried the command out and says nothing.
    After,
    /// The array has carried the command out and says half of the answer.
    Midway,
}

/// What the array does with one session too many. Which it is depends on the firmware; clients have to live with both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It closes the connection as the shell is asked for.
    Disconnected,
    /// The shell says so and ends.
    Told,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The connection is cut at the command of this number from now, once. Only commands that read or change the group count.
    pub cut: Option<(Cut, usize)>,
    /// The command of this number from now is answered with this error, once, and not carried out.
    pub fail: Option<(usize, String)>,
    /// How long each command takes.
    pub delay: Option<Duration>,
    /// How many sessions there may be.
    pub session_limit: usize,
    /// How many of them are somebody else's.
    pub foreign_sessions: usize,
    /// What one too many meets.
    pub refused: Refused,
    /// After how long a session ends in which nothing is said.
    pub idle: Option<Duration>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            cut: None,
            fail: None,
            delay: None,
            session_limit: SESSION_LIMIT,
            foreign_sessions: 0,
            refused: Refused::Disconnected,
            idle: None,
        }
    }
}

/// Some arrays allow no more sessions. Source: the warning of the XenServer 6.0 guide about EqualLogic.
const SESSION_LIMIT: usize = 7;

/// What meets a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing special.
    Normal,
    /// The connection is cut.
    Cut(Cut),
    /// It fails.
    Fail(String),
}

impl Faults {
    /// What meets the next command; counts it.
    pub fn meet(&mut self) -> Fate {
        let cut = count_down(&mut self.cut, |cut| &mut cut.1).map(|(cut, _)| Fate::Cut(cut));
        let fail = count_down(&mut self.fail, |fail| &mut fail.0).map(|(_, text)| Fate::Fail(text));
        cut.or(fail).unwrap_or(Fate::Normal)
    }
}

/// Counts down to one, at which it takes the fault out.
fn count_down<T>(fault: &mut Option<T>, count: fn(&mut T) -> &mut usize) -> Option<T> {
    let left = count(fault.as_mut()?);
    if *left > 1 {
        *left -= 1;
        return None;
    }
    fault.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_once_at_its_number() {
        let mut faults = Faults {
            cut: Some((Cut::After, 2)),
            fail: Some((3, "no".to_owned())),
            ..Faults::default()
        };
        let fates: Vec<Fate> = (0..4).map(|_| faults.meet()).collect();
        let expected = [
            Fate::Normal,
            Fate::Cut(Cut::After),
            Fate::Fail("no".to_owned()),
            Fate::Normal,
        ];
        assert_eq!(fates, expected);
    }
}
