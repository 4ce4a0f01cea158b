//! The WSGI bridge (PEP 3333): the only folder that uses pyo3.
