//! What can stand at the bottom of a stack besides a WSGI app: `routes`, `respond`, `redirect`.
