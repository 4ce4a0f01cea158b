//! A worker process, spoken to as the server does.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use serde_json::json;

use crate::link::*;
use crate::support::folder_of;

const HELLO: &str = "
import atexit, os, signal, sys, time
atexit.register(lambda: print('goodbye', open('end', 'w').close()))
def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/wait':
        open('started', 'w').close()
        while not os.path.exists('go'): time.sleep(0.01)
    if path == '/long':
        start_response('200 OK', [])
        return (b'x' * 65536 for _ in range(8))
    if path == '/headers':
        start_response('200 OK', [('X-Long', 'x' * (5 << 20))])
        return [b'']
    if path == '/fork':
        pid = os.fork()
        if pid == 0:
            # A lock that another thread held at the fork is never let go here.
            signal.alarm(2)
            os.write(3, b'rubbish')
            start_response('200 OK', [])(b'more rubbish')
            os._exit(0)
        os.waitpid(pid, 0)
    start_response('200 OK', [('X-Pid', str(os.getpid()))])
    return [f\"{path} {environ['wsgi.multiprocess']} {environ['wsgi.multithread']} {sys.stdin.read()!r}\".encode()]
";

fn hello() -> Worker {
    hello_with(json!({}))
}

fn hello_with(more: serde_json::Value) -> Worker {
    let mut worker = Worker::spawn(folder_of(&[("hello.py", HELLO)]));
    worker.link.boot("hello:app", 2, more);
    let ready = worker.link.expect(READY).json();
    assert_eq!((ready["version"].as_u64(), ready["pid"].as_u64()), (Some(VERSION), Some(worker.pid().into())));
    worker
}

#[test]
fn it_answers_calls_until_it_is_to_stop_and_then_ends_well() {
    let mut worker = hello();
    for number in 1..=3 {
        worker.link.call(number, "/a");
        let answer = worker.link.expect(ANSWER);
        assert_eq!((answer.number, answer.flags), (number, 1), "the answer says that the thread is free");
        assert!(answer.text().ends_with("/a True False ''"), "{}", answer.text());
    }
    worker.link.send(STOP, 0, &[]);
    let (status, printed) = worker.printed();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("goodbye") && worker.exists("end"), "{printed}");
    assert!(worker.link.receive().is_none());
}

#[test]
fn the_call_at_hand_is_finished_before_it_stops() {
    let mut worker = hello();
    worker.link.call(1, "/wait");
    worker.link.call(2, "/next");
    worker.wait_for("started");
    worker.link.send(STOP, 0, &[]);
    worker.release("go");
    assert_eq!(worker.link.expect(ANSWER).number, 1);
    assert_eq!(worker.link.expect(ANSWER).number, 2);
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn a_worker_does_not_outlive_its_server_whatever_the_app_does() {
    let stuck = "
def app(environ, start_response):
    open('started', 'w').close()
    sum(range(10 ** 12))
";
    let mut worker = Worker::spawn(folder_of(&[("stuck.py", stuck)]));
    worker.link.boot("stuck:app", 1, json!({}));
    worker.link.expect(READY);
    worker.link.call(1, "/");
    worker.wait_for("started");
    worker.link = Link::pair().0;
    assert_eq!(worker.wait().signal(), Some(9));
}

#[test]
fn nor_does_one_that_is_still_importing() {
    let mut worker = Worker::spawn(folder_of(&[("slow.py", "open('started', 'w').close()\nsum(range(10 ** 12))\n")]));
    worker.link.boot("slow:app", 1, json!({}));
    worker.wait_for("started");
    worker.link = Link::pair().0;
    assert_eq!(worker.wait().signal(), Some(9));
}

#[test]
fn a_worker_that_was_told_nothing_leaves_quietly() {
    let mut worker = Worker::spawn(folder_of(&[]));
    worker.link = Link::pair().0;
    let (status, printed) = worker.printed();
    assert_eq!((status.code(), printed.as_str()), (Some(0), ""));
}

#[test]
fn an_app_that_cannot_be_imported_is_refused_with_its_traceback() {
    let mut worker = Worker::spawn(folder_of(&[("broken.py", "raise ValueError('no such luck')\n")]));
    worker.link.boot("broken:app", 1, json!({}));
    let refusal = worker.link.expect(REFUSED).json();
    assert_eq!(refusal["path"], json!(["app"]), "{refusal}");
    assert!(refusal["note"].as_str().unwrap().contains("ValueError: no such luck"), "{refusal}");
    assert_eq!(worker.wait().code(), Some(1));
}

#[test]
fn another_version_an_unknown_user_and_a_missing_folder_are_refused() {
    for (more, said) in [
        (json!({ "version": 99 }), "another version"),
        (json!({ "user": "no-such-user" }), "no user `no-such-user`"),
        (json!({ "chdir": "no/such/folder" }), "cannot work in the folder"),
    ] {
        let mut worker = Worker::spawn(folder_of(&[("hello.py", HELLO)]));
        worker.link.boot("hello:app", 1, more);
        let refusal = worker.link.expect(REFUSED).json();
        assert!(refusal["message"].as_str().unwrap().contains(said), "{refusal}");
        assert_eq!(worker.wait().code(), Some(1));
    }
}

#[test]
fn it_becomes_another_user_or_reports_that_it_may_not() {
    let whoami = "
import os
def app(environ, start_response):
    start_response('200 OK', [])
    return [f'{os.getuid()} {os.getgid()} {os.getgroups()}'.encode()]
";
    let mut worker = Worker::spawn(folder_of(&[("whoami.py", whoami)]));
    std::fs::set_permissions(worker.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    worker.link.boot("whoami:app", 1, json!({ "user": "54321", "group": "54322" }));
    let first = worker.link.receive().unwrap();
    if first.kind == REFUSED {
        // Only root may, and only with a Python that others may read.
        assert_eq!(first.json()["path"], json!(["user"]), "{}", first.text());
        let why = if rustix::process::geteuid().is_root() { "`54321` has to be able to read" } else { "only root may act as another" };
        assert!(first.text().contains(why), "{}", first.text());
        return;
    }
    worker.link.call(1, "/");
    let answer = worker.link.expect(ANSWER).text();
    assert!(answer.ends_with("54321 54322 [54322]"), "{answer}");
    assert!(std::fs::read_to_string(format!("/proc/{}/cmdline", worker.pid())).unwrap().starts_with("ziggurat: worker 1"));
}

#[test]
fn it_becomes_a_member_of_another_group_where_it_may() {
    let groups = "
import os
def app(environ, start_response):
    start_response('200 OK', [])
    return [f'{os.getgid()} {os.getegid()} {os.getgroups()}'.encode()]
";
    let mut worker = Worker::spawn(folder_of(&[("groups.py", groups)]));
    worker.link.boot("groups:app", 1, json!({ "group": "54322" }));
    if !rustix::process::geteuid().is_root() {
        assert_eq!(worker.link.expect(REFUSED).json()["path"], json!(["group"]));
        return;
    }
    worker.link.expect(READY);
    worker.link.call(1, "/");
    let answer = worker.link.expect(ANSWER).text();
    assert!(answer.ends_with("54322 54322 [54322]"), "{answer}");
}

#[test]
fn signals_that_a_supervisor_sends_to_the_whole_group_do_not_end_it() {
    let mut worker = hello();
    for signal in ["TERM", "HUP", "INT", "USR1", "USR2"] {
        assert!(std::process::Command::new("kill").args(["-s", signal, &worker.pid().to_string()]).status().unwrap().success());
    }
    worker.link.call(1, "/a");
    worker.link.expect(ANSWER);
    worker.link.send(STOP, 0, &[]);
    let (status, printed) = worker.printed();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("most recent call first"), "USR2 shows where threads are: {printed}");
}

#[test]
fn the_process_list_shows_which_worker_it_is() {
    let worker = hello();
    let shown = |file| std::fs::read_to_string(format!("/proc/{}/{file}", worker.pid())).unwrap();
    assert_eq!(shown("comm").trim_end(), "zg:hello 2");
    let expected = "ziggurat: worker 2 of wsgi (hello:app)";
    let line = shown("cmdline");
    // There is as much room as the command line took.
    assert!(expected.starts_with(line.trim_end_matches('\0')) && line.starts_with("ziggurat: worker 2 of"), "{line}");
}

#[test]
fn a_body_goes_no_further_than_it_was_granted() {
    let mut worker = hello();
    worker.link.call(1, "/long");
    assert_eq!(worker.link.expect(START).number, 1);
    let mut octets = 0;
    while octets < 256 * 1024 {
        octets += worker.link.expect(CHUNK).payload.len();
    }
    assert_eq!(octets, 256 * 1024);
    // What comes next cannot be a chunk: it is the answer to another call, which the worker has no thread for, so it comes back.
    worker.link.call(2, "/a");
    worker.link.send(RECALL, 2, &[]);
    assert_eq!(worker.link.expect(RETURNED).number, 2);
    worker.link.send(CREDIT, 1, &(256_u32 * 1024).to_le_bytes());
    while octets < 512 * 1024 {
        octets += worker.link.expect(CHUNK).payload.len();
    }
    assert_eq!(worker.link.expect(END).number, 1);
    assert_eq!(worker.link.expect(DONE).number, 1);
}

#[test]
fn a_call_that_is_cancelled_before_it_began_is_over_at_once() {
    let mut worker = hello();
    worker.link.call(1, "/wait");
    worker.wait_for("started");
    worker.link.call(2, "/never");
    worker.link.send(CANCEL, 2, &[]);
    assert_eq!(worker.link.expect(DONE).number, 2);
    worker.release("go");
    assert_eq!(worker.link.expect(ANSWER).number, 1);
}

#[test]
fn headers_larger_than_a_frame_are_the_apps_failure_and_not_the_workers_end() {
    let mut worker = hello();
    worker.link.call(1, "/headers");
    let failed = worker.link.expect(FAILED);
    assert_eq!(failed.payload[..2], 500_u16.to_le_bytes());
    worker.link.call(2, "/a");
    while worker.link.receive().unwrap().number != 2 {}
}

#[test]
fn a_process_that_the_app_forks_cannot_speak_on_the_link() {
    let mut worker = hello();
    let link = std::fs::read_dir(format!("/proc/{}/fd", worker.pid())).unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let target = std::fs::read_link(entry.path()).ok()?;
        target.to_string_lossy().starts_with("socket:").then(|| entry.file_name().into_string().unwrap())
    });
    assert_eq!(link.collect::<Vec<_>>(), ["3"], "the app's code above counts on it");
    worker.link.call(1, "/fork");
    let answer = worker.link.expect(ANSWER);
    assert!(answer.text().contains("/fork"), "{answer:?}");
    worker.link.call(2, "/a");
    assert_eq!(worker.link.expect(ANSWER).number, 2);
}

const TEMPLATE: &str = "
import os
imported_by = os.getpid()
def app(environ, start_response):
    path = environ['PATH_INFO']
    print('warm', path, environ['HTTP_HOST'] if 'HTTP_HOST' in environ else '', flush=True)
    if path == '/broken': raise ValueError('cold')
    if path == '/end': os._exit(7)
    start_response('200 OK', [])
    return [b'%d %d' % (imported_by, os.getpid())]
";

#[test]
fn a_template_makes_workers_that_share_its_app() {
    let mut template = Worker::spawn(folder_of(&[("shared.py", TEMPLATE)]));
    template.link.boot("shared:app", 0, json!({ "preload": ["/one", "/broken"] }));
    template.link.expect(READY);
    let mut workers = Vec::new();
    for nth in 1..=2 {
        let (mut link, end) = Link::pair();
        template.link.send_with(FORK, end);
        link.boot("shared:app", nth, json!({}));
        let pid = link.expect(READY).json()["pid"].as_u64().unwrap();
        link.call(1, "/two");
        let answer = link.expect(ANSWER);
        assert!(answer.text().ends_with(&format!("{} {pid}", template.pid())), "{}", answer.text());
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(comm.trim_end(), format!("zg:shared {nth}"));
        workers.push((link, pid));
    }
    // One ends of its own accord, and the template knows how.
    let (mut link, pid) = workers.remove(0);
    link.call(2, "/end");
    assert!(link.receive().is_none());
    assert_eq!(template.link.expect(ENDED).json(), json!({ "pid": pid, "code": 7, "signal": null }));
    // One of another version is none.
    let (mut link, end) = Link::pair();
    template.link.send_with(FORK, end);
    link.boot("shared:app", 3, json!({ "version": 99 }));
    assert!(link.expect(REFUSED).text().contains("another version"));
    assert_eq!(template.link.expect(ENDED).json()["code"], 1);
    // The other one goes on without the template.
    template.link.send(STOP, 0, &[]);
    assert_eq!(template.wait().code(), Some(0));
    let (mut link, pid) = workers.remove(0);
    link.call(2, "/three");
    assert!(link.expect(ANSWER).text().ends_with(&pid.to_string()));
    link.send(STOP, 0, &[]);
    wait_for_end_of(pid);
    let (_, printed) = template.printed();
    assert!(printed.contains("warm /one localhost"), "{printed}");
    assert!(printed.contains("when warmed up with `/broken`") && printed.contains("ValueError: cold"), "{printed}");
    assert!(printed.contains("template=wsgi"), "{printed}");
}

#[test]
fn a_forked_worker_does_not_outlive_the_server_either() {
    let mut template = Worker::spawn(folder_of(&[("shared.py", TEMPLATE)]));
    template.link.boot("shared:app", 0, json!({ "preload": [] }));
    template.link.expect(READY);
    let (mut link, end) = Link::pair();
    template.link.send_with(FORK, end);
    link.boot("shared:app", 1, json!({}));
    let pid = link.expect(READY).json()["pid"].as_u64().unwrap();
    drop(link);
    assert_eq!(template.link.expect(ENDED).json(), json!({ "pid": pid, "code": null, "signal": 9 }));
    template.link = Link::pair().0;
    assert_eq!(template.wait().signal(), Some(9));
}
