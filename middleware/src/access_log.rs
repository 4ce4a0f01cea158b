//! `access_log`: one line per request.
