//! Large files in clear text, which go from the page cache to the socket: every octet, whatever layers stand above, clients do, and happens to the file.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::support::{Program, folder_of};

const LENGTH: usize = 8 << 20;

/// Text without a zero, in which every place differs from its neighbours.
fn content(seed: usize) -> Vec<u8> {
    (0..LENGTH).map(|at| u8::try_from((at / 251 + at + seed) % 251 + 1).unwrap()).collect()
}

/// A site with one large file.
fn start(pipeline: &str) -> Program {
    let folder = folder_of(&[("pipeline.json", pipeline), ("files/small.txt", "small")]);
    fs::write(folder.path().join("files/large.bin"), content(0)).unwrap();
    let mut command = crate::support::command(folder.path());
    command.args(["run", "pipeline.json"]);
    Program::spawn(command, folder)
}

const PLAIN: &str = r#"{ "listen": "127.0.0.1:0", "app": { "static": "files" } }"#;

fn send(client: &mut TcpStream, path: &str, headers: &str) {
    write!(client, "GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n").unwrap();
}

/// Reads to the end of a head.
fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        client.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    String::from_utf8(head).unwrap()
}

fn read(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    client.read_exact(&mut octets).unwrap();
    octets
}

/// Reads until the server ends the connection, in whatever way.
fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    match client.read_to_end(&mut octets) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => octets,
    }
}

#[test]
fn a_file_arrives_whole_below_layers_that_see_its_octets_and_those_that_do_not() {
    let layers = [
        "",
        r#""access_log""#,
        r#"{ "limit": { "at_most": 5 } }"#,
        r#""access_log", { "limit": { "at_most": 5 } }"#,
        r#""compress""#,
        r#"{ "buffer": { "response": "1MiB" } }"#,
        r#"{ "cache": { "entry": "16MiB" } }"#,
        r#"{ "timeout": "60s" }"#,
        r#"{ "headers": { "response": { "set": { "x-layer": "yes" } } } }"#,
    ];
    for timing in [false, true] {
        let routes: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(number, layers)| {
                format!(
                    r#"{{ "match": {{ "path": "/{number}/*" }}, "mount": "/{number}", "layers": [{layers}], "app": {{ "static": "files" }} }}"#
                )
            })
            .collect();
        let pipeline =
            format!(r#"{{ "listen": "127.0.0.1:0", "server": {{ "timing": {timing} }}, "app": {{ "routes": [{}] }} }}"#, routes.join(", "));
        let program = start(&pipeline);
        let mut client = program.connect();
        let content = content(0);
        for _ in 0..2 {
            for (number, layers) in layers.iter().enumerate() {
                send(&mut client, &format!("/{number}/large.bin"), "");
                assert!(head(&mut client).contains(&format!("content-length: {LENGTH}\r\n")), "{layers}");
                assert!(read(&mut client, LENGTH) == content, "{layers}");
                send(&mut client, &format!("/{number}/large.bin"), "Range: bytes=70000-4000000\r\n");
                assert!(head(&mut client).starts_with("HTTP/1.1 206 "), "{layers}");
                assert!(read(&mut client, 3_930_001) == content[70_000..=4_000_000], "{layers}");
            }
        }
    }
}

#[test]
fn requests_that_come_at_once_get_their_files_one_after_the_other() {
    let program = start(PLAIN);
    let mut client = program.connect();
    for _ in 0..3 {
        send(&mut client, "/large.bin", "");
        send(&mut client, "/small.txt", "");
    }
    for _ in 0..3 {
        head(&mut client);
        assert!(read(&mut client, LENGTH) == content(0));
        head(&mut client);
        assert_eq!(read(&mut client, 5), b"small");
    }
}

#[test]
fn a_client_that_reads_slowly_gets_the_file_that_was_there() {
    let program = start(PLAIN);
    let mut client = program.connect();
    send(&mut client, "/large.bin", "");
    head(&mut client);
    let mut received = read(&mut client, 100_000);
    // As a deployment does it.
    fs::write(program.folder().join("files/next.bin"), content(100)).unwrap();
    fs::rename(program.folder().join("files/next.bin"), program.folder().join("files/large.bin")).unwrap();
    let mut other = program.connect();
    send(&mut other, "/large.bin", "");
    head(&mut other);
    assert!(read(&mut other, LENGTH) == content(100));
    fs::remove_file(program.folder().join("files/large.bin")).unwrap();
    received.extend(read(&mut client, LENGTH - received.len()));
    assert!(received == content(0));
    send(&mut client, "/large.bin", "");
    assert!(head(&mut client).starts_with("HTTP/1.1 404 "));
}

#[test]
fn of_a_file_that_is_cut_the_client_gets_the_beginning_and_then_the_end_of_the_connection() {
    let program = start(PLAIN);
    let mut client = program.connect();
    send(&mut client, "/large.bin", "");
    head(&mut client);
    let file = fs::File::options().write(true).open(program.folder().join("files/large.bin")).unwrap();
    file.set_len(1 << 20).unwrap();
    let received = rest(&mut client);
    // What was sent before the cut is the file's; nothing stands in for the rest.
    assert!(received.len() < LENGTH && content(0).starts_with(&received), "{}", received.len());
    assert!(program.get("/small.txt").ends_with("small"));
}

#[test]
fn clients_that_read_nothing_cost_little_memory_and_their_descriptors_come_back() {
    let program = start(PLAIN);
    program.get("/small.txt");
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap().count();
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let (before, resident) = (descriptors(), memory());
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = program.connect();
            send(&mut client, "/large.bin", "");
            head(&mut client);
            client
        })
        .collect();
    // The connection and the file.
    assert!(descriptors() <= before + 2 * clients.len(), "{}", descriptors());
    assert!(memory() < resident + 8_192, "{} and {resident}", memory());
    drop(clients);
    while descriptors() > before {
        std::thread::yield_now();
    }
}
