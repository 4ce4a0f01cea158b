//! The app `cgi`: sound programs, git's own, and programs that end early, late or never.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::{PATIENCE, Program, command, folder_of};

/// The program over a folder with these scripts. `options` follow `root`.
fn site(options: &str, scripts: &[(&str, &str)]) -> Program {
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "drain": "100ms" }}, "app": {{ "routes": [{{ "mount": "/cgi-bin", "app": {{ "cgi": {{ "root": "bin"{options} }} }} }}] }} }}"#
    );
    let folder = folder_of(&[("pipeline.json", &pipeline)]);
    fs::create_dir(folder.path().join("bin")).unwrap();
    for (name, script) in scripts {
        let path = folder.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = command(folder.path());
    command.args(["run", "pipeline.json"]).env("SECRET_OF_THE_SERVER", "1");
    Program::spawn(command, folder)
}

#[test]
fn a_program_has_the_variables_of_the_request_and_nothing_of_the_server() {
    let program = site(
        r#", "env": { "SITE": "mine" }"#,
        &[("env", "printf 'Content-Type: text/plain\\r\\n\\r\\n'; env; pwd"), ("echo", "printf 'Content-Type: a/b\\n\\n'; cat")],
    );
    let answer =
        program.exchange("GET /cgi-bin/env/a%20b?x=%20 HTTP/1.1\r\nHost: h\r\nProxy: evil\r\nX-Foo: 1\r\nConnection: close\r\n\r\n");
    for line in [
        "SCRIPT_NAME=/cgi-bin/env\n",
        "PATH_INFO=/a b\n",
        "QUERY_STRING=x=%20\n",
        "REQUEST_METHOD=GET\n",
        "GATEWAY_INTERFACE=CGI/1.1\n",
        "HTTP_X_FOO=1\n",
        "REMOTE_ADDR=127.0.0.1\n",
        "SITE=mine\n",
    ] {
        assert!(answer.contains(line), "{line}{answer}");
    }
    assert!(!answer.contains("SECRET") && !answer.contains("HTTP_PROXY") && !answer.contains("VIRTUAL_ENV"), "{answer}");
    assert!(answer.contains(&format!("{}/bin\n", program.folder().canonicalize().unwrap().display())), "{answer}");
    let body = "x".repeat(300_000);
    for head in [
        format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ] {
        let answer = program.exchange(format!("POST /cgi-bin/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{head}"));
        assert_eq!(answer.matches('x').count(), body.len());
    }
    for path in ["/cgi-bin/", "/cgi-bin/absent"] {
        assert!(program.get(path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert!(program.get("/cgi-bin/%2e%2e/pipeline.json").starts_with("HTTP/1.1 4"));
}

#[test]
fn a_program_says_its_status_its_place_or_speaks_http_itself() {
    let program = site(
        "",
        &[
            ("status", "printf 'Status: 418 Tea\\nX-A: 1\\nConnection: x-gone\\nX-Gone: 1\\n\\nbody'"),
            ("move", "printf 'Location: /there\\n\\n'"),
            ("nph-a", "printf 'HTTP/1.1 203 Odd\\r\\nContent-Type: a/b\\r\\nConnection: close\\r\\n\\r\\nbody'"),
            ("long", "printf 'Content-Type: a/b\\nContent-Length: 4\\n\\nbody and more'"),
        ],
    );
    let status = program.get("/cgi-bin/status");
    assert!(status.starts_with("HTTP/1.1 418 ") && status.contains("x-a: 1\r\n") && !status.contains("x-gone: 1"), "{status}");
    let moved = program.get("/cgi-bin/move");
    assert!(moved.starts_with("HTTP/1.1 302 ") && moved.contains("location: /there\r\n"), "{moved}");
    assert!(program.get("/cgi-bin/nph-a").starts_with("HTTP/1.1 203 "));
    assert!(program.get("/cgi-bin/long").ends_with("\r\n\r\nbody"));
    let head = program.exchange("HEAD /cgi-bin/status HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 418 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn programs_that_fail_are_502_or_504_in_time_with_their_last_line_in_the_log() {
    let mut program = site(
        // One that has failed runs until its processes are gone, so the next one may have to wait.
        r#", "timeout": "500ms", "idle": "500ms", "limit": 1"#,
        &[
            ("dies", "echo 'first line' >&2; echo 'what went wrong' >&2; exit 3"),
            ("no-head", "echo 'no head at all'; echo"),
            ("never", "sleep 1000"),
            ("kept", "sleep 1000 & printf 'Content-Type: a/b\\n\\nbody'"),
            ("noise", "printf 'Content-Type: a/b\\n\\nok'; head -c 100000000 /dev/zero | tr '\\0' x >&2"),
            ("large", "printf 'Content-Type: a/b\\n\\n'; head -c 100000000 /dev/zero | tr '\\0' x"),
            ("short", "printf 'Content-Type: a/b\\nContent-Length: 9\\n\\nbody'"),
            ("flood", "head -c 100000000 /dev/zero | tr '\\0' x"),
        ],
    );
    assert!(program.get("/cgi-bin/dies").starts_with("HTTP/1.1 502 "));
    until(&program, "the first one is gone", |program| children(program.pid()).is_empty());
    let descriptors = descriptors(&program);
    assert!(program.get("/cgi-bin/dies").starts_with("HTTP/1.1 502 "));
    let line = program.wait_for_log("it ended without the head of a response (exit status: 3)");
    assert!(line.contains("what went wrong") && line.contains("request=GET /cgi-bin/dies"), "{line}");
    assert!(program.get("/cgi-bin/no-head").starts_with("HTTP/1.1 502 "));
    assert!(program.get("/cgi-bin/flood").starts_with("HTTP/1.1 502 "));
    assert!(program.get("/cgi-bin/never").starts_with("HTTP/1.1 504 "));
    assert!(!program.get("/cgi-bin/kept").ends_with("0\r\n\r\n"));
    assert!(!program.get("/cgi-bin/short").ends_with("body and"));
    assert!(program.get("/cgi-bin/noise").contains("ok"));
    assert!(program.log().len() < 100_000, "the log has {} octets", program.log().len());
    assert!(program.get("/cgi-bin/large").len() > 100_000_000);
    assert_that_nothing_is_left(&program);
    until(&program, "no descriptor is left", |program| self::descriptors(program) <= descriptors);
}

/// How many descriptors the program has open.
fn descriptors(program: &Program) -> usize {
    fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap().count()
}

#[test]
fn a_request_is_refused_while_as_many_programs_run_as_may() {
    let program = site(
        r#", "timeout": "500ms", "limit": 1, "queue": { "limit": 0 }"#,
        &[("never", "sleep 1000"), ("quick", "printf 'Content-Type: a/b\\n\\nbody'")],
    );
    let mut client = program.connect();
    client.write_all(b"GET /cgi-bin/never HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    until(&program, "the program runs", |program| !children(program.pid()).is_empty());
    let busy = program.get("/cgi-bin/quick");
    assert!(busy.starts_with("HTTP/1.1 503 ") && busy.contains("retry-after: 1\r\n"), "{busy}");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    assert_that_nothing_is_left(&program);
}

#[test]
fn figures_show_programs_that_run_and_requests_that_wait_and_are_refused() {
    let pipeline = r#"{ "listen": "127.0.0.1:0", "server": { "control": "control.sock" }, "app": { "routes": [
        { "match": { "path": "/metrics" }, "app": { "metrics": {} } },
        { "app": { "cgi": { "program": "held", "limit": 1, "queue": { "limit": 1, "wait": "1h" } }, "as": "held" } }
    ] } }"#;
    let script = "#!/bin/sh\nread line < gate\nprintf 'Content-Type: a/b\\n\\n'\n";
    let folder = folder_of(&[("pipeline.json", pipeline), ("held", script)]);
    fs::set_permissions(folder.path().join("held"), fs::Permissions::from_mode(0o755)).unwrap();
    let gate = folder.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let mut start = command(folder.path());
    start.args(["run", "pipeline.json"]);
    let program = Program::spawn(start, folder);
    let status = |program: &Program| {
        let output = command(program.folder()).arg("status").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let ask = || {
        let mut client = program.connect();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        client
    };
    let first = ask();
    until(&program, "one runs", |program| status(program).contains("running 1, limit 1"));
    let second = ask();
    until(&program, "one waits", |program| status(program).contains("length 1, limit 1"));
    assert!(program.get("/").starts_with("HTTP/1.1 503 "));
    assert!(status(&program).contains("queue full 1, waited too long 0"), "{}", status(&program));
    let metrics = program.get("/metrics");
    for line in [
        r#"ziggurat_cgi_programs{app="held"} 1"#,
        r#"ziggurat_cgi_queue_length{app="held"} 1"#,
        r#"ziggurat_cgi_refused_total{app="held",reason="queue full"} 1"#,
        r#"ziggurat_cgi_queue_wait_seconds_count{app="held"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    for mut client in [first, second] {
        // It waits until the program reads.
        fs::write(&gate, "go\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(program.get("/metrics").contains(r#"ziggurat_cgi_queue_wait_seconds_count{app="held"} 1"#));
}

#[test]
fn no_program_outlives_the_server() {
    let mut program = site(
        "",
        &[("never", "sleep 1000"), ("behind", "printf 'Content-Type: a/b\\nContent-Length: 4\\n\\nbody'; exec >&- 2>&-; sleep 1000")],
    );
    assert!(program.get("/cgi-bin/behind").ends_with("body"));
    let mut client = program.connect();
    client.write_all(b"GET /cgi-bin/never HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    until(&program, "both run", |program| children(program.pid()).split_whitespace().count() == 2);
    let pids: Vec<u32> = children(program.pid()).split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    // The group of a program has its number.
    let groups: Vec<String> = pids.iter().map(u32::to_string).collect();
    program.signal("TERM");
    program.wait();
    until(&program, "all are gone", |_| Command::new("pgrep").args(["-g", &groups.join(",")]).output().unwrap().stdout.is_empty());
}

/// No process, no zombie.
fn assert_that_nothing_is_left(program: &Program) {
    until(program, "all are gone", |program| children(program.pid()).is_empty());
    let sleeps = Command::new("pgrep").args(["-f", &format!("{}/bin", program.folder().display())]).output().unwrap();
    assert!(sleeps.stdout.is_empty(), "{}", String::from_utf8_lossy(&sleeps.stdout));
}

fn until(program: &Program, what: &str, holds: impl Fn(&Program) -> bool) {
    let since = Instant::now();
    while !holds(program) {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}: {}", program.log());
        std::thread::yield_now();
    }
}

/// The children of a process, zombies included.
fn children(pid: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect::<String>().trim().to_owned()
}

#[test]
fn git_clones_from_its_http_backend_and_pushes_to_it() {
    if !Path::new("/usr/lib/git-core/git-http-backend").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str], at: &Path| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "http.postBuffer=70000"])
            .args(arguments);
        git.current_dir(at).env("GIT_TERMINAL_PROMPT", "0").env("HOME", at).stdin(Stdio::null());
        let output = git.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q", "--bare", "repository.git"], folder.path());
    git(&["config", "http.receivepack", "true"], &folder.path().join("repository.git"));
    let program = Program::start(
        &format!(
            r#"{{ "listen": "127.0.0.1:0", "app": {{ "routes": [{{ "mount": "/git", "app": {{ "cgi": {{
                "program": "/usr/lib/git-core/git-http-backend", "env": {{ "GIT_PROJECT_ROOT": "{}", "GIT_HTTP_EXPORT_ALL": "1", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*" }} }} }} }}] }} }}"#,
            folder.path().display()
        ),
        &[],
    );
    let url = format!("http://{}/git/repository.git", program.address());
    git(&["clone", "-q", &url, "first"], folder.path());
    let first = folder.path().join("first");
    // Longer than git sends at once, so that the body is chunked.
    let noise: String = (0..200_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 26)).collect();
    fs::write(first.join("file"), &noise).unwrap();
    git(&["add", "file"], &first);
    git(&["commit", "-q", "-m", "one"], &first);
    git(&["push", "-q", "origin", "HEAD:main"], &first);
    git(&["clone", "-q", &url, "second"], folder.path());
    assert_eq!(fs::read_to_string(folder.path().join("second/file")).unwrap(), noise);
}

#[test]
fn without_descriptors_programs_are_unavailable_for_a_while() {
    let program = site("", &[("hello", "printf 'Content-Type: a/b\\n\\nhello'")]);
    let mut client = program.connect();
    let mut ask = |end: &str| {
        client.write_all(b"GET /cgi-bin/hello HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut octet = [0];
            assert_eq!(client.read(&mut octet).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.push(octet[0]);
        }
        String::from_utf8(answer).unwrap()
    };
    assert!(ask("0\r\n\r\n").contains("hello"));
    let process = Pid::from_raw(i32::try_from(program.pid()).unwrap());
    let before = prlimit(process, Resource::Nofile, Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) }).unwrap();
    let refused = ask("Unavailable\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    prlimit(process, Resource::Nofile, before).unwrap();
    assert!(ask("0\r\n\r\n").contains("hello"));
}

#[test]
fn options_that_cannot_work_are_explained() {
    let refusal = |options: &str| {
        let folder = folder_of(&[("pipeline.json", &format!(r#"{{ "app": {{ "cgi": {options} }} }}"#)), ("plain", "")]);
        let output = command(folder.path()).args(["check", "pipeline.json"]).output().unwrap();
        if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stderr).into_owned() }
    };
    assert!(refusal("{}").contains("either `program` or `root`"));
    assert!(refusal(r#"{ "program": "a", "root": "b" }"#).contains("either `program` or `root`"));
    assert!(refusal(r#"{ "root": ".", "arguments": ["x"] }"#).contains("are for one `program`"));
    assert!(refusal(r#"{ "program": "/bin/true", "queue": { "limit": 2000000 } }"#).contains("a queue for 2000000 requests is too long"));
    assert!(refusal(r#"{ "program": "/bin/true", "queue": { "wait": "0s" } }"#).contains("`wait` must be longer than 0"));
    assert!(refusal(r#"{ "program": "/bin/true", "limit": 0 }"#).contains("lets no program run"));
    assert!(refusal(r#"{ "program": "/bin/true", "env": { "A=B": "1" } }"#).contains("is not the name of a variable"));
}
