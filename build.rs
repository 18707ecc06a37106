//! Link options that Cargo.toml cannot hold: in release builds the debug information, which gives profiles their functions, files and lines, is
//! compressed to about a third. Linkers and debuggers read it as it is.

fn main() {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
