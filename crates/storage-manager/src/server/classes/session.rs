//! Class `session`. Source: reference 1.4 and 2.1; golden 01.

use xenapi::{Failure, Value};

use crate::server::call::{Args, Call, not_implemented};
use crate::server::context::LoginRefused;
use crate::server::dispatch::Origin;

/// Runs a message of the class.
pub fn run(call: &Call, name: &str, args: &Args) -> Result<Value, Failure> {
    let server = &call.server;
    match name {
        "login_with_password" | "slave_local_login_with_password" => {
            login(call, args.text(0), args.text(1), args.text(3))
        }
        "logout" | "local_logout" => server
            .sessions
            .end(&server.database, &call.session)
            .map(|()| Value::Nil),
        "change_password" => Err(Failure::new(
            "OPERATION_NOT_ALLOWED",
            ["the password is set where the storage manager is configured"],
        )),
        "get_all_subject_identifiers" => Ok(Value::Array(Vec::new())),
        "logout_subject_identifier" => Ok(Value::Nil),
        _ => Err(not_implemented(&format!("session.{name}"))),
    }
}

fn login(call: &Call, user: &str, password: &str, originator: &str) -> Result<Value, Failure> {
    let server = &call.server;
    // Whoever can open the unix socket is root already.
    if call.origin == Origin::Tcp
        && let Err(refused) = server.credentials.check(user, password)
    {
        tracing::warn!(user, "a login was refused");
        let reason = match refused {
            LoginRefused::UnknownUser => "User not known to the underlying authentication module",
            LoginRefused::WrongPassword => "Authentication failure",
        };
        return Err(Failure::new(
            "SESSION_AUTHENTICATION_FAILED",
            [user, reason],
        ));
    }
    server
        .sessions
        .begin(&server.database, &server.home, user, originator)
        .map(Value::from)
}
