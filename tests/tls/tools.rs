//! OpenSSL and curl as clients, where they are installed.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::authority::Authority;
use super::support::{PATIENCE, Site};

fn site() -> Site {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    Site::start(authority, r#"{ "cert": "site.pem", "key": "site.key" }"#)
}

/// What a program prints; `None` if it is not installed.
async fn run(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_served_over_http1_and_http2() {
    let site = site();
    let ca = site.authority.path("ca.pem").display().to_string();
    let resolve = format!("site.test:{}:127.0.0.1", site.address.port());
    let url = format!("https://site.test:{}/", site.address.port());
    for (version, sent) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let arguments = ["-sS", "-i", version, "--cacert", &ca, "--resolve", &resolve, &url, &url];
        let Some(answer) = run("curl", &arguments, "").await else { return };
        assert!(answer.starts_with(sent) && answer.contains("https TLSv1.3 TLS_AES_256_GCM_SHA384 site.test initial"), "{answer}");
    }
    let plain = format!("http://127.0.0.1:{}/", site.address.port());
    let Some(answer) = run("curl", &["-sS", "-i", &plain], "").await else { return };
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_resumes_sessions_and_gets_no_weak_cipher() {
    let site = site();
    let (ca, session) = (site.authority.path("ca.pem").display().to_string(), site.authority.path("session").display().to_string());
    let address = site.address.to_string();
    let connect = ["s_client", "-connect", &address, "-servername", "site.test", "-CAfile", &ca, "-verify_return_error"];
    let with = |more: &[&str]| -> Vec<String> { connect.iter().chain(more).map(|part| (*part).to_owned()).collect() };
    let request = "GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        for (option, session_state) in [("-sess_out", "initial"), ("-sess_in", "resumed")] {
            let arguments = with(&[version, option, &session, "-quiet", "-ign_eof"]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let Some(answer) = run("openssl", &arguments, request).await else { return };
            assert!(answer.contains(&format!("site.test {session_state}")), "{version} {answer}");
        }
    }
    for weak in [&["-tls1_1"][..], &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], &["-tls1_2", "-cipher", "AES128-GCM-SHA256"]] {
        let arguments = with(weak);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let Some(answer) = run("openssl", &arguments, "").await else { return };
        assert!(answer.contains("alert") || answer.contains("error"), "{weak:?}: {answer}");
        assert!(!answer.contains("Verify return code: 0 (ok)\n---\nread"), "{weak:?}: {answer}");
    }
}
