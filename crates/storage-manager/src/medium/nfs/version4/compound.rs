//! Requests of several operations, and their answers.
//!
//! Source: RFC 8881, section 16.2 (`COMPOUND`).

use super::super::error::{NfsError, Result};
use super::super::protocol::Handle;
use super::super::rpc::Program;
use super::super::status::Status;
use super::super::transport::check;
use super::super::xdr::{Malformed, Reader, Writer};

/// The program.
pub const NFS: Program = Program {
    number: 100_003,
    version: 4,
};

/// The procedure.
pub const COMPOUND: u32 = 1;

/// Longest tag of an answer.
const MAX_TAG: usize = 1024;

/// The number of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(pub u32);

impl Operation {
    pub const CLOSE: Operation = Operation(4);
    pub const COMMIT: Operation = Operation(5);
    pub const CREATE: Operation = Operation(6);
    pub const GETATTR: Operation = Operation(9);
    pub const GETFH: Operation = Operation(10);
    pub const LINK: Operation = Operation(11);
    pub const LOOKUP: Operation = Operation(15);
    pub const OPEN: Operation = Operation(18);
    pub const PUTFH: Operation = Operation(22);
    pub const PUTROOTFH: Operation = Operation(24);
    pub const READ: Operation = Operation(25);
    pub const READDIR: Operation = Operation(26);
    pub const REMOVE: Operation = Operation(28);
    pub const RENAME: Operation = Operation(29);
    pub const SAVEFH: Operation = Operation(32);
    pub const SETATTR: Operation = Operation(34);
    pub const WRITE: Operation = Operation(38);
    pub const EXCHANGE_ID: Operation = Operation(42);
    pub const CREATE_SESSION: Operation = Operation(43);
    pub const DESTROY_SESSION: Operation = Operation(44);
    pub const SEQUENCE: Operation = Operation(53);
    pub const DESTROY_CLIENTID: Operation = Operation(57);
    pub const RECLAIM_COMPLETE: Operation = Operation(58);
    pub const DEALLOCATE: Operation = Operation(62);
}

/// Operations that are done one after the other until one fails.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What it is for, for messages.
    pub procedure: &'static str,
    /// True when the server shall keep the answer for a repetition: when carrying it out twice differs from once.
    pub is_kept: bool,
    operations: Writer,
    count: u32,
    data: &'a [u8],
}

impl<'a> Request<'a> {
    /// No operation yet.
    pub fn new(procedure: &'static str) -> Self {
        Request {
            procedure,
            is_kept: false,
            operations: Writer::default(),
            count: 0,
            data: &[],
        }
    }

    /// One that works on a file or directory.
    pub fn on(procedure: &'static str, file: &Handle) -> Self {
        let mut request = Request::new(procedure);
        request.operation(Operation::PUTFH).opaque(file.bytes());
        request
    }

    /// Has the server keep the answer.
    pub fn kept(mut self) -> Self {
        self.is_kept = true;
        self
    }

    /// Adds an operation, whose arguments follow.
    pub fn operation(&mut self, operation: Operation) -> &mut Writer {
        self.count += 1;
        self.operations.u32(operation.0)
    }

    /// The bytes that follow the last argument.
    pub fn data(&mut self, data: &'a [u8]) {
        self.data = data;
    }

    /// The arguments of the procedure, with operations put before.
    pub fn arguments(&self, minor: u32, before: Option<&Writer>) -> Writer {
        let mut arguments = Writer::default();
        arguments.opaque(b"").u32(minor);
        arguments.u32(self.count + u32::from(before.is_some()));
        if let Some(before) = before {
            arguments.append(before);
        }
        arguments.append(&self.operations);
        arguments
    }

    /// What follows the arguments.
    pub fn following(&self) -> &'a [u8] {
        self.data
    }
}

/// The answer to a request, read operation by operation.
#[derive(Debug)]
pub struct Answer<'a> {
    procedure: &'static str,
    reader: Reader<'a>,
    repeated: bool,
    status: Status,
    left: u32,
}

impl<'a> Answer<'a> {
    /// Reads the head.
    pub fn new(procedure: &'static str, mut reader: Reader<'a>, repeated: bool) -> Result<Self> {
        let mut head = || {
            let status = Status(reader.u32()?);
            reader.opaque(MAX_TAG)?;
            Ok((status, reader.u32()?))
        };
        let (status, left) = head().map_err(|source| NfsError::Malformed { procedure, source })?;
        Ok(Answer {
            procedure,
            reader,
            repeated,
            status,
            left,
        })
    }

    /// True when it says that its call was sent more than once.
    pub fn say_repeated(&mut self) {
        self.repeated = true;
    }

    /// Reads the results of the next operation.
    ///
    /// # Errors
    /// `Status` when it failed, or was not done because the request failed before.
    pub fn result<T>(
        &mut self,
        operation: Operation,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<T> {
        let procedure = self.procedure;
        let malformed = |source| NfsError::Malformed { procedure, source };
        if self.left == 0 {
            check(procedure, self.status.0, self.repeated)?;
            return Err(malformed(Malformed("it lacks results")));
        }
        self.left -= 1;
        let number = self.reader.u32().map_err(malformed)?;
        let status = self.reader.u32().map_err(malformed)?;
        check(procedure, status, self.repeated)?;
        if number != operation.0 {
            return Err(malformed(Malformed("results are out of order")));
        }
        read(&mut self.reader).map_err(malformed)
    }

    /// Passes over the next operation, which has no results.
    pub fn done(&mut self, operation: Operation) -> Result<()> {
        self.result(operation, |_| Ok(()))
    }
}
