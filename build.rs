//! What Cargo.toml cannot hold: link options, and the list of the console's files.
//!
//! In release builds the debug information, which gives profiles their functions, files and lines, is compressed to about a third; linkers and
//! debuggers read it as it is. The console's files become a table of paths and gzipped contents, so that a new file is served without being named
//! twice, and the binary holds a third of their size.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const CONSOLE: &str = "src/control/admin/console";
/// What is served; licences and notes beside them are not.
const SERVED: [&str; 4] = ["html", "js", "css", "svg"];

fn main() {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={CONSOLE}");
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join(CONSOLE);
    let mut files = Vec::new();
    gather(&root, &mut files);
    files.sort();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut table = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        let name = file.strip_prefix(&root).expect("it was found below").to_string_lossy().replace('\\', "/");
        let packed = out.join(format!("console-{number}.gz"));
        std::fs::write(&packed, gzipped(file)).expect("the build's own folder can be written");
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", packed.to_string_lossy()).expect("a string takes every text");
    }
    table.push(']');
    std::fs::write(out.join("console_files.rs"), table).expect("the build's own folder can be written");
}

fn gzipped(file: &Path) -> Vec<u8> {
    let plain = std::fs::read(file).expect("the console's files can be read");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&plain).and_then(|()| encoder.finish()).expect("a vector takes everything")
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|extension| SERVED.iter().any(|served| extension == *served)) {
            files.push(path);
        }
    }
}
