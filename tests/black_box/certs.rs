//! `ziggurat certs`.

use std::os::unix::fs::PermissionsExt;

use crate::support::command;

#[test]
fn certs_makes_a_pair_that_only_its_user_can_read_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = command(folder.path()).arg("certs").args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    };
    let (code, said) = run(&["--self-signed"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("wrote tls/localhost.pem and tls/localhost.key, for localhost, 127.0.0.1, ::1\n"), "{said}");
    let key = folder.path().join("tls/localhost.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&key).unwrap();
    let (code, said) = run(&["--self-signed"]);
    assert!(code == 2 && said.contains("`tls/localhost.key` already exists\nhint: "), "{said}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    assert_eq!(run(&["--self-signed", "--name", "a b"]).0, 2);
    assert_eq!(run(&["--self-signed", "--name", "*.site.test", "--folder", "more"]).0, 0);

    let listen = said_listen(&run(&["--self-signed", "--folder", "again"]).1);
    std::fs::write(folder.path().join("pipeline.json"), format!("{{ {listen}, \"app\": {{ \"respond\": 200 }} }}")).unwrap();
    let (code, said) = run(&[]);
    assert!(code == 0 && said.contains("again/localhost.pem") && (said.contains(" 396 ") || said.contains(" 397 ")), "{said}");
    let (_, json) = run(&["--json"]);
    assert!(json.contains("\"names\": \"localhost, 127.0.0.1, ::1\""), "{json}");
    std::fs::write(folder.path().join("again/localhost.key"), "").unwrap();
    let (code, said) = run(&[]);
    assert!(code == 1 && said.contains("holds no private key in PEM"), "{said}");
}

/// The line for the pipeline file in what `ziggurat certs --self-signed` prints.
fn said_listen(said: &str) -> String {
    said.lines().find(|line| line.trim_start().starts_with("\"listen\"")).unwrap().trim().to_owned()
}
