//! The front's end of the link to one worker.
