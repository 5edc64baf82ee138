//! XML-RPC as XenAPI speaks it.
//!
//! Integers and strings are written without a type element; `<value>text</value>` is a string.
//! So an integer comes back as a string, and [`crate::schema::coerce`] restores it by the declared type.
//! The void result, [`Value::Nil`], is written as an empty string.

mod read;
mod token;
mod write;

pub use read::{parse_call, parse_response, parse_value};
pub use write::{
    illegal_character, write_bare, write_call, write_fault, write_response, write_value,
};

use crate::{Failure, Value};

/// A call: the method and its parameters, the session first where the method has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method, for example `VDI.get_record`.
    pub method: String,
    /// The parameters.
    pub params: Vec<Value>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// `Status: Success` and the result.
    Success(Value),
    /// `Status: Failure` and the description of the error.
    Failure(Failure),
    /// A value without the envelope; `system.listMethods` answers so.
    Bare(Value),
    /// `<fault>`: trouble with the protocol itself.
    Fault {
        /// The `faultCode`.
        code: i64,
        /// The `faultString`.
        message: String,
    },
}
