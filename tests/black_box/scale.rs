//! Several processes behind a balancer: limits that they share in Redis, a Redis that fails, and a rolling update.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::redis_server::Redis;
use crate::support::{PATIENCE, Program, command};

/// Routes with a limit each, one that nobody limits, and metrics.
fn site(store: &str) -> String {
    let route = |name: &str, options: &str| {
        format!(
            r#"{{ "match": {{ "path": "/{name}" }}, "layers": [{{ "rate_limit": {{ {options} }}, "as": "{name}" }}], "app": {{ "respond": {{ "body": "in" }} }} }}"#
        )
    };
    let routes = [
        route("many", r#""allow": "200/s", "per": [], "on_store_failure": "refuse""#),
        route("local", r#""allow": "5/h", "per": []"#),
        route("allow", r#""allow": "5/h", "per": [], "on_store_failure": "allow""#),
        route("refuse", r#""allow": "1000/s", "per": [], "on_store_failure": "refuse""#),
        r#"{ "match": { "path": "/one" }, "layers": [{ "limit": { "at_most": 1, "queue": { "limit": 0 } }, "as": "one" }], "app": { "respond": { "body": "in" } } }"#.to_owned(),
        r#"{ "match": { "path": "/metrics" }, "app": { "metrics": {} } }"#.to_owned(),
        r#"{ "app": { "respond": 204 } }"#.to_owned(),
    ];
    format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "control": "control.sock", "store": {store} }}, "app": {{ "routes": [{}] }} }}"#,
        routes.join(", ")
    )
}

fn start(store: &str) -> Program {
    Program::start(&site(store), &[])
}

fn status(program: &Program, target: &str) -> u16 {
    let answer = program.exchange(format!("GET {target} HTTP/1.0\r\nHost: site.test\r\n\r\n"));
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

/// The value of a metric, whose name and labels begin so.
fn metric(program: &Program, name: &str) -> f64 {
    let metrics = program.exchange("GET /metrics HTTP/1.0\r\nHost: site.test\r\n\r\n");
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        thread::yield_now();
    }
}

fn until_up(program: &Program) {
    until("the store is up", || metric(program, "ziggurat_store_up") == 1.0);
}

#[test]
fn two_processes_allow_together_what_the_rate_says() {
    let Some(redis) = Redis::start() else { return };
    let store = format!(r#"{{ "url": "{}", "timeout": "1s" }}"#, redis.url());
    let programs = [start(&store), start(&store)];
    programs.iter().for_each(until_up);
    let clock = || {
        let time = redis.ask(&["TIME"]);
        let (seconds, micros) = time.split_once('\n').unwrap();
        seconds.parse::<f64>().unwrap() + micros.parse::<f64>().unwrap() / 1e6
    };
    let (begin, since) = (clock(), Instant::now());
    let allowed: u32 = thread::scope(|scope| {
        let clients: Vec<_> = programs
            .iter()
            .map(|program| {
                let mut stream = program.connect();
                scope.spawn(move || {
                    let (mut allowed, mut octets) = (0, [0; 4096]);
                    while since.elapsed() < Duration::from_secs(2) {
                        stream.write_all(b"GET /many HTTP/1.1\r\nHost: site.test\r\n\r\n").unwrap();
                        let read = stream.read(&mut octets).unwrap();
                        match &octets[9..12] {
                            b"200" => allowed += 1,
                            b"429" => {}
                            _ => panic!("{}", String::from_utf8_lossy(&octets[..read])),
                        }
                    }
                    allowed
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let expected = 200.0 + 200.0 * (clock() - begin);
    assert!((0.98 * expected..=expected + 1.0).contains(&f64::from(allowed)), "{allowed} of {expected}");
}

#[test]
fn a_redis_that_stops_costs_the_first_requests_its_timeout_and_the_others_nothing() {
    let Some(mut redis) = Redis::start() else { return };
    let mut program = start(&format!(r#""{}""#, redis.url()));
    until_up(&program);
    until("the store decides", || status(&program, "/refuse") == 200);
    redis.signal("STOP");
    until("the store is away", || status(&program, "/refuse") == 503);
    let timeouts = || {
        let metrics = program.exchange("GET /metrics HTTP/1.0\r\nHost: site.test\r\n\r\n");
        let line = metrics.lines().find(|line| line.starts_with("ziggurat_store_failures_total") && line.contains("timeout")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let before = timeouts();
    for expected in [200, 200, 200, 200, 200, 429, 429] {
        assert_eq!((status(&program, "/local"), status(&program, "/allow"), status(&program, "/refuse")), (expected, 200, 503));
        assert_eq!((status(&program, "/one"), status(&program, "/")), (200, 204));
    }
    assert_eq!(timeouts(), before, "nobody else has waited");
    for (place, decision, count) in [("local", "local", 7.0), ("allow", "allow", 7.0), ("one", "local", 7.0)] {
        assert_eq!(metric(&program, &format!("ziggurat_store_missed_total{{place=\"{place}\",decision=\"{decision}\"}}")), count);
    }
    program.wait_for_log("the store does not decide, layers do what `on_store_failure` says: no answer within 30ms");
    let shown = command(program.folder()).args(["status", "--json"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(r#""state": "down""#) || shown.contains(r#""state":"down""#), "{shown}");
    redis.signal("CONT");
    until("the store decides again", || status(&program, "/refuse") == 200);
    program.wait_for_log("the store answers");
    // A new one knows no scripts.
    redis.restart();
    until("the new store decides", || metric(&program, "ziggurat_store_up") == 1.0 && status(&program, "/refuse") == 200);
    redis.kill();
    until("it is dead", || status(&program, "/refuse") == 503);
    assert_eq!(status(&program, "/allow"), 200);
}

#[test]
fn a_wrong_password_and_no_redis_at_all_keep_no_site_from_serving() {
    let Some(redis) = Redis::start() else { return };
    redis.ask(&["CONFIG", "SET", "requirepass", "right"]);
    let store = format!(r#"{{ "url": "{}", "password": "${{PASSWORD}}" }}"#, redis.url());
    let app = "import os\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [os.environ.get('PASSWORD', 'none').encode()]\n";
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "control": "control.sock", "store": {store} }},
             "layers": [{{ "rate_limit": {{ "allow": "2/h", "per": [] }} }}], "app": {{ "wsgi": "app:app" }} }}"#
    );
    let mut program = Program::start_with(&pipeline, &[("app.py", app)], &[("PASSWORD", "s3cr3t")]);
    program.wait_for_log("WRONGPASS");
    assert!(program.get("/").ends_with("none"), "the app does not see the password");
    assert_eq!((status(&program, "/"), status(&program, "/")), (200, 429));
    let shown = command(program.folder()).args(["status", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("WRONGPASS"));
    assert!(!format!("{}{}", program.log(), String::from_utf8_lossy(&shown.stdout)).contains("s3cr3t"));
    drop(program);

    let mut program = start(r#""unix:nowhere.sock""#);
    program.wait_for_log("the store does not decide");
    assert_eq!((status(&program, "/allow"), status(&program, "/refuse")), (200, 503));
}

#[test]
fn a_reload_keeps_the_counts_and_another_store_is_another_count() {
    let Some(redis) = Redis::start() else { return };
    let store = |database: u32| format!(r#"{{ "url": "{}?db={database}", "timeout": "1s" }}"#, redis.url());
    let program = start(&store(0));
    until_up(&program);
    let used_up = |program: &Program| (0..6).map(|_| status(program, "/local")).filter(|status| *status == 200).count();
    assert_eq!(used_up(&program), 5);
    let reload = || assert!(command(program.folder()).arg("reload").status().unwrap().success());
    reload();
    assert_eq!(status(&program, "/local"), 429);
    let explained = command(program.folder()).args(["explain", "--live", "GET", "/local"]).output().unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("the store decides, for all machines: unix:"), "{explained}");
    assert!(explained.contains("the limit is used up: a request passes in"), "{explained}");
    until("one connection, beside that which asks", || redis.ask(&["INFO", "clients"]).contains("connected_clients:2\r"));
    std::fs::write(program.folder().join("pipeline.json"), site(&store(1))).unwrap();
    reload();
    until_up(&program);
    until("counts are those of the other store", || {
        redis.ask(&["-n", "1", "EXISTS", "ziggurat:probe"]) == "1" || status(&program, "/local") == 200
    });
    assert!(redis.ask(&["-n", "0", "KEYS", "*:local:*"]).contains("ziggurat:rate:local:"));
}

/// Passes each connection on to one of its servers that is not left out.
struct Balancer {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, servers) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<SocketAddr>>>::default());
        let chosen = Arc::clone(&servers);
        thread::spawn(move || {
            for (nth, client) in listener.incoming().enumerate() {
                // Under the lock: a server that is left out gets no connection any more.
                let servers = chosen.lock().unwrap();
                let server = TcpStream::connect(servers[nth % servers.len()]).unwrap();
                drop(servers);
                thread::spawn(move || pass(client.unwrap(), server));
            }
        });
        Self { address, servers }
    }

    fn add(&self, program: &Program) {
        self.servers.lock().unwrap().push(program.address());
    }

    fn leave_out(&self, program: &Program) {
        self.servers.lock().unwrap().retain(|server| *server != program.address());
    }
}

fn pass(mut client: TcpStream, mut server: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
}

#[test]
fn no_request_fails_while_the_processes_are_replaced_one_by_one() {
    let Some(redis) = Redis::start() else { return };
    let app = "import time\ndef app(environ, start_response):\n    time.sleep(0.02)\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'whole']\n";
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "server": {{ "drain": "10s", "store": "{}" }},
             "app": {{ "routes": [
               {{ "match": {{ "path": "/healthz" }}, "app": {{ "respond": 204 }} }},
               {{ "layers": [{{ "rate_limit": {{ "allow": "1000000/s", "per": [] }} }}, {{ "limit": 100 }}], "app": {{ "wsgi": {{ "app": "app:app", "workers": 1, "threads": 4 }} }} }}
             ] }} }}"#,
        redis.url()
    );
    let start = || Program::start(&pipeline, &[("app.py", app)]);
    let balancer = Balancer::new();
    let mut programs = [start(), start()];
    programs.iter().for_each(|program| balancer.add(program));
    let stop = AtomicBool::new(false);
    let answered = thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0;
                    while !stop.load(SeqCst) {
                        let mut stream = TcpStream::connect(balancer.address).unwrap();
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").unwrap();
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer).unwrap();
                        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("whole"), "{answer:?}");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for program in &mut programs {
            balancer.leave_out(program);
            // The connections of the balancer are accepted when one behind them is.
            assert_eq!(status(program, "/healthz"), 204);
            program.signal("TERM");
            assert_eq!(program.wait().code(), Some(0), "{}", program.log());
            let next = start();
            assert_eq!(status(&next, "/healthz"), 204);
            balancer.add(&next);
            *program = next;
        }
        stop.store(true, SeqCst);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>()
    });
    // How many they are depends on the machine.
    assert!(answered >= 3, "{answered}");
}
