//! `server.user`: what the server does as root, and what it is afterwards. Without root, only the refusal can be tried.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::support::{Program, command, folder_of};

/// A user that every Debian machine has.
const USER: &str = "daemon";

fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        eprintln!("not tested: this process is not root's");
    }
    is_root
}

/// A number of the user, as `id` says.
fn id(option: &str) -> Vec<u32> {
    id_of(USER, option)
}

fn id_of(user: &str, option: &str) -> Vec<u32> {
    let output = Command::new("id").args([option, user]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// The numbers in a line of the status of a process.
fn status(pid: u32, line: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let numbers = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    numbers.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// A port that only root may bind, and that nobody has.
fn low_port() -> u16 {
    (600..1024).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// A folder that everybody may enter, with files that only root may read.
fn folder(pipeline: &str) -> tempfile::TempDir {
    let folder = folder_of(&[("pipeline.json", pipeline), ("files/public/page.txt", "page"), ("files/secret.txt", "secret")]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(folder.path().join("files/secret.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn start(folder: tempfile::TempDir) -> Program {
    let mut command = command(folder.path());
    command.args(["run", "pipeline.json"]);
    Program::spawn(command, folder)
}

#[test]
fn the_server_binds_a_low_port_as_root_and_does_everything_else_as_its_user() {
    if !is_root() {
        return;
    }
    let port = low_port();
    let pipeline = format!(
        r#"{{ "listen": ["127.0.0.1:{port}", "unix:site.sock"], "server": {{ "user": "{USER}", "control": "control.sock" }},
              "layers": [{{ "access_log": {{ "to": "access.log" }} }}], "app": {{ "static": "files" }} }}"#
    );
    let mut program = start(folder(&pipeline));
    let (uid, gid) = (id("-u")[0], id("-g")[0]);
    let task = |line: &str| {
        let threads = fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap();
        let threads: Vec<_> = threads.map(|thread| status(thread.unwrap().file_name().to_str().unwrap().parse().unwrap(), line)).collect();
        threads.into_iter().flatten().collect::<Vec<u32>>()
    };
    // Real, effective, saved and file system, of every thread.
    assert!(task("Uid:").iter().all(|own| *own == uid), "{:?}", task("Uid:"));
    assert!(task("Gid:").iter().all(|own| *own == gid), "{:?}", task("Gid:"));
    let mut groups = status(program.pid(), "Groups:");
    groups.sort_unstable();
    let mut expected = id("-G");
    expected.sort_unstable();
    assert_eq!(groups, expected);
    assert!(program.get("/public/page.txt").ends_with("page"));
    // As that user, it may not read what is root's, although root has started it.
    let refused = program.get("/secret.txt");
    assert!(!refused.starts_with("HTTP/1.1 200") && !refused.contains("\r\n\r\nsecret"), "{refused}");
    let owner = |name: &str| program.folder().join(name).metadata().unwrap().uid();
    assert_eq!([owner("access.log"), owner("site.sock"), owner("control.sock")], [uid; 3]);

    // What needs root again is refused with the reason, and the rest goes on.
    let other = format!("127.0.0.1:{}", low_port());
    fs::write(program.folder().join("pipeline.json"), pipeline.replace("unix:site.sock", &other)).unwrap();
    program.signal("HUP");
    program.wait_for_log("ports below 1024 are root's, which the server is not any more");
    assert!(program.get("/public/page.txt").ends_with("page"));
    fs::write(program.folder().join("pipeline.json"), pipeline.replace("\"static\": \"files\"", "\"static\": \"files/public\"")).unwrap();
    program.signal("HUP");
    program.wait_for_log("reloaded after");
    assert!(program.get("/page.txt").ends_with("page"));
}

#[test]
fn workers_are_the_servers_user_and_find_neither_the_files_nor_the_memory_of_root() {
    const APP: &str = "import os\n\
        def reads(path):\n\
        \x20   try:\n\
        \x20       open(path, 'rb').close()\n\
        \x20       return True\n\
        \x20   except OSError:\n\
        \x20       return False\n\
        def app(environ, start_response):\n\
        \x20   start_response('200 OK', [])\n\
        \x20   front = os.getppid()\n\
        \x20   seen = [os.getuid(), os.getgid(), sorted(os.getgroups()), reads('files/secret.txt'), reads(f'/proc/{front}/mem'), reads(f'/proc/{front}/environ')]\n\
        \x20   return [repr(seen).encode()]\n";
    if !is_root() {
        return;
    }
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "user": "{USER}" }}, "app": {{ "wsgi": {{ "app": "who:app", "workers": 1 }} }} }}"#
    );
    let folder = folder(&pipeline);
    fs::write(folder.path().join("who.py"), APP).unwrap();
    if !runs_as_user(folder.path()) {
        eprintln!("not tested: `{USER}` may not read the Python of this test");
        return;
    }
    let program = start(folder);
    let mut groups = id("-G");
    groups.sort_unstable();
    let expected = format!("[{}, {}, {groups:?}, False, False, False]", id("-u")[0], id("-g")[0]);
    let answer = program.get("/");
    assert!(answer.ends_with(&expected), "{answer} is not {expected}");
}

/// Another user of every Debian machine.
const WORKER: &str = "games";

#[test]
fn workers_of_another_user_than_the_servers_are_started_replaced_reloaded_and_ended() {
    if !is_root() {
        return;
    }
    for more in ["", r#", "preload": true"#] {
        let pipeline = format!(
            r#"{{ "listen": "127.0.0.1:0", "server": {{ "user": "{USER}" }},
                  "app": {{ "wsgi": {{ "app": "who:app", "workers": 1, "user": "{WORKER}", "env": {{ "COLOUR": "green" }}{more} }} }} }}"#
        );
        let folder = folder(&pipeline);
        let app = "import os\nENV = os.environ.get('COLOUR')\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
            seen = [os.getuid(), os.geteuid(), os.getgid(), sorted(os.getgroups()), ENV, os.getpid()]\n    return [repr(seen).encode()]\n";
        fs::write(folder.path().join("who.py"), app).unwrap();
        if !runs_as_user(folder.path()) {
            eprintln!("not tested: `{USER}` may not read the Python of this test");
            return;
        }
        let mut program = start(folder);
        let (uid, gid) = (id_of(WORKER, "-u")[0], id_of(WORKER, "-g")[0]);
        let mut groups = id_of(WORKER, "-G");
        groups.sort_unstable();
        let expected = format!("[{uid}, {uid}, {gid}, {groups:?}, 'green', ");
        let worker = |program: &Program| {
            let answer = program.get("/");
            let (_, pid) = answer.split_once(&expected).unwrap_or_else(|| panic!("{answer} has no {expected}"));
            pid.trim_end_matches(']').parse::<u32>().unwrap()
        };
        assert_eq!(status(program.pid(), "Uid:"), [id("-u")[0]; 4]);
        let first = worker(&program);
        // What the server cannot end, the process that started it does, and says how it ended.
        Command::new("kill").args(["-KILL", &first.to_string()]).status().unwrap();
        program.wait_for_log("was killed (SIGKILL)");
        let second = worker(&program);
        program.signal("HUP");
        program.wait_for_log("reloaded after");
        let third = worker(&program);
        assert!(first != second && second != third);
        // A user that no process was started for.
        let other = pipeline.replace(&format!(r#""user": "{WORKER}""#), r#""user": "nobody""#);
        fs::write(program.folder().join("pipeline.json"), other).unwrap();
        program.signal("HUP");
        program.wait_for_log("the server cannot start workers as `nobody`");
        assert_eq!(worker(&program), third);
        program.signal("TERM");
        assert!(program.wait().success(), "{}", program.log());
        assert!(!Path::new(&format!("/proc/{third}")).exists());
    }
}

#[test]
fn check_warns_of_a_store_that_the_servers_user_cannot_write_to() {
    let pipeline = |server: &str| {
        format!(
            r#"{{ "listen": {{ "at": ":443", "tls": {{ "acme": {{ "names": ["a.test"], "directory": "https://acme.test/", "store": "acme/store" }} }} }}{server},
                  "app": {{ "respond": 204 }} }}"#
        )
    };
    let check = |folder: &Path| {
        let output = command(folder).args(["check", "pipeline.json"]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
    };
    let missing = folder(&pipeline(""));
    assert!(!check(missing.path()).contains("no certificate can be ordered"));
    assert!(!missing.path().join("acme").exists());
    fs::write(missing.path().join("acme"), "").unwrap();
    let said = check(missing.path());
    assert!(said.contains("no certificate can be ordered") && said.contains("it is not a folder"), "{said}");
    if is_root() {
        let private = folder(&pipeline(&format!(r#", "server": {{ "user": "{USER}" }}"#)));
        fs::create_dir_all(private.path().join("acme/store")).unwrap();
        assert!(check(private.path()).contains("`acme/store` cannot be used by this user: permission denied"));
        std::os::unix::fs::chown(private.path().join("acme/store"), Some(id("-u")[0]), None).unwrap();
        assert!(!check(private.path()).contains("no certificate can be ordered"));
        fs::create_dir(private.path().join("acme/store/challenges")).unwrap();
        assert!(check(private.path()).contains("`acme/store/challenges` cannot be used"));
    }
}

#[test]
fn a_key_that_only_root_can_read_is_read_again_at_a_reload_and_no_other_file_is() {
    if !is_root() {
        return;
    }
    let pipeline = format!(
        r#"{{ "listen": {{ "at": "127.0.0.1:0", "tls": {{ "cert": "tls/site.pem", "key": "tls/site.key" }} }}, "server": {{ "user": "{USER}" }},
              "app": {{ "respond": 204 }} }}"#
    );
    let folder = folder(&pipeline);
    fs::create_dir(folder.path().join("tls")).unwrap();
    // Links lead only where root alone decides.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["site.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        for (file, text) in [("pem", certificate.pem()), ("key", key.serialize_pem())] {
            let path = folder.path().join(format!("tls/{name}.{file}"));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    issue("site");
    issue("other");
    let base = folder.path().to_owned();
    let pem = |name: &str| fs::read_to_string(base.join(format!("tls/{name}.pem"))).unwrap();
    let first = pem("site");
    let mut command = command(folder.path());
    command.args(["run", "pipeline.json"]);
    let mut program = Program::spawn(command, tempfile::tempdir().unwrap());
    assert_eq!(served(&program), first);
    // Renewed, as certbot does it.
    issue("site");
    program.signal("HUP");
    program.wait_for_log("reloaded after");
    assert_eq!(served(&program), pem("site"));
    assert_ne!(served(&program), first);
    fs::write(base.join("pipeline.json"), pipeline.replace("site.key", "other.key").replace("site.pem", "other.pem")).unwrap();
    program.signal("HUP");
    program.wait_for_log("it was not named when the server started: restart the server");
    assert_eq!(served(&program), pem("site"));
    // Another user could put a link there.
    fs::write(base.join("pipeline.json"), &pipeline).unwrap();
    std::os::unix::fs::chown(base.join("tls"), Some(id("-u")[0]), None).unwrap();
    program.signal("HUP");
    program.wait_for_log("other users than root can change");
    program.signal("TERM");
    assert!(program.wait().success());
}

/// The certificate that the server shows, in PEM.
fn served(program: &Program) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &program.address().to_string(), "-servername", "site.test"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n");
    let from = text.find(begin).unwrap_or_else(|| panic!("{text}"));
    text[from..from + text[from..].find(end).unwrap() + end.len()].to_owned()
}

/// Whether the user can run the program, with the Python that it is linked with.
fn runs_as_user(folder: &Path) -> bool {
    use std::os::unix::process::CommandExt;
    fs::write(folder.join("plain.json"), r#"{ "app": { "wsgi": { "app": "who:app", "workers": 1 } } }"#).unwrap();
    let mut command = command(folder);
    command.args(["check", "plain.json"]).uid(id("-u")[0]).gid(id("-g")[0]);
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn check_says_that_only_root_can_start_the_server_and_run_refuses_another_user() {
    let folder = folder_of(&[("pipeline.json", r#"{ "server": { "user": "no-such-user" }, "app": { "respond": 204 } }"#)]);
    let output = command(folder.path()).args(["check", "pipeline.json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("there is no user `no-such-user`") && said.contains("pipeline.json:1:23"), "{said}");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        return;
    }
    fs::write(
        folder.path().join("pipeline.json"),
        format!(r#"{{ "listen": "127.0.0.1:0", "server": {{ "user": "{USER}" }}, "app": {{ "respond": 204 }} }}"#),
    )
    .unwrap();
    let output = command(folder.path()).args(["check", "pipeline.json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("only root can start this server, which has to become `daemon`"), "{said}");
    let output = command(folder.path()).args(["run", "pipeline.json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot become `daemon`"), "{said}");
}
