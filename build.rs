//! Tells the linker where libpython lies, so that programs find it without `LD_LIBRARY_PATH`: the one of this crate, and by
//! `DEP_ZIGGURAT_RPATH` the build scripts of crates that depend on it, for such arguments are not inherited.

fn main() {
    // The Python extension is loaded by an interpreter that already is in the process.
    println!("cargo:rerun-if-env-changed=PYO3_BUILD_EXTENSION_MODULE");
    if std::env::var_os("PYO3_BUILD_EXTENSION_MODULE").is_none() {
        pyo3_build_config::add_libpython_rpath_link_args();
        if let Some(folder) = pyo3_build_config::get().lib_dir() {
            println!("cargo:rpath={folder}");
        }
    }
}
