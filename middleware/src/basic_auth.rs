//! `basic_auth`: asks for a user name and password.
