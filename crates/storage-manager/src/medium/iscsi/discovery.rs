//! Asking a portal for its targets.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

use super::error::{Error, Refusal};
use super::portal::Portal;
use crate::io::libiscsi::{Context, Credentials, Event, Library, Opening, Status, Target};

/// Longest wait for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Identifies discovery sessions among those of the initiator.
const ISID: (u32, u16) = (0x78_656e, 0xd15c);

/// Asks for all targets of a portal (SendTargets); they come in the target's order.
pub fn discover(
    portal: Portal,
    initiator: &str,
    credentials: Option<&Credentials>,
    target_credentials: Option<&Credentials>,
) -> Result<Vec<Target>, Error> {
    let opening = Opening {
        initiator,
        target: None,
        credentials,
        target_credentials,
        isid: ISID,
        digests: false,
    };
    let unreachable = |reason: String| Error::Unreachable { portal, reason };
    let system = |action| move |source| Error::System { action, source };
    let library = Library::load()?;
    let mut context = Context::open(library, &opening).map_err(system("prepare a connection"))?;
    context
        .connect(&portal.to_string())
        .map_err(|error| unreachable(error.to_string()))?;
    // The wait takes a second descriptor; nobody writes to this one.
    let waker = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
        .map_err(|error| system("make a waker")(error.into()))?;
    let until = Instant::now() + PATIENCE;
    let mut action = "connect";
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TooSlow {
                portal,
                action,
                waited: PATIENCE,
            });
        }
        let ready = context
            .wait(waker.as_fd(), left)
            .map_err(system("wait for an answer"))?;
        let served = context.service(ready.events);
        let reason = context.last_error();
        let refused = |reason: String| Error::Refused {
            target: "discovery".to_owned(),
            portal,
            initiator: initiator.to_owned(),
            refusal: Refusal::of(&reason),
            reason,
        };
        for event in context.events() {
            match event {
                Event::Connected(Status::Good) => {
                    action = "log in";
                    context
                        .login()
                        .map_err(|error| refused(error.to_string()))?;
                }
                Event::Connected(_) => return Err(unreachable(reason)),
                Event::LoggedIn(Status::Good) => {
                    action = "tell its targets";
                    context
                        .discover()
                        .map_err(|error| refused(error.to_string()))?;
                }
                Event::LoggedIn(_) => return Err(refused(reason)),
                Event::Discovered(Status::Good, targets) => return Ok(targets),
                Event::Discovered(..) => return Err(unreachable(reason)),
                _ => {}
            }
        }
        served.map_err(|error| unreachable(error.to_string()))?;
        if ready.is_closed {
            return Err(unreachable("it has closed the connection".to_owned()));
        }
    }
}
