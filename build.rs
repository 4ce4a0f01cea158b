//! Tells the linker where libpython lies, so that the program finds it without `LD_LIBRARY_PATH`.

fn main() {
    // The Python extension is loaded by an interpreter that already is in the process.
    println!("cargo:rerun-if-env-changed=PYO3_BUILD_EXTENSION_MODULE");
    if std::env::var_os("PYO3_BUILD_EXTENSION_MODULE").is_none() {
        pyo3_build_config::add_libpython_rpath_link_args();
    }
}
