//! Programs with the libraries that they are linked to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tool;

/// Where programs and libraries lie in a package or a system.
const PROGRAM_DIRECTORIES: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];
const LIBRARY_DIRECTORIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// The files that programs need in the guest, by their path there.
///
/// A program is taken from the unpacked packages, else from this machine; so are libraries.
///
/// # Panics
/// When a program or one of its libraries is not found.
pub fn with_libraries(packages: &Path, names: &[String]) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for name in names {
        let roots = [packages, Path::new("/")];
        let places = roots
            .iter()
            .flat_map(|root| PROGRAM_DIRECTORIES.map(|directory| root.join(directory).join(name)));
        let mut found = places.filter(|path| path.is_file());
        let program = found
            .next()
            .unwrap_or_else(|| panic!("{name} is neither in the guest's packages nor here"));
        add_libraries(packages, &program, &mut files);
        files.insert(format!("bin/{name}"), program);
    }
    files
}

/// Adds the libraries that a program is linked to, by their path in the guest.
///
/// # Panics
/// When one of them is not found.
pub fn add_libraries(packages: &Path, program: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for library in libraries(packages, program) {
        let file_name = library.file_name().expect("a library is a file");
        let file_name = file_name.to_string_lossy();
        // The loader's path is written into each program.
        let place = match file_name.starts_with("ld-linux") {
            true => format!("lib64/{file_name}"),
            false => format!("lib/{file_name}"),
        };
        files.insert(place, library);
    }
}

/// The content of a program without its symbols and debug information, which are most of it.
///
/// # Panics
/// When `strip` fails.
pub fn stripped(program: &Path) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let small = directory.path().join("program");
    let mut strip = Command::new("strip");
    strip.args(["--strip-all", "-o"]).arg(&small).arg(program);
    tool::run(&mut strip);
    std::fs::read(&small).unwrap_or_else(|cause| panic!("read {}: {cause}", small.display()))
}

fn libraries(packages: &Path, program: &Path) -> Vec<PathBuf> {
    let path = LIBRARY_DIRECTORIES.map(|directory| packages.join(directory).display().to_string());
    let output = Command::new("ldd")
        .arg(program)
        .env("LD_LIBRARY_PATH", path.join(":"))
        .output()
        .expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut libraries = Vec::new();
    for line in text.lines() {
        assert!(
            !line.contains("not found"),
            "{} needs {}; add its package to the guest's",
            program.display(),
            line.trim()
        );
        let words = line.split_whitespace();
        libraries.extend(
            words
                .filter(|word| word.starts_with('/'))
                .map(PathBuf::from),
        );
    }
    libraries
}
