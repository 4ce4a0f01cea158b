//! A log event as text.

use std::fmt::{self, Display, Write};

use tracing::field::{Field, Visit};

/// `request_id=... place=... message`. The fields come first, because a message may have many lines, such as a traceback.
#[derive(Clone, Debug, Default)]
pub struct LogLine {
    fields: String,
    message: String,
}

impl LogLine {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            name => write!(self.fields, "{name}={value} "),
        };
    }
}

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }
}

impl Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.fields, self.message)
    }
}
