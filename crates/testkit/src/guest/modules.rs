//! Kernel modules and what they need, read from the modules themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of one kernel.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
}

fn module_name(path: &Path) -> Option<String> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".ko")?;
    Some(stem.replace('-', "_"))
}

impl Modules {
    /// The modules below `lib/modules/<version>`.
    pub fn of(directory: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut directories = vec![directory.join("kernel")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
        let builtin = builtin.lines().map(Path::new).filter_map(module_name);
        Modules {
            files,
            builtin: builtin.collect(),
        }
    }

    /// The files to load for these modules, in an order in which each finds what it needs.
    ///
    /// # Panics
    /// When the kernel lacks one of them.
    pub fn load_order(&self, names: &[String]) -> Vec<PathBuf> {
        let mut order = Vec::new();
        for name in names {
            self.add(name, &mut order);
        }
        order
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) {
            return;
        }
        let path = self.files.get(&name);
        let path = path.unwrap_or_else(|| panic!("the guest's kernel has no module {name}"));
        if order.contains(path) {
            return;
        }
        for needed in dependencies(path) {
            self.add(&needed, order);
        }
        order.push(path.clone());
    }
}

/// The field `depends=` of a module's `.modinfo`: names with commas between them, up to a zero byte.
fn dependencies(path: &Path) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let bytes = fs::read(path).unwrap_or_else(|cause| panic!("read {}: {cause}", path.display()));
    let begin = bytes
        .windows(FIELD.len())
        .position(|window| window == FIELD);
    let Some(begin) = begin else {
        return Vec::new();
    };
    let field = &bytes[begin + FIELD.len()..];
    let field = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(field);
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}
