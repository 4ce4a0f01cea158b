//! `static_files`: `static`: files of a folder.
