//! Hostile files, and values one by one.

use proptest::prelude::*;

use super::python::{Names, evaluate};
use super::value::Value;
use super::*;

#[test]
fn expressions_are_read_without_running_them() {
    let names = Names::from([("port".to_owned(), Value::Int(8000))]);
    let text = |text: &str| Value::Text(text.to_owned());
    let cases = [
        ("2 * 60 + 1", Value::Int(121)),
        ("10 - 2 - 3", Value::Int(5)),
        ("-1", Value::Int(-1)),
        ("0o007", Value::Int(7)),
        ("'a' \"b\"", text("ab")),
        ("r'\\d$'", text("\\d$$")),
        ("f'0.0.0.0:{port}'", text("0.0.0.0:8000")),
        ("'0.0.0.0:' + str(port)", text("0.0.0.0:8000")),
        ("'[::]:' + os.environ.get('PORT', '8000')", text("[::]:${PORT:-8000}")),
        ("f\"0.0.0.0:{os.environ.get('PORT', 8000)}\"", text("0.0.0.0:${PORT:-8000}")),
        ("int(os.getenv('WEB_CONCURRENCY') or 4)", text("${WEB_CONCURRENCY:-4}")),
        ("os.environ['WORKERS']", text("${WORKERS}")),
        ("multiprocessing.cpu_count() * 2 + 1", Value::Cores),
        ("min((os.cpu_count() or 1) * 2, 8)", Value::Cores),
        ("[\"a=1\", 'b']", Value::List(vec![text("a=1"), text("b")])),
        ("('a',)", Value::List(vec![text("a")])),
        ("{'X': 'y'}", Value::Dict(vec![(text("X"), text("y"))])),
        ("None", Value::None),
        ("ssl.CERT_REQUIRED", Value::Int(2)),
    ];
    for (expression, expected) in cases {
        assert_eq!(evaluate(expression, &names), expected, "{expression}");
    }
    for code in [
        "workers()",
        "a if b else c",
        "x",
        "b'a'",
        "9223372036854775807 * 2",
        "1 // 0",
        "open('/etc/passwd').read()",
        "",
        "(",
        "'a' % b",
        "f'{x}'",
        "1 == 1",
    ] {
        assert!(matches!(evaluate(code, &names), Value::Code(_)), "{code}");
    }
}

#[test]
fn a_file_that_is_nested_deeply_or_long_ends() {
    let folder = Path::new("");
    for hostile in
        ["(".repeat(100_000), "-".repeat(100_000), "f'{".repeat(5_000), "1+".repeat(100_000), "[".repeat(50_000) + &"]".repeat(50_000)]
    {
        assert!(gunicorn::config("gunicorn.conf.py", &format!("workers = {hostile}")).is_err());
        let _ = command(folder, &format!("gunicorn -w '{hostile}' a:b"));
    }
    let long = (0..20_000).map(|at| format!("a{at} = {at}\n")).collect::<String>();
    assert!(gunicorn::config("gunicorn.conf.py", &long).is_err());
}

#[test]
fn yaml_and_xml_that_are_nested_deeply_end() {
    for (name, text) in [
        ("a.yaml", format!("uwsgi:\n  module: {}", "[".repeat(100_000))),
        ("a.yaml", format!("uwsgi:\n  module: {}", "{a: ".repeat(50_000))),
        ("a.yaml", format!("uwsgi:\n  module: {}", "- ".repeat(50_000))),
        ("a.yaml", format!("a: &a [x, x]\nb: &b [{}]\nuwsgi:\n  module: *b\n", "*a, ".repeat(50_000))),
        ("a.xml", format!("<uwsgi>{}", "<a>".repeat(100_000))),
        ("a.xml", "<!DOCTYPE uwsgi [<!ENTITY a \"aaaa\">]><uwsgi><module>&a;</module></uwsgi>".to_owned()),
    ] {
        let _ = uwsgi::config(name, &text);
    }
}

#[test]
fn an_ini_of_paste_deploy_that_multiplies_ends() {
    let doubles =
        (0..40).map(|at| format!("[composite:a{at}]\nuse = egg:Paste#urlmap\n/x = a{}\n/y = a{}\n", at + 1, at + 1)).collect::<String>();
    let text = format!("[app:main]\nuse = a0\n{doubles}[app:a40]\nuse = egg:Site\n");
    assert!(pastedeploy::config("site.ini", &text).unwrap_err().0.contains("levels deep"));
    let wide =
        (0..12).map(|at| format!("[composite:a{at}]\nuse = egg:Paste#urlmap\n/x = a{}\n/y = a{}\n", at + 1, at + 1)).collect::<String>();
    let text = format!("[app:main]\nuse = a0\n{wide}[app:a12]\nuse = egg:Site\n");
    assert!(pastedeploy::config("site.ini", &text).unwrap_err().0.contains("1000 parts"));
    let chain = (0..500).map(|at| format!("[app:a{at}]\nuse = a{}\n", at + 1)).collect::<String>();
    assert!(pastedeploy::config("site.ini", &format!("[app:main]\nuse = a0\n{chain}")).is_err());
    let long = (0..3_000).map(|at| format!("a{at} = 1\n")).collect::<String>();
    assert!(pastedeploy::config("site.ini", &format!("[app:main]\n{long}")).unwrap_err().0.contains("2,000"));
}

#[test]
fn placeholders_that_grow_are_bounded() {
    let grows = (0..60).map(|at| format!("a{} = %(a{at})%(a{at})\n", at + 1)).collect::<String>();
    assert!(uwsgi::config("uwsgi.ini", &format!("[uwsgi]\na0 = x\n{grows}module = a:b\nchdir = %(a60)\n")).is_ok());
}

#[test]
fn a_configuration_that_passes_to_itself_ends() {
    let text = r#"{ "listeners": { "*:80": { "pass": "routes" } }, "routes": [{ "action": { "pass": "routes" } }] }"#;
    assert!(unit::config("unit.json", text).is_ok());
    let deep = format!("{}{{ \"return\": 200 }}{}", r#"{ "share": "/a$uri", "fallback": "#.repeat(200), " }".repeat(200));
    let text = format!(r#"{{ "listeners": {{ "*:80": {{ "pass": "routes" }} }}, "routes": [{{ "action": {deep} }}] }}"#);
    assert!(unit::config("unit.json", &text).is_ok());
    assert!(unit::config("unit.json", &"[".repeat(100_000)).is_err());
}

proptest! {
    #[test]
    fn any_ini_of_paste_deploy_is_read_to_its_end(
        lines in proptest::collection::vec("(\\[(app|filter|pipeline|composite|server|filter-app|DEFAULT):?(main|a|b)?\\]|use|pipeline|next|filter-with|set a|get a|paste.app_factory|/|/a|domain a|listen|port|threads| ) ?[=:]? ?(egg:Paste#urlmap|egg:A|call:a:b|config:a.ini|a|b|main|%\\(a\\)s|[-a-z=:.,/%()$ 0-9\u{e9}]{0,12}){1,2}", 0..14)
    ) {
        let _ = pastedeploy::config("site.ini", &format!("[app:main]\nuse = a\n{}", lines.join("\n")));
    }

    #[test]
    fn any_ini_of_uwsgi_is_read_to_its_end(
        lines in proptest::collection::vec("(socket|http|https|module|wsgi-file|mount|static-map|env|chdir|processes|harakiri|if-env|endif|a|\\[uwsgi\\]) ?=? ?[-a-z=:.,/%()$@;0-9\u{e9} ]{0,30}", 0..10)
    ) {
        let _ = uwsgi::config("site/uwsgi.ini", &format!("[uwsgi]\n{}", lines.join("\n")));
    }

    #[test]
    fn any_yaml_and_xml_of_uwsgi_is_read_to_its_end(text in "([ \n]{0,3}[-a-z&*!:{}\\[\\]<>/%()$'\"|#=\u{e9}]{0,6}){0,12}") {
        let _ = uwsgi::config("uwsgi.yaml", &format!("uwsgi:\n  {text}"));
        let _ = uwsgi::config("uwsgi.xml", &format!("<uwsgi>{text}</uwsgi>"));
    }

    #[test]
    fn any_command_line_of_uwsgi_is_read_to_its_end(line in "(-|--)?[-a-z=:.,/%()$@ 0-9\u{e9}]{0,60}") {
        let _ = command(Path::new("/nonexistent"), &format!("uwsgi {line}"));
    }

    #[test]
    fn any_configuration_of_unit_is_read_to_its_end(
        address in "[*a-z0-9:./\\[\\]\u{e9}]{0,12}",
        pattern in "[!~*a-z/.{}()$^|\\\\\u{e9}]{0,12}",
        key in "(uri|host|method|scheme|source|headers|cookies|arguments|query)",
        action in "(pass|share|proxy|return|rewrite|location|fallback|response_headers)",
        value in "(\"[a-z/$%{}:.0-9\u{e9}]{0,12}\"|-?[0-9]{1,4}|null|true|\\[\\]|\\{\\}|\\[\"/a\\$uri\", 1\\])"
    ) {
        let address = serde_json::Value::from(address);
        let pattern = serde_json::Value::from(pattern);
        let text = format!(
            r#"{{ "listeners": {{ {address}: {{ "pass": "routes", "tls": {value}, "forwarded": {value} }} }}, "access_log": {value}, "settings": {{ "http": {{ "max_body_size": {value}, "idle_timeout": {value} }} }},
                "routes": [{{ "match": {{ "{key}": [{pattern}, {value}] }}, "action": {{ "{action}": {value}, "share": {value} }} }}, {{ "action": {{ "pass": "applications/a" }} }}],
                "applications": {{ "a": {{ "type": "python", "module": {pattern}, "processes": {value}, "environment": {{ "A": {value} }}, "limits": {{ "timeout": {value} }} }} }} }}"#
        );
        let _ = unit::config("unit.json", &text);
    }

    #[test]
    fn any_command_line_is_read_to_its_end(line in "[-a-z=:.,$(){}`'\"/ %0-9\u{e000}\u{e9}]{0,80}") {
        let _ = command(Path::new(""), &format!("gunicorn {line}"));
        let _ = command(Path::new(""), &line);
    }

    #[test]
    fn any_configuration_is_read_to_its_end(
        lines in proptest::collection::vec("(bind|workers|timeout|raw_env|umask|chdir|wsgi_app|forwarded_allow_ips|if x|def f\\(\\)) ?=? ?[-a-z=:.,$(){}\\[\\]'\"/ f%*+0-9\u{e9}]{0,30}", 0..8)
    ) {
        let _ = gunicorn::config("gunicorn.conf.py", &lines.join("\n"));
    }

    #[test]
    fn any_file_is_read_to_its_end(
        name in "(Procfile|Dockerfile|a\\.service|a\\.sh)",
        lines in proptest::collection::vec("(web:|CMD|ENTRYPOINT|ENV|ExecStart=|Environment=|export|exec) ?[-a-z=:.,$(){}\\[\\]'\"/\\\\ &;%0-9\u{e9}]{0,30}", 0..8)
    ) {
        let _ = commands::of_file(&name, &lines.join("\n")).map(|found| gunicorn::command(Path::new("/nonexistent"), found));
    }
}
