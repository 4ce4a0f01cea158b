//! As much of curl as the guide needs, so that the machine need not have it: `curl [-i] [-X METHOD] [-d DATA] [-H HEADER] URL`.

use crate::support::Program;

/// What `curl` would print.
pub(crate) fn curl(program: &Program, command: &str) -> String {
    let words = words(command);
    let mut words = words.iter().skip(1).map(String::as_str);
    let (mut shows_head, mut method, mut data, mut headers, mut target) = (false, None, None, String::new(), "/");
    while let Some(word) = words.next() {
        match word {
            "-i" => shows_head = true,
            "-X" => method = words.next(),
            "-d" => data = words.next(),
            "-H" => headers += &format!("{}\r\n", words.next().unwrap()),
            url => target = url.strip_prefix("http://127.0.0.1:8000").unwrap_or_else(|| panic!("{command}: {url}")),
        }
    }
    let method = method.unwrap_or(if data.is_some() { "POST" } else { "GET" });
    let length = data.map_or(String::new(), |data| format!("Content-Length: {}\r\n", data.len()));
    let body = data.unwrap_or_default();
    let answer =
        program.exchange(format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n{headers}{length}\r\n{body}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    let head: String = head.lines().filter(|line| *line != "connection: close").map(|line| line.to_owned() + "\n").collect();
    if shows_head { format!("{head}\n{body}") } else { body }
}

/// The words of a command line; what stands in single or double quotes is one.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, Some(mark)) if letter == mark => quote = None,
            (' ', None) => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &after[..size];
        rest = after[size..].strip_prefix("\r\n").unwrap();
    }
    body
}
