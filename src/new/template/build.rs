//! Tells the linker where libpython lies, so that the program finds it without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Said by Ziggurat's own build script, where a program is built and not a Python extension.
    if let Ok(folder) = std::env::var("DEP_ZIGGURAT_RPATH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
