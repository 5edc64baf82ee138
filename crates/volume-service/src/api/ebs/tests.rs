//! The operations on a mover of the tests' making.

mod reads;
mod refusals;
mod scene;
mod uploads;
