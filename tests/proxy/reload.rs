//! What a reload keeps of endpoints, and what `ziggurat status` says about them.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use serde_json::Value;

use super::program::{echo, tunnel, upstream};
use crate::black_box::{Program, command};

fn saying(text: &'static str) -> u16 {
    upstream(move |mut socket: TcpStream, _| {
        let _ = write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
    })
}

fn failing() -> u16 {
    upstream(|mut socket: TcpStream, _| {
        let _ = socket.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    })
}

/// A row for each endpoint.
fn endpoints(program: &Program) -> Vec<Value> {
    let output = command(program.folder()).args(["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["apps"][0]["endpoints"].as_array().unwrap().clone()
}

#[test]
fn a_reload_with_other_weights_keeps_ejection_counters_and_the_endpoints_of_cookies() {
    let ports = [saying("one"), saying("other"), failing()];
    let file = |weight: u32| {
        format!(
            r#"{{ "listen": "127.0.0.1:0", "server": {{ "control": "control.sock" }}, "app": {{ "proxy": {{
              "to": [{{ "at": "http://127.0.0.1:{}", "weight": {weight} }}, "http://127.0.0.1:{}", "http://127.0.0.1:{}"],
              "balance": "round_robin", "sticky": {{ "cookie": "up" }}, "eject": {{ "after": 1, "for": "1h" }}
            }} }} }}"#,
            ports[0], ports[1], ports[2]
        )
    };
    let program = Program::start(&file(1), &[]);
    let answers: Vec<String> = (0..6).map(|_| program.get("/")).collect();
    let of_one = answers.iter().find(|answer| answer.ends_with("one")).unwrap();
    let cookie = of_one.split("up=").nth(1).unwrap().split(';').next().unwrap();
    let before = endpoints(&program);
    assert!(before[2]["state"].as_str().unwrap().starts_with("ejected for "), "{before:?}");

    std::fs::write(program.folder().join("pipeline.json"), file(0)).unwrap();
    program.signal("HUP");
    while !program.log().contains("reloaded after") {
        thread::yield_now();
    }
    for _ in 0..4 {
        assert!(program.get("/").ends_with("other"));
        let sticky = program.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: up={cookie}\r\nConnection: close\r\n\r\n"));
        assert!(sticky.ends_with("one") && !sticky.contains("set-cookie"), "{sticky}");
    }
    let after = endpoints(&program);
    assert!(after[2]["state"].as_str().unwrap().starts_with("ejected for "), "{after:?}");
    assert_eq!(after[0]["state"], "draining");
    for (before, after, more) in [(&before[0], &after[0], 4), (&before[1], &after[1], 4), (&before[2], &after[2], 0)] {
        assert_eq!(after["answers"].as_u64(), before["answers"].as_u64().map(|n| n + more), "{before} {after}");
    }
}

#[test]
fn status_shows_each_endpoint_with_its_health_its_load_its_errors_and_its_latency() {
    let ports = [upstream(echo), failing()];
    let program = Program::start(
        &format!(
            r#"{{ "listen": "127.0.0.1:0", "server": {{ "control": "control.sock" }}, "app": {{ "proxy": {{
              "to": ["http://127.0.0.1:{}", "http://127.0.0.1:{}"], "balance": "round_robin", "eject": {{ "after": 1, "for": "1h" }}
            }} }} }}"#,
            ports[0], ports[1]
        ),
        &[],
    );
    let _tunnel = tunnel(&program);
    for _ in 0..4 {
        program.get("/");
    }
    let output = command(program.folder()).arg("status").output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let rows = &table[table.find("\nproxy").unwrap() + 1..];
    let rows = rows.replace(&ports[0].to_string(), "PORT1").replace(&ports[1].to_string(), "PORT2");
    insta::assert_snapshot!(masked(&rows));
}

/// The times of the table, which vary, as `N.NNN s`; ejections end after nearly an hour.
fn masked(table: &str) -> String {
    let mask = |word: &str| if word.len() == 5 && word.as_bytes()[1] == b'.' { "N.NNN".to_owned() } else { word.to_owned() };
    let line = |line: &str| line.split(' ').map(mask).collect::<Vec<_>>().join(" ");
    let text = table.lines().map(line).collect::<Vec<_>>().join("\n");
    ["3600", "3599", "3598"].into_iter().fold(text, |text, seconds| text.replace(seconds, "NNNN"))
}
