"""A site that knows its user only by REMOTE_USER, with a page that tries things out in a browser."""

PAGE = """<!doctype html><title>site</title><p id=user>%s</p><p id=groups>%s</p><p id=seen>%s</p><pre id=log></pre><script>
const log = (...words) => document.getElementById('log').textContent += words.join(' ') + '\\n';
const api = async () => (await fetch('/api')).status;
(async () => {
  log('scripts see', JSON.stringify(document.cookie));
  log('api', await api());
  if (location.pathname === '/logout-page') {
    const out = await fetch('/oidc/logout', { method: 'POST', redirect: 'manual' });
    log('logout', out.type);
    log('api after the logout', await api());
  }
  if (location.pathname === '/expiry-page') {
    let status = 200;
    for (let tried = 0; status === 200 && tried < 100000; tried++) status = await api();
    log('api after the end', status);
  }
  log('done');
})();
</script>"""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    user = environ.get("REMOTE_USER", "nobody") + " by " + environ.get("AUTH_TYPE", "nothing")
    seen = environ.get("HTTP_COOKIE", "no cookie") + " at " + environ["REQUEST_URI"]
    return [(PAGE % (user, environ.get("HTTP_X_GROUPS"), seen)).encode()]
