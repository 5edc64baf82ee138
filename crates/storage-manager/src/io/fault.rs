//! Named points in sequences of system calls at which a test makes the sequence fail or the process die.
//!
//! Outside of tests a point is nothing. Points are counted per thread, so tests run side by side.

#[cfg(not(test))]
use std::io;

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use armed::{count, crash_at, fail_at, point, try_crash_at};

#[cfg(test)]
mod armed {
    use std::cell::RefCell;
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    #[derive(Clone, Copy)]
    enum Effect {
        Error(i32),
        Crash,
    }

    #[derive(Default)]
    struct State {
        passed: Vec<&'static str>,
        armed: Option<(usize, Effect)>,
    }

    /// What unwinds instead of a killed process: code after the point does not run, and nothing is cleaned up but
    /// what the kernel cleans up too (descriptors and locks).
    struct Crashed;

    thread_local! {
        static STATE: RefCell<State> = RefCell::new(State::default());
    }

    pub(crate) fn point(name: &'static str) -> io::Result<()> {
        let effect = STATE.with_borrow_mut(|state| {
            let index = state.passed.len();
            state.passed.push(name);
            state
                .armed
                .and_then(|(at, effect)| (at == index).then_some(effect))
        });
        match effect {
            None => Ok(()),
            Some(Effect::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Effect::Crash) => resume_unwind(Box::new(Crashed)),
        }
    }

    fn run<T>(armed: Option<(usize, Effect)>, action: impl FnOnce() -> T) -> Option<T> {
        STATE.set(State {
            passed: Vec::new(),
            armed,
        });
        let outcome = catch_unwind(AssertUnwindSafe(action));
        STATE.with_borrow_mut(|state| state.armed = None);
        match outcome {
            Ok(value) => Some(value),
            Err(payload) if payload.is::<Crashed>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Runs `action` and returns the points that it passed, in order.
    pub(crate) fn count(action: impl FnOnce()) -> Vec<&'static str> {
        run(None, action);
        STATE.take().passed
    }

    /// Runs `action` with an error at the point with this index.
    pub(crate) fn fail_at<T>(index: usize, errno: i32, action: impl FnOnce() -> T) -> T {
        run(Some((index, Effect::Error(errno))), action).expect("errors do not unwind")
    }

    /// Runs `action` until the point with this index, where it dies.
    pub(crate) fn crash_at<T>(index: usize, action: impl FnOnce() -> T) {
        assert!(try_crash_at(index, action), "point {index} was not reached");
    }

    /// As [`crash_at`]; false when `action` came to its end before that point.
    pub(crate) fn try_crash_at<T>(index: usize, action: impl FnOnce() -> T) -> bool {
        run(Some((index, Effect::Crash)), action).is_none()
    }
}
