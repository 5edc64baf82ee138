//! Reading an image front to back.

use std::io::{self, Read};

use uuid::Uuid;

use super::input::Input;
use crate::SECTOR_SIZE;
use crate::bat::{self, MAX_BLOCKS, UNALLOCATED};
use crate::bitmap::SectorBitmap;
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::{FOOTER_SIZE, Footer, ImageType};
use crate::header::{HEADER_OFFSET, HEADER_SIZE, Header, MIN_BLOCK_SIZE};
use crate::layout::BITMAP_SIZE;
use crate::size::{BLOCK_SIZE, MAX_VIRTUAL_SIZE};

/// Most bytes of one [`Piece`].
pub const PIECE_BYTES: usize = BLOCK_SIZE as usize;

/// Most bytes between header and BAT, and between the last block and the footer.
pub const METADATA_GAP_LIMIT: u64 = 64 << 20;

/// Bytes of the BAT that are read at a time: a table is believed only as far as it has come.
const TABLE_STEP: u64 = 64 * 1024;

/// What a stream says of itself before its first block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Kind of image.
    pub image_type: ImageType,
    /// Bytes.
    pub virtual_size: u64,
    /// Identity; nil for a fixed image, whose footer comes last.
    pub uuid: Uuid,
    /// The parent of a differencing image; nil when that is raw.
    pub parent: Option<Uuid>,
    /// Bytes of data and bitmaps that are still to come, for progress.
    pub payload_bytes: u64,
}

/// Bytes of the image that the stream has, and where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Byte offset in the virtual image.
    pub offset: u64,
    /// Whole sectors.
    pub data: &'a [u8],
}

/// Takes an image from a source of bytes, front to back.
///
/// Blocks may lie in any order, with gaps and other metadata between them; the BAT lies in front of all of them, as qemu-img,
/// vhd-util, XenServer and Xen Orchestra write it. A fixed image is known by having no footer at its start, so the length of
/// the stream must be known for it. Only sectors whose bit is set are yielded; the others are the parent's, or zeros.
///
/// What the source holds is not trusted: memory stays below the BAT of 2040 GiB (16 MiB, twice while it is sorted) and two
/// pieces, offsets and sizes are checked before they are used, and nothing is opened by a name that is found.
#[derive(Debug)]
pub struct StreamReader<R> {
    input: Input<R>,
    info: StreamInfo,
    block_size: u64,
    /// First sector in the stream and number of each block, in the order of the stream.
    plan: Vec<(u32, u32)>,
    next: usize,
    state: State,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// In the data of a fixed image, so many bytes in.
    Fixed(u64),
    /// Before the next block of the plan.
    Between,
    /// In a block, before this sector of it.
    Block {
        number: u32,
        bitmap: Box<SectorBitmap>,
        sector: u32,
    },
    /// Behind the footer.
    Ended,
}

impl<R: Read> StreamReader<R> {
    /// Reads everything in front of the first block. `length` is that of the whole stream where it is known.
    ///
    /// # Errors
    /// `NotVhd` for a stream without a footer at its start whose length is not known or impossible for a fixed image,
    /// `Corrupt`, `Unsupported`, `Io` (of kind `UnexpectedEof` for a stream that ends early).
    pub fn open(reader: R, length: Option<u64>) -> Result<Self> {
        let mut input = Input::new(reader);
        let first: [u8; FOOTER_SIZE] = input.take()?;
        match Footer::parse(&first, Part::BackupFooter) {
            Ok(footer) if footer.image_type != ImageType::Fixed => {
                open_dynamic(input, &footer, length)
            }
            Err(defect) if defect.rule != Rule::Cookie => Err(defect.into()),
            _ => open_fixed(input, &first, length),
        }
    }

    /// What the stream says of itself.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Bytes of the stream that were taken.
    pub fn position(&self) -> u64 {
        self.input.position()
    }

    /// The next piece; `None` when the footer was read and fits. Bytes behind it are not looked at.
    ///
    /// # Errors
    /// `Io` (of kind `UnexpectedEof` for a stream that ends before its footer), `Corrupt`. After an error the stream is of
    /// no use, and what was yielded is part of an image.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        loop {
            match self.state {
                State::Ended => return Ok(None),
                State::Fixed(at) if at >= self.info.virtual_size => self.end_fixed()?,
                State::Fixed(at) => return self.fixed_piece(at).map(Some),
                State::Between => match self.plan.get(self.next) {
                    None => self.find_footer()?,
                    Some(&(sector, number)) => {
                        self.input.skip_to(u64::from(sector) * SECTOR_SIZE)?;
                        let bitmap = SectorBitmap::parse(&self.input.take()?);
                        self.next += 1;
                        self.state = State::Block {
                            number,
                            bitmap: Box::new(bitmap),
                            sector: 0,
                        };
                    }
                },
                State::Block { .. } => {
                    if let Some((offset, length)) = self.step_in_block()? {
                        return Ok(Some(Piece {
                            offset,
                            data: &self.buffer[..length],
                        }));
                    }
                }
            }
        }
    }

    /// Reads the next run of set sectors into the buffer, or leaves the block.
    fn step_in_block(&mut self) -> Result<Option<(u64, usize)>> {
        let State::Block {
            number,
            ref bitmap,
            ref mut sector,
        } = self.state
        else {
            return Ok(None);
        };
        let start = u64::from(number) * self.block_size;
        let sectors = (self.block_size / SECTOR_SIZE) as u32;
        // The last block is whole in the stream even where the image ends inside of it.
        let inside = (self.info.virtual_size - start).min(self.block_size) / SECTOR_SIZE;
        let inside = inside as u32;
        let from = *sector;
        let (is_set, run) = if from < inside {
            bitmap.run(from, inside)
        } else {
            (false, sectors - from)
        };
        let bytes = u64::from(run) * SECTOR_SIZE;
        *sector += run;
        if *sector >= sectors {
            self.state = State::Between;
        }
        if !is_set {
            self.input.skip_to(self.input.position() + bytes)?;
            return Ok(None);
        }
        self.buffer.resize(PIECE_BYTES, 0);
        self.input.fill(&mut self.buffer[..bytes as usize])?;
        Ok(Some((
            start + u64::from(from) * SECTOR_SIZE,
            bytes as usize,
        )))
    }

    fn fixed_piece(&mut self, at: u64) -> Result<Piece<'_>> {
        let length = (self.info.virtual_size - at).min(PIECE_BYTES as u64) as usize;
        if at == 0 {
            // The buffer holds the first sector already.
            let rest = self.input.position() as usize;
            self.buffer.resize(PIECE_BYTES, 0);
            self.input.fill(&mut self.buffer[rest..length])?;
        } else {
            self.input.fill(&mut self.buffer[..length])?;
        }
        self.state = State::Fixed(at + length as u64);
        Ok(Piece {
            offset: at,
            data: &self.buffer[..length],
        })
    }

    fn end_fixed(&mut self) -> Result<()> {
        let footer = Footer::parse(&self.input.take()?, Part::PrimaryFooter)?;
        if footer.image_type != ImageType::Fixed {
            return Err(broken(
                Part::PrimaryFooter,
                Rule::ImageType,
                footer.data_offset,
                u64::MAX,
            ));
        }
        if footer.current_size != self.info.virtual_size {
            return Err(broken(
                Part::PrimaryFooter,
                Rule::VirtualSize,
                footer.current_size,
                self.info.virtual_size,
            ));
        }
        self.info.uuid = footer.uuid;
        self.state = State::Ended;
        Ok(())
    }

    /// Looks for the footer behind the last block, over batmaps and locators that some writers put there.
    fn find_footer(&mut self) -> Result<()> {
        let start = self.input.position();
        let too_far = start + METADATA_GAP_LIMIT;
        while self.input.position() < too_far {
            let Some(sector) = self.input.take_or_end::<FOOTER_SIZE>()? else {
                let position = self.input.position();
                return Err(Error::Io {
                    action: "find the footer in the stream in",
                    offset: start,
                    length: position - start,
                    source: io::ErrorKind::UnexpectedEof.into(),
                });
            };
            if let Ok(footer) = Footer::parse(&sector, Part::PrimaryFooter)
                && footer.uuid == self.info.uuid
                && footer.current_size == self.info.virtual_size
                && footer.image_type == self.info.image_type
            {
                self.state = State::Ended;
                return Ok(());
            }
        }
        Err(broken(
            Part::PrimaryFooter,
            Rule::FileSize,
            self.input.position(),
            too_far,
        ))
    }
}

fn broken(part: Part, rule: Rule, found: u64, expected: u64) -> Error {
    Defect {
        part,
        rule,
        found,
        expected,
    }
    .into()
}

fn open_fixed<R: Read>(
    input: Input<R>,
    first: &[u8; FOOTER_SIZE],
    length: Option<u64>,
) -> Result<StreamReader<R>> {
    let size = length
        .unwrap_or(0)
        .checked_sub(FOOTER_SIZE as u64)
        .filter(|size| {
            (SECTOR_SIZE..=MAX_VIRTUAL_SIZE).contains(size) && size.is_multiple_of(SECTOR_SIZE)
        });
    let Some(virtual_size) = size else {
        return Err(Error::NotVhd {
            length: length.unwrap_or(0),
        });
    };
    Ok(StreamReader {
        input,
        info: StreamInfo {
            image_type: ImageType::Fixed,
            virtual_size,
            uuid: Uuid::nil(),
            parent: None,
            payload_bytes: virtual_size,
        },
        block_size: BLOCK_SIZE,
        plan: Vec::new(),
        next: 0,
        state: State::Fixed(0),
        buffer: first.to_vec(),
    })
}

fn open_dynamic<R: Read>(
    mut input: Input<R>,
    footer: &Footer,
    length: Option<u64>,
) -> Result<StreamReader<R>> {
    if footer.data_offset != HEADER_OFFSET {
        return Err(broken(
            Part::BackupFooter,
            Rule::DataOffset,
            footer.data_offset,
            HEADER_OFFSET,
        ));
    }
    let size = footer.current_size;
    if !(SECTOR_SIZE..=MAX_VIRTUAL_SIZE).contains(&size) || !size.is_multiple_of(SECTOR_SIZE) {
        return Err(broken(
            Part::BackupFooter,
            Rule::VirtualSize,
            size,
            MAX_VIRTUAL_SIZE,
        ));
    }
    let header_bytes: [u8; HEADER_SIZE] = input.take()?;
    let header = Header::parse(&header_bytes)?;
    let count = check_header(&header, size)?;
    input.skip_to(header.table_offset)?;
    let plan = read_table(&mut input, &header, count, length)?;
    let block_size = u64::from(header.block_size);
    Ok(StreamReader {
        input,
        info: StreamInfo {
            image_type: footer.image_type,
            virtual_size: size,
            uuid: footer.uuid,
            parent: (footer.image_type == ImageType::Differencing).then_some(header.parent_uuid),
            payload_bytes: plan.len() as u64 * (BITMAP_SIZE + block_size),
        },
        block_size,
        plan,
        next: 0,
        state: State::Between,
        buffer: Vec::new(),
    })
}

/// Checks what is needed to read the stream; says how many blocks the virtual size has.
fn check_header(header: &Header, size: u64) -> Result<u64> {
    let sizes = MIN_BLOCK_SIZE..=BLOCK_SIZE as u32;
    if !header.block_size.is_power_of_two() || !sizes.contains(&header.block_size) {
        return Err(broken(
            Part::Header,
            Rule::BlockSize,
            header.block_size.into(),
            BLOCK_SIZE,
        ));
    }
    let first = HEADER_OFFSET + HEADER_SIZE as u64;
    let places = first..=first + METADATA_GAP_LIMIT;
    if !places.contains(&header.table_offset) || !header.table_offset.is_multiple_of(SECTOR_SIZE) {
        return Err(broken(
            Part::Header,
            Rule::TableOffset,
            header.table_offset,
            first,
        ));
    }
    let count = size.div_ceil(header.block_size.into());
    if u64::from(header.entry_count) < count {
        return Err(broken(
            Part::Header,
            Rule::TableSize,
            header.entry_count.into(),
            count,
        ));
    }
    if u64::from(header.entry_count) > MAX_BLOCKS {
        return Err(Error::Unsupported {
            what: "a BAT of that many entries",
            found: header.entry_count.into(),
        });
    }
    Ok(count)
}

/// Reads the BAT and sorts it into the order of the stream.
fn read_table<R: Read>(
    input: &mut Input<R>,
    header: &Header,
    count: u64,
    length: Option<u64>,
) -> Result<Vec<(u32, u32)>> {
    let table_end = header.table_offset + u64::from(header.entry_count) * bat::ENTRY_SIZE;
    let mut plan = Vec::new();
    let mut left = count * bat::ENTRY_SIZE;
    let mut block = 0;
    let mut bytes = vec![0; TABLE_STEP as usize];
    while left > 0 {
        let step = left.min(TABLE_STEP);
        input.fill(&mut bytes[..step as usize])?;
        for entry in bat::parse(&bytes[..step as usize]) {
            if entry != UNALLOCATED {
                plan.push((entry, block));
            }
            block += 1;
        }
        left -= step;
    }
    input.skip_to(table_end.next_multiple_of(SECTOR_SIZE))?;
    plan.sort_unstable();
    let span = BITMAP_SIZE + u64::from(header.block_size);
    let mut end = table_end;
    for (entry, _) in &plan {
        let start = u64::from(*entry) * SECTOR_SIZE;
        if start < end {
            let rule = if end == table_end {
                Rule::BlockInMetadata
            } else {
                Rule::BlockOverlap
            };
            return Err(broken(Part::Bat, rule, start, end));
        }
        end = start + span;
    }
    if let Some(length) = length.filter(|length| end + FOOTER_SIZE as u64 > *length) {
        return Err(broken(
            Part::Bat,
            Rule::BlockPastEnd,
            end,
            length.saturating_sub(FOOTER_SIZE as u64),
        ));
    }
    Ok(plan)
}
