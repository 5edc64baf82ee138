//! Raw images as parents: snapshots of raw VDIs, and merging into raw parents, on a medium that notes which are hidden.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::SystemTime;

use vhd::Storage;

use super::*;
use crate::gc::{ImageStore, Outcome, SrPolicy, Work, plan};
use crate::io::lock::LockMode;
use crate::layout::vhd_files::FileChains;
use crate::medium::files::{Access, FileId, Files, MediumFile};
use crate::sr::SrSpace;

const VDI: Uuid = Uuid::from_u128(1);
const SNAPSHOT: Uuid = Uuid::from_u128(2);
const AT: u64 = 3 * MIB;

/// Which raw files are hidden, as a volume group has it in tags.
type Hidden = Arc<Mutex<BTreeSet<FileId>>>;

/// A directory that notes which raw files are hidden. It outlives the layout on it, as a medium does.
#[derive(Debug)]
struct RawFiles {
    files: Directory,
    hidden: Hidden,
}

#[derive(Debug)]
struct RawFile {
    file: Arc<dyn MediumFile>,
    hidden: Hidden,
}

impl RawFiles {
    fn new(path: &Path) -> Arc<Self> {
        Arc::new(RawFiles {
            files: Directory::open(path).unwrap(),
            hidden: Hidden::default(),
        })
    }

    fn wrap(&self, file: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        let hidden = self.hidden.clone();
        Arc::new(RawFile { file, hidden })
    }
}

impl Files for RawFiles {
    fn path(&self) -> &Path {
        Files::path(&self.files)
    }
    fn entries(&self) -> io::Result<Vec<String>> {
        Files::entries(&self.files)
    }
    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn MediumFile>> {
        Ok(self.wrap(Files::open_file(&self.files, name, access)?))
    }
    fn create_file(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        Ok(self.wrap(Files::create_file(&self.files, name)?))
    }
    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        Files::publish(&self.files, from, to)
    }
    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        Files::replace(&self.files, from, to)
    }
    fn remove(&self, name: &str) -> io::Result<bool> {
        Files::remove(&self.files, name)
    }
    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        Files::id_of(&self.files, name)
    }
    fn is_directory(&self, name: &str) -> io::Result<bool> {
        Files::is_directory(&self.files, name)
    }
    fn has_raw_operations(&self) -> bool {
        true
    }
    fn sync(&self) -> io::Result<()> {
        Files::sync(&self.files)
    }
    fn space(&self) -> io::Result<SrSpace> {
        Files::space(&self.files)
    }
}

impl Storage for RawFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
    fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }
}

impl MediumFile for RawFile {
    fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }
    fn modified(&self) -> io::Result<SystemTime> {
        self.file.modified()
    }
    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        self.file.try_lock(mode)
    }
    fn unlock(&self) {
        self.file.unlock();
    }
    fn is_hidden(&self) -> io::Result<bool> {
        Ok(self.hidden.lock().unwrap().contains(&self.file.id()?))
    }
    fn set_hidden(&self, hidden: bool) -> io::Result<()> {
        fault::point("raw: mark")?;
        let id = self.file.id()?;
        let mut marked = self.hidden.lock().unwrap();
        match hidden {
            true => drop(marked.insert(id)),
            false => drop(marked.remove(&id)),
        }
        Ok(())
    }
}

fn attach(files: &Arc<RawFiles>) -> Arc<FileChains> {
    FileChains::new(Arc::new(VhdDirectory::new(files.clone()).unwrap()))
}

/// A raw VDI with some bytes.
fn raw_vdi(path: &Path) -> Arc<RawFiles> {
    let files = RawFiles::new(path);
    let chains = attach(&files);
    let images = chains.images();
    images.create(&new_image(1, ImageFormat::Raw)).unwrap();
    write(images, VDI, b"raw bytes", AT);
    files
}

/// The same with a snapshot that was removed, and something written since: it is to be merged into raw bytes.
fn raw_parent(path: &Path) -> Arc<RawFiles> {
    let files = raw_vdi(path);
    let chains = attach(&files);
    let images = chains.images();
    snapshot(images, VDI, SNAPSHOT).unwrap();
    write(images, VDI, b"RAW", AT);
    write(images, VDI, b"behind", 9 * MIB);
    images.remove(SNAPSHOT).unwrap();
    files
}

fn next_work(chains: &FileChains) -> Option<Work> {
    let images = ImageStore::images(chains).unwrap();
    let plan = plan(&images, SrPolicy::default(), &Default::default());
    plan.work.first().copied()
}

fn run(chains: &FileChains, work: &Work) -> Result<Outcome, crate::gc::StepError> {
    chains.run(work, &Arc::default())
}

/// The VDI's image, and whether every image is sound and no file is left over.
fn image_of(path: &Path, images: &VhdDirectory) -> ImageName {
    let survey = images.survey().unwrap();
    assert!(survey.damaged.is_empty(), "{:#?}", survey.damaged);
    let files: Vec<String> = survey.images.keys().map(ImageName::file_name).collect();
    assert_eq!(names(path), files, "something was left over");
    for (name, image) in &survey.images {
        let has_child = survey.tree.child_of(*name).is_some();
        assert_eq!(has_child, image.hidden, "{name:?}");
    }
    let known = images.with_tree(|tree| tree.nodes().clone()).unwrap();
    assert_eq!(&known, survey.tree.nodes());
    let mut own = survey.images.keys().filter(|name| name.uuid == VDI);
    *own.next().unwrap()
}

#[test]
fn a_snapshot_of_a_raw_vdi_makes_it_a_vhd_on_raw_bytes() {
    let dir = testkit::scratch::directory();
    let files = raw_vdi(dir.path());
    let chains = attach(&files);
    let images = chains.images();
    let before = content(images, VDI);
    let reader = images.open(VDI, OpenMode::ReadOnly).unwrap();
    let branched = snapshot(images, VDI, SNAPSHOT).unwrap();
    assert_eq!(branched.source.sm_config.get("type"), None);
    let base = branched.base.unwrap();
    assert!(!base.managed && base.sm_config["type"] == "raw");
    assert_eq!(image_of(dir.path(), images), ImageName::vhd(VDI));
    let mut bytes = [0; 9];
    reader.read_at(&mut bytes, AT).unwrap();
    assert_eq!(&bytes, b"raw bytes");
    drop(reader);
    write(images, VDI, b"new", AT);
    assert!(content(images, SNAPSHOT) == before);
    assert_eq!(&content(images, VDI)[AT as usize..][..9], b"new bytes");
    snapshot(images, VDI, Uuid::from_u128(3)).unwrap();
    let link = vhd::image::parent_link(&storage(dir.path(), ImageName::vhd(SNAPSHOT)));
    assert!(link.unwrap().unwrap().is_raw());
    // Its own snapshot's content again.
    images.revert(VDI, SNAPSHOT).unwrap();
    assert!(content(images, VDI) == before);
}

#[test]
fn raw_vdis_that_are_written_or_cannot_be_hidden_have_no_snapshots() {
    let dir = testkit::scratch::directory();
    let files = raw_vdi(dir.path());
    let chains = attach(&files);
    let writer = chains.images().open(VDI, OpenMode::ReadWrite).unwrap();
    let error = snapshot(chains.images(), VDI, SNAPSHOT).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(writer);
    drop(chains);
    let images = open(dir.path());
    let error = snapshot(&images, VDI, SNAPSHOT).unwrap_err();
    assert!(matches!(error, Error::Raw { .. }), "{error}");
    assert_eq!(names(dir.path()), [ImageName::raw(VDI).file_name()]);
}

#[test]
fn a_leaf_is_merged_into_raw_bytes_when_nobody_has_it_open() {
    let dir = testkit::scratch::directory();
    let files = raw_parent(dir.path());
    let chains = attach(&files);
    let before = content(chains.images(), VDI);
    let writer = chains.images().open(VDI, OpenMode::ReadWrite).unwrap();
    assert_eq!(next_work(&chains), None);
    writer.close().unwrap();
    chains.images().enable_cbt(VDI).unwrap();
    assert_eq!(next_work(&chains), None);
    chains.images().disable_cbt(VDI).unwrap();
    let work = next_work(&chains).unwrap();
    assert!(matches!(work, Work::Leaf { vdi: VDI, .. }));
    assert_eq!(run(&chains, &work).unwrap(), Outcome::Done);
    assert_eq!(image_of(dir.path(), chains.images()), ImageName::raw(VDI));
    assert_eq!(names(dir.path()).len(), 1);
    assert!(content(chains.images(), VDI) == before);
    assert_eq!(next_work(&chains), None);
    // It can be written and snapshot as any raw VDI.
    write(chains.images(), VDI, b"again", AT);
    snapshot(chains.images(), VDI, SNAPSHOT).unwrap();
    assert_eq!(
        &content(chains.images(), SNAPSHOT)[AT as usize..][..5],
        b"again"
    );
}

/// A snapshot, and a merge, with an error and with a death at each of their points; then all is as before or done, and the
/// same can be done again.
#[test]
fn what_is_cut_off_is_undone_or_finished() {
    type Scene = fn(&Path) -> Arc<RawFiles>;
    type Step = fn(&FileChains) -> bool;
    let branch: Step = |chains| snapshot(chains.images(), VDI, SNAPSHOT).is_ok();
    let merge: Step = |chains| match next_work(chains) {
        Some(work) => run(chains, &work).is_ok_and(|outcome| outcome == Outcome::Done),
        None => false,
    };
    let scenes: [(Scene, Step); 2] = [(raw_vdi, branch), (raw_parent, merge)];
    for (scene, step) in scenes {
        let dir = testkit::scratch::directory();
        let chains = attach(&scene(dir.path()));
        let points = fault::count(|| assert!(step(&chains)));
        assert!(points.len() > 8, "{points:?}");
        for (index, point) in points.iter().enumerate() {
            for death in [false, true] {
                let context = format!("{index} {point}, death: {death}");
                let dir = testkit::scratch::directory();
                let files = scene(dir.path());
                let chains = attach(&files);
                let before = content(chains.images(), VDI);
                match death {
                    true => fault::crash_at(index, || step(&chains)),
                    false => drop(fault::fail_at(index, 5, || step(&chains))),
                }
                drop(chains);
                let chains = attach(&files);
                let images = chains.images();
                image_of(dir.path(), images);
                assert!(content(images, VDI) == before, "{context}");
                if images.stat(SNAPSHOT).is_ok() {
                    assert!(content(images, SNAPSHOT) == before, "{context}");
                    images.remove(SNAPSHOT).unwrap();
                }
                write(images, VDI, b"later", AT);
                while let Some(work) = next_work(&chains) {
                    assert_eq!(run(&chains, &work).unwrap(), Outcome::Done, "{context}");
                }
                assert_eq!(&content(images, VDI)[AT as usize..][..5], b"later");
                assert_eq!(
                    image_of(dir.path(), images),
                    ImageName::raw(VDI),
                    "{context}"
                );
            }
        }
    }
}
