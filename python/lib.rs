//! `ziggurat._native`: the program as it comes, as a Python extension.

ziggurat::python_module!(_native, ziggurat::Ziggurat::new);
