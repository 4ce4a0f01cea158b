<?php
// The same two answers as hello.py and browser.py give, from PHP.
if (($_SERVER['PATH_INFO'] ?? '') === '') {
    header('Content-Type: text/plain');
    echo 'Hello, world!';
    return;
}
[$_SERVER['PATH_INFO'], $_SERVER['QUERY_STRING'], $_SERVER['HTTP_COOKIE'], $_SERVER['HTTP_ACCEPT_LANGUAGE']];
header('Content-Type: text/html; charset=utf-8');
header('Cache-Control: private, max-age=0');
header('Vary: Cookie, Accept-Language');
header('X-Frame-Options: DENY');
header('X-Content-Type-Options: nosniff');
header('Referrer-Policy: same-origin');
header('Set-Cookie: csrftoken=Zz0123456789abcdefghijklmnopqrst; Path=/; SameSite=Lax');
echo str_pad('<!doctype html><title>page</title>', 2048, '.');
