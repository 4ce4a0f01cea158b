//! An app gets the variables that it is given, and none that belong to other parts of the file.

use crate::site::ask;
use crate::support::Program;

const APP: &str = "
import os
def app(environ, start_response):
    body = ' '.join(f'{name}={value}' for name, value in sorted(os.environ.items()) if name.startswith(('SHOP_', 'BLOG_', 'LAYER_', 'FREE_', 'PLACE_', 'TLS_'))).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
";

/// What a shop and a blog see, with these further options of the blog.
fn seen(options: &str) -> (String, String) {
    let pipeline = format!(
        r#"{{ "listen": ["127.0.0.1:${{PLACE_PORT}}", {{ "at": "127.0.0.1:0", "tls": {{ "cert": "${{TLS_NAME}}.pem", "key": "${{TLS_NAME}}.key" }} }}],
             "layers": [{{ "headers": {{ "response": {{ "set": {{ "x-key": "${{LAYER_KEY}}" }} }} }} }}],
             "app": {{ "routes": [
                 {{ "match": {{ "path": "/shop" }}, "app": {{ "wsgi": {{ "app": "env_app:app", "workers": 1, "env": {{ "SHOP_URL": "db:${{SHOP_PASSWORD}}" }} }} }} }},
                 {{ "app": {{ "wsgi": {{ "app": "env_app:app", "workers": 1, "env": {{ "BLOG_URL": "${{BLOG_PASSWORD:-none}}" }} {options} }} }} }}
             ] }} }}"#
    );
    let variables = [
        ("PLACE_PORT", "0"),
        ("LAYER_KEY", "k"),
        ("SHOP_PASSWORD", "s"),
        ("BLOG_PASSWORD", "b"),
        ("FREE_ONE", "f"),
        ("FREE_TWO", "g"),
        ("TLS_NAME", "site"),
    ];
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [("env_app.py", APP), ("site.pem", &pair.cert.pem()), ("site.key", &pair.signing_key.serialize_pem())];
    let program = Program::start_with(&pipeline, &files, &variables);
    (ask(program.address(), "/shop").1, ask(program.address(), "/blog").1)
}

#[test]
fn variables_that_other_parts_of_the_file_use_are_withheld() {
    let (shop, blog) = seen("");
    assert_eq!(shop, "FREE_ONE=f FREE_TWO=g PLACE_PORT=0 SHOP_PASSWORD=s SHOP_URL=db:s");
    assert_eq!(blog, "BLOG_PASSWORD=b BLOG_URL=b FREE_ONE=f FREE_TWO=g PLACE_PORT=0");
}

#[test]
fn an_app_can_be_given_all_variables_or_a_list() {
    let (_, blog) = seen(r#", "inherit": "all""#);
    assert_eq!(blog, "BLOG_PASSWORD=b BLOG_URL=b FREE_ONE=f FREE_TWO=g LAYER_KEY=k PLACE_PORT=0 SHOP_PASSWORD=s TLS_NAME=site");
    let (_, blog) = seen(r#", "inherit": ["FREE_T*", "PLACE_PORT"]"#);
    assert_eq!(blog, "BLOG_URL=b FREE_TWO=g PLACE_PORT=0");
    let (_, blog) = seen(r#", "inherit": []"#);
    assert_eq!(blog, "BLOG_URL=b");
}
