//! A worker is to its app what a plain Python process is.

use std::fs;
use std::process::Stdio;

use crate::site::{get, is_alive, kill, wait_until};
use crate::support::{Program, command, folder_of};

/// What an app can ask about the process and the thread that it runs in.
const SITE: &str = r#"
import atexit, decimal, json, multiprocessing, os, resource, signal, subprocess, sys, threading, time
decimal.getcontext().prec = 50
IMPORTED_IN = threading.current_thread()
OUT = os.path.dirname(os.path.abspath(__file__))

def leave(name):
    open(os.path.join(OUT, name), 'w').close()

def handled(number, frame):
    leave('handled')

atexit.register(lambda: os.getpid() == PID and leave('exit-hook'))
threading._register_atexit(lambda: os.getpid() == PID and leave('threading-hook'))
PID = os.getpid()

class Raises:
    def __init__(self, error): self.error = error
    def __iter__(self): raise self.error

def answer(path):
    if path == '/thread':
        here = threading.current_thread()
        return [type(here).__name__, here.name, here is threading.main_thread(), here is IMPORTED_IN, here.is_alive(), here in threading.enumerate()]
    if path == '/decimal':
        return len(str(decimal.Decimal(1) / 7))
    if path == '/signal':
        signal.signal(signal.SIGUSR1, handled)
        return None
    if path == '/terminated':
        child = multiprocessing.Process(target=time.sleep, args=(60,))
        child.start(); child.terminate(); child.join(20)
        return child.exitcode
    if path == '/pool':
        with multiprocessing.Pool(2) as pool:
            return pool.map(abs, [-1, -2])
    if path == '/spawned':
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            return pool.map(abs, [-3])
    if path == '/dispositions':
        read, write = os.pipe()
        if os.fork() == 0:
            names = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGUSR1', 'SIGUSR2']
            found = [getattr(signal.getsignal(getattr(signal, name)), '__name__', str(signal.getsignal(getattr(signal, name)))) for name in names]
            os.write(write, json.dumps(found).encode())
            os._exit(0)
        os.wait()
        return json.loads(os.read(read, 1000))
    if path == '/descriptors':
        return [resource.getrlimit(resource.RLIMIT_NOFILE)[0], int(subprocess.check_output(['sh', '-c', 'ulimit -n']))]
    if path == '/arguments':
        return [len(sys.argv), sys.stdin.read()]
    if path == '/fork-exit':
        pid = os.fork()
        if pid == 0:
            atexit.register(leave, 'hook-of-the-fork')
            sys.exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if path == '/fork-raise':
        pid = os.fork()
        if pid == 0:
            raise ValueError('in the fork')
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if path == '/fork-return':
        pid = os.fork()
        if pid == 0:
            return 'nobody waits for this'
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if path == '/children':
        forked = os.fork()
        if forked == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
            os._exit(0)
        polite = "trap 'touch asked; exit' TERM; while :; do sleep 0.01; done"
        return [forked, subprocess.Popen(['sleep', '1000']).pid, subprocess.Popen(['sh', '-c', polite], cwd=OUT).pid]
    if path == '/raises-surrogate':
        raise ValueError('lone \udcff surrogate')
    if path == '/exits':
        sys.exit('told to go')
    return os.getpid()

def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/iter-raises':
        start_response('200 OK', [])
        return Raises(KeyError('in iter'))
    if path == '/iter-type-error':
        start_response('200 OK', [])
        return Raises(TypeError('a bug in iter'))
    if path == '/iter-exits':
        start_response('200 OK', [])
        return Raises(SystemExit('gone in iter'))
    if path.startswith('/status'):
        start_response(environ['QUERY_STRING'].replace('+', ' '), [('Content-Length', '0')])
        return []
    body = json.dumps(answer(path)).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

fn start(options: &str) -> Program {
    let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "plain_process:app", {options} }} }} }}"#);
    Program::start(&pipeline, &[("plain_process.py", SITE)])
}

fn ask(program: &Program, path: &str) -> serde_json::Value {
    let (status, body) = get(program, path);
    assert_eq!(status, 200, "{path}: {body}\n{}", program.log());
    serde_json::from_str(&body).unwrap()
}

/// With one thread, with several, forked, and in the server's process.
const EVERYWHERE: [&str; 4] = [
    r#""workers": 1, "threads": 1"#,
    r#""workers": 1, "threads": 3"#,
    r#""workers": 1, "threads": 1, "preload": true"#,
    r#""workers": 0, "threads": 2"#,
];

#[test]
fn the_app_runs_on_threads_of_pythons_own() {
    for options in EVERYWHERE {
        let program = start(options);
        let thread = ask(&program, "/thread");
        let is_main = options.contains(r#""workers": 1, "threads": 1"#);
        assert_eq!(thread[0], if is_main { "_MainThread" } else { "Thread" }, "{options}: {thread}");
        assert_eq!((&thread[2], &thread[4], &thread[5]), (&is_main.into(), &true.into(), &true.into()), "{options}: {thread}");
        if is_main {
            assert_eq!(
                (thread[3].as_bool(), ask(&program, "/decimal")),
                (Some(true), 52.into()),
                "{options}: what an import sets per thread"
            );
        }
    }
}

#[test]
fn hooks_of_threading_see_the_app() {
    let traced = "import sys, threading
SEEN = set()
def trace(frame, event, argument):
    SEEN.add(frame.f_code.co_name)
threading.settrace(trace)
sys.settrace(trace)
def inner():
    return ','.join(sorted(SEEN.copy())).encode()
def app(environ, start_response):
    inner()
    start_response('200 OK', [])
    return [inner()]
";
    for options in EVERYWHERE {
        let pipeline = format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "wsgi": {{ "app": "traced:app", {options} }} }} }}"#);
        let program = Program::start(&pipeline, &[("traced.py", traced)]);
        let seen = get(&program, "/").1;
        assert!(seen.split(',').any(|name| name == "inner") && seen.split(',').any(|name| name == "app"), "{options}: {seen}");
    }
}

#[test]
fn with_one_thread_the_app_handles_signals_busy_or_idle() {
    for options in [r#""workers": 1, "threads": 1"#, r#""workers": 1, "threads": 1, "preload": true"#] {
        let program = start(options);
        ask(&program, "/signal");
        kill("USR1", u32::try_from(ask(&program, "/pid").as_u64().unwrap()).unwrap());
        wait_until("the handler has run", &program, || program.folder().join("handled").exists());
        assert!(ask(&program, "/pid").is_number());
    }
}

#[test]
fn processes_that_the_app_starts_have_the_signals_and_limits_of_a_plain_process() {
    for options in [r#""workers": 1, "threads": 1"#, r#""workers": 1, "threads": 2"#, r#""workers": 1, "preload": true"#] {
        let program = start(options);
        assert_eq!(ask(&program, "/terminated"), -15, "{options}");
        for _ in 0..5 {
            assert_eq!(ask(&program, "/pool"), serde_json::json!([1, 2]), "{options}");
        }
        assert_eq!(ask(&program, "/spawned"), serde_json::json!([3]), "{options}");
        let dispositions = ask(&program, "/dispositions");
        assert_eq!(dispositions, serde_json::json!(["0", "0", "default_int_handler", "0", "0"]), "{options}");
    }
}

#[test]
fn the_limit_on_descriptors_is_the_one_that_the_server_was_started_with() {
    let folder = folder_of(&[
        ("plain_process.py", SITE),
        ("pipeline.json", r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "plain_process:app", "workers": 1 } } }"#),
    ]);
    let program = command(folder.path());
    let mut limited = std::process::Command::new("sh");
    limited.current_dir(folder.path()).args(["-c", "ulimit -S -n 500; exec \"$0\" run pipeline.json"]).arg(program.get_program());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let program = Program::spawn(limited, folder);
    assert_eq!(ask(&program, "/descriptors"), serde_json::json!([500, 500]));
}

#[test]
fn arguments_and_standard_input_are_nobodys() {
    for options in [r#""workers": 1, "threads": 1"#, r#""workers": 1, "preload": true"#] {
        assert_eq!(ask(&start(options), "/arguments"), serde_json::json!([1, ""]), "{options}");
    }
}

#[test]
fn a_process_that_the_app_forks_ends_where_it_returns_from_the_app() {
    for options in [r#""workers": 1, "threads": 1"#, r#""workers": 1, "threads": 2"#] {
        let program = start(options);
        for (path, code) in [("/fork-exit", 7), ("/fork-raise", 1), ("/fork-return", 0)] {
            assert_eq!(ask(&program, path), code, "{options} {path}");
        }
        assert!(program.folder().join("hook-of-the-fork").exists());
        assert!(program.log().contains("ValueError: in the fork"), "{}", program.log());
    }
}

#[test]
fn exit_hooks_run_when_a_worker_stops() {
    for options in [r#""workers": 1, "threads": 1"#, r#""workers": 1, "threads": 2"#] {
        let mut program = start(options);
        program.signal("TERM");
        assert!(program.wait().success(), "{}", program.log());
        for hook in ["exit-hook", "threading-hook"] {
            assert!(program.folder().join(hook).exists(), "{options} {hook}: {}", program.log());
        }
    }
}

#[test]
fn children_of_the_app_do_not_outlive_its_worker() {
    for options in [r#""workers": 1, "threads": 1"#, r#""workers": 1, "threads": 1, "preload": true"#] {
        for (signal, of_server) in [("KILL", false), ("KILL", true), ("TERM", true)] {
            let program = start(options);
            let children: Vec<u32> = serde_json::from_value(ask(&program, "/children")).unwrap();
            assert!(children.iter().all(|child| is_alive(*child)));
            let worker = u32::try_from(ask(&program, "/pid").as_u64().unwrap()).unwrap();
            kill(signal, if of_server { program.pid() } else { worker });
            let what = format!("{options} {signal}: the children end");
            wait_until(&what, &program, || children.iter().all(|child| !is_alive(*child)));
            // One that ends when it is asked to is asked first.
            assert_eq!(program.folder().join("asked").exists(), signal == "TERM", "{options}");
        }
    }
}

#[test]
fn every_exception_is_in_the_log_whole() {
    for options in EVERYWHERE {
        let mut program = start(options);
        for (path, text) in [
            ("/raises-surrogate", r"ValueError: lone \udcff surrogate"),
            ("/exits", "SystemExit: told to go"),
            ("/iter-raises", "KeyError: 'in iter'"),
            ("/iter-type-error", "TypeError: a bug in iter"),
            ("/iter-exits", "SystemExit: gone in iter"),
        ] {
            assert_eq!(get(&program, path).0, 500, "{options} {path}");
            program.wait_for_log(text);
        }
        assert!(program.log().contains("plain_process.py"), "with tracebacks: {}", program.log());
    }
}

#[test]
fn a_status_without_a_phrase_is_served() {
    for options in EVERYWHERE {
        let program = start(options);
        for (status, line) in
            [("200", "HTTP/1.1 200 "), ("404+", "HTTP/1.1 404 "), ("299", "HTTP/1.1 299 "), ("200+Rather+Fine", "HTTP/1.1 200 Rather Fine")]
        {
            let answer = program.get(&format!("/status?{status}"));
            assert!(answer.starts_with(line), "{options} {status}: {answer}");
        }
        for status in ["20", "2000", "OK", "200OK", "101+Switching"] {
            assert!(program.get(&format!("/status?{status}")).starts_with("HTTP/1.1 500"), "{options} {status}");
        }
    }
}

#[test]
fn a_debugger_reads_the_servers_standard_input_in_development() {
    let debugged = "def app(environ, start_response):
    x = 41
    breakpoint()
    start_response('200 OK', [])
    return [str(x + 1).encode()]
";
    let folder = folder_of(&[
        ("debugged.py", debugged),
        ("commands", "p x*1000\nx = 99\nc\n"),
        ("pipeline.json", r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": "debugged:app" } }"#),
    ]);
    let mut watched = command(folder.path());
    watched.args(["run", "--watch"]).stdin(Stdio::from(fs::File::open(folder.path().join("commands")).unwrap()));
    let mut program = Program::spawn_with_input(watched, folder);
    assert_eq!(get(&program, "/"), (200, "100".to_owned()), "{}", program.log());
    program.wait_for_log("41000");
}
