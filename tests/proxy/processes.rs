//! Real servers that are killed, stopped and started again while requests come.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::support::{Answer, Client, PATIENCE, Proxy};

const SERVER: &str = r#"
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        body = b"pid %d" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A server in a process of its own.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(port: u16) -> Self {
        let mut child = Command::new("python3").args(["-c", SERVER, &port.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Kills it, and starts another one in its place.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        *self = Self::start(self.port);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that ask again and again, and what they got.
struct Load {
    is_over: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(proxy: &Proxy, clients: usize) -> Self {
        let (is_over, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = proxy.address;
        let client = |_| {
            let (is_over, good) = (Arc::clone(&is_over), Arc::clone(&good));
            tokio::spawn(async move {
                let mut bad = Vec::new();
                while !is_over.load(SeqCst) {
                    let mut client = Client(tokio::net::TcpStream::connect(address).await.unwrap());
                    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
                    let answer = Answer::read(&client.read_to_end().await);
                    if answer.status == 200 && answer.body.starts_with("pid ") && !answer.is_cut {
                        good.fetch_add(1, SeqCst);
                    } else {
                        bad.push(format!("{answer:?}"));
                    }
                }
                bad
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { is_over, good, clients }
    }

    /// Waits until so many more requests were answered.
    async fn more(&self, n: usize) {
        let until = self.good.load(SeqCst) + n;
        let waited = tokio::time::timeout(3 * PATIENCE, async {
            while self.good.load(SeqCst) < until {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.unwrap();
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, SeqCst);
        let mut bad = Vec::new();
        for client in self.clients {
            bad.extend(client.await.unwrap());
        }
        (self.good.load(SeqCst), bad)
    }
}

#[tokio::test]
async fn with_two_of_three_that_are_well_no_request_that_may_be_repeated_fails() {
    let mut servers: Vec<Process> = (0..3).map(|_| Process::start(0)).collect();
    let to: Vec<String> = servers.iter().map(|server| format!("\"http://127.0.0.1:{}\"", server.port)).collect();
    let proxy = Proxy::start(&format!(
        r#"{{
          "to": [{}], "timeout": "1s",
          "retry": {{ "attempts": 3, "on": ["connect", "reset", "timeout"] }},
          "health": {{ "path": "/healthz", "every": "200ms", "timeout": "500ms", "fall": 2, "rise": 1 }},
          "eject": {{ "after": 3, "for": "500ms" }}
        }}"#,
        to.join(", ")
    ));
    let load = Load::start(&proxy, 16);
    load.more(300).await;
    for (round, server) in servers.iter_mut().enumerate() {
        server.kill();
        load.more(200).await;
        server.start_again();
        // Before the next one goes, this one is back.
        let state = || proxy.stack.lifecycle().status().remove(0).1["endpoints"][round]["state"].clone();
        let back = async {
            while state() != "up" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, back).await.unwrap();
        load.more(100).await;
    }
    servers[1].signal("STOP");
    load.more(200).await;
    servers[1].signal("CONT");
    load.more(200).await;
    let (good, bad) = load.end().await;
    assert!(bad.is_empty(), "{} of {}: {bad:?}\n{:?}", bad.len(), bad.len() + good, proxy.logged(""));
    let status = proxy.stack.lifecycle().status().remove(0).1;
    for endpoint in status["endpoints"].as_array().unwrap() {
        assert_eq!(endpoint["under way"], 0, "{status}");
    }
}
