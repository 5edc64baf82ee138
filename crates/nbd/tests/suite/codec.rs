//! What is written is what is read, and no bytes make a parser panic.

use nbd::protocol::*;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn hellos_survive(server in any::<u16>(), client in any::<u32>()) {
        let hello = ServerHello { flags: server };
        prop_assert_eq!(ServerHello::parse(&hello.to_bytes()).unwrap(), hello);
        let hello = ClientHello { flags: client };
        prop_assert_eq!(ClientHello::parse(hello.to_bytes()), hello);
    }

    #[test]
    fn option_heads_survive(option in any::<u32>(), reply in any::<u32>(), length in any::<u32>()) {
        let header = OptionHeader { option, length };
        prop_assert_eq!(OptionHeader::parse(&header.to_bytes()).unwrap(), header);
        let header = OptionReplyHeader { option, reply, length };
        prop_assert_eq!(OptionReplyHeader::parse(&header.to_bytes()).unwrap(), header);
    }

    #[test]
    fn export_replies_survive(size in any::<u64>(), flags in any::<u16>()) {
        let reply = ExportReply { size, flags };
        let bytes = reply.to_padded_bytes();
        prop_assert_eq!(ExportReply::parse(&bytes[..ExportReply::LENGTH]).unwrap(), reply);
        prop_assert!(bytes[ExportReply::LENGTH..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn option_data_survives(name in ".{0,80}", info in vec(any::<u16>(), 0..64), queries in vec(".{0,40}", 0..64)) {
        let request = ExportRequest { name: name.clone(), info };
        prop_assert_eq!(ExportRequest::parse(&request.to_bytes()).unwrap(), request);
        let request = MetaContextRequest { name: name.clone(), queries };
        prop_assert_eq!(MetaContextRequest::parse(&request.to_bytes()).unwrap(), request);
        let entry = ServerEntry { name: name.clone() };
        prop_assert_eq!(ServerEntry::parse(&entry.to_bytes()).unwrap(), entry);
        let context = MetaContext { id: 7, name };
        prop_assert_eq!(MetaContext::parse(&context.to_bytes()).unwrap(), context);
    }

    #[test]
    fn information_survives(size in any::<u64>(), flags in any::<u16>(), sizes in any::<[u32; 3]>(), kind in 4u16..) {
        let [minimum, preferred, maximum] = sizes;
        let block_size = Info::BlockSize(BlockSizes { minimum, preferred, maximum });
        for info in [Info::Export { size, flags }, block_size, Info::Other(kind)] {
            prop_assert_eq!(Info::parse(&info.to_bytes()).unwrap(), info);
        }
    }

    #[test]
    fn requests_and_replies_survive(
        flags in any::<u16>(),
        command in any::<u16>(),
        cookie in any::<u64>(),
        offset in any::<u64>(),
        length in any::<u32>(),
        error in 1u32..,
    ) {
        let request = Request { flags, command, cookie, offset, length };
        prop_assert_eq!(Request::parse(&request.to_bytes()).unwrap(), request);
        for error in [None, Some(ErrorCode::from_wire(error))] {
            let reply = SimpleReply { error, cookie };
            prop_assert_eq!(SimpleReply::parse(&reply.to_bytes()).unwrap(), reply);
        }
        let header = ChunkHeader { flags, kind: command, cookie, length };
        prop_assert_eq!(ChunkHeader::parse(&header.to_bytes()).unwrap(), header);
        let data = DataHeader { offset };
        prop_assert_eq!(DataHeader::parse(data.to_bytes()), data);
        let hole = HoleChunk { offset, length: length.max(1) };
        prop_assert_eq!(HoleChunk::parse(&hole.to_bytes()).unwrap(), hole);
    }

    #[test]
    fn chunks_survive(error in 1u32.., message in ".{0,200}", context in any::<u32>(), extents in vec((1u32.., any::<u32>()), 1..50)) {
        let chunk = ErrorChunk { code: ErrorCode::from_wire(error), message };
        prop_assert_eq!(ErrorChunk::parse(&chunk.to_bytes()).unwrap(), chunk);
        let extents = extents.into_iter().map(|(length, flags)| BlockDescriptor { length, flags }).collect();
        let chunk = StatusChunk { context, extents };
        prop_assert_eq!(StatusChunk::parse(&chunk.to_bytes()).unwrap(), chunk);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = ServerHello::parse(&bytes);
        let _ = OptionHeader::parse(&bytes);
        let _ = OptionReplyHeader::parse(&bytes);
        let _ = ExportReply::parse(&bytes);
        let _ = ExportRequest::parse(&bytes);
        let _ = MetaContextRequest::parse(&bytes);
        let _ = MetaContext::parse(&bytes);
        let _ = ServerEntry::parse(&bytes);
        let _ = Info::parse(&bytes);
        let _ = Request::parse(&bytes);
        let _ = SimpleReply::parse(&bytes);
        let _ = ChunkHeader::parse(&bytes);
        let _ = HoleChunk::parse(&bytes);
        let _ = ErrorChunk::parse(&bytes);
        let _ = StatusChunk::parse(&bytes);
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let mut bytes = ExportRequest {
        name: "disk".to_owned(),
        info: vec![3],
    }
    .to_bytes();
    bytes[3] = 200;
    assert!(
        ExportRequest::parse(&bytes).is_err(),
        "a name longer than the option"
    );
    bytes[0..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(
        ExportRequest::parse(&bytes).is_err(),
        "a name longer than any string"
    );
    let mut bytes = MetaContextRequest {
        name: "disk".to_owned(),
        queries: vec![],
    }
    .to_bytes();
    bytes[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(
        MetaContextRequest::parse(&bytes).is_err(),
        "four billion queries"
    );
    assert!(
        ErrorChunk::parse(&[0, 0, 0, 0, 0, 0]).is_err(),
        "an error that is none"
    );
    assert!(StatusChunk::parse(&[0, 0, 0, 1]).is_err(), "no extent");
}

#[test]
fn a_long_error_text_is_cut_at_a_character() {
    let message = format!("x{}", "\u{e4}".repeat(4096));
    let bytes = ErrorChunk {
        code: ErrorCode::Io,
        message,
    }
    .to_bytes();
    assert_eq!(ErrorChunk::parse(&bytes).unwrap().message.len(), 4095);
}
