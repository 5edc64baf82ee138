//! The data model of the storage part of XenAPI: classes, fields, messages and their types, as tables.
//!
//! [`resolve`] finds a message by the name a client calls; [`coerce`] brings its arguments, and [`coerce_result`] its
//! result, from what the wire could carry to the declared types.
//! Source: the records and `system.listMethods` of a pool of API version 2.23.

mod class;

mod coerce;
mod literal;
mod message;
mod tables;
mod ty;

pub use class::{Class, Field, Messages, Mode, class, class_ignoring_case, classes};
pub use coerce::{coerce, coerce_constructor, coerce_result};
pub use literal::Literal;
pub use message::{Definition, Effect, Message, Param, Resolved, Status, all_messages, resolve};
pub use ty::Ty;
