//! An app that waits for its test, for what happens to a request under way.

/// A module `slow` whose app makes the file `started`, waits until there is a file `go`, and answers `done`.
pub(crate) const SLOW: (&str, &str) = (
    "slow.py",
    "import os, time\n\
     def lingering_here():\n\
     \x20   open('started', 'w').close()\n\
     \x20   while not os.path.exists('go'): time.sleep(0.01)\n\
     def app(environ, start_response):\n\
     \x20   lingering_here()\n\
     \x20   start_response('200 OK', [('Content-Length', '4')])\n\
     \x20   return [b'done']\n",
);
