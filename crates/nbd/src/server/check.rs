//! Which requests are carried out and which are answered with an error.

use super::limits::MAX_REQUEST;
use super::limits::PIECE;
use crate::protocol::constants::{command, command_flag};
use crate::protocol::{ErrorCode, Request};

/// What a request is measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Against {
    pub(super) size: u64,
    pub(super) read_only: bool,
    pub(super) structured: bool,
    pub(super) block_status: bool,
}

/// An answer of "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) code: ErrorCode,
    pub(super) message: &'static str,
}

const fn deny(code: ErrorCode, message: &'static str) -> Result<(), Denied> {
    Err(Denied { code, message })
}

/// Checks a request that is no write with a payload above [`MAX_REQUEST`] and no disconnection.
///
/// # Source
/// "Command flags", "Error values" and the single commands under "Request types".
pub(super) fn check(request: &Request, against: Against) -> Result<(), Denied> {
    let allowed = match request.command {
        command::READ if against.structured => command_flag::FUA | command_flag::DF,
        command::READ | command::WRITE | command::FLUSH | command::TRIM => command_flag::FUA,
        command::WRITE_ZEROES => command_flag::FUA | command_flag::NO_HOLE,
        command::CACHE => command_flag::FUA,
        command::BLOCK_STATUS => command_flag::FUA | command_flag::REQ_ONE,
        _ => return deny(ErrorCode::Inval, "unknown command"),
    };
    if request.flags & !allowed != 0 {
        return deny(ErrorCode::Inval, "a flag that this command does not have");
    }
    let writes = matches!(
        request.command,
        command::WRITE | command::TRIM | command::WRITE_ZEROES
    );
    if writes && against.read_only {
        return deny(ErrorCode::Perm, "the export is read-only");
    }
    if request.command == command::FLUSH {
        return match (request.offset, request.length) {
            (0, 0) => Ok(()),
            _ => deny(ErrorCode::Inval, "a flush with a range"),
        };
    }
    if request
        .offset
        .checked_add(request.length.into())
        .is_none_or(|end| end > against.size)
    {
        let beyond = matches!(request.command, command::WRITE | command::WRITE_ZEROES);
        let code = if beyond {
            ErrorCode::NoSpc
        } else {
            ErrorCode::Inval
        };
        return deny(code, "beyond the end of the export");
    }
    match request.command {
        command::READ if request.length > MAX_REQUEST => {
            let code = if against.structured {
                ErrorCode::Overflow
            } else {
                ErrorCode::Inval
            };
            deny(code, "longer than the advertised maximum")
        }
        command::READ
            if request.flags & command_flag::DF != 0 && request.length as usize > PIECE =>
        {
            deny(ErrorCode::Overflow, "too long for one chunk")
        }
        command::BLOCK_STATUS if !against.block_status => {
            deny(ErrorCode::Inval, "no metadata context was chosen")
        }
        command::BLOCK_STATUS if request.length == 0 => deny(ErrorCode::Inval, "an empty range"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAINST: Against = Against {
        size: 1 << 30,
        read_only: false,
        structured: true,
        block_status: true,
    };

    fn request(command: u16, flags: u16, offset: u64, length: u32) -> Request {
        Request {
            flags,
            command,
            cookie: 1,
            offset,
            length,
        }
    }

    fn code(request: Request, against: Against) -> Option<ErrorCode> {
        check(&request, against).err().map(|denied| denied.code)
    }

    #[test]
    fn ranges_beyond_the_end_get_the_error_of_their_command() {
        for (command, expected) in [
            (command::READ, ErrorCode::Inval),
            (command::WRITE, ErrorCode::NoSpc),
            (command::WRITE_ZEROES, ErrorCode::NoSpc),
            (command::TRIM, ErrorCode::Inval),
            (command::CACHE, ErrorCode::Inval),
            (command::BLOCK_STATUS, ErrorCode::Inval),
        ] {
            assert_eq!(
                code(request(command, 0, 1 << 30, 1), AGAINST),
                Some(expected)
            );
            assert_eq!(
                code(request(command, 0, u64::MAX, 2), AGAINST),
                Some(expected)
            );
            assert_eq!(code(request(command, 0, (1 << 30) - 1, 1), AGAINST), None);
        }
    }

    #[test]
    fn nothing_is_written_to_a_read_only_export() {
        let against = Against {
            read_only: true,
            ..AGAINST
        };
        for command in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
            assert_eq!(
                code(request(command, 0, 0, 1), against),
                Some(ErrorCode::Perm)
            );
        }
        assert_eq!(code(request(command::READ, 0, 0, 1), against), None);
        assert_eq!(code(request(command::FLUSH, 0, 0, 0), against), None);
    }

    #[test]
    fn unknown_commands_and_flags_are_invalid() {
        for command in [8, 4711] {
            assert_eq!(
                code(request(command, 0, 0, 1), AGAINST),
                Some(ErrorCode::Inval)
            );
        }
        for (command, flag) in [
            (command::READ, command_flag::NO_HOLE),
            (command::WRITE, command_flag::DF),
            (command::WRITE_ZEROES, command_flag::FAST_ZERO),
            (command::TRIM, command_flag::REQ_ONE),
        ] {
            assert_eq!(
                code(request(command, flag, 0, 1), AGAINST),
                Some(ErrorCode::Inval)
            );
        }
        let simple = Against {
            structured: false,
            ..AGAINST
        };
        assert_eq!(
            code(request(command::READ, command_flag::DF, 0, 1), simple),
            Some(ErrorCode::Inval)
        );
    }

    #[test]
    fn reads_are_bounded() {
        assert_eq!(
            code(request(command::READ, 0, 0, MAX_REQUEST), AGAINST),
            None
        );
        assert_eq!(
            code(request(command::READ, 0, 0, MAX_REQUEST + 1), AGAINST),
            Some(ErrorCode::Overflow)
        );
        assert_eq!(
            code(request(command::READ, command_flag::DF, 0, 65_536), AGAINST),
            None
        );
        let long = request(command::READ, command_flag::DF, 0, MAX_REQUEST);
        assert_eq!(code(long, AGAINST), Some(ErrorCode::Overflow));
    }

    #[test]
    fn block_status_needs_a_context_and_a_range() {
        assert_eq!(
            code(request(command::BLOCK_STATUS, 0, 0, 0), AGAINST),
            Some(ErrorCode::Inval)
        );
        let without = Against {
            block_status: false,
            ..AGAINST
        };
        assert_eq!(
            code(request(command::BLOCK_STATUS, 0, 0, 1), without),
            Some(ErrorCode::Inval)
        );
    }
}
