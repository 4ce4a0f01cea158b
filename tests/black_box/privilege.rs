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
    let output = Command::new("id").args([option, USER]).output().unwrap();
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

/// Whether the user can run the program, with the Python that it is linked with.
fn runs_as_user(folder: &Path) -> bool {
    use std::os::unix::process::CommandExt;
    let mut command = command(folder);
    command.args(["check", "pipeline.json"]).uid(id("-u")[0]).gid(id("-g")[0]);
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
