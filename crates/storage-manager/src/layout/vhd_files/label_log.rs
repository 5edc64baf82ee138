//! Names and snapshot links of VDIs, kept beside the images: an SR that is introduced from nothing but its medium gets them
//! back. XenServer keeps none on file SRs, and never looks at this file.
//!
//! The file is a log of lines as `label_lines` has them.
//!
//! The last line of a VDI counts. What is no such line is left out, so that a line which a crash tore costs nothing but itself.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::names::{EntryKind, LABELS_NAME, classify, temporary_name};
use crate::layout::label_lines::{LINE_MAX, Line, sr_line, vdi_line};
use crate::medium::files::{Access, Files, MAX_ENTRIES, MediumFile};
use crate::sr::{KeptLabels, SrLabels, VdiLabels};

/// Bytes of the largest log that is read.
const LOG_MAX: u64 = 512 << 20;

/// VDIs that are kept in memory of a log; lines of others are left out. More than an SR has, with those that are gone.
const VDIS_MAX: usize = 2 * MAX_ENTRIES + SPARE_LINES;

/// Lines beside twice those that count, from which on the log is written anew.
const SPARE_LINES: usize = 1024;

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// How long lines may wait for the next flush. The records of the SR have what they say; the scan that follows an attach
/// writes what a power cut took.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// The log of one SR.
#[derive(Debug)]
pub struct LabelLog {
    files: Arc<dyn Files>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None before the first change.
    open: Option<OpenLog>,
}

#[derive(Debug)]
struct OpenLog {
    file: Arc<dyn MediumFile>,
    length: u64,
    lines: usize,
    /// Lines that counted when they were last counted.
    counted: usize,
    /// When the first line was written that was not flushed.
    unflushed_since: Option<Instant>,
}

/// What a reader of the log finds.
#[derive(Debug, Default)]
struct Found {
    sr: Option<SrLabels>,
    vdis: HashMap<Uuid, VdiLabels>,
    lines: usize,
    length: u64,
    /// True when the last line has no end.
    is_torn: bool,
}

impl LabelLog {
    /// The log among these files; nothing is read or made yet.
    pub fn new(files: Arc<dyn Files>) -> Self {
        LabelLog {
            files,
            state: Mutex::default(),
        }
    }

    /// What the log says; nothing where there is none.
    ///
    /// # Errors
    /// `Io`, of the kind `FileTooLarge` for a log of more than 512 MiB.
    pub fn read(&self) -> io::Result<KeptLabels> {
        let _alone = self.lock();
        let file = match self.files.open_file(LABELS_NAME, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(KeptLabels::default());
            }
            other => other?,
        };
        let found = read_lines(&*file)?;
        Ok(KeptLabels {
            sr: found.sr,
            vdis: found.vdis.into_values().collect(),
        })
    }

    /// Adds lines.
    ///
    /// # Durability
    /// They survive this process at once, and a power cut when [`LabelLog::flush`] has returned or the next lines came a
    /// second later.
    pub fn append(&self, sr: Option<&SrLabels>, vdis: &[VdiLabels]) -> io::Result<()> {
        let mut state = self.lock();
        let mut open = match state.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let mut text = String::new();
        let lines = sr.map(sr_line).into_iter().chain(vdis.iter().map(vdi_line));
        for line in lines {
            text.push_str(&line);
            text.push('\n');
            open.lines += 1;
        }
        // Whatever fails below, the next call opens the log anew and sees what is there.
        open.file.write_at(text.as_bytes(), open.length)?;
        open.length += text.len() as u64;
        let since = *open.unflushed_since.get_or_insert_with(Instant::now);
        if open.lines > 2 * open.counted + SPARE_LINES {
            open = self.compact(&open)?;
        } else if since.elapsed() >= FLUSH_AFTER {
            open.file.flush()?;
            open.unflushed_since = None;
        }
        state.open = Some(open);
        Ok(())
    }

    /// Puts what was added on stable storage.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(open) = &mut state.open
            && open.unflushed_since.is_some()
        {
            open.file.flush()?;
            open.unflushed_since = None;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> io::Result<OpenLog> {
        match self.files.open_file(LABELS_NAME, Access::ReadWrite) {
            Ok(file) => {
                let found = read_lines(&*file)?;
                let mut length = found.length;
                if found.is_torn {
                    file.write_at(b"\n", length)?;
                    length += 1;
                }
                Ok(OpenLog {
                    file,
                    length,
                    lines: found.lines,
                    counted: found.vdis.len(),
                    unflushed_since: None,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = self.files.create_file(LABELS_NAME)?;
                self.files.sync()?;
                Ok(OpenLog {
                    file,
                    length: 0,
                    lines: 0,
                    counted: 0,
                    unflushed_since: None,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a log that has one line for each VDI that the medium has, in the place of this one.
    ///
    /// Write order: the new file, flushed, then the change of names, synced. A crash leaves one or the other; what is left of
    /// a new file under its temporary name is swept when the SR is attached.
    fn compact(&self, old: &OpenLog) -> io::Result<OpenLog> {
        let found = read_lines(&*old.file)?;
        let images: HashSet<Uuid> = self
            .files
            .entries()?
            .iter()
            .filter_map(|entry| match classify(entry) {
                EntryKind::Image(name) => Some(name.uuid),
                EntryKind::SrFile => super::names::cbt_log_of(entry),
                _ => None,
            })
            .collect();
        let mut text = String::new();
        let mut lines = 0;
        let kept = found.vdis.values().filter(|vdi| images.contains(&vdi.uuid));
        for line in found.sr.iter().map(sr_line).chain(kept.map(vdi_line)) {
            text.push_str(&line);
            text.push('\n');
            lines += 1;
        }
        let temporary = temporary_name(LABELS_NAME);
        let file = self.files.create_file(&temporary)?;
        let written = file
            .write_at(text.as_bytes(), 0)
            .and_then(|()| file.flush())
            .and_then(|()| self.files.replace(&temporary, LABELS_NAME));
        if let Err(error) = written {
            // It is swept when the SR is attached, if not now.
            let _ = self.files.remove(&temporary);
            return Err(error);
        }
        self.files.sync()?;
        Ok(OpenLog {
            file,
            length: text.len() as u64,
            lines,
            counted: lines,
            unflushed_since: None,
        })
    }
}

fn read_lines(file: &dyn MediumFile) -> io::Result<Found> {
    let length = file.len()?;
    if length > LOG_MAX {
        let text = format!(
            "{LABELS_NAME} has {length} bytes, more than {LOG_MAX}; remove it: the next scan writes it anew"
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let mut found = Found {
        length,
        ..Found::default()
    };
    let mut line = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let step = (length - at).min(CHUNK as u64) as usize;
        file.read_at(&mut buffer[..step], at)?;
        at += step as u64;
        for part in buffer[..step].split_inclusive(|byte| *byte == b'\n') {
            // Of a line that is too long to be one, the start is enough to know that it is none.
            if line.len() <= LINE_MAX {
                line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                found.take(&line);
                line.clear();
            }
        }
    }
    found.is_torn = !line.is_empty();
    Ok(found)
}

impl Found {
    fn take(&mut self, line: &[u8]) {
        self.lines += 1;
        match Line::parse(line) {
            Some(Line::Sr(sr)) => self.sr = Some(sr),
            Some(Line::Vdi(vdi))
                if self.vdis.len() < VDIS_MAX || self.vdis.contains_key(&vdi.uuid) =>
            {
                self.vdis.insert(vdi.uuid, vdi);
            }
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::label_lines::TEXT_MAX;
    use crate::layout::vhd_files::names::ImageName;
    use crate::medium::directory::Directory;

    fn labels(n: u128, name: &str) -> VdiLabels {
        VdiLabels {
            uuid: Uuid::from_u128(n),
            name_label: name.to_owned(),
            name_description: "a \"line\"\nand another".to_owned(),
            vdi_type: "user".to_owned(),
            is_a_snapshot: n > 1,
            snapshot_of: (n > 1).then(|| Uuid::from_u128(1)),
            snapshot_time: 1_700_000_000,
            read_only: false,
            managed: true,
        }
    }

    fn open(dir: &tempfile::TempDir) -> LabelLog {
        LabelLog::new(Arc::new(Directory::open(dir.path()).unwrap()))
    }

    fn read(log: &LabelLog) -> Vec<VdiLabels> {
        let mut vdis = log.read().unwrap().vdis;
        vdis.sort_by_key(|vdi| vdi.uuid);
        vdis
    }

    #[test]
    fn the_last_line_of_a_vdi_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open(&dir).read().unwrap(), KeptLabels::default());
        let log = open(&dir);
        let sr = SrLabels {
            name_label: "gold".to_owned(),
            name_description: String::new(),
        };
        log.append(Some(&sr), &[labels(1, "first"), labels(2, "snapshot")])
            .unwrap();
        log.append(None, &[labels(1, "renamed")]).unwrap();
        log.flush().unwrap();
        let again = open(&dir);
        assert_eq!(again.read().unwrap().sr, Some(sr));
        assert_eq!(read(&again), [labels(1, "renamed"), labels(2, "snapshot")]);
    }

    #[test]
    fn torn_and_foreign_lines_cost_nothing_but_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        log.append(None, &[labels(1, "first")]).unwrap();
        drop(log);
        let path = dir.path().join(LABELS_NAME);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            let mut torn = b"not a line\n[]\n{\"vdi\":3}\n\0\0\0\n".to_vec();
            torn.extend(std::iter::repeat_n(b'x', 2 * LINE_MAX));
            torn.push(b'\n');
            torn.extend_from_slice(&whole);
            torn.extend_from_slice(&whole[..cut]);
            std::fs::write(&path, torn).unwrap();
            let log = open(&dir);
            log.append(None, &[labels(2, "second")]).unwrap();
            assert_eq!(
                read(&log),
                [labels(1, "first"), labels(2, "second")],
                "{cut}"
            );
        }
    }

    #[test]
    fn it_is_written_anew_without_vdis_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let there = ImageName::vhd(Uuid::from_u128(1)).file_name();
        std::fs::write(dir.path().join(there), b"").unwrap();
        let log = open(&dir);
        log.append(None, &[labels(1, "there"), labels(2, "gone")])
            .unwrap();
        for n in 0..2 * SPARE_LINES {
            log.append(None, &[labels(1, &format!("there {n}"))])
                .unwrap();
        }
        let size = std::fs::metadata(dir.path().join(LABELS_NAME))
            .unwrap()
            .len();
        assert!(size < 2 * SPARE_LINES as u64 * 200, "{size}");
        let last = labels(1, &format!("there {}", 2 * SPARE_LINES - 1));
        assert_eq!(read(&log), [last]);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_log_of_more_vdis_than_an_sr_can_have_costs_bounded_memory() {
        let mut found = Found::default();
        for n in 0..VDIS_MAX as u128 + 10 {
            found.take(format!("{{\"vdi\":\"{}\"}}\n", Uuid::from_u128(n)).as_bytes());
        }
        assert_eq!(found.vdis.len(), VDIS_MAX);
        found.take(vdi_line(&labels(1, "first")).as_bytes());
        assert_eq!(found.vdis[&Uuid::from_u128(1)], labels(1, "first"));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        log.append(None, &[labels(1, &"\u{e4}\0".repeat(TEXT_MAX))])
            .unwrap();
        let kept = read(&log);
        assert!(kept[0].name_label.len() <= TEXT_MAX);
        assert!(kept[0].name_label.starts_with("\u{e4}\0\u{e4}"));
    }
}
